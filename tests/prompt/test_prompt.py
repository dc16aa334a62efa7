"""Prompts: the grammar on templates, the user's own entities, and where the pieces of words stand."""

from __future__ import annotations

import copy
import random
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import pytest
from transformers import CLIPTokenizer, T5Tokenizer

from unbleed.emoji.scenes import Mixture, caption, sample_scene
from unbleed.emoji.sprites import ANIMALS, COLOURS, NOUNS, OBJECTS
from unbleed.errors import PromptError
from unbleed.prompt import Encoder, PromptTokens, locate, parse
from unbleed.prompt.phrases import noun_phrases, phrases_of

# prompts in the manner of DVMP: colours and adjectives of two kinds of things
ADJECTIVES = "modern spotted wooden shiny rusty furry sleepy baby tiny star-shaped checkered sliced flying".split()


def named(prompt: str, entities: str | None = None) -> list[str]:
    return [str(entity) for entity in parse(prompt, entities).entities]


def spelled(tokens: PromptTokens, positions: tuple[int, ...], tokenizer: CLIPTokenizer) -> str:
    """Return what the pieces at `positions` read when they are decoded."""
    ids = tokenizer.convert_tokens_to_ids([tokens.pieces[p] for p in positions])
    return tokenizer.decode(ids).replace(" ", "")


def benchmark() -> list[tuple[str, list[str]]]:
    """All 276 prompts in the manner of Attend-and-Excite's benchmark, with what they name."""
    rng = random.Random(0)
    found = [(f"a {a} and a {b}", [a, b]) for a, b in combinations(ANIMALS, 2)]
    for animal, thing in product(ANIMALS, OBJECTS):
        colour = rng.choice(COLOURS)
        found.append((f"a {animal} and a {colour} {thing}", [animal, f"{colour} {thing}"]))
    for a, b in combinations(OBJECTS, 2):
        one, other = rng.choices(COLOURS, k=2)
        found.append((f"a {one} {a} and a {other} {b}", [f"{one} {a}", f"{other} {b}"]))
    return found


def test_the_benchmarks_prompts_are_read_exactly() -> None:
    prompts = benchmark()
    assert len(prompts) == 276
    for prompt, expected in prompts:
        assert named(prompt) == expected


def test_phrases_with_many_modifiers_are_read_exactly() -> None:
    rng = random.Random(1)
    for _ in range(500):
        nouns = rng.sample(NOUNS, k=rng.randint(1, 3))
        words = [(*rng.sample(ADJECTIVES, k=rng.randint(0, 2)), *rng.sample(COLOURS, k=rng.randint(0, 1)), n) for n in nouns]
        prompt = " and ".join(f"{'an' if phrase[0][0] in 'aeiou' else 'a'} {' '.join(phrase)}" for phrase in words)
        entities = parse(prompt).entities
        assert [(*e.modifiers, e.noun) for e in entities] == words


