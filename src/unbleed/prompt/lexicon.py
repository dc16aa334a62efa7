"""Closed lists of words that a tree alone does not tell apart."""

from __future__ import annotations

COLOURS = frozenset(
    "red orange yellow green blue purple pink brown gray grey black white beige teal turquoise cyan magenta maroon crimson "
    "scarlet violet lavender lilac indigo navy olive lime gold golden silver bronze cream tan khaki peach coral ivory amber "
    "mauve".split()
)
SHADES = frozenset("dark light bright pale deep neon pastel vivid dull hot".split())

# Adjectives that count, compare or point, and say nothing of how a thing looks.
POINTING = frozenset(
    "several many few other another same such various different own more most less only certain whole entire next last first "
    "second third additional numerous multiple assorted respective single ready able full".split()
)
NUMBERS: dict[str, int] = dict(
    zip("one two three four five six seven eight nine ten eleven twelve".split(), range(1, 13), strict=True)
)

# "a photo of a cat": not in the picture, but what it is.
PICTURES = frozenset(
    "photo photograph picture image painting drawing sketch illustration portrait render rendering watercolor watercolour "
    "snapshot shot close-up closeup up view scene depiction emoji icon artwork art print photography".split()
)
# "a group of cats": what there is stands behind "of".
GROUPS = frozenset(
    "group pair couple bunch lot number variety set series row stack pile heap kind type sort collection array assortment bit "
    "piece slice slices pieces pairs groups rows stacks piles lots couples part parts".split()
)
SIDES = frozenset(
    "left right front back top bottom side sides middle center centre corner edge end rear inside outside".split()
)
# Words of quality, style and camera, at the end of a comma list.
STYLE = frozenset(
    "masterpiece quality detail details resolution focus lighting style artstation engine bokeh hdr uhd 4k 8k 16k hd "
    "photorealistic hyperrealistic realistic realism photorealism render cgi 3d 2d dof blur grain lens mm 35mm 50mm 85mm "
    "aesthetic composition palette wallpaper trending unreal octane cinematic deviantart pinterest exposure perspective angle "
    "depth hour".split()
)
# Words for a thing that is named elsewhere.
STAND_INS = frozenset("one ones another other others".split())
# Nouns of place and time that show nothing; what lies behind does if it is said how it looks.
BACKGROUNDS = frozenset("background backdrop foreground".split())
NO_THINGS = frozenset(
    "day night morning afternoon evening noon dusk dawn time times way ways air distance shade shape color colour colors "
    "colours use order action motion case kind example name idea work home today tomorrow yesterday week year month moment "
    "turn place area spot addition midair half rest display game match tennis soccer football golf".split()
)
MAKING = frozenset("made built carved crafted constructed sculpted woven knitted formed molded moulded assembled cut".split())
DRESSING = frozenset("dressed clad clothed painted colored coloured".split())
