"""Text that a prompt wants to be written in the picture: 'a sign that reads "open"'."""

from __future__ import annotations

import re

_QUOTED = re.compile(
    r'"(?P<straight>[^"\n]{1,200})"|[\u201c\u201e\u201d](?P<curly>[^\u201c\u201d\u201e\n]{1,200})[\u201d\u201c]|\u00ab(?P<angle>[^\u00ab\u00bb\n]{1,200})\u00bb'
    r"|\u300c(?P<corner>[^\u300c\u300d\n]{1,200})\u300d|"
    r"(?<![\w'])['\u2018\u2019](?P<single>[^'\u2018\u2019\n]{1,80}(?:['\u2019]\w[^'\u2018\u2019\n]{0,80})?)['\u2019](?!\w)"
)
_SAYING = (
    r"reads?|reading|says?|saying|said|states?|stating|labell?ed|labels?|titled|entitled|named|called|written|writing|"
    r"spell(?:s|ed|ing)?|spelling|words?|"
    r"wording|texts?|letters?|lettering|inscriptions?|inscribed|captions?|captioned|slogans?|title|phrase|message|printed|"
    r"engraved|embroidered|carved|painted|quote|"
    r"display(?:s|ing)?|show(?:s|ing)?|signs?|signboard|logo|banner|billboard|neon|font|typography|chalkboard|sticker|tattoo|"
    r"t-shirt|name|headline|tagline"
)
_BEFORE = re.compile(rf"\b(?:{_SAYING})\b[^.\n\"]{{0,25}}\Z", re.IGNORECASE)
_AFTER = re.compile(
    r"\s*,?\s*(?:is |are |being |prominently |clearly )*(?:written|text|lettering|letters|printed|painted|spelled|spelt|"
    r"engraved|embroidered|carved|sign|logo|banner|label|"
    r"in (?:[\w-]+ ){0,4}(?:letters|lettering|font|type|typography|script|text|handwriting|calligraphy|neon))\b",
    re.IGNORECASE,
)
_STOP = (
    r"(?=[,.;:!?\n\"]|\Z| (?:in|on|at|with|under|over|above|below|near|beside|and|while|next|behind|made|written|hanging|hangs|"
    r"standing|stands|is) )"
)
_UNQUOTED = re.compile(
    r"\b(?:(?:that|which) reads|says|saying|spelling(?: out)?|spells(?: out)?|labell?ed|titled|captioned|(?:with|and|"
    r"bearing) the (?:text|words?|slogan|title|phrase|message|caption|inscription)|"
    rf"(?:text|caption|title|slogan) ?:)\s+(?P<words>(?!the (?:words?|text|phrase|message|"
    rf"name)\b)[^\s,.;:!?\"][^,.;!?\n\"]{{0,80}}?){_STOP}",
    re.IGNORECASE,
)
_LOUD = re.compile(
    r"\b(?:words?|text|letters|name|sign|banner|says|reads|saying|reading)\s+(?P<words>[A-Z][A-Z'!?&]+(?:\s+[A-Z'!?&]+)*)\b"
)
ANNOUNCING = frozenset(
    "text texts word words wording phrase title slogan caption captions message quote inscription headline tagline name font "
    "typography".split()
)


def written(text: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return what a text wants to be written: for each, its characters with the quotes, and without.

    >>> text = 'a "red" wall, a mug that says "good day" and a sign saying Keep Out'
    >>> [text[a:b] for _, (a, b) in written(text)]
    ['good day', 'Keep Out']

    Text in quotes counts if a word such as "reads", "text" or "sign" stands near, or if it is in capitals.
    """
    found = []
    for match in _QUOTED.finditer(text):
        inner = match.span(match.lastgroup or 0)
        words = text[inner[0] : inner[1]]
        before, single = text[max(0, match.start() - 60) : match.start()], match.lastgroup == "single"
        loud = words.isupper() and len(words) > 1 and not single and before.strip() != ""
        goes_on = (
            bool(found) and re.fullmatch(r"\s*(?:,|and|or|&|,\s*and)\s*", text[found[-1][0][1] : match.start()]) is not None
        )
        if _BEFORE.search(before) or loud or goes_on or _AFTER.match(text, match.end(), min(len(text), match.end() + 80)):
            found.append((match.span(), inner))
    taken = [own for own, _ in found]
    for match in _LOUD.finditer(text):
        own = match.span("words")
        if not text.isupper() and not any(a < own[1] and own[0] < b + 2 for a, b in taken):
            found.append((own, own))
            taken.append(own)
    for match in _UNQUOTED.finditer(text):
        own = match.span("words")
        reads = match.group().lower().startswith(("that reads", "which reads", "label"))
        if reads and re.match(r"(?:a|an|the|his|her|their|its|as)\b", match["words"]):
            continue
        if match["words"].strip() and not any(a < own[1] and own[0] < b + 2 for a, b in taken):
            found.append((own, own))
    return sorted(found)