def test_the_captions_of_the_emoji_world_are_read_exactly() -> None:
    rng = np.random.default_rng(0)
    for index in range(300):
        things = sample_scene(0, index, Mixture())
        text = caption(things, rng)
        assert sorted(e.replace("grey", "gray") for e in named(text)) == sorted(thing.words for thing in things), text


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", ["cat"]),
        ("cat", ["cat"]),
        ("an apple and the red car", ["apple", "red car"]),
        ("A Red CAT and A dog", ["Red CAT", "dog"]),
        ("a red cat, a blue dog and a bench", ["red cat", "blue dog", "bench"]),
        ("a red cat,a blue dog", ["red cat", "blue dog"]),
        ("red cat, dog,", ["red cat", "dog"]),
        ("a cat with a shiny golden crown", ["cat", "shiny golden crown"]),
        ("a cat with glasses", ["cat", "glasses"]),
        ("a cat next to a dog", ["cat", "dog"]),
        ("a cat in front of a blue car", ["cat", "blue car"]),
        ("a dog to the left of a chair", ["dog", "chair"]),
        ("a cat & a dog", ["cat", "dog"]),
        ("a photo of a cat", ["cat"]),
        ("a photo of a red cat and a dog", ["red cat", "dog"]),
        ("an oil painting of a cat", ["cat"]),
        ("An emoji of a blue mouse.", ["blue mouse"]),
        ("a bowl of apples", ["bowl", "apples"]),  # a bowl is in the picture, unlike a photo
        ("two cats and three red dogs", ["cats", "red dogs"]),
        ("these two cats", ["cats"]),
        ("a flying bird", ["flying bird"]),
        ("a cat sitting on a bench", ["cat", "bench"]),
        ("a dog wearing a red bow", ["dog", "red bow"]),
        ("a red t-shirt and a cat's bowl", ["red t-shirt", "cat", "bowl"]),
        ("a cat\u2019s bowl", ["cat", "bowl"]),
        ("a 4k monitor", ["4k monitor"]),
        ("a café and a naïve cat", ["café", "naïve cat"]),
        ("  a   red\tcat \n and\na dog ", ["red cat", "dog"]),
    ],
)
def test_parse(prompt: str, expected: list[str]) -> None:
    assert named(prompt) == expected


ODD = [
    "",
    " ",
    "\n\t",
    "and",
    "a",
    "a a a and and",
    "of of",
    "photo of",
    "next",
    "...",
    "_",
    "a_b",
    "--cat--",
    "'cat'",
    "it''s",
    "🐱 and 🐶",
    "👩‍👩‍👧 cat",
    "e\u0301 \u0301",
    "ﬁsh",
    "½ cat",
    "İstanbul ß ŉ",
    "\u200b\u200bcat\ufeff",
    "\x00cat\x7f",
    "\ud800",
    "猫と犬",
    "قطة و كلب",
    "a cat" * 500,
]


def check_spans(prompt: str) -> None:
    """Spans read what the prompt has there, nouns in its order, and no word is twice in an entity or the noun of two."""
    parsed = parse(prompt)
    assert parsed.prompt == prompt
    nouns = [entity.noun_span for entity in parsed.entities]
    for spans in (nouns, *((*entity.modifier_spans, entity.noun_span) for entity in parsed.entities)):
        assert all(prompt[s.start : s.end] == s.text != "" for s in spans)
        assert all(one.end <= other.start for one, other in pairwise(sorted(spans)))
    assert nouns == sorted(nouns)


@pytest.mark.filterwarnings("ignore:.*which the English parser does not read")
@pytest.mark.parametrize("prompt", ODD)
def test_no_prompt_is_refused(prompt: str) -> None:
    check_spans(prompt)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*which the English parser does not read")
def test_no_random_prompt_is_refused(tokenizer: CLIPTokenizer) -> None:
    rng = random.Random(2)
    words = ["a", "and", "of", "photo", "next", "to", ",", "cat", "red", "-", "'", "ing", "running"]
    for _ in range(500):
        signs = [chr(rng.choice([rng.randrange(0x250), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])) for _ in words]
        prompt = "".join(rng.choice([*signs, *words, " ", " "]) for _ in range(rng.randrange(20)))
        check_spans(prompt)
        tokens = locate(parse(prompt), tokenizer)
        assert len(tokens.entities) == len(tokens.kept)
        assert {*tokens.kept, *tokens.dropped} == {*parse(prompt).entities}
        assert all(0 < p < tokens.end for noun, modifiers in tokens.entities for word in (noun, *modifiers) for p in word)


def test_a_prompt_that_names_nothing_has_no_entities() -> None:
    assert named("") == named("and a, the") == named("...") == []


