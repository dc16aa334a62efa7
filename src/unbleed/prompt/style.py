"""Whether a piece of a prompt names a thing, or the quality, style, camera, artist, frame or mood of the picture."""

from __future__ import annotations

import functools
import re

from . import style_words as words
from .artists import ARTISTS
from .lexicon import ADJECTIVES, COLOURS, PICTURES, WORDS
from .word_forms import is_full_name, is_known

STYLE = "names a style"
PICTURE = "names the picture"

_FAMILY_NAMES = frozenset(last for name in ARTISTS if not is_known(last := name.rpartition(" ")[2]))

_BEGINNING = re.compile("|".join(f"(?:{pattern})" for pattern in words.BEGINNINGS))
_PROGRAM = re.compile(words.PROGRAMS)
_MEASURE = re.compile("|".join(f"(?:{pattern})" for pattern in words.MEASURES))
_WORD = re.compile(r"[^\s,()]+")
_ARTICLES = frozenset("a an the this that some one two three his her its their my your no".split())
_RELATING = frozenset(
    "of with in on at by from under over above below near beside behind between through across against into onto for as like "
    "wearing holding showing featuring depicting containing without that which who whose is are has have sitting standing "
    "riding looking "
    "surrounded filled covered made and or & , to".split()
)
# Words that are kinds of pictures before "art" or "photo" and things where they stand alone.
_THINGS_ALONE = frozenset(
    "street book storybook box character environment product food wildlife nature fashion movie film show music video game "
    "videogame key line landscape studio "
    "wedding tattoo splash cover travel square lego pencil ink oil charcoal pastel comic-book graphic novel silhouette "
    "children's childrens kids nursery "
    "portrait sports sport match engine magazine editorial stock label poster cover card ad brush stroke strokes pastels "
    "sheet crayon lens lenses shutter camera "
    "drawing drawings sketch sketches bloom reflections field frame flare flares still stills cartoon comic comics century "
    "era "
    "picture pictures image images photo photos photograph photographs snapshot theme themes design designs fiction science "
    "tv mixed horror level work "
    "wash screen silk block letterpress print prints line-art outlines voxel voxels graffiti star window rain".split()
)
_ADJECTIVES = (words.KINDS | words.QUALITY) - _THINGS_ALONE
BEFORE_HEADS = words.KINDS | words.QUALITY | words.LIGHT | words.STYLE_HEADS | COLOURS
FUNCTION_WORDS = _RELATING | _ARTICLES
_STYLE_ALONE = BEFORE_HEADS - _RELATING - _ARTICLES
_STYLING = words.KINDS | words.QUALITY | words.NO_LOOKS
_STYLING_OR_HEADS = BEFORE_HEADS | words.NO_LOOKS
# A picture of something can be called by what it shows: in "cat portrait" the cat is a thing.
_PICTURE_HEADS = (
    PICTURES
    | frozenset(
        "portrait portraits photo photos photograph photographs painting paintings drawing drawings sketch sketches "
        "illustration illustrations picture "
        "pictures image images poster logo icon sticker wallpaper selfie render renders artwork design snapshot close-up "
        "closeup shot art thumbnail vector svg clipart".split()
    )
) - frozenset("up view scene emoji print".split())
# What stands before these is a model for the picture, and no thing in it.
_AFTER_MODEL = frozenset("style styles inspired themed aesthetic vibe vibes".split())
_COVERED = frozenset("album magazine book comic novel dvd vhs game record vinyl pulp manga newspaper paperback".split())
_LIGHTS = frozenset("sunlight moonlight candlelight starlight lamplight firelight sunset sunrise window".split())
# Heads that are a matter of style whatever stands before them: "neon lighting", "pixar style".
_ALWAYS = frozenset(
    "lighting illumination quality focus style styles styled rendering aesthetic aesthetics composition resolution "
    "palette colors colours tones hues shading photography cinematography mood atmosphere ambiance ambience vibe vibes "
    "effect effects contrast theme graphics exposure perspective realism grain texturing brushstrokes brushwork "
    "strokes scheme schemes footage angle engine lineart linework colouring coloring linework brushstrokes screencap "
    "screenshot genre detail details detailing textures proportions".split()
)


def style_of(piece: str) -> str | None:
    """Return why a piece of a prompt, such as a tag between commas, names no thing, None if it may name one.

    >>> style_of("cinematic lighting"), style_of("by Greg Rutkowski"), style_of("35mm, f/1.8"), style_of("red hair")
    ('names a style', 'names a style', 'names a style', None)
    >>> style_of("oil painting"), style_of("solo")
    ('names a style', 'says how the picture is')
    """
    return _style_of(piece.lower().strip(" .!?:-'\"")) if len(piece) < 300 else None


