"""Prompts as people write them: each kind, the development set, and the facts beside entities."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc
from transformers import CLIPTokenizer

from unbleed.errors import ModelError, PromptError, UnbleedWarning
from unbleed.prompt import Parsed, locate, parse, parse_all
from unbleed.prompt import parser as parsers
from unbleed.prompt.languages import language_of
from unbleed.prompt.parser import WEIGHTS
from unbleed.prompt.runs import run_starts
from unbleed.prompt.segments import segments
from unbleed.prompt.style import style_of, tail_of
from unbleed.prompt.syntax import readable, spoken
from unbleed.prompt.training.labelled import agreement, labelled_prompts, read_cases, same
from unbleed.prompt.training.train import STAGES

KINDS = labelled_prompts(Path(__file__).with_name("kinds.txt"))
DEVELOPMENT = labelled_prompts(Path(__file__).with_name("prompts.txt"))
UNSEEN = labelled_prompts(Path(__file__).with_name("unseen.txt"))
SECOND = labelled_prompts(Path(__file__).with_name("fresh.txt"))


def named(prompt: str) -> list[str]:
    return [str(entity) for entity in parse(prompt).entities]


# -------------------------------------------------------------------------------------------------------------- kinds


@pytest.mark.parametrize("kind", KINDS)
def test_every_prompt_of_a_kind_is_read_right(kind: str) -> None:
    cases = KINDS[kind]
    wrong = [(prompt, found) for (prompt, gold), found in zip(cases, read_cases(cases), strict=True) if not same(found, gold)]
    assert len(cases) >= 10
    assert not wrong


@pytest.mark.parametrize(("group", "least"), [("sentences", 0.95), ("tags", 0.92), ("syntax", 0.92)])
def test_the_development_set_is_read_well(group: str, least: float) -> None:
    figures = agreement(DEVELOPMENT[group])
    kinds = ("entity_precision", "entity_recall", "pair_precision", "pair_recall")
    assert min(figures[kind] for kind in kinds) >= least
    assert sum(map(len, DEVELOPMENT.values())) >= 200


@pytest.mark.parametrize("group", ["sentences", "tags", "syntax", "tags without commas"])
def test_the_second_set_is_read_well(group: str) -> None:
    figures = agreement(SECOND[group])
    kinds = ("entity_precision", "entity_recall", "pair_precision", "pair_recall")
    assert min(figures[kind] for kind in kinds) >= 0.93


@pytest.mark.parametrize("group", ["sentences", "tags", "tags without commas", "syntax"])
def test_what_no_rule_was_mended_on_is_read_well(group: str) -> None:
    figures = agreement(UNSEEN[group])
    kinds = ("entity_precision", "entity_recall", "pair_precision", "pair_recall")
    assert min(figures[kind] for kind in kinds) >= 0.89


def test_no_noun_is_left_out_in_silence() -> None:
    parsed = parse("the palace of slime living near a lake")
    said = " ".join([*map(str, parsed.entities), *(span.text for span, _ in parsed.left_out)])
    assert "slime" in said


def test_the_shipped_parser_was_trained_by_the_recipes_of_the_code() -> None:
    stages = json.loads((WEIGHTS / "training.json").read_text())["stages"]
    assert [stage["recipe"] for stage in stages] == [json.loads(json.dumps(asdict(recipe))) for recipe in STAGES]


# ------------------------------------------------------------------------------------------------------------- stages


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a (red:1.3)  cat BREAK a [[blue_bench]]", "a red cat\na blue bench"),
        ("red cat::2 blue bench::1", "red cat\nblue bench\n"),
        ("a cat --ar 16:9 --tile a dog", "a cat\na dog"),
        ("a [cat:dog:0.5] and a [fox::0.3]", "a cat and a fox "),
        ('("a cat", "a dog").and()', "\na cat\na dog\n"),
        ("a t-shirt, 24/7, a 4k monitor", "a t-shirt, 24/7, a 4k monitor"),
        (r"saber \(fate\), a hat", "saber, a hat"),
        ("black/white cat", "black and white cat"),
    ],
)
def test_signs_for_programs_are_removed(prompt: str, text: str) -> None:
    found = readable(prompt)
    assert found.text == text
    assert len(found.places) == len(text)
    assert all(before <= after for before, after in pairwise(found.places))
    letters = [(c, prompt[place]) for c, place in zip(text, found.places, strict=True) if c.isalnum()]
    assert all(c == own for c, own in letters) or "/" in prompt


def test_weights_and_alternatives_are_facts_of_entities() -> None:
    cat, dog = parse("a (red cat:1.3) and a ((blue:1.2) dog:0.5)").entities
    assert (cat.weight, dog.weight) == (1.3, 0.5)
    (animal, car) = parse("a [cat|dog] on a {red|blue} car").entities
    assert [span.text for span in animal.alternatives] == ["dog"]
    assert (car.modifiers, [span.text for span in car.alternatives]) == (["red"], ["blue"])
    assert parse("a cat").entities[0].weight is None


@pytest.mark.parametrize(
    "piece",
    (
        "a man holds small dogs and a red leash|a sky blue dress|the vintage red truck|two snow capped mountains|"
        "a traffic light shows green|letters that read Grand Street|an oil painting of a red cat|a round white plate|"
        "a woman with long dark hair in a white lace dress|six people wear white shirts|a large snow white owl|"
        "a barn full of dry hay|an ice cream cone|a wizard's lofty chamber|red velvet curtains with gold trim"
    ).split("|"),
)
def test_a_phrase_is_one_tag(piece: str) -> None:
    assert run_starts(piece) == []


@pytest.mark.parametrize(
    "tags",
    (
        "1girl|long pink hair|blue eyes|school uniform // masterpiece best quality|1boy|silver hair // "
        "red cat|blue dog // tall elf|sky blue robe|oak staff // neon signs|wet pavement|red umbrellas|food stalls // "
        "a cat with green eyes|long whiskers // white lace dress|black hat|hair ribbon // "
        "red bridge|koi pond|stone lanterns // fat cat|green chair|bamboo forest|moonlight // "
        "old castle|dark sky|matte painting"
    ).split(" // "),
)
def test_tags_without_commas_are_parted(tags: str) -> None:
    piece, wanted = tags.replace("|", " "), tags.split("|")
    starts = [0, *run_starts(piece), len(piece)]
    assert [piece[a:b].strip() for a, b in pairwise(starts)] == wanted


def test_a_prompt_of_another_program_is_one_line() -> None:
    assert spoken('a sign that reads "Hi" BREAK (a cat:1.2)\nred_hat') == 'a sign that reads "Hi", a cat, red hat'


def test_pieces_are_sentences_tags_and_lines() -> None:
    text = readable("A cat. It is old, isn't it? best quality, red hat\nStyle: oil, by Ann Other")
    found = segments(text)
    assert [text.text[unit.start : unit.end] for unit in found.units] == ["A cat", "It is old", "isn't it", "red hat"]
    assert [unit.sentence for unit in found.units] == [0, 1, 1, 2]
    assert [reason for *_, reason in found.left_out] == ["names a style", "names a style"]


@pytest.mark.parametrize(
    "tag",
    (
        "cinematic lighting|35mm|f/1.8|by Greg Rutkowski|trending on artstation|oil painting|8k|best quality|soft light|"
        "cottagecore|in the style of Monet|shot on Kodak|rating:safe|score_9|depth of field|looking at viewer|top view|"
        "studio ghibli style"
    ).split("|"),
)
def test_words_of_style_name_no_thing(tag: str) -> None:
    assert style_of(tag.replace("_", " ")) is not None
    assert named(f"red cat, {tag}") == named(f"{tag}, red cat") == ["red cat"]


@pytest.mark.parametrize("tag", "red hair|a neon sign|city lights|street|book|ocean view|golden ring|old camera".split("|"))
def test_things_are_no_style(tag: str) -> None:
    assert style_of(tag) is None
    assert len(named(f"red cat, {tag}")) == 2


def test_by_says_where_too() -> None:
    assert tail_of("a house by the lake") is None
    assert tail_of("a bench by water") is None
    assert named("a man standing by a red car") == ["man", "red car"]


# -------------------------------------------------------------------------------------------------------------- facts


def test_what_is_not_to_be_there_is_a_fact() -> None:
    parsed = parse("a cat without a hat, no dogs --no trees, cars")
    assert [span.text for span in parsed.absent] == ["hat", "dogs", "trees", "cars"]
    assert [str(entity) for entity in parsed.entities] == ["cat"]
    assert {span.text for span, why in parsed.left_out if why == "is not to be there"} == {"hat", "dogs", "trees", "cars"}
    assert [span.text for span in parse("a (dog:-1) and a cat").absent] == ["dog"]


def test_text_to_be_written_is_a_fact() -> None:
    parsed = parse('a sign that reads "Free Fish" and a mug with the word "Tea"')
    assert [span.text for span in parsed.written] == ["Free Fish", "Tea"]
    assert [str(entity) for entity in parsed.entities] == ["sign", "mug"]


def test_people_of_tags_are_counted() -> None:
    assert [(e.noun, e.count) for e in parse("2girls, 1boy, two red cats").entities] == [
        ("2girls", 2),
        ("1boy", 1),
        ("cats", 2),
    ]


@pytest.mark.parametrize(
    "prompt", ["solo, red hat, masterpiece", "a sense of wonder, a lamp", "a photo of a cat at night", "quickly"]
)
def test_what_is_left_out_is_said(prompt: str) -> None:
    parsed = parse(prompt)
    assert parsed.left_out
    assert all(prompt[span.start : span.end] == span.text and why for span, why in parsed.left_out)


# ---------------------------------------------------------------------------------------------------- other languages

FOREIGN = {
    "un gato rojo y un perro azul": "Spanish",
    "eine rote Katze und ein blauer Hund auf der Bank": "German",
    "un chat rouge et un chien bleu dans le jardin": "French",
    "un gatto rosso con un cane nella casa": "Italian",
    "красный кот и синяя собака": "Cyrillic script",
    "赤い猫と青い犬": "Japanese",
    "一只红色的猫": "Chinese or Japanese",
    "قطة حمراء": "Arabic script",
}


@pytest.mark.parametrize("prompt", FOREIGN)
def test_another_language_is_said_once(prompt: str) -> None:
    assert language_of(prompt) == FOREIGN[prompt]
    with pytest.warns(UnbleedWarning, match=rf"seems to be {FOREIGN[prompt]}, .*give parser= a spaCy .*entities=$") as told:
        parsed = parse_all([prompt, prompt])
    assert len(told) == 1
    assert [one.entities for one in parsed] == [[], []]


@pytest.mark.parametrize(
    "prompt", ["a red cat", "café, naïve art", "Der Spiegel magazine on a table", "a 猫 and a dog in a box", "cat"]
)
def test_english_with_foreign_words_is_english(prompt: str) -> None:
    assert language_of(prompt) is None


def test_named_entities_need_no_language() -> None:
    assert [str(entity) for entity in parse("un gato rojo y un perro azul", "gato; azul perro").entities] == [
        "gato",
        "azul perro",
    ]


class _German:
    """A pipeline of another language, with trees of Universal Dependencies."""

    lang, pipe_names = "de", ("parser",)

    def __init__(self) -> None:
        self.blank = spacy.blank("de")

    def get_pipe(self, name: str) -> object:
        return type("Labels", (), {"labels": ("amod", "nsubj", "obl")})

    def pipe(self, texts: list[str], batch_size: int) -> list[Doc]:
        words = [*"eine rote Katze und ein blauer Hund".split()]
        assert texts == [" ".join(words)]
        return [
            Doc(
                self.blank.vocab,
                words=words,
                heads=[2, 2, 2, 6, 6, 6, 2],
                deps=["det", "amod", "ROOT", "cc", "det", "amod", "conj"],
                pos=["DET", "ADJ", "NOUN", "CCONJ", "DET", "ADJ", "NOUN"],
            )
        ]


def test_a_pipeline_of_another_language_is_read_by_its_labels() -> None:
    assert [str(e) for e in parse("eine rote Katze und ein blauer Hund", parser=_German()).entities] == [
        "rote Katze",
        "blauer Hund",
    ]


# ---------------------------------------------------------------------------------------------------------- functions


def test_a_function_is_a_parser() -> None:
    def last_words(prompt: str) -> list[str]:
        return [part.strip().removeprefix("a ") for part in prompt.split(" and ")]

    assert [str(e) for e in parse("a red cat and a dog", parser=last_words).entities] == ["red cat", "dog"]
    assert parse("a dog", parser=lambda prompt: Parsed(prompt, [])).entities == []
    assert parse("a dog", parser=lambda prompt: None).entities == []


def test_what_a_function_answers_is_checked() -> None:
    def wrong(prompt: str) -> list[str]:
        return ["red zebra"]

    with pytest.raises(
        PromptError, match=r'^the parser function wrong answered what cannot be meant: "zebra" is not a word of'
    ):
        parse("a red cat", parser=wrong)
    with pytest.raises(ModelError, match="expected the name of a spaCy pipeline, a pipeline, or a function"):
        parsers.of(3)


# ----------------------------------------------------------------------------------------------------------- anything

SIGNS = (
    "( ) [ ] { } :1.2) ::2 | , . ; / - -- ++ BREAK AND --no --ar <lora:x:1> <cat> __wild__ \\( \" ' “ ” # * 1. 1girl f/1.8 "
    "8k a the red cat of with in and by no without is it her reads photo style https://x.y \n 猫 кот 🐱 ，"
).split(" ")


@pytest.mark.filterwarnings("ignore:.*which the English parser does not read")
def test_strings_of_pieces_of_prompts_are_read(tokenizer: CLIPTokenizer) -> None:
    rng = random.Random(3)
    prompts = ["".join(rng.choice(SIGNS) + rng.choice(("", " ", " ")) for _ in range(rng.randint(1, 12))) for _ in range(300)]
    for prompt, one in zip(prompts, parse_all(prompts), strict=True):
        assert one.prompt == prompt
        for entity in one.entities:
            for span in (entity.noun_span, *entity.modifier_spans, *entity.alternatives):
                assert prompt[span.start : span.end] == span.text != ""
        for span in (*one.absent, *one.written, *(span for span, _ in one.left_out)):
            assert prompt[span.start : span.end] == span.text
        assert len(locate(one, tokenizer).entities) <= len(one.entities)