@pytest.mark.parametrize(
    ("prompt", "entities", "expected"),
    [
        ("the cat that chased a dog is red", "red cat; dog", ["red cat", "dog"]),
        ("a red cat and a blue bench", "bench", ["bench"]),
        ("a red cat and a blue bench", "blue bench; red cat", ["red cat", "blue bench"]),
        ("a Red Cat", "rEd cAT", ["Red Cat"]),
        ("a cat in a t-shirt", "t-shirt", ["t-shirt"]),
        ("a cat", " ; cat ;; ", ["cat"]),
        ("a gold ring", "gold ring", ["gold ring"]),
        ("a cat & a dog", "cat", ["cat"]),
    ],
)
def test_the_users_entities_overrule_the_grammar(prompt: str, entities: str, expected: list[str]) -> None:
    assert named(prompt, entities) == expected


def test_repeated_words_are_taken_in_order() -> None:
    prompt = "a cat and a cat and a cat"
    assert [e.noun_span.start for e in parse(prompt, "cat; cat").entities] == [2, 12]
    assert [e.noun_span.start for e in parse(prompt, "cat; cat; cat").entities] == [2, 12, 22]


def test_a_phrase_is_taken_where_its_words_stand_together() -> None:
    (entity,) = parse("a red dog and a blue cat and a red cat", "red cat").entities
    assert (entity.noun_span.start, entity.modifier_spans[0].start) == (35, 31)


def test_an_occurrence_is_named_by_its_number() -> None:
    prompt = "a red cat, a dog and a red Cat"
    found = parse(prompt, "dog; red#2 cat#1; Cat#2").entities
    assert [[span.start for span in (*e.modifier_spans, e.noun_span)] for e in found] == [[23, 6], [13], [27]]
    assert [e.noun_span.start for e in parse(prompt, "red#1 cat").entities] == [6]
    assert [e.noun_span.text for e in parse("a jersey with a big dog#2 on it", "jersey; big dog#2").entities] == ["jersey", "2"]


def test_equal_phrases_are_two_entities() -> None:
    found = parse("a red cat and a red cat", "red cat; red cat").entities
    assert [(e.modifier_spans[0].start, e.noun_span.start) for e in found] == [(2, 6), (16, 20)]


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ("red cta", '"cta" is not a word of the prompt "a red cat and a dog"; did you mean "cat"?'),
        ("zebra", '"zebra" is not a word of the prompt "a red cat and a dog"; name only words of the prompt'),
        ("cat; cat", '"cat" is named as an entity more often than it stands in the prompt "a red cat and a dog"'),
        ("cat#2", '"cat#2" is not in the prompt "a red cat and a dog": "cat" stands there once'),
        ("cta#1", '"cta" is not a word of the prompt "a red cat and a dog"; did you mean "cat"?'),
        (
            "cat#1; red cat#1",
            'one occurrence of a word is named twice as an entity of the prompt "a red cat and a dog"; name each once',
        ),
        ("", 'no entity in ""; write phrases separated by semicolons, as in "red cat; blue bench"'),
        (" ; ", 'no entity in " ; "; write phrases separated by semicolons, as in "red cat; blue bench"'),
    ],
)
def test_entities_that_cannot_be_meant_are_refused(entities: str, message: str) -> None:
    with pytest.raises(PromptError) as raised:
        parse("a red cat and a dog", entities)
    assert str(raised.value) == message


def test_known_words_stand_where_they_are_counted(tokenizer: CLIPTokenizer) -> None:
    # every word of the benchmark is one piece, so its position is its number in the sentence
    for prompt, _ in benchmark():
        words = prompt.split()
        tokens = locate(parse(prompt), tokenizer)
        places = [(*(p for (p,) in modifiers), *noun) for noun, modifiers in tokens.entities]
        found = [" ".join(words[p - 1] for p in entity) for entity in places]
        assert found == named(prompt)
        assert places[-1][-1] == len(words) == tokens.end - 1


