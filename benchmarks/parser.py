"""How well and how fast prompts are read: templates, captions labelled by hand, a treebank, anything that can be typed.

The prompt sets and the treebank are no part of this project; `--prompts` and `--treebank` name their folders. What is not
named is left out. `--parser` measures another spaCy pipeline in the same way.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import re
import resource
import sys
import time
import warnings
from itertools import combinations, product
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, T5Tokenizer

from unbleed.emoji import WEIGHTS
from unbleed.errors import UnbleedWarning
from unbleed.prompt import Encoder, Parsed, locate, parse_all
from unbleed.prompt import parser as parsers
from unbleed.prompt.training.labelled import Gold, agreement, labelled_prompts, read_cases
from unbleed.prompt.training.train import evaluate, evaluate_templates

CAPTIONS = Path(__file__).parents[1] / "tests/prompt/captions.txt"
DEVELOPMENT = Path(__file__).parents[1] / "tests/prompt/prompts.txt"
SIGNS = "abcXYZ 0123 \t\n\x00\x1f.,;:!?'\"()[]{}<>_-–—#@&%$/\\|~^`´°½🐱👩‍👧\u0301\u200b\u202e\ufeffאבגقطк猫犬é"
WORDS = "a red cat and BREAK (blue:1.3) <x> <lora:y:1> photo of two 3 that is made wearing best quality , .".split()


def article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def attend_and_excite(folder: Path) -> list[tuple[str, Gold]]:
    """The 276 prompts of its benchmark: all pairs, every object in one colour."""
    words, rng = json.loads((folder / "attend_and_excite/word_lists.json").read_text()), random.Random(0)
    animals, objects, colours = words["animals"], words["objects"], words["colors"]
    worn = words["worn_objects_used_with_'with'"]
    cases: list[tuple[str, Gold]] = [
        (f"{article(a)} and {article(b)}", [(a, []), (b, [])]) for a, b in combinations(animals, 2)
    ]
    for animal, thing in product(animals, objects):
        colour = rng.choice(colours)
        joint = "with" if thing in worn else "and"
        cases.append((f"{article(animal)} {joint} a {colour} {thing}", [(animal, []), (thing, [colour])]))
    for one, other in combinations(objects, 2):
        first, second = rng.sample(colours, 2)
        cases.append((f"a {first} {one} and a {second} {other}", [(one, [first]), (other, [second])]))
    return cases


def conjunctions(folder: Path) -> list[tuple[str, Gold]]:
    """The lines of CC-500 that read "a COLOUR THING and a COLOUR THING"."""
    cases = []
    for line in (folder / "cc500/CC-500.txt").read_text().splitlines()[:446]:
        if found := re.fullmatch(r"an? (\S+) (\S+) and an? (\S+) (\S+)", line.strip(), re.IGNORECASE):
            a, b, c, d = found.groups()
            cases.append((line.strip(), [(b, [a]), (d, [c])]))
    return cases


def combined(folder: Path, count: int = 1000) -> list[tuple[str, Gold]]:
    """Prompts by DVMP's rule: one to three phrases with up to two modifiers and a colour."""
    words, rng = json.loads((folder / "dvmp/word_lists.json").read_text()), random.Random(0)
    kinds = [("animals", "animal_modifiers", 2), ("fruit", "fruit_modifiers", 1), ("objects", "object_modifiers", 2)]
    cases: dict[str, Gold] = {}
    while len(cases) < count:
        gold: Gold = []
        for _ in range(rng.randint(1, 3)):
            nouns, modifiers, most = rng.choice(kinds)
            own = rng.sample(words[modifiers], rng.randint(0, most))
            gold.append((rng.choice(words[nouns]), [*([rng.choice(words["colors"])] if rng.random() < 1 / 3 else []), *own]))
        phrases = [" ".join([*own, noun]) for noun, own in gold]
        if any(own for _, own in gold) and len(set(phrases)) == len(phrases):
            cases[" and ".join(map(article, phrases))] = gold
    return list(cases.items())


def captions(path: Path) -> list[tuple[str, Gold]]:
    """Captions that were labelled by hand."""
    cases = []
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            caption, *entities = (part.strip() for part in line.split("|"))
            pairs = [entity.partition(":") for entity in entities]
            cases.append((caption, [(n.strip(), [m.strip() for m in ms.split(",") if m.strip()]) for n, _, ms in pairs]))
    return cases


