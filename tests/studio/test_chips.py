"""A prompt as words to click on, and what the user says instead."""

from __future__ import annotations

from random import Random

import pytest

from unbleed.errors import PromptError
from unbleed.studio.chips import Chips, carried, overruled, read


def groups_of(chips: Chips) -> list[list[int]]:
    """Return the entities as the page sends them back: indices of words, the noun last."""
    groups: dict[int, list[int]] = {}
    for index, word in enumerate(chips.words):
        if word.entity >= 0:
            groups.setdefault(word.entity, []).append(index)
    return [sorted(group, key=lambda index: chips.words[index].noun) for _, group in sorted(groups.items())]


def test_every_character_of_the_prompt_is_shown() -> None:
    prompt = "  two red cats,  a (golden crown:1.3)  and a sign that reads “open” --no hat"
    chips = read(prompt)
    assert prompt.startswith("".join(word.before + word.text for word in chips.words))
    assert [chips.words[group[-1]].text for group in groups_of(chips)] == [label.split()[-1] for label in chips.labels]


def test_what_is_left_out_has_its_reason() -> None:
    chips = read("a red cat without a hat, cinematic lighting")
    assert {word.text: word.why for word in chips.words if word.why} == {
        "hat": "is not to be there",
        "cinematic": "names a style",
        "lighting": "names a style",
    }


@pytest.mark.parametrize(
    "prompt", ["a red cat and a blue bench", "an ice cream cone and a fire hydrant", "a cat with a shiny golden crown, 35mm"]
)
def test_the_parsers_own_groups_overrule_nothing(prompt: str) -> None:
    chips = read(prompt)
    assert overruled(prompt, groups_of(chips)) == chips
    assert chips.entities is None


def test_a_modifier_is_moved_to_another_noun() -> None:
    chips = overruled("the cat that met a dog is red", [[1], [7, 5]])
    assert chips.labels == ("cat", "red dog")
    assert chips.entities == "cat; red dog"
    assert [word.entity for word in chips.words] == [-1, 0, -1, -1, -1, 1, -1, 1]


def test_a_left_out_word_becomes_an_entity() -> None:
    prompt = "a red cat, fog"
    before = read(prompt)
    index = next(i for i, word in enumerate(before.words) if word.text == "fog")
    assert overruled(prompt, [*[g for g in groups_of(before) if index not in g], [index]]).labels == ("red cat", "fog")


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ([[1], [7]], "cat; cat"),
        ([[1]], "cat"),
        ([[7]], "cat#2"),
        ([[7], [4]], "dog; cat#2"),
        ([[0, 4], [3, 7]], "a#1 dog; a#2 cat#2"),
    ],
)
def test_words_of_one_spelling_are_told_apart(groups: list[list[int]], text: str) -> None:
    prompt = "a cat and a dog and a cat"
    chips = overruled(prompt, groups)
    assert chips.entities == text
    assert sorted(groups_of(chips)) == sorted(groups)
    assert carried(prompt, text) == chips


def test_any_words_can_be_put_together() -> None:
    random = Random(0)
    for _ in range(60):
        count = random.randint(3, 9)
        prompt = " ".join(random.choice(["red", "Red", "cat", "dog", "ice", "cream"]) for _ in range(count))
        places = random.sample(range(count), random.randint(1, count))
        groups = [sorted(places[k : k + 2], key=lambda at: at != places[k]) for k in range(0, len(places), 2)]
        assert sorted(sorted(group) for group in groups_of(overruled(prompt, groups))) == sorted(map(sorted, groups)), prompt


@pytest.mark.parametrize(
    ("groups", "says"),
    [([], "no entity is left"), ([[99]], "of another prompt"), ([[-1]], "of another prompt"), ([[2, 2]], "of another prompt")],
)
def test_groups_that_cannot_be(groups: list[list[int]], says: str) -> None:
    with pytest.raises(PromptError, match=says):
        overruled("a red cat", groups)


def test_the_users_entities_stay_while_the_prompt_is_typed_on() -> None:
    own = overruled("a red cat and a dog", [[2]])
    assert own.entities == "cat"
    longer = carried("a red cat and a dog in the snow", own.entities)
    assert (longer.labels, longer.entities, longer.note) == (("cat",), "cat", "")


def test_they_go_with_a_word_that_is_deleted() -> None:
    gone = carried("a red dog", "cat")
    assert (gone.labels, gone.entities) == (("red dog",), None)
    assert gone.note.startswith('Back to the parser: "cat" is not a word of the prompt')


def test_an_empty_prompt_has_no_words() -> None:
    assert read(" \n ") == Chips(" \n ")