@pytest.mark.parametrize(
    "prompt",
    [
        "a red cat and a blue bench",
        "a zebra and a spotted ocelot",
        "a cat & a wooden t-shirt, a cat's bowl",
        "A RED CAT and a ZebrA",
        "a café and a красный кот",
        "a naïve cat\u2019s straße",
        "a 4k monitor",
        "a 猫 and a 🐱 cat",
        "  a   red   zebra",
    ],
)
def test_pieces_spell_their_words(prompt: str, tokenizer: CLIPTokenizer) -> None:
    parsed = parse(prompt)
    tokens = locate(parsed, tokenizer)
    assert tokens.kept == parsed.entities
    assert tokens.dropped == []
    taken = []
    for entity, (noun, modifiers) in zip(tokens.kept, tokens.entities, strict=True):
        for word, positions in zip((*entity.modifiers, entity.noun), (*modifiers, noun), strict=True):
            assert spelled(tokens, positions, tokenizer) == word.lower()
            taken += positions
    assert len(taken) == len(set(taken))
    assert all(0 < p < tokens.end for p in taken)


def test_repeated_words_get_successive_positions(tokenizer: CLIPTokenizer) -> None:
    tokens = locate(parse("a cat and a red cat and a red zebra cat"), tokenizer)
    assert tokens.entities == (((2,), ()), ((6,), ((5,),)), ((15,), ((9,), (10, 11, 12, 13, 14))))


def test_signs_and_capitals_move_nothing(tokenizer: CLIPTokenizer) -> None:
    assert locate(parse("a cat & a dog"), tokenizer).entities == (((2,), ()), ((5,), ()))
    assert locate(parse("A CAT AND A DOG"), tokenizer).entities == (((2,), ()), ((5,), ()))
    assert locate(parse("a cat, a dog"), tokenizer).entities == (((2,), ()), ((5,), ()))


def test_the_pieces_are_the_whole_sequence(tokenizer: CLIPTokenizer) -> None:
    tokens = locate(parse("a cat"), tokenizer)
    assert tokens.pieces[:4] == ("<|startoftext|>", "a</w>", "cat</w>", "<|endoftext|>")
    assert tokens.end == 3
    assert len(tokens.pieces) == tokenizer.model_max_length
    assert locate(parse(""), tokenizer).end == 1


def test_every_word_has_its_positions(tokenizer: CLIPTokenizer) -> None:
    tokens = locate(parse("a red cat, a zebra & a cat"), tokenizer)
    assert [word for word, _ in tokens.words] == ["a", "red", "cat", ",", "a", "zebra", "&", "a", "cat"]
    assert [p for _, positions in tokens.words for p in positions] == list(range(1, tokens.end))
    assert all(spelled(tokens, positions, tokenizer) == word for word, positions in tokens.words)
    room = tokenizer.model_max_length - 2
    assert len(locate(parse("cat " * (room + 5)), tokenizer).words) == room


def test_an_entity_past_the_end_is_dropped(tokenizer: CLIPTokenizer) -> None:
    room = tokenizer.model_max_length - 2
    parsed = parse("a " * (room - 2) + "red cat and a blue dog")
    tokens = locate(parsed, tokenizer)
    assert [str(e) for e in tokens.kept] == ["red cat"]
    assert [str(e) for e in tokens.dropped] == ["blue dog"]
    assert tokens.entities == (((room,), ((room - 1,),)),)
    assert tokens.end == room + 1


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_word_that_is_cut_in_half_is_dropped(cut: int, tokenizer: CLIPTokenizer) -> None:
    room = tokenizer.model_max_length - 2
    zebra = locate(parse("zebra"), tokenizer).entities[0][0]
    whole = locate(parse("a " * (room - len(zebra)) + "zebra"), tokenizer)
    assert [str(e) for e in whole.kept] == ["zebra"]
    halved = locate(parse("a " * (room - len(zebra) + cut) + "zebra"), tokenizer)
    assert (halved.entities, halved.kept) == ((), [])
    assert [str(e) for e in halved.dropped] == ["zebra"]