def exact(cases: list[tuple[str, Gold]], parser: Any) -> dict[str, int]:
    right = sum(found == gold for found, (_, gold) in zip(read_cases(cases, parser), cases, strict=True))
    return {"exact": right, "prompts": len(cases)}


def development(path: Path, parser: Any) -> dict[str, Any]:
    """How well labelled prompts are read, by group: those on which the rules were mended, and every third, held back."""
    return {
        f"{group}, {part}": agreement([case for number, case in enumerate(cases) if (number % 3 == 2) == back], parser)
        for group, cases in labelled_prompts(path).items()
        for part, back in (("mended on", False), ("held back", True))
    }


def speed(prompts: list[str], parser: Any) -> dict[str, float]:
    """Processor seconds of one core until the parser can be asked, and prompts per processor second in batches."""
    parsers.load.cache_clear()
    begun = time.process_time()
    parse_all(["a cat"], parser=parser)
    loaded = time.process_time()
    parse_all(prompts, parser=parser)
    return {"load_seconds": loaded - begun, "prompts_per_second": len(prompts) / (time.process_time() - loaded)}


def anything(parser: Any, count: int = 10_000) -> dict[str, float]:
    """Read random strings; an exception ends the run. The slowest, in microseconds of the processor per
    character above the cost of an empty prompt."""
    rng, slowest, begun = random.Random(0), 0.0, time.process_time()
    special = [
        "",
        " ",
        "\n",
        "\x00",
        "...",
        "()" * 500,
        "((" * 2000,
        "a " * 5000,
        "cat " * 5000,
        "-" * 5000,
        "🐱" * 2000,
        "a" * 20_000,
        ", " * 5000,
    ]
    for number in range(count):
        if number < len(special):
            prompt = special[number]
        elif number % 3 == 0:
            prompt = "".join(
                chr(rng.choice([rng.randrange(0x250), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))
                for _ in range(rng.randrange(80))
            )
        elif number % 3 == 1:
            prompt = "".join(rng.choices(SIGNS, k=rng.randrange(80)))
        else:
            prompt = " ".join(rng.choices(WORDS, k=5000 if number % 2000 == 2 else rng.randrange(30)))
        start = time.process_time()
        (parsed,) = parse_all([prompt], parser=parser)
        slowest = max(slowest, (time.process_time() - start) / (len(prompt) + 100))
        for entity in parsed.entities:
            for span in (entity.noun_span, *entity.modifier_spans):
                assert prompt[span.start : span.end] == span.text != "", prompt
    return {"strings": count, "seconds": time.process_time() - begun, "slowest_microseconds_per_character": slowest * 1e6}


PIECES = """\
( ) [ ] { } (( )) [[ ]] :1.2 :1.2) :-1) ::2 :: :: | || , ,, . ... ; / - -- + ++ += -- BREAK AND AND_NOT ADDROW ADDCOL ADDBASE ADDCOMM --ar 16:9 --no --v 6 --style raw
<lora:x:1> <hypernet:y> <cat> <cat>_1 < > embedding:bad __wild__ __ _ ___ \\\\( \\\\) \\\\ " ' \u201c \u201d \u00ab \u00bb # @ % = ~ * \u2022 1. 2) 1girl 2boys score_9 f/1.8 35mm 8k
a an the red blue cat dog hat bench girl's of with in on and or by no not without that is are has it her she reads says sign text holding wearing photo
style masterpiece trending https://x.y \n \t \u732b \u72ac \u043a\u043e\u0442 \u0642\u0637\u0629 \u05d7\u05ea\u05d5\u05dc un gato y el der und \U0001f431 \U0001f408\u200d\u2b1b \U0001f469\u200d\U0001f469 \u0301 \u200b \ufeff \ud800 \x00 \uff0c \u3001 \u3002
.and() .blend( .swap( Negative prompt: Steps: 20, Sampler: {"subject": 2$$ 0.5:: -> /imagine prompt:""".split(" ")  # noqa: E501


MILLISECONDS = 10.0  # that any prompt may take, however short; each character may add one


def fuzz(parser: Any, count: int, seed: int = 0) -> dict[str, float]:
    """Parse and locate strings made of what prompts are made of; an exception, or one that takes more than 1 ms of the
    processor a character, above 10 ms, ends the run.

    Strings are read in groups of 16 of nearly the same length. A group that takes less than its shortest string may proves
    that each of its strings does. The strings of any other are timed alone, and one that is too slow three times more: on a
    shared machine even processor time has its outliers.
    """
    rng, tokenizer = random.Random(seed), AutoTokenizer.from_pretrained(WEIGHTS / "tokenizer")
    slowest, alone, done, begun = 0.0, 0, 0, time.process_time()

    def milliseconds(prompts: list[str]) -> float:
        start = time.process_time()
        for one in parse_all(prompts, parser=parser):
            for entity in one.entities:
                for span in (entity.noun_span, *entity.modifier_spans):
                    assert one.prompt[span.start : span.end] == span.text != "", one.prompt
            if "\ud800" not in one.prompt:  # half of a character: no tokenizer takes it
                locate(one, tokenizer)
        return (time.process_time() - start) * 1000

    milliseconds(["a cat"])  # the parser is loaded
    while done < count:
        prompts = sorted((fuzzed(rng) for _ in range(min(1024, count - done))), key=len)
        for first in range(0, len(prompts), 16):
            group = prompts[first : first + 16]
            taken = milliseconds(group)
            slowest = max(slowest, taken / (sum(map(len, group)) + 16))
            if taken <= MILLISECONDS + len(group[0]):
                continue
            for prompt in group:
                alone, most = alone + 1, MILLISECONDS + len(prompt)
                if milliseconds([prompt]) > most:
                    again = [milliseconds([prompt]) for _ in range(3)]
                    assert min(again) <= most, f"{min(again):.0f} ms of the processor, at most {most:.0f}: {prompt!r}"
        done += len(prompts)
        if done % 51_200 == 0:
            print(f"{done} strings, {time.process_time() - begun:.0f} s of the processor", file=sys.stderr)
    return {
        "strings": done,
        "timed_alone": alone,
        "processor_seconds": time.process_time() - begun,
        "slowest_group_microseconds_per_character": slowest * 1e3,
    }


def fuzzed(rng: random.Random) -> str:
    """Return a string of pieces of prompts, with spaces between most of them."""
    pieces = rng.choices(PIECES, k=rng.choice((1, 2, 4, 8, 12, 20)))
    return "".join(piece + rng.choice(("", " ", " ")) for piece in pieces)


def memory(parser: Any, count: int) -> dict[str, float]:
    """Read so many random prompts of new words, and measure the memory of the process at the beginning, half way and at the
    end, in MiB."""
    rng = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"

    def prompt() -> str:
        if rng.random() < 0.5:
            return "".join(rng.choices(SIGNS, k=rng.randrange(80)))
        new = ("".join(rng.choices(letters, k=rng.randrange(3, 12))) for _ in range(6))
        words = [*rng.choices(WORDS, k=rng.randrange(8)), *new]
        rng.shuffle(words)
        return " ".join(words)

    read = 0
    found: dict[str, float] = {}
    parse_all([prompt() for _ in range(2048)], parser=parser)  # what is loaded and allocated once
    for share in ("beginning", "half way", "end"):
        while read < {"beginning": 0, "half way": count // 2, "end": count}[share]:
            parse_all([prompt() for _ in range(1000)], parser=parser)
            read += 1000
        gc.collect()
        found[share] = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    return {"prompts": read, **found}


def linear(parser: Any) -> dict[str, list[float]]:
    """Return the seconds of reading and locating long prompts of some kinds, at 8,000, 16,000 and 32,000 characters."""
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "tokenizer")
    kinds = {
        '":" and digits': lambda n: ":" + "1" * n,
        "the cat of": lambda n: "the cat of " * (n // 11),
        "the cat and": lambda n: "the cat and " * (n // 12),
        "a-a-": lambda n: "a-" * (n // 2),
        "<<<": lambda n: "<" * n,
        "cat,": lambda n: "cat, " * (n // 5),
    }

    def seconds(prompt: str) -> float:
        begun = time.process_time()
        locate(parse_all([prompt], parser=parser)[0], tokenizer)
        return round(time.process_time() - begun, 2)

    return {name: [seconds(made(n)) for n in (8000, 16_000, 32_000)] for name, made in kinds.items()}


def pieces(texts: list[str], parser: Any, clip: Path, t5: Path | None) -> dict[str, dict[str, int]]:
    """Decode the pieces of every word of every entity, for CLIP, CLIP and T5 joined, and T5."""
    tokenizers = {"CLIP": AutoTokenizer.from_pretrained(clip), "T5": AutoTokenizer.from_pretrained(t5) if t5 else t5_of(texts)}
    parsed = parse_all(texts, parser=parser)
    return {
        " + ".join(names): spelled(parsed, [tokenizers[name] for name in names])
        for names in (("CLIP",), ("CLIP", "T5"), ("T5",))
    }


def spelled(parsed: list[Parsed], tokenizers: list[Any]) -> dict[str, int]:
    counts = {"words": 0, "right": 0, "dropped": 0}
    for one in parsed:
        tokens = locate(one, *(Encoder(tokenizer, 256) for tokenizer in tokenizers))
        counts["dropped"] += len(tokens.dropped)
        for entity, (noun, modifiers) in zip(tokens.kept, tokens.entities, strict=True):
            for word, places in zip((*entity.modifiers, entity.noun), (*modifiers, noun), strict=True):
                for number, tokenizer in enumerate(tokenizers):
                    own = [tokens.pieces[p] for p in places if p // 256 == number]
                    text = tokenizer.decode(tokenizer.convert_tokens_to_ids(own)).replace(" ", "")
                    counts["words"] += 1
                    counts["right"] += text.lower() == word.replace(" ", "").lower()
    return counts


def t5_of(texts: list[str]) -> T5Tokenizer:
    """Return a tokenizer of T5's kind with a vocabulary of 2,000 pieces, learnt from the texts; T5's own has to be
    downloaded."""
    trained = Tokenizer(models.Unigram())
    trained.normalizer = normalizers.NFKC()
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(
        texts, trainers.UnigramTrainer(vocab_size=2000, special_tokens=specials, unk_token="<unk>", show_progress=False)
    )
    vocabulary = json.loads(trained.to_str())["model"]["vocab"]
    return T5Tokenizer(vocab=[tuple(entry) for entry in vocabulary], extra_ids=0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--prompts", type=Path, help="folder with attend_and_excite, cc500, dvmp and abc6k")
    options.add_argument("--treebank", type=Path, help="folder of UD_English-EWT")
    options.add_argument(
        "--captions", type=Path, default=CAPTIONS, help="labelled captions, as tests/prompt/captions.txt has them"
    )
    options.add_argument("--labelled", type=Path, default=DEVELOPMENT, help="prompts in the form of tests/prompt/prompts.txt")
    options.add_argument("--only-labelled", action="store_true", help="measure only the labelled prompts")
    options.add_argument("--parser", help="a spaCy pipeline in place of the embedded parser")
    options.add_argument("--clip", type=Path, default=WEIGHTS / "tokenizer", help="a CLIP tokenizer [the embedded model's]")
    options.add_argument("--t5", type=Path, help="a T5 tokenizer [one of its kind, learnt from the captions]")
    options.add_argument("--strings", type=int, metavar="N", help="only parse and locate so many strings of pieces of prompts")
    options.add_argument("--fuzz", type=int, metavar="PROMPTS", help="measure only memory, over so many random prompts")
    given = options.parse_args()
    warnings.simplefilter("ignore", UnbleedWarning)  # of other languages
    if given.strings:
        print(json.dumps({"strings": fuzz(given.parser, given.strings)}, indent=2))
        return
    if given.fuzz:
        print(json.dumps({"memory": memory(given.parser, given.fuzz)}, indent=2))
        return
    figures: dict[str, Any] = {"labelled": development(given.labelled, given.parser)}
    if given.only_labelled:
        print(json.dumps(figures, indent=2))
        return
    labelled = captions(given.captions)
    figures["captions"] = agreement(labelled, given.parser)
    figures["speed"] = speed([caption for caption, _ in labelled] * 10, given.parser)
    if given.prompts:
        figures["Attend-and-Excite"] = exact(attend_and_excite(given.prompts), given.parser)
        figures["CC-500"] = exact(conjunctions(given.prompts), given.parser)
        figures["DVMP"] = exact(combined(given.prompts), given.parser)
        lines = [line for line in (given.prompts / "abc6k/ABC-6K.txt").read_text().splitlines() if line.strip()]
        figures["pieces"] = pieces(random.Random(0).sample(lines, 200), given.parser, given.clip, given.t5)
    if given.treebank:
        pipeline = parsers.load(given.parser).pipeline
        figures["treebank"] = evaluate(pipeline, given.treebank, "test")
        figures["templates held out"] = evaluate_templates(pipeline, given.treebank)
        figures["templates learnt"] = evaluate_templates(pipeline, given.treebank, held_out=False)
    figures["anything"] = anything(given.parser)
    figures["linear"] = linear(given.parser)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
