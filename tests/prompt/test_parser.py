"""The parser: what prompts of every kind name, whatever spaCy pipeline reads them, and how it is trained."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc

from unbleed.cli import text
from unbleed.errors import ModelError, TrainingError
from unbleed.prompt import parse, parse_all
from unbleed.prompt import parser as parsers
from unbleed.prompt.grammar import read
from unbleed.prompt.schemes import ClearNLP, Universal, tree_of
from unbleed.prompt.training import templates
from unbleed.prompt.training import train as training

CAPTIONS = Path(__file__).with_name("captions.txt")

# The rule by which DVMP's prompts are made, with words of our own beside those of its kind.
ANIMALS = "cat dog bird bear lion horse elephant monkey frog turtle rabbit mouse panda zebra gorilla penguin otter lynx".split()
FRUIT = "apple tomato banana strawberry mango".split()
OBJECTS = (
    "backpack crown suitcase chair balloon bow car bowl bench clock camera umbrella guitar shoe hat surfboard skateboard "
    "bicycle teapot ladder"
).split()
COLOURS = "red orange yellow green blue purple pink brown gray black white beige teal".split()
KINDS = [
    (ANIMALS, "furry baby spotted sleepy".split(), 2),
    (FRUIT, "sliced skewered".split(), 1),
    (OBJECTS, "modern spotted wooden metal curved spiky checkered".split(), 2),
]


def combined(rng: random.Random) -> tuple[str, list[tuple[str, list[str]]]]:
    """Return a prompt of one to three phrases, and its nouns with their modifiers."""
    while True:
        phrases: list[tuple[str, list[str]]] = []
        for _ in range(rng.randint(1, 3)):
            nouns, adjectives, most = rng.choice(KINDS)
            words = rng.sample(adjectives, rng.randint(0, most))
            colour = [rng.choice(COLOURS)] if rng.random() < 1 / 3 else []
            phrases.append((rng.choice(nouns), [*colour, *words]))
        if any(words for _, words in phrases) and len({str(p) for p in phrases}) == len(phrases):
            texts = [" ".join([*words, noun]) for noun, words in phrases]
            return " and ".join(f"{'an' if t[0] in 'aeiou' else 'a'} {t}" for t in texts), phrases


def found(prompt: str, **options: object) -> list[tuple[str, list[str]]]:
    return [(e.noun, e.modifiers) for e in parse(prompt, **options).entities]  # type: ignore[arg-type]


def test_combined_phrases_are_read_exactly() -> None:
    rng = random.Random(0)
    cases = [combined(rng) for _ in range(1000)]
    read = parse_all([prompt for prompt, _ in cases])
    exact = sum([(e.noun, e.modifiers) for e in one.entities] == gold for one, (_, gold) in zip(read, cases, strict=True))
    assert exact >= 970


def test_conjunctions_of_two_coloured_things_are_read_exactly() -> None:
    rng = random.Random(1)
    for _ in range(442):
        (a, b), (one, other) = rng.sample([*ANIMALS, *OBJECTS, *FRUIT], 2), rng.sample([*COLOURS, "gold", "silver"], 2)
        assert found(f"a {one} {a} and a {other} {b}") == [(a, [one]), (b, [other])]


def captions() -> list[tuple[str, list[tuple[str, list[str]]]]]:
    cases = []
    for line in CAPTIONS.read_text().splitlines():
        if line and not line.startswith("#"):
            caption, *entities = (part.strip() for part in line.split("|"))
            pairs = [entity.partition(":") for entity in entities]
            cases.append((caption, [(n.strip(), [m.strip() for m in ms.split(",") if m.strip()]) for n, _, ms in pairs]))
    return cases


def test_captions_are_read_well() -> None:
    cases = captions()
    assert len(cases) == 150
    right = named = asked = 0
    for (_, gold), one in zip(cases, parse_all([caption for caption, _ in cases]), strict=True):
        wanted = [(noun.lower(), m.lower()) for noun, words in gold for m in words]
        got = [(e.noun.lower(), m.lower()) for e in one.entities for m in e.modifiers]
        right += sum(min(got.count(pair), wanted.count(pair)) for pair in set(got))
        named += len(got)
        asked += len(wanted)
    assert right / named >= 0.9
    assert right / asked >= 0.9


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a red and white cat", [("cat", ["red", "white"])]),
        ("the cat is red and the dog is blue", [("cat", ["red"]), ("dog", ["blue"])]),
        ("a cat that is furry and black", [("cat", ["furry", "black"])]),
        ("a chair made of wood", [("chair", ["wood"])]),
        ("a woman dressed in blue", [("woman", ["blue"])]),
        ("a star-shaped cookie and a t-shirt", [("cookie", ["star-shaped"]), ("t-shirt", [])]),
        ("a girl's red dress", [("girl", []), ("dress", ["red"])]),
        ("two red cats and a red dog", [("cats", ["red"]), ("dog", ["red"])]),
        ("a group of small birds", [("birds", ["small"])]),
        ("a photo of a red cat, best quality, 8k, trending on artstation", [("cat", ["red"])]),
        ("a dog on the left side of a blue car", [("dog", []), ("car", ["blue"])]),
        ("a (red:1.3) cat BREAK a ((blue)) bench", [("cat", ["red"]), ("bench", ["blue"])]),
        ("a <cat-toy> on a red table", [("<cat-toy>", []), ("table", ["red"])]),
        ("a frog wearing a hat, holding a golden sword", [("frog", []), ("hat", []), ("sword", ["golden"])]),
    ],
)
def test_what_prompts_have_beyond_phrases(prompt: str, expected: list[tuple[str, list[str]]]) -> None:
    assert found(prompt) == expected


def test_numbers_are_counts() -> None:
    counts = [(e.noun, e.count) for e in parse("two red cats, 3 dogs and a pair of boots").entities]
    assert counts == [("cats", 2), ("dogs", 3), ("boots", 2)]


def test_what_is_left_out_is_told() -> None:
    left_out = {span.text: why for span, why in parse("a photo of a group of cats").left_out}
    assert left_out == {"photo": "names the picture", "group": "counts what follows"}


def test_spans_are_places_of_the_prompt() -> None:
    prompt = "((masterpiece)), a  (red:1.2)\tcat\nBREAK a blue_bench <lora:x:0.5>"
    for entity in parse(prompt).entities:
        for span in (entity.noun_span, *entity.modifier_spans):
            assert prompt[span.start : span.end] == span.text
    assert found(prompt)[-2:] == [("cat", ["red"]), ("bench", ["blue"])]


# ------------------------------------------------------------------------------------------------- other pipelines


def tree(words: str, heads: list[int], deps: str, pos: str) -> Doc:
    nlp = spacy.blank("en")
    return Doc(nlp.vocab, words=words.split(), heads=heads, deps=deps.split(), pos=pos.split())


def read_as(kind: type, doc: Doc) -> list[tuple[str, list[str]]]:
    mentions = read(doc, kind()).mentions
    return [(doc.text[slice(*one.noun)], [doc.text[slice(*word)] for word in one.words]) for one in mentions]


def test_both_kinds_of_trees_say_the_same() -> None:
    words, pos = "the dog with a big hat is red", "DET NOUN ADP DET ADJ NOUN AUX ADJ"
    universal = tree(words, [1, 7, 5, 5, 5, 1, 7, 7], "det nsubj case det amod nmod cop ROOT", pos)
    clear = tree(words, [1, 6, 1, 5, 5, 2, 6, 6], "det nsubj prep det amod pobj ROOT acomp", pos)
    assert read_as(Universal, universal) == read_as(ClearNLP, clear) == [("dog", ["red"]), ("hat", ["big"])]
    words, pos = "a cat that is black", "DET NOUN PRON AUX ADJ"
    universal = tree(words, [1, 1, 4, 4, 1], "det ROOT nsubj cop acl:relcl", pos)
    clear = tree(words, [1, 1, 3, 1, 3], "det ROOT nsubj relcl acomp", pos)
    assert read_as(Universal, universal) == read_as(ClearNLP, clear) == [("cat", ["black"])]
    words, pos = "a chair made of wood", "DET NOUN VERB ADP NOUN"
    universal = tree(words, [1, 1, 1, 4, 2], "det ROOT acl case obl", pos)
    clear = tree(words, [1, 1, 1, 2, 3], "det ROOT acl prep pobj", pos)
    assert read_as(Universal, universal) == read_as(ClearNLP, clear) == [("chair", ["wood"])]


def test_the_kind_of_trees_is_told_by_the_labels() -> None:
    assert isinstance(tree_of(frozenset({"pobj", "nsubj"})), ClearNLP)
    assert isinstance(tree_of(frozenset({"obl", "nsubj"})), Universal)


def test_a_pipeline_of_the_users_takes_the_place_of_the_parser() -> None:
    pipeline = parsers.load().pipeline
    assert found("a red cat", parser=pipeline) == [("cat", ["red"])]
    with pytest.raises(ModelError, match="and no parser; expected a dependency parser"):
        parse("a red cat", parser=spacy.blank("en"))
    with pytest.raises(ModelError, match="cannot be loaded"):
        parse("a red cat", parser="no_such_pipeline")


# ------------------------------------------------------------------------------------------------------- anything


@pytest.mark.filterwarnings("ignore:.*which the English parser does not read")
def test_nothing_that_can_be_typed_breaks_it() -> None:
    rng = random.Random(2)
    signs = "abc XYZ\t\n\x00\x1f.,;:!?'\"()[]{}<>_-–—#@&%$/\\|~^`´°½🐱👩‍👧\u0301\u200b\u202eאبक猫é"
    words = "a red cat and BREAK (blue:1.3) <x> <lora:y:1> photo of two 3 that is".split()
    prompts = ["".join(rng.choices(signs, k=rng.randint(0, 60))) for _ in range(1000)]
    prompts += [" ".join(rng.choices(words, k=rng.randint(0, 40))) for _ in range(1000)]
    for prompt, one in zip(prompts, parse_all(prompts), strict=True):
        for entity in one.entities:
            for span in (entity.noun_span, *entity.modifier_spans):
                assert prompt[span.start : span.end] == span.text != ""


# ------------------------------------------------------------------------------------------------------ training

SENTENCES = """\
# text = The girl's cat doesn't sleep.
1	The	the	DET	DT	_	2	det	_	_
2-3	girl's	_	_	_	_	_	_	_	_
2	girl	girl	NOUN	NN	_	4	nmod:poss	_	_
3	's	's	PART	POS	_	2	case	_	_
4	cat	cat	NOUN	NN	_	7	nsubj	_	_
5-6	doesn't	_	_	_	_	_	_	_	_
5	does	do	AUX	VBZ	_	7	aux	_	_
6	n't	not	PART	RB	_	7	advmod	_	_
7	sleep	sleep	VERB	VB	_	0	root	_	SpaceAfter=No
8	.	.	PUNCT	.	_	7	punct	_	_