def test_a_modifier_past_the_end_is_left_out(tokenizer: CLIPTokenizer) -> None:
    room = tokenizer.model_max_length - 2
    prompt = "a cat and a blue dog " + "a " * (room - 6) + "is red"
    tokens = locate(parse(prompt, "red cat; blue dog"), tokenizer)
    assert tokens.entities == (((2,), ()), ((6,), ((5,),)))
    assert [str(e) for e in tokens.kept] == ["red cat", "blue dog"]


def test_padding_with_the_end_token_is_told_from_other_padding(tokenizer: CLIPTokenizer) -> None:
    prompt = parse("a red cat and a zebra!")
    usual = locate(prompt, tokenizer)
    other = copy.deepcopy(tokenizer)
    other.pad_token = "!"  # as Stable Diffusion 2 does
    padded = locate(prompt, other)
    assert usual.padded_with_end
    assert not padded.padded_with_end
    assert (padded.end, padded.entities) == (usual.end, usual.entities)
    assert padded.pieces[: padded.end + 1] == usual.pieces[: usual.end + 1]
    assert set(padded.pieces[padded.end + 1 :]) == {"!"}
    assert set(usual.pieces[usual.end :]) == {"<|endoftext|>"}


def test_the_users_entities_are_located_too(tokenizer: CLIPTokenizer) -> None:
    tokens = locate(parse("the cat that chased a dog is red", "red cat"), tokenizer)
    assert len(tokens.kept) == 1
    noun, (red,) = tokens.entities[0]
    assert spelled(tokens, noun, tokenizer) == "cat"
    assert spelled(tokens, red, tokenizer) == "red"
    assert noun < red  # the order of the phrase is not the order of the prompt


@pytest.fixture(scope="module")
def t5() -> T5Tokenizer:
    """A T5 tokenizer of a few whole words and of letters."""
    words = ["▁" + word for word in "a and red blue cat the with".split()]
    letters = [*map(chr, range(33, 127)), *"éäß", "▁"]
    specials = ["<pad>", "</s>", "<unk>"]
    vocabulary = [(piece, 0.0) for piece in specials] + [(w, -1.0) for w in words] + [(letter, -9.0) for letter in letters]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0)


SENTENCES = [
    "a red cat and a blue bench",
    "a zebra, a spotted ocelot & a red cat with a cat's t-shirt",
    "A RED CAT and a (blue:1.3) ZebrA BREAK a naïve café",
    "  a   red   zebra\n\na cat",
]


@pytest.mark.parametrize("prompt", SENTENCES)
def test_every_encoder_has_the_pieces_of_a_word(prompt: str, tokenizer: CLIPTokenizer, t5: T5Tokenizer) -> None:
    parsed = parse(prompt)
    tokens = locate(parsed, Encoder(tokenizer, 64), Encoder(t5, 96))
    assert len(tokens.pieces) == 64 + 96
    assert tokens.kept == parsed.entities != []
    for entity, (noun, modifiers) in zip(tokens.kept, tokens.entities, strict=True):
        for word, places in zip((*entity.modifiers, entity.noun), (*modifiers, noun), strict=True):
            assert spelled(tokens, tuple(p for p in places if p < 64), tokenizer) == word.lower()
            assert "".join(tokens.pieces[p].lstrip("▁") for p in places if p >= 64) == word.replace("ï", "<unk>")
    read = [tokens.pieces[p] for p in tokens.own]
    assert not {"<|startoftext|>", "<|endoftext|>", "</s>", "<pad>"} & set(read)
    alone = locate(parsed, Encoder(t5, 96))
    assert [[p + 64 for p in noun] for noun, _ in alone.entities] == [
        [p for p in noun if p >= 64] for noun, _ in tokens.entities
    ]


