"""Sentences in the language of prompts, with their trees: what the treebank, web text in whole sentences, does not have.

Fragments, comma lists, stacked adjectives, words nobody has heard of, tags of quality and style. The trees are those of
Universal Dependencies as the English Web Treebank draws them, so that both can be learnt together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import template_words as words


@dataclass(eq=False)
class Word:
    """A word of a tree: its part of speech, and its relation to the word that governs it, None for the root."""

    text: str
    pos: str
    relation: str = "root"
    head: Word | None = None
    space: bool = True  # behind it
    several: bool = False  # a plural noun


Phrase = list[Word]
_ONSETS = "b bl br c cr d dr f fl g gl h j k l m n p pl r s sh sn st t tr v w z".split()
_NUCLEI, _CODAS = "a e i o u oo ee".split(), "b ck d g l m n p r s t x zz".split()
_SHAPES = {"NOUN": "star heart cat egg cone bell".split(), "ADJ": "long short red blue green curly dark golden".split()}
_NUMBER_KINDS = {"several": ("ADJ", "amod"), "many": ("ADJ", "amod"), "few": ("ADJ", "amod"), "some": ("DET", "det")}
_SHAPED = "shaped haired eyed colored striped covered sized legged winged".split()
Lexicon = Mapping[str, Sequence[str]]  # nouns and adjectives of the treebank, by part of speech


def sentence(rng: random.Random, lexicon: Lexicon) -> Phrase:
    """Return one sentence; it is decided by `rng` alone."""
    made = Maker(rng, lexicon).sentence()
    text_case = rng.random()
    if text_case < 0.25:
        made[0].text = made[0].text[:1].upper() + made[0].text[1:]
    elif text_case < 0.28:
        for word in made:
            word.text = word.text.title()
    elif text_case < 0.30:
        for word in made:
            word.text = word.text.upper()
    return made


class Maker:
    def __init__(self, rng: random.Random, lexicon: Lexicon) -> None:
        self.rng, self.lexicon = rng, lexicon

    # ------------------------------------------------------------------------------------------------------ chance

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def one_of(self, *choices: tuple[float, Callable[[], Phrase]]) -> Phrase:
        return self.rng.choices([make for _, make in choices], [weight for weight, _ in choices])[0]()

    def pick(self, *lists: Sequence[str]) -> str:
        return self.rng.choice(self.rng.choice(lists))

    # ------------------------------------------------------------------------------------------------------- words

    def noun(self) -> str:
        """Return a noun, now and then one of the treebank or one that does not exist."""
        kind = self.rng.random()
        if kind < 0.08:
            return self.invented()
        if kind < 0.25:
            return self.rng.choice(self.lexicon["NOUN"])
        return self.pick(words.PEOPLE, words.ANIMALS, words.OBJECTS, words.OBJECTS)

    def adjective(self) -> str:
        kind = self.rng.random()
        if kind < 0.06:
            return self.invented() + self.rng.choice(("", "y", "ish", "ed", "ic", "al"))
        if kind < 0.18:
            return self.rng.choice(self.lexicon["ADJ"])
        return self.pick(words.COLOURS, words.LOOKS)

    def invented(self) -> str:
        syllables = self.rng.choice((1, 2, 2, 3))
        return "".join(self.rng.choice(_ONSETS) + self.rng.choice(_NUCLEI) for _ in range(syllables)) + self.rng.choice(_CODAS)

    # ------------------------------------------------------------------------------------------------- noun phrases

    def noun_phrase(self, depth: int = 0, *, article: bool = True, plain: bool = False) -> Phrase:
        """Return a noun with what stands before it and, unless it is to be `plain`, what follows."""
        name = self.noun().split()
        plural = self.chance(0.2)
        noun = Word(plural_of(name[-1]) if plural else name[-1], "NOUN", several=plural)
        first = [Word(text, "NOUN", "compound", noun) for text in name[:-1]]
        if not first and self.chance(0.15):
            first = [Word(text, "NOUN", "compound", noun) for text in self.pick(words.FIRST_NOUNS, words.MATERIALS).split()]
        before = [*self.modifiers(noun), *first]
        phrase = [*self.determiner(noun, plural, article, (before or [noun])[0].text), *before, noun]
        if plain or depth > 2:
            return phrase
        follow = self.rng.random()
        if follow < 0.16 / (depth + 1):
            phrase += self.prepositional(noun, depth)
        elif follow < 0.30 / (depth + 1):
            phrase += self.participle(noun, depth)
        elif follow < 0.36 / (depth + 1):
            phrase += self.relative(noun, plural, depth)
        return phrase

    def determiner(self, noun: Word, plural: bool, article: bool, following: str) -> Phrase:
        kind = self.rng.random()
        if not article or kind < 0.12:
            return []
        if kind < 0.17:
            owner = Word(self.noun().split()[-1], "NOUN", "nmod:poss", noun, space=False)
            mark = Word("'s", "PART", "case", owner)
            return [Word(self.rng.choice(("a", "the")), "DET", "det", owner), owner, mark]
        if kind < 0.22:
            return [Word(self.rng.choice("his her its their my your".split()), "PRON", "nmod:poss", noun)]
        if plural and kind < 0.7:
            number = self.rng.choice(words.NUMBERS)
            return [Word(number, *_NUMBER_KINDS.get(number, ("NUM", "nummod")), noun)]
        if plural:
            return [Word("the", "DET", "det", noun)] if self.chance(0.4) else []
        text = "the" if self.chance(0.15) else "an" if following[0].lower() in "aeiou" else "a"
        return [Word(text, "DET", "det", noun)]

    def modifiers(self, noun: Word) -> Phrase:
        count = self.rng.choices((0, 1, 2, 3, 4), (35, 38, 18, 7, 2))[0]
        found: Phrase = []
        for place in range(count):
            adjective = Word(self.adjective(), "ADJ", "amod", noun)
            kind = self.rng.random()
            if kind < 0.08:
                adjective.text = self.rng.choice(words.COLOURS)
                found.append(Word(self.rng.choice(words.SHADES), "ADJ", "amod", adjective))
            elif kind < 0.12:
                found.append(Word(self.rng.choice(words.HOW), "ADV", "advmod", adjective))
            elif kind < 0.17:
                pos = self.rng.choice(tuple(_SHAPES))
                joined = self.chance(0.7)
                first = Word(self.rng.choice(_SHAPES[pos]), pos, "compound" if joined else "amod", adjective, space=not joined)
                adjective.text = self.rng.choice(_SHAPED)
                found += [first, Word("-", "PUNCT", "punct", adjective, space=False)] if joined else [first]
            found.append(adjective)
            if kind > 0.92 and place == count - 1:
                other = Word(self.rng.choice(words.COLOURS), "ADJ", "conj", adjective)
                found += [Word(self.rng.choice(("and", "and", "or", "&")), "CCONJ", "cc", other), other]
            elif place < count - 1 and self.chance(0.12):
                adjective.space = False
                found.append(Word(",", "PUNCT", "punct", noun))
        return found

    def prepositional(self, noun: Word, depth: int, relation: str = "nmod") -> Phrase:
        """Return "with a hat", "in front of the red car", "next to it"."""
        if relation == "nmod" and self.chance(0.06):  # "in blue"
            colour = Word(self.rng.choice(words.COLOURS), "NOUN", relation, noun)
            return [Word("in", "ADP", "case", colour), colour]
        inner = self.noun_phrase(depth + 1) if self.chance(0.7) else self.place()
        kind = self.rng.random()
        if kind < 0.07:
            root = govern(noun, relation, inner)
            return [Word("next", "ADP", "case", root), Word("to", "ADP", "case", root), *inner]
        if kind < 0.15:
            side = Word(self.rng.choice(words.SIDES), "NOUN", relation, noun)
            article = [] if side.text in ("front", "top") else [Word("the", "DET", "det", side)]
            of = Word("of", "ADP", "case", govern(side, "nmod", inner))
            return [Word(self.rng.choice(("in", "on", "at", "to")), "ADP", "case", side), *article, side, of, *inner]
        root = govern(noun, relation, inner)
        return [Word(self.rng.choice(words.PREPOSITIONS), "ADP", "case", root), *inner]

    def place(self) -> Phrase:
        noun = Word(self.rng.choice(words.PLACES).split()[-1], "NOUN")
        return [Word(self.rng.choice(("a", "the")), "DET", "det", noun), *self.modifiers(noun), noun]

    def participle(self, noun: Word, depth: int) -> Phrase:
        kind = self.rng.random()
        if kind < 0.45:  # "wearing a hat"
            verb = Word(ing_of(self.verb(words.DOING)), "VERB", "acl", noun)
            things = self.things(depth + 1)
            govern(verb, "obj", things)
            return [verb, *things]
        if kind < 0.85:  # "sitting on a bench"
            text = self.rng.choice(words.STANDING) if self.chance(0.25) else ing_of(self.verb(words.BEING))
            verb = Word(text, "VERB", "acl", noun)
            return [verb, *self.prepositional(verb, depth + 1, "obl")]
        verb = Word(self.rng.choice(words.MADE), "VERB", "acl", noun)
        if self.chance(0.5):
            stuff = Word(self.rng.choice(words.MATERIALS), "NOUN", "obl", verb)
            return [verb, Word(self.rng.choice(("of", "out", "from", "in", "with")), "ADP", "case", stuff), stuff]
        return [verb, *self.prepositional(verb, depth + 1, "obl")]

    def relative(self, noun: Word, plural: bool, depth: int) -> Phrase:
        that = Word(self.rng.choice(("that", "which", "who")), "PRON", "nsubj")
        looks = self.chance(0.55)  # "that is red"
        clause = self.looks("are" if plural else "is", [that]) if looks else self.action([that], depth + 1, plural)
        govern(noun, "acl:relcl", clause)
        return clause

    def things(self, depth: int = 0) -> Phrase:
        """Return one noun phrase or several in a row."""
        count = 1 if depth else self.rng.choices((1, 2, 3, 4), (35, 40, 18, 7))[0]
        if depth and self.chance(0.12):
            count = 2
        plain = count > 1 and self.chance(0.6)
        articles = self.chance(0.85)
        rows = [self.noun_phrase(depth + (count > 1), article=articles, plain=plain) for _ in range(count)]
        root = root_of(rows[0])
        found = rows[0]
        joint = self.rng.choice(("and", "and", "and", "&", "or")) if count == 2 else "and"
        commas = count == 2 and self.chance(0.15)
        for number, row in enumerate(rows[1:], start=2):
            head = govern(root, "conj", row)
            last = number == count
            if (not last) or commas or (count > 2 and self.chance(0.4)):
                found[-1].space = self.chance(0.03)
                found.append(Word(",", "PUNCT", "punct", head, space=self.chance(0.95)))
            if last and not commas and (row[0].pos != "DET" or self.chance(0.93)):  # "a teapot a spoon" is written too
                found.append(Word(joint, "CCONJ", "cc", head))
            found += row
        return found

    # ------------------------------------------------------------------------------------------------------ clauses

    def looks(self, verb: str, subject: Phrase) -> Phrase:
        """Return "SUBJECT is red and furry"."""
        head = Word(self.adjective(), "ADJ")
        govern(head, "nsubj", subject)
        found = [*subject, Word(verb, "AUX", "cop", head)]
        if self.chance(0.15):
            found.append(Word(self.rng.choice(words.SHADES), "ADJ", "amod", head))
            head.text = self.rng.choice(words.COLOURS)
        elif self.chance(0.1):
            found.append(Word(self.rng.choice(words.HOW), "ADV", "advmod", head))
        found.append(head)
        if self.chance(0.25):
            other = Word(self.adjective(), "ADJ", "conj", head)
            found += [Word("and", "CCONJ", "cc", other), other]
        return found

    def verb(self, kinds: Sequence[str]) -> str:
        return self.invented() if self.chance(0.08) else self.rng.choice(kinds)

    def action(self, subject: Phrase, depth: int = 0, several: bool = False) -> Phrase:
        """Return "SUBJECT is wearing a hat", "SUBJECT sits quietly on a bench", "SUBJECT paints the wall bright orange"."""
        does = self.chance(0.5)
        base = self.verb(words.DOING if does else words.BEING)
        progressive = self.chance(0.35)
        verb = Word(ing_of(base) if progressive else base if several else third_of(base), "VERB")
        govern(verb, "nsubj", subject)
        found = [*subject, *([Word("are" if several else "is", "AUX", "aux", verb)] if progressive else []), verb]
        if does:
            things = self.things(depth + 1)
            govern(verb, "obj", things)
            found += things
            if self.chance(0.06):
                colour = Word(self.rng.choice(words.COLOURS), "ADJ", "xcomp", verb)
                found += [Word(self.rng.choice(words.SHADES), "ADJ", "amod", colour), colour] if self.chance(0.2) else [colour]
        elif self.chance(0.15):
            found.append(Word(self.rng.choice(words.HOW_DONE), "ADV", "advmod", verb))
        if self.chance(0.3 if does else 0.9):
            found += self.prepositional(verb, depth + does, "obl")
        return found

    def clause(self) -> Phrase:
        subject = self.noun_phrase(0 if self.chance(0.6) else 1)
        several = root_of(subject).several
        if self.chance(0.4):
            right = "are" if several else "is"
            return self.looks(self.rng.choice(("is", "are")) if self.chance(0.2) else right, subject)
        return self.action(subject, several=several)

    def clauses(self) -> Phrase:
        first = self.clause()
        if self.chance(0.3):
            second = self.clause()
            head = govern(root_of(first), "conj", second)
            joint = Word(self.rng.choice(("and", "and", "while", "but")), "CCONJ", "cc", head)
            comma = []
            if self.chance(0.4):
                first[-1].space = False
                comma = [Word(",", "PUNCT", "punct", head)]
            return [*first, *comma, joint, *second]
        return first

    def there_is(self) -> Phrase:
        verb = Word(self.rng.choice(("is", "are")), "VERB")
        things = self.things()
        govern(verb, "nsubj", things)
        return [Word("there", "PRON", "expl", verb), verb, *things]

    def picture(self) -> Phrase:
        """Return "an oil painting of THINGS"."""
        picture = Word(self.rng.choice(words.PICTURES), "NOUN")
        kind = [Word(self.rng.choice(words.KINDS_OF_PICTURE), "ADJ", "amod", picture)] if self.chance(0.4) else []
        start = (kind or [picture])[0].text
        article = [Word("an" if start[0] in "aeiou" else "a", "DET", "det", picture)] if self.chance(0.8) else []
        inner = self.things()
        if self.chance(0.2):
            showing = Word(self.rng.choice(("showing", "depicting")), "VERB", "acl", picture)
            govern(showing, "obj", inner)
            return [*article, *kind, picture, showing, *inner]
        return [*article, *kind, picture, Word("of", "ADP", "case", govern(picture, "nmod", inner)), *inner]

    def group(self) -> Phrase:
        """Return "a pair of THINGS"."""
        group = Word(self.rng.choice(words.GROUPS), "NOUN")
        inner = self.noun_phrase(1, article=self.chance(0.1))
        of = Word("of", "ADP", "case", govern(group, "nmod", inner))
        before = self.modifiers(group) if self.chance(0.3) else []
        return [Word("a", "DET", "det", group), *before, group, of, *inner]

    def tagged(self) -> Phrase:
        """Return "THINGS, best quality, 8k"."""
        phrases = [self.things() if self.chance(0.7) else self.noun_phrase(0, article=False)]
        for _ in range(self.rng.randint(1, 5)):
            phrases.append(self.tag() if self.chance(0.75) else self.noun_phrase(2, article=False))
        if self.chance(0.25):
            phrases.insert(0, phrases.pop())
        found = phrases[0]
        root = root_of(found)
        for phrase in phrases[1:]:
            head = govern(root, "conj", phrase)
            found[-1].space = self.chance(0.05)
            found = [*found, Word(",", "PUNCT", "punct", head, space=self.chance(0.95)), *phrase]
        return found

    def tag(self) -> Phrase:
        *first, last = self.rng.choice(words.TAGS).split()
        head = Word(last, "NOUN")
        return [*(Word(text, "ADJ", "amod", head) for text in first), head]

    def sentence(self) -> Phrase:
        made = self.one_of(
            (38, self.things),
            (12, self.picture),
            (5, self.group),
            (24, self.clauses),
            (5, self.there_is),
            (16, self.tagged),
        )
        if self.chance(0.3):
            made[-1].space = self.chance(0.05)
            made = [*made, Word(".", "PUNCT", "punct", root_of(made))]
        return made


def root_of(phrase: Phrase) -> Word:
    return next(word for word in phrase if word.head is None)


def govern(head: Word, relation: str, phrase: Phrase) -> Word:
    """Hang a phrase under `head`, and return the word that was its root."""
    root = root_of(phrase)
    root.relation, root.head = relation, head
    return root


def plural_of(noun: str) -> str:
    """Return the plural, by rule."""
    irregular = {"man": "men", "woman": "women", "child": "children", "person": "people", "mouse": "mice", "goose": "geese"}
    irregular |= {"foot": "feet", "tooth": "teeth", "leaf": "leaves", "knife": "knives", "wolf": "wolves", "shelf": "shelves"}
    if noun in irregular:
        return irregular[noun]
    return noun[:-2] + "en" if noun.endswith("man") else _with_s(noun)


def third_of(verb: str) -> str:
    """Return the form of the third person, by rule."""
    return {"have": "has", "go": "goes"}.get(verb) or _with_s(verb)


def ing_of(verb: str) -> str:
    """Return the participle of the present, by rule."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb[:-1] + "ing"
    vowels = [letter in "aeiou" for letter in verb]
    short = sum(vowels) == 1 and len(verb) > 2 and vowels[-2] and not vowels[-1] and verb[-1] not in "wxy"
    return verb + (verb[-1] if short else "") + "ing"


def _with_s(word: str) -> str:
    if word.endswith(("s", "x", "ch", "sh", "z")):
        return word + "es"
    return word[:-1] + "ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else word + "s"


def sentences(seed: int, lexicon: Lexicon) -> Iterator[Phrase]:
    """Yield sentences without end; the n-th depends on the seed and n alone."""
    number = 0
    while True:
        yield sentence(random.Random(f"{seed} {number}"), lexicon)
        number += 1