@functools.lru_cache(maxsize=4096)
def _style_of(lowered: str) -> str | None:
    tokens = _WORD.findall(lowered)
    if not tokens or len(tokens) > 30:
        return None
    plain = " ".join(tokens)
    if re.sub(r" \d+\Z", "", plain) in words.TAGS or plain.removeprefix("a ").removeprefix("the ") in words.TAGS:
        return STYLE if len(tokens) > 1 and tokens[-1] in words.STYLE_HEADS else "says how the picture is"
    if (tail := _TRAILING.search(plain)) and tail.start() and not _style_of(plain[: tail.start()]):
        return None  # "a golden crown sharp focus"
    if (start := _artists_at_end(plain)) and not _style_of(plain[:start].strip()):
        return None  # "a golden crown alphonse mucha"
    if _MEASURE.search(plain) and not any(token in _ARTICLES for token in tokens[:1]) and len(tokens) < 6:
        return STYLE
    if _BEGINNING.match(plain) and not _names_water(tokens):
        return STYLE
    if _PROGRAM.match(plain) and sum(token not in _STYLING_OR_HEADS and not token.isdigit() for token in tokens) < 2:
        return STYLE
    if (
        tokens[0] not in _ARTICLES
        and all(token in _ADJECTIVES for token in tokens)
        and not all(token in COLOURS or token == "and" for token in tokens)
    ):
        return STYLE
    if plain in _FAMILY_NAMES:
        return STYLE
    bare = tokens[1:] if tokens[0] in ("a", "an", "the", "in", "with", "as", "and", "very") else tokens
    head = bare[-1] if bare else ""
    model = head in _AFTER_MODEL and tokens[0] not in _ARTICLES  # "lord of the seas style", "pirate inspired"
    cover = head == "cover" and len(bare) > 1 and bare[-2] in _COVERED
    if (model or cover) and len(bare) > 1 and _RELATING.isdisjoint(set(bare) - {"of", "and", "&"}):
        return STYLE
    if not bare or any(token in _RELATING - {"and", "&", "or"} for token in bare):
        return STYLE if _all_style(tokens) else None
    if head in words.STYLE_HEADS and all(token in BEFORE_HEADS for token in bare):
        return (
            None
            if len(bare) == 1
            and head in ("comic", "comics", "frame", "brush", "lens", "ink", "pencil", "sheet", "field", "poster")
            else STYLE
        )
    if head in ("art", "magazine") and 1 < len(bare) < 4 and tokens[0] not in _ARTICLES:
        return STYLE
    if head in _ALWAYS and not (tokens[0] in ("a", "an") and len(bare) > 5):
        return STYLE
    if (
        head in ("light", "lights", "glow", "shadows", "lit")
        and len(bare) > 1
        and all(token in words.LIGHT | words.KINDS | _LIGHTS for token in bare[:-1])
    ):
        return STYLE if head not in ("lights",) else None
    if head == "view" and all(token in words.VIEWS | words.QUALITY for token in bare[:-1]):
        return STYLE
    if len(bare) == 1 and head.endswith(words.ENDINGS) and len(head) > 6:
        return STYLE
    if len(tokens) > 2 and all(token in _STYLING_OR_HEADS for token in tokens):  # "super detailed unreal engine 5 realistic"
        parts = ((" ".join(tokens[:at]), " ".join(tokens[at:])) for at in range(1, len(tokens)))
        return STYLE if any(_style_of(one) and _style_of(other) for one, other in parts) else None
    return None


def is_kind(piece: str) -> bool:
    """Return whether a piece before "painting" or "by" says what kind of picture it is: "oil", "digital"."""
    return all(token in BEFORE_HEADS for token in piece.lower().split())


def _all_style(tokens: list[str]) -> bool:
    """Return whether a piece is of style through and through: "sharp focus with depth of field"."""
    return (
        any(t in BEFORE_HEADS for t in tokens)
        and all(t in BEFORE_HEADS or t in _ARTICLES or t in ("of", "with", "in", "to", "and", "on", "for") for t in tokens)
        and (tokens[-1] in words.STYLE_HEADS | _ADJECTIVES and not any(t in _THINGS_ALONE for t in tokens[-1:]))
    )


def _names_water(tokens: list[str]) -> bool:
    """Return whether "by" says where: "by candlelight", "by water"."""
    return tokens[0] == "by" and len(tokens) == 2 and tokens[1] in NEAR