def test_a_word_that_one_encoder_no_longer_reads_stands_in_the_other(tokenizer: CLIPTokenizer, t5: T5Tokenizer) -> None:
    parsed = parse("a red cat and a blue cat")
    tokens = locate(parsed, Encoder(tokenizer, 6), Encoder(t5, 12))
    assert tokens.dropped == []
    assert tokens.entities == (((3, 8), ((2, 7),)), ((12,), ((11,),)))
    neither = locate(parsed, Encoder(tokenizer, 6), Encoder(t5, 6))
    assert [str(e) for e in neither.dropped] == ["blue cat"]


class SlowTokenizer:
    """A tokenizer that says nothing of characters: words in lower case, in pieces of three letters."""

    is_fast = False
    model_max_length = 16
    pad_token_id = eos_token_id = 1

    def __call__(
        self, prompt: str, padding: str = "", max_length: int = 0, return_special_tokens_mask: bool = False, **_: Any
    ) -> Any:
        self.read = [w[i : i + 3] for w in prompt.lower().split() for i in range(0, len(w), 3)]
        ids = [0, *range(2, len(self.read) + 2), 1]
        if padding:
            ids = [*ids[: max_length - 1], 1]
            return {"input_ids": ids + [1] * (max_length - len(ids))}
        return {"input_ids": ids, "special_tokens_mask": [int(i < 2) for i in ids]}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.read[i - 2] if i > 1 else f"<{i}>" for i in ids]


def test_a_tokenizer_without_offsets_is_read_by_its_spelling() -> None:
    tokens = locate(parse("a Red  zebra"), SlowTokenizer())
    assert tokens.entities == (((3, 4), ((2,),)),)
    assert [tokens.pieces[p] for p in (2, 3, 4)] == ["red", "zeb", "ra"]
    assert (len(tokens.pieces), tokens.end, tokens.own) == (16, 5, (1, 2, 3, 4))


def test_a_tokenizer_whose_spelling_is_not_the_prompts_is_refused() -> None:
    class Translating(SlowTokenizer):
        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return ["chat" if i > 1 else "" for i in ids]

    with pytest.raises(PromptError, match=r'^the tokenizer gives no character offsets, and its piece "chat" is not found'):
        locate(parse("a cat"), Translating())


# -------------------------------------------------------------------------------------------------------- noun phrases


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        ("a red cat and a blue bench", ["a red cat", "a blue bench"]),
        ("a cat with a red hat and a dog", ["a cat with a red hat", "a cat", "a red hat", "a dog"]),
        (  # a chain is as long as it goes, from every entity of it on
            "a cat with a red hat on a bench, a dog",
            [
                "a cat with a red hat on a bench",
                "a cat",
                "a red hat on a bench",
                "a red hat",
                "a bench",
                "a dog",
            ],
        ),
        ("a red cat on a bench", ["a red cat", "a bench"]),  # the whole prompt is no phrase of itself
        ("a red cat", []),
        ("red cat", []),
        ("cat and dog", []),  # phrases have more than one word
        ("cat with hat and dog", ["cat with hat"]),
        ("two cats in the old garden and snow", ["two cats in the old garden", "two cats", "the old garden"]),
        ("a photo of a red cat and a dog", ["a red cat", "a dog"]),
        ("a cat next to a dog and a mouse", ["a cat", "a dog", "a mouse"]),  # two words between are no preposition
        ("a cat and a dog with a cat", ["a cat", "a dog with a cat", "a dog", "a cat"]),
        ("A Red CAT IN A Box, a dog", ["A Red CAT IN A Box", "A Red CAT", "A Box", "a dog"]),
        ("a cat sitting on a bench, a dog", ["a cat", "a bench", "a dog"]),
        ("  a   red\tcat \n and\na dog ", ["a   red\tcat", "a dog"]),
        ("and", []),
        ("", []),
    ],
)
def test_noun_phrases(prompt: str, phrases: list[str]) -> None:
    found = noun_phrases(parse(prompt))
    assert [span.text for span in found] == phrases
    assert all(prompt[span.start : span.end] == span.text for span in found)


