"""From the mentions in the pieces of a prompt to its entities: what is named twice is one thing, pronouns point back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from .entities import Entity, Parsed, Span
from .grammar import Mention, Read
from .lexicon import WRITING
from .segments import Segments, Unit
from .style_words import QUALITY
from .syntax import Readable

_MOST = 50  # things of one name that are told apart
_POINTING_BACK = frozenset("the this that these those his her its their".split())
_FEMALE = frozenset(
    "woman girl lady queen princess mother grandmother sister daughter wife bride actress witch goddess mermaid nun waitress "
    "ballerina "
    "heroine maid female sorceress priestess empress duchess 1girl warrior elf fairy singer nurse dancer".split()
)
_MALE = frozenset(
    "man boy king prince father grandfather brother son husband groom actor wizard god monk waiter hero male gentleman guy "
    "knight "
    "fisherman businessman emperor duke 1boy warrior soldier samurai pirate sailor farmer chef cowboy viking priest".split()
)
_PERSON = _FEMALE | _MALE | frozenset("person child kid baby teenager adult astronaut artist doctor detective player".split())


class _Draft:
    """An entity that later pieces can still add to."""

    @property
    def is_bare(self) -> bool:
        return not self.mention.pointer and not self.words and self.mention.count is None

    def __init__(self, mention: Mention, noun: Span, words: list[Span], unit: Unit) -> None:
        self.mention, self.noun, self.words, self.unit = mention, noun, words, unit


def assemble(text: Readable, segments: Segments, read: Sequence[tuple[Unit, Read]]) -> Parsed:
    """Return what a prompt says, from what its units say."""
    drafts: list[_Draft] = []
    known: defaultdict[str, list[_Draft]] = defaultdict(list)  # entities of earlier pieces by their nouns
    left_out = [(text.span(start, end), reason) for start, end, reason in segments.left_out]
    left_out += [(Span(start, end, text.prompt[start:end]), reason) for (start, end), reason in text.removed]
    absent: list[Span] = []
    for unit, said in read:
        new = len(drafts)
        if unit.looks:
            words = [text.span(a, b) for a, b in unit.looks]
            if owner := _described(drafts, unit):
                owner.words += words
            else:
                left_out.append((text.span(unit.start, unit.end), "names no thing"))
            continue
        for mention in said.mentions:
            noun = text.span(unit.start + mention.noun[0], unit.start + mention.noun[1])
            negative = unit.negative or text.is_negative(unit.start + mention.noun[0], unit.start + mention.noun[1])
            if mention.absent or negative:
                absent.append(noun)
                left_out.append((noun, "is not to be there"))
            elif text.written and mention.lower in WRITING:
                left_out.append((noun, "announces what is written"))
            elif mention.why_not:
                left_out.append((noun, mention.why_not))
            else:
                words = [text.span(unit.start + a, unit.start + b) for a, b in mention.words]
                # read for a subject alone, one to a unit: reading all before each noun would be quadratic
                leading = text.text[unit.start : unit.start + mention.noun[0]].lower().split() if mention.subject else []
                if earlier := _same(mention, words, known[mention.lower], unit, leading):
                    earlier.words += words
                    left_out.append((noun, "is named before"))
                else:
                    drafts.append(_Draft(mention, noun, words, unit))
        for draft in drafts[new:]:
            known[draft.mention.lower].append(draft)
        for remark in said.remarks:
            if not unit.negative and (owner := _owner(remark.pronoun, drafts, unit)):
                owner.words += [text.span(unit.start + a, unit.start + b) for a, b in remark.words]
        if not said.mentions and not said.remarks:
            left_out.append((text.span(unit.start, unit.end), "names no thing"))
    entities = [_entity(draft, text) for draft in drafts]
    return Parsed(
        text.prompt,
        sorted(entities, key=lambda entity: entity.noun_span),
        tuple(sorted(dict(left_out).items())),
        text.learnt,
        tuple(sorted(set(absent))),
        tuple(Span(start, end, text.prompt[start:end]) for start, end in text.written),
    )


def _described(drafts: Sequence[_Draft], unit: Unit) -> _Draft | None:
    """Return what a piece of colours alone describes: what the words before it do, else the first thing of its sentence."""
    before = [draft for draft in drafts if draft.unit.sentence == unit.sentence]
    if not before:
        return None
    last = [draft for draft in before if draft.unit.start == before[-1].unit.start]
    latest = max(last, key=lambda draft: max(span.end for span in (draft.noun, *draft.words)))
    if latest.words and max(latest.words).start > latest.noun.start:
        return latest
    return next((draft for draft in last if draft.mention.subject), last[0])


def _same(mention: Mention, words: list[Span], known: Sequence[_Draft], unit: Unit, leading: Sequence[str]) -> _Draft | None:
    """Return the entity of an earlier piece that a noun with "the" or an owner names again, and drop words that it has.

    A noun without anything before it does so too in another sentence, "building has clock. clock on tower", and in another
    tag that it begins, "storm at sea, ship, storm", also with words of quality before it (`leading`), "dancer in a hat,
    highly detailed dancer".
    """
    if not known:
        return None
    before = known[0].unit
    plain = not mention.pointer and mention.count is None
    bare = plain and not words and unit.sentence > before.sentence and known[0].is_bare
    again = plain and mention.subject and all(word in QUALITY for word in leading)
    tag = again and unit.start > before.start and unit.sentence == before.sentence
    if mention.pointer not in _POINTING_BACK and not bare and not tag:
        return None
    if tag:
        words.clear()
    own = {word.text.lower() for word in words}
    best = max(known[:_MOST], key=lambda draft: len(own & {word.text.lower() for word in draft.words}))
    there = {word.text.lower() for word in best.words}
    words[:] = [word for word in words if word.text.lower() not in there]
    return best


def _owner(pronoun: str, drafts: Sequence[_Draft], unit: Unit) -> _Draft | None:
    """Return the entity that a pronoun stands for: the subject of the sentence before, if it can be it."""
    before = [draft for draft in drafts if draft.unit.sentence < unit.sentence] or list(drafts)
    if not before:
        return None
    kind = {"she": _FEMALE, "he": _MALE}.get(pronoun)
    if kind:
        fitting = [d for d in before if d.mention.lower in kind] or [d for d in before if d.mention.lower in _PERSON] or before
        return fitting[-1] if fitting[-1].mention.lower in kind else fitting[0]
    last = [draft for draft in before if draft.unit.sentence == before[-1].unit.sentence]
    several = pronoun == "they"
    fitting = [
        d
        for d in last
        if (d.mention.lower.endswith("s") or d.mention.count not in (None, 1)) == several and d.mention.lower not in _PERSON
    ]
    fitting = fitting or [d for d in last if several or d.mention.lower not in _PERSON] or last
    return next((draft for draft in fitting if draft.mention.subject), fitting[0])


def _entity(draft: _Draft, text: Readable) -> Entity:
    spans = (draft.noun, *draft.words)
    others = tuple(
        Span(a, b, text.prompt[a:b])
        for (first, last), options in text.alternatives
        if any(first <= span.start < last for span in spans)
        for a, b in options
    )
    words = tuple(sorted(set(draft.words) - {draft.noun}))
    return Entity(draft.noun, words, draft.mention.count, text.weight(draft.noun.start), others)