NEAR = frozenset(
    "candlelight moonlight sunlight firelight starlight lamplight water trees flowers mountains people hand hands fire night "
    "day sea rail train car "
    "boat light lights fog mist snow clouds rocks waves grass vines itself themselves plants buildings stars lanterns "
    "candles".split()
)

_LEAD_IN = re.compile(
    r"(?:(?:create|generate|draw|make|paint|render|show me|give me|imagine|design|i want|please \w+)\s+(?:me\s+)?)?"
    r"(?:(?:a|an|the|this|one)\s+)?(?P<kind>(?:[\w'&/.-]+,?\s+){0,7}?)"
    r"(?P<head>photo|macro|photos|photograph|photographs|photography|still life|still|stills|shot|portrait|selfie|painting|"
    r"paintings|illustration|drawing|sketch|render|rendering|image|images|picture|"
    r"pictures|pic|close-up|closeup|close up|snapshot|depiction|visualization|cutaway|screenshot|wallpaper|artwork|"
    r"watercolor|view|scene|visual|cgi|collage|poster|logo|icon|sticker|postcard|headshot|scan|schematic|blueprint|diagram|footage|video|pic)\s+"
    r"(?:of|showing|depicting|featuring|with|where|that shows|which shows)\s+",
    re.IGNORECASE,
)
_LEADING = frozenset("a an the and & or in very this one up".split())


def lead_in(piece: str) -> tuple[int, int, int] | None:
    """Return the characters of the word for the picture, and where what it shows begins; None if no such word leads.

    >>> piece = "a cinematic film still of a red cat"
    >>> start, end, after = lead_in(piece)
    >>> piece[start:end], piece[after:]
    ('still', 'a red cat')
    >>> lead_in("a woman with a photo of a cat")
    """
    match = _LEAD_IN.match(piece)
    if not match or any(word in _RELATING - _LEADING for word in match["kind"].lower().replace(",", " ").split()):
        return None
    if re.search(r"\b(?:view|scene|collage|still|stills) with\s+\Z", match.group(), re.IGNORECASE):
        return None
    return (*match.span("head"), match.end())


_MEDIA = frozenset("painting illustration photo photograph photography render rendering drawing sketch artwork art".split())
_MEDIA_OR_BEFORE = _MEDIA | BEFORE_HEADS


def medium(piece: str) -> int | None:
    """Return where a thing begins after the kind of its picture: "oil painting woman with a hat"."""
    tokens = list(_WORD.finditer(piece))
    last = 0
    while last < len(tokens) and tokens[last].group().lower() in _MEDIA_OR_BEFORE:
        last += 1
    while last and tokens[last - 1].group().lower() not in _MEDIA:
        last -= 1
    rest = [token.group().lower() for token in tokens[last:]]
    return tokens[last].start() if last > 1 and len(rest) > 1 and rest[0] not in _RELATING - _ARTICLES else None


_IN_STYLE = re.compile(
    r",?\s+(?:(?:in|with|using|and|,)\s+)?(?:the |a |an )?(?:[\w'-]+\s+)?styles? (?:of|by|reminiscent of|inspired by)\b.*\Z"
    r"|,?\s+in (?:the |a |an )?(?:[\w'-]+\s+){1,4}?(?:art\s+)?style\b(?!\s+(?!by|of|with|and|from|inspired|but|on|at)[a-z])",
    re.IGNORECASE,
)
_DONE_BY = re.compile(
    r",?\s+(?:(?:trending|featured|popular) on|inspired by|reminiscent of|(?:shot|taken|captured|photographed|filmed) (?:on|"
    r"with|by|using)|rendered (?:in|with|by|using)|"
    r"(?:painted|illustrated|drawn|designed|sculpted|directed|created|photographed) by|(?:art|artwork|painting|illustration|"
    r"photo|photography|photograph|drawing|concept art|silk ?screen|screenprint|woodcut|engraving|etching|lithograph|stipple|"
    r"watercolou?r|gouache|sketch|rendering|comic(?: book panel)?|airbrush(?: painting)?) by|"
    r"as (?:painted|drawn|illustrated) by)\b(?! (?:a|an|the|his|her|their)\b).*\Z",
    re.IGNORECASE,
)
_BY = re.compile(r"(?P<before>[\w'-]+)\s+(?P<by>by\s+(?P<name>[^,\n]+))\Z", re.IGNORECASE)
_TRAILING = re.compile(
    r"(?:,?\s+(?:\d+k|u?hd|hdr|svg|png|photorealistic|hyperrealistic|hyper-?realistic|artstation|unreal engine(?: \d)?|"
    r"(?:highly|ultra|very|extremely|super|hyper) (?:detailed|realistic)|trending on \w+|sharp focus|masterpiece|best quality|"
    r"(?:octane|redshift|vray|blender|3d|4k|8k) render|(?:cinematic|dramatic|volumetric|studio|soft|natural) light(?:ing)?|"
    r"(?:digital|concept|fantasy|pixel|pop|vector) art|art (?:nouveau|deco)|"
    r"digital painting|(?:oil|acrylic|ink) on (?:canvas|paper|panel)|award-winning))+\Z",
    re.IGNORECASE,
)
_KNOWN = frozenset(name for name in words.TAGS)