def test_noun_phrases_of_entities_that_the_user_names() -> None:
    assert [s.text for s in noun_phrases(parse("the cat that met a dog is red, see", "red cat; dog"))] == [
        "the cat that met a dog is red",
        "a dog",
    ]
    assert [s.text for s in noun_phrases(parse("a cat with a red hat", "hat"))] == []
    assert [s.text for s in noun_phrases(parse("a cat with a red hat", "red hat"))] == ["a red hat"]


def test_no_prompt_has_phrases_that_are_not_in_it(tokenizer: CLIPTokenizer) -> None:
    rng = random.Random(3)
    words = "a the and of with in on photo next to , cat red dog - wooden zebra sitting <toy>".split()
    for _ in range(300):
        prompt = " ".join(rng.choice(words) for _ in range(rng.randrange(45)))
        parsed = parse(prompt)
        spans = noun_phrases(parsed)
        assert len({(span.start, span.end) for span in spans}) == len(spans)
        assert all(prompt[span.start : span.end] == span.text and " " in span.text for span in spans)
        assert spans == sorted(spans, key=lambda span: (span.start, -span.end))
        assert all(span.text != prompt.strip() for span in spans)
        assert all(0 < p < locate(parsed, tokenizer).end for _, places in locate(parsed, tokenizer).phrases for p in places)


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat with a red hat and a dog",
        "a zebra on two red benches, a dog",
        "a red t-shirt and a cat's bowl, a cat",
        "A RED CAT in a café and a ZebrA",
        "  a   red   zebra, a  4k   monitor",
        "a red cat & a red cat",
    ],
)
def test_phrases_stand_where_their_own_pieces_do(prompt: str, tokenizer: CLIPTokenizer) -> None:
    """Piece by piece: an embedding of the phrase alone fits over the prompt's."""
    tokens = locate(parse(prompt), tokenizer)
    spans = noun_phrases(parse(prompt))
    assert [text for text, _ in tokens.phrases] == [span.text for span in spans] != []
    whole = tokenizer(prompt)["input_ids"]
    for text, places in tokens.phrases:
        assert list(places) == list(range(places[0], places[0] + len(places)))
        own = locate(parse(text), tokenizer)
        assert [tokens.pieces[p] for p in places] == list(own.pieces[1 : own.end])
        assert [whole[p] for p in places] == tokenizer(text)["input_ids"][1:-1]
    assert len({places for _, places in tokens.phrases}) == len(spans)  # equal phrases each have a place of their own


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_a_phrase_that_is_cut_is_left_out(cut: int, tokenizer: CLIPTokenizer) -> None:
    """From the end: "bow" is one piece, and "with a bow" three."""
    tail = "dog and a red cat with a bow"
    room = tokenizer.model_max_length - 2
    tokens = locate(parse("a " * (room - len(tail.split()) + cut) + tail), tokenizer)
    texts = [text for text, _ in tokens.phrases]
    assert texts == ["a dog", *(["a red cat with a bow"] if not cut else []), "a red cat", *(["a bow"] if not cut else [])]


@pytest.mark.parametrize(
    ("prompt", "entities", "expected"),
    [
        ("a red cat and a blue bench", None, ["a red cat", "a blue bench"]),
        ("cat with a red hat and dog", None, ["cat", "a red hat", "dog"]),
        ("a dog", None, ["a dog"]),
        ("the cat that met a dog is red", "red cat; dog", ["red cat", "a dog"]),
        ("a photo of two old cats", None, ["two old cats"]),
        ("and", None, []),
    ],
)
def test_entities_with_their_articles(prompt: str, entities: str | None, expected: list[str]) -> None:
    assert phrases_of(parse(prompt, entities)) == expected
