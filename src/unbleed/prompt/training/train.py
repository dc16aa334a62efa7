"""Training of the embedded parser on UD English EWT and made sentences, and how well it parses.

The treebank (CC BY-SA 4.0) is no part of the package: https://github.com/UniversalDependencies/UD_English-EWT. What is
learnt from it carries its licence.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ...errors import TrainingError
from .patterns import HELD_OUT, LEARNT, prompts
from .templates import Lexicon, Phrase, sentences

SPLITS = {split: f"en_ewt-ud-{split}.conllu" for split in ("train", "dev", "test")}
SAMPLE = 4_000  # examples from which the labels are known

Report = Callable[[int, int, float], None]  # steps done, of how many, mean loss per word


@dataclass(frozen=True)
class ParserRecipe:
    """All that decides what the parser becomes, beside the treebank."""

    seed: int = 0
    steps: int = 6_000
    words: int = 1_000  # in a step, at least
    made: float = 0.5  # share of the sentences that are made; the others are the treebank's
    templates: float = 0.0  # share of the made sentences that fill a template of prompts (`patterns`)
    lowered: float = 0.3  # share of the treebank's sentences that lose their capitals
    unended: float = 0.3  # share of them that lose the sign at their end
    width: int = 96
    depth: int = 4
    hidden: int = 64
    rows: tuple[int, int, int, int] = (4000, 1000, 2000, 2000)
    rate: float = 0.001
    warm_up: int = 100
    dropout: float = 0.1


STAGES = (ParserRecipe(), ParserRecipe(steps=900, made=0.75, templates=0.7, rate=0.0005, warm_up=30))
"""How the embedded parser was trained: first on whole sentences, then on what prompts are made of."""


def train(
    treebank: Path, out: Path, stages: Sequence[ParserRecipe] = STAGES, report: Report = lambda done, of, loss: None
) -> Language:
    """Train a parser in stages, write it to the folder `out` with its recipes, and return it.

    Raises `TrainingError` when the treebank is not there.
    """
    about: list[dict[str, Any]] = []
    nlp = None
    for number, recipe in enumerate(stages):
        begun = time.perf_counter()
        loss = _train(treebank, out, recipe, report, out if number else None)
        about.append({"recipe": asdict(recipe), "seconds": round(time.perf_counter() - begun), "loss": loss})
        (out / "training.json").write_text(json.dumps({"stages": about}, indent=2) + "\n")
        nlp = spacy.load(out)
    assert nlp is not None
    return nlp


def _train(treebank: Path, out: Path, recipe: ParserRecipe, report: Report, start: Path | None) -> float:
    """Train one stage, from the pipeline in `start` or from nothing, write it, and return the last loss per word."""
    spacy.util.fix_random_seed(recipe.seed)
    nlp = blank(recipe) if start is None else spacy.load(start)
    stream = examples(recipe, nlp, treebank_docs(treebank, "train", nlp))
    if start is None:
        sample = [next(stream) for _ in range(SAMPLE)]
        optimizer = nlp.initialize(lambda: sample)
    else:
        optimizer = nlp.resume_training()
    losses: dict[str, float] = {}
    words, loss = 0, 0.0
    for step in range(1, recipe.steps + 1):
        batch = []
        seen = 0
        while seen < recipe.words:
            batch.append(next(stream))
            seen += len(batch[-1])
        left = (recipe.steps - step + 1) / recipe.steps
        optimizer.learn_rate = recipe.rate * min(1, step / recipe.warm_up, 1.5 * left)
        nlp.update(batch, drop=recipe.dropout, sgd=optimizer, losses=losses)
        words += seen
        if step % 50 == 0 or step == recipe.steps:
            loss = float(sum(losses.values())) / words
            report(step, recipe.steps, loss)
            losses, words = {}, 0
    with nlp.use_params(optimizer.averages):
        write(nlp, out)
    return loss


def write(nlp: Language, out: Path) -> None:
    """Write a pipeline with weights of half precision, which are as good and pack into half the space.

    Of the strings only labels are kept: words are known by their hashes, so those of the treebank are not needed.
    """
    for _, component in nlp.pipeline:
        model = getattr(component, "model", None)
        for node in model.walk() if model is not None else ():
            for param in node.param_names:
                if node.has_param(param):
                    values = node.get_param(param)
                    node.set_param(param, values.astype(np.float16).astype(values.dtype))
    nlp.to_disk(out)
    labels = sorted({label for component in nlp.pipe_labels.values() for label in component})
    (out / "vocab" / "strings.json").write_text(json.dumps(labels, indent=1) + "\n")


def blank(recipe: ParserRecipe) -> Language:
    """Return the untrained pipeline: one reading of the words for the tagger of parts of speech and the parser."""
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": recipe.width, "upstream": "*"}
    embed = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": recipe.width,
        "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
        "rows": list(recipe.rows),
        "include_static_vectors": False,
    }
    encode = {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        "width": recipe.width,
        "depth": recipe.depth,
        "window_size": 1,
        "maxout_pieces": 3,
    }
    parser = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "parser",
        "extra_state_tokens": False,
        "hidden_width": recipe.hidden,
        "maxout_pieces": 2,
        "use_upper": True,
        "tok2vec": listener,
    }
    models = {
        "tok2vec": {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode},
        "morphologizer": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener},
        "parser": parser,
    }
    config: dict[str, Any] = {
        "nlp": {"lang": "en", "pipeline": list(models)},
        "components": {name: {"factory": name, "model": model} for name, model in models.items()},
    }
    return spacy.util.load_model_from_config(config, auto_fill=True)


# ------------------------------------------------------------------------------------------------------------ data


def treebank_docs(folder: Path, split: str, nlp: Language) -> list[Doc]:
    """Return the sentences of a split in its syntactic words: "girl" and "'s", "do" and "n't"."""
    path = folder / SPLITS[split]
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be read ({error.strerror}); name the folder of UD_English-EWT, which "
            "https://github.com/UniversalDependencies/UD_English-EWT has"
        ) from None
    try:
        return [_sentence(nlp, block) for block in text.strip().split("\n\n")]
    except (ValueError, IndexError) as error:
        raise TrainingError(f"{path} is no CoNLL-U file ({error}); expected ten columns with tabs between them") from error


def _sentence(nlp: Language, block: str) -> Doc:
    """Return one sentence of a CoNLL-U file.

    Of a token of several words ("don't", lines such as 3-4) the words touch each other where they spell it.
    """
    rows = [line.split("\t") for line in block.splitlines() if not line.startswith("#")]
    words = [row for row in rows if row[0].isdecimal()]
    if not words:
        raise ValueError(f'no words in "{block[:40]}"')
    spaces = ["SpaceAfter=No" not in row[9] for row in words]
    for numbers, form, *_, misc in (row for row in rows if "-" in row[0]):
        first, last = (int(number) - 1 for number in numbers.split("-"))
        if "".join(row[1] for row in words[first : last + 1]) == form:
            spaces[first:last] = [False] * (last - first)
        spaces[last] = "SpaceAfter=No" not in misc
    heads = [int(row[6]) - 1 if row[6] != "0" else at for at, row in enumerate(words)]
    return tree(nlp, [row[1] for row in words], spaces, heads, [row[7] for row in words], [row[3] for row in words])


def copied(nlp: Language, tokens: Sequence[Any], lower: bool = False) -> Doc:
    """Return the first tokens of a document as one of their own."""
    return tree(
        nlp,
        [token.lower_ if lower else token.text for token in tokens],
        [bool(token.whitespace_) for token in tokens],
        [token.head.i if token.head.i < len(tokens) else token.i for token in tokens],
        [token.dep_ for token in tokens],
        [token.pos_ for token in tokens],
    )


def made(nlp: Language, phrase: Phrase) -> Doc:
    """Return a made sentence as a document."""
    place = {id(word): at for at, word in enumerate(phrase)}
    return tree(
        nlp,
        [word.text for word in phrase],
        [word.space for word in phrase],
        [place[id(word.head or word)] for word in phrase],
        [word.relation for word in phrase],
        [word.pos for word in phrase],
    )


def tree(nlp: Language, words: list[str], spaces: list[bool], heads: list[int], deps: list[str], pos: list[str]) -> Doc:
    deps = ["ROOT" if head == at else dep for at, (head, dep) in enumerate(zip(heads, deps, strict=True))]
    return Doc(nlp.vocab, words=words, spaces=spaces, heads=heads, deps=deps, pos=pos)


def lexicon_of(docs: Sequence[Doc]) -> Lexicon:
    """Return the nouns and adjectives of documents, each once."""
    found: dict[str, set[str]] = {"NOUN": set(), "ADJ": set()}
    for token in (token for doc in docs for token in doc):
        if token.pos_ in found and token.is_alpha and token.is_lower and len(token) > 2:
            found[token.pos_].add(token.text)
    return {pos: sorted(words) for pos, words in found.items()}


def examples(recipe: ParserRecipe, nlp: Language, docs: Sequence[Doc]) -> Iterator[Example]:
    """Yield what is learnt from, without end."""
    rng = random.Random(recipe.seed)
    lexicon = lexicon_of(docs)
    invented, filled = sentences(recipe.seed, lexicon), prompts(recipe.seed, lexicon, LEARNT)
    queue: list[Doc] = []
    while True:
        if rng.random() < recipe.made:
            reference = made(nlp, next(filled if rng.random() < recipe.templates else invented))
        else:
            queue = queue or rng.sample(docs, len(docs))
            reference = queue.pop()
            unended = len(reference) > 1 and reference[-1].is_punct and rng.random() < recipe.unended
            reference = copied(nlp, list(reference)[: -1 if unended else None], lower=rng.random() < recipe.lowered)
        yield Example(nlp.make_doc(reference.text), reference)


def evaluate(nlp: Language, treebank: Path, split: str = "test") -> dict[str, float]:
    """Return how well a pipeline parses a split from its plain text: shares of words, without punctuation, from 0 to 1.

    "uas": the governing word is right; "las": and the relation; "pos": the part of speech, punctuation counted.
    """
    scores = nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in treebank_docs(treebank, split, nlp)])
    return {"uas": scores["dep_uas"], "las": scores["dep_las"], "pos": scores["pos_acc"], "words_per_second": scores["speed"]}


def evaluate_templates(nlp: Language, treebank: Path, held_out: bool = True, count: int = 500) -> dict[str, float]:
    """Return the same of sentences that fill templates of prompts, those that no parser learnt from or the others."""
    lexicon = lexicon_of(treebank_docs(treebank, "train", nlp))
    filled = prompts(1_000_003, lexicon, HELD_OUT if held_out else LEARNT)
    docs = [made(nlp, next(filled)) for _ in range(count)]
    scores = nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in docs])
    return {"uas": scores["dep_uas"], "las": scores["dep_las"], "pos": scores["pos_acc"]}