def tail_of(piece: str) -> tuple[int, int] | None:
    """Return the characters of a piece that name a style or an artist after a thing, None where there are none.

    >>> piece = "a red cat in the style of Monet"
    >>> piece[slice(*tail_of(piece))]
    ' in the style of Monet'
    >>> piece = "a red cat by Greg Rutkowski"
    >>> piece[slice(*tail_of(piece))]
    'by Greg Rutkowski'
    """
    for pattern in (_IN_STYLE, _DONE_BY):
        if (match := pattern.search(piece)) and match.start():
            return match.span()
    if (match := _TRAILING.search(piece)) and match.start():
        before = piece[: match.start()].split()[-1].lower()
        if before not in FUNCTION_WORDS and before not in BEFORE_HEADS:
            return match.span()
    for trailing in (_trailing(piece), _artists_at_end(piece)):
        if trailing is not None:
            return trailing, len(piece)
    if (match := _BY.search(piece)) and _is_name(match["name"], match["before"], piece):
        return match.span("by")
    return None


def _trailing(piece: str) -> int | None:
    """Return where words of style begin that end a piece, with a sign of quality among them: "a village dark 8k cinematic"."""
    tokens = list(_WORD.finditer(piece))
    at = len(tokens)
    while at and tokens[at - 1].group().lower() in _STYLING:
        at -= 1
    own = [token.group().lower() for token in tokens[at:]]
    if not at or not any(re.fullmatch(r"\d+k|u?hd|hdr|photorealistic|hyperrealistic", word) for word in own):
        return None
    return tokens[at].start() if tokens[at - 1].group().lower() not in FUNCTION_WORDS else None


def _artists_at_end(piece: str) -> int | None:
    """Return where artists and words of style begin that end a piece: "a queen in a forest alphonse mucha watercolor"."""
    tokens = list(_WORD.finditer(piece))
    own = [token.group().lower() for token in tokens]
    at, known = len(own), False
    while at:
        names = (n for n in (3, 2, 1) if n <= at and " ".join(own[at - n : at]) in ARTISTS)
        if (artist := next(names, 0)) > 1 or (artist and own[at - 1] not in WORDS):
            at, known = at - artist, True
        elif at > 1 and is_full_name(own[at - 2], own[at - 1]):
            at -= 2
        elif own[at - 1] in _STYLING_OR_HEADS or own[at - 1] == "and":
            at -= 1
        else:
            break
    if not at or not known or own[at - 1] in FUNCTION_WORDS or own[at - 1] in ADJECTIVES:
        return None
    return tokens[at].start()


def _is_name(name: str, before: str, piece: str) -> bool:
    tokens = name.split()
    own = [
        token for token in tokens if token.lower() not in ("and", "&", "of", "van", "de", "da", "von", "the", "del", "di", "le")
    ]
    if not own or tokens[0].lower() in _ARTICLES or len(tokens) > 12:
        return False
    if any(token.lower() in (_RELATING | _ARTICLES) - {"and", "&", "of"} for token in tokens):  # "side by side on a shelf"
        return False
    if re.search(r"(?:ed|ing|lit|en|worn|held|made|driven)\Z", before.lower()):
        return False
    if all(token[0].isupper() for token in own):
        return (
            not all(word[0].isupper() for word in piece.split() if word[0].isalpha() and word.lower() not in ("a", "by"))
            or len(own) > 1
        )
    return name.lower() in _KNOWN or (len(own) > 1 and not any(token.lower() in NEAR for token in own))


def picture_head(piece: str) -> int | None:
    """Return where the word for the picture begins that stands after a thing: "portrait" in "red cat portrait"."""
    tokens = list(_WORD.finditer(piece))
    if len(tokens) < 2 or any(token.group().lower() in _RELATING for token in tokens):
        return None
    first = len(tokens)
    while first and tokens[first - 1].group().lower() in _PICTURE_HEADS | {"photography", "style"}:
        first -= 1
    if first == len(tokens) or not first or tokens[0].group().lower() in ("the", "his", "her"):
        return None
    return tokens[first].start()
