"""From a prompt to its entities: the tier that is exact on templates, and the user's own word on it.

The grammar is small on purpose. Noun phrases are what stands between separators (`and`, `with`, commas, prepositions);
within one, the last word is the noun and the words before it are its modifiers. This is exact on prompts such as
"a red cat and a blue bench" and fails on free sentences ("the cat that chased a dog is red"), for which the user
names the entities. A parser that understands sentences takes the place of `_template_phrases`, nothing else.
"""

from __future__ import annotations

import difflib
import re

from ..errors import PromptError
from .entities import Entity, Parsed, Span

# A word keeps its hyphens, apostrophes, digits and combining marks ("t-shirt", "cat's", "4k"); any other sign stands
# alone. Python's \w leaves combining marks out, hence the second range: accents written apart, and the vowel signs and
# joiners of the scripts of South and South-East Asia.
_LETTER = (
    r"(?:[^\W_][\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0981-\u0dff\u0e31-\u0e4e]*)"
)
_LEARNT = re.compile(r"<[^<>\s]+>(?:_\d+)?")  # a word of textual inversion
_WORD = re.compile(rf"{_LEARNT.pattern}|{_LETTER}+(?:[-'\u2019]{_LETTER}+)*|[^\w\s]|_+")

_DETERMINERS = frozenset(
    "a an the this that these those some one its his her their my your our two three four five six seven eight nine ten".split()
)
_SEPARATORS = frozenset(
    "and or with without plus on in at by of to from under over above below behind beside besides near between "
    "against inside outside around across through into onto next is are was were that which "
    "who while wearing holding".split()
)
# "a photo of a cat" has one entity: these words in front of "of" name the picture, not something in it.
_SIDES = frozenset("left right front back top bottom side middle".split())  # "in front of a car" has one entity
_PICTURE_WORDS = frozenset("photo photograph picture image painting drawing illustration emoji icon render".split())


def parse(prompt: str, entities: str | None = None) -> Parsed:
    """Return the entities of `prompt` with their modifiers.

    >>> [str(e) for e in parse("a red cat and a blue bench").entities]
    ['red cat', 'blue bench']
    >>> parse("a cat with a shiny golden crown").entities[1].modifiers
    ['shiny', 'golden']

    `entities` overrules the grammar: phrases separated by semicolons, the noun last, every word taken from the
    prompt ("red cat; blue bench"). A word that stands in the prompt several times is taken in order.

    Raises `PromptError` when `entities` names a word that is not in the prompt.
    """
    words = split(prompt)
    phrases = _template_phrases(words) if entities is None else _named_phrases(prompt, words, entities)
    found = (Entity(phrase[-1], tuple(phrase[:-1])) for phrase in phrases)
    return Parsed(prompt, sorted(found, key=lambda e: e.noun_span))


def split(prompt: str) -> list[Span]:
    """Return the words and signs of `prompt` with their places."""
    return [Span(m.start(), m.end(), m.group()) for m in _WORD.finditer(prompt)]


def is_determiner(word: Span) -> bool:
    """Return whether `word` is an article or stands like one."""
    return word.text.lower() in _DETERMINERS


def _template_phrases(words: list[Span]) -> list[list[Span]]:
    """Return the noun phrases: runs of words between separators, without determiners."""
    phrases: list[list[Span]] = []
    current: list[Span] = []
    for word in words:
        text = word.text.lower()
        is_sign = not text[0].isalnum() and not _LEARNT.fullmatch(text)
        if text in _DETERMINERS or text in _SEPARATORS or is_sign:
            before = current[-1].text.lower() if current else ""
            if current and not (text == "of" and before in _PICTURE_WORDS | _SIDES):
                phrases.append(current)
            current = []
        else:
            current.append(word)
    if current:
        phrases.append(current)
    return [trimmed for phrase in phrases if (trimmed := _without_trailing_verb(phrase))]


# Nouns that only look like a verb's form.
_ING_NOUNS = frozenset(
    "ring earring king wing string spring swing ceiling clothing building painting drawing thing pudding wedding "
    "lightning icing railing awning evening morning duckling dumpling sapling sterling herring stocking dressing "
    "sibling offspring viking bling wing sling topping writing crossing landing lining parking carving".split()
)


def _without_trailing_verb(phrase: list[Span]) -> list[Span]:
    """Drop a verb form that ends a phrase: "cat sitting" (on a bench) is a cat, but "flying bird" is a bird."""
    while len(phrase) > 1 and phrase[-1].text.lower().endswith("ing") and phrase[-1].text.lower() not in _ING_NOUNS:
        phrase = phrase[:-1]
    return phrase


def _named_phrases(prompt: str, words: list[Span], entities: str) -> list[list[Span]]:
    """Return the spans of the phrases that the user named."""
    taken: set[Span] = set()
    wanted = [[m.group() for m in _WORD.finditer(phrase)] for phrase in entities.split(";")]
    # longer phrases choose first: in "a red cat and a cat", the phrases "cat; red cat" mean the second cat and the first
    phrases = [_find_phrase(prompt, words, phrase, taken) for phrase in sorted(wanted, key=len, reverse=True) if phrase]
    if not phrases:
        raise PromptError(f'no entity in "{entities}"; write phrases separated by semicolons, as in "red cat; blue bench"')
    return phrases


def _find_phrase(prompt: str, words: list[Span], wanted: list[str], taken: set[Span]) -> list[Span]:
    """Return the words of one phrase: where they stand side by side if they do, else each at its first free place."""
    lowered = [w.text.lower() for w in words]
    target = [w.lower() for w in wanted]
    for start in range(len(words) - len(target) + 1):
        run = words[start : start + len(target)]
        if lowered[start : start + len(target)] == target and not taken.intersection(run):
            taken.update(run)
            return run
    found = []
    for word in target:
        place = next((w for w in words if w.text.lower() == word and w not in taken), None)
        if place is None:
            raise PromptError(_not_in_prompt(word, prompt, lowered))
        taken.add(place)
        found.append(place)
    return found


def _not_in_prompt(word: str, prompt: str, lowered: list[str]) -> str:
    if word in lowered:
        return f'"{word}" is named as an entity more often than it stands in the prompt "{prompt}"'
    near = difflib.get_close_matches(word, lowered, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else "; name only words of the prompt"
    return f'"{word}" is not a word of the prompt "{prompt}"{hint}'