# text = A red ball lies here.
1	A	a	DET	DT	_	3	det	_	_
2	red	red	ADJ	JJ	_	3	amod	_	_
3	ball	ball	NOUN	NN	_	4	nsubj	_	_
4	lies	lie	VERB	VBZ	_	0	root	_	_
4.1	left	leave	VERB	VBN	_	_	_	4:conj	_
5	here	here	ADV	RB	_	4	advmod	_	SpaceAfter=No
6	.	.	PUNCT	.	_	4	punct	_	_
"""


@pytest.fixture
def treebank(tmp_path: Path) -> Path:
    for name in training.SPLITS.values():
        (tmp_path / name).write_text(SENTENCES, encoding="utf-8")
    return tmp_path


def test_a_treebank_is_read_in_syntactic_words(treebank: Path) -> None:
    first, second = training.treebank_docs(treebank, "dev", spacy.blank("en"))
    assert first.text.strip() == "The girl's cat doesn't sleep."
    assert [token.text for token in first] == ["The", "girl", "'s", "cat", "does", "n't", "sleep", "."]
    assert [token.head.text for token in first] == ["girl", "cat", "girl", "sleep", "sleep", "sleep", "sleep", "sleep"]
    assert [token.dep_ for token in second] == ["det", "amod", "nsubj", "ROOT", "advmod", "punct"]


def test_made_sentences_are_trees_and_repeat() -> None:
    lexicon = {"NOUN": ["house", "reason"], "ADJ": ["nice"]}
    made = [next(templates.sentences(3, lexicon)), *islice(templates.sentences(3, lexicon), 400)]
    assert [w.text for w in made[0]] == [w.text for w in made[1]]
    for phrase in made:
        places = {id(word): at for at, word in enumerate(phrase)}
        assert sum(word.head is None for word in phrase) == 1
        for word in phrase:
            seen = set()
            while word.head is not None:
                assert id(word) in places
                assert id(word) not in seen
                seen.add(id(word))
                word = word.head


def test_training_from_nothing_and_measuring(treebank: Path, out: Path) -> None:
    recipe = training.ParserRecipe(steps=3, words=60, width=16, depth=1, hidden=8, rows=(60, 60, 60, 60))
    told: list[tuple[int, int]] = []
    stages = (recipe, replace(recipe, steps=2, templates=1.0))
    training.train(treebank, out, stages, lambda done, of, loss: told.append((done, of)))
    assert told == [(3, 3), (2, 2)]
    assert [stage["recipe"]["steps"] for stage in json.loads((out / "training.json").read_text())["stages"]] == [3, 2]
    assert [one.prompt for one in parse_all(["a red cat"], parser=str(out))] == ["a red cat"]
    scores = training.evaluate(parsers.load().pipeline, treebank, "test")
    assert scores["uas"] > 0.9  # two easy sentences, by the embedded parser
    assert scores["las"] <= scores["uas"]


def test_a_trial_takes_a_fraction_of_the_steps(treebank: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[training.ParserRecipe] = []
    monkeypatch.setattr(training, "train", lambda treebank, out, stages, report: asked.extend(stages))
    text.train(treebank, out, fraction=0.1)
    assert [stage.steps for stage in asked] == [600, 90]


def test_a_treebank_that_cannot_be_read_is_an_error_that_says_where_it_is(treebank: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot be read .*name the folder of UD_English-EWT"):
        training.treebank_docs(tmp_path / "nowhere", "test", spacy.blank("en"))
    (treebank / training.SPLITS["test"]).write_text("no columns here")
    with pytest.raises(TrainingError, match="is no CoNLL-U file"):
        training.treebank_docs(treebank, "test", spacy.blank("en"))
