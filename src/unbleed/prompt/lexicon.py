"""Closed lists of words that a tree alone does not tell apart."""

from __future__ import annotations

import re
from pathlib import Path


def _lists(text: str) -> dict[str, frozenset[str]]:
    parts = re.split(r"^\[(\w+)\]$", text, flags=re.MULTILINE)
    return {name: frozenset(words.split()) for name, words in zip(parts[1::2], parts[2::2], strict=True)}


_WORDNET = _lists(Path(__file__).with_name("wordnet.txt").read_text(encoding="utf-8"))

COLOURS = frozenset(
    "red orange yellow green blue purple pink brown gray grey black white beige teal turquoise cyan magenta maroon crimson "
    "scarlet violet lavender lilac indigo navy olive lime gold golden silver bronze cream tan khaki peach coral ivory amber "
    "mauve".split()
)
SHADES = frozenset("dark light bright pale deep neon pastel vivid dull hot".split())
# Nouns that say which colour is meant, "a sky blue dress"; the second are things as well, "red rose blue vase".
SHADES_OF = frozenset("sky navy jet royal midnight emerald olive lime mint coal raven powder hunter cobalt burnt baby".split())
THINGS_OF_COLOUR = frozenset(
    "blood snow rose forest ice steel ash cherry ruby sapphire chestnut honey strawberry platinum bottle sea wine brick rust "
    "milk lemon mustard salmon apple ocean moss chocolate coffee slate copper sand crystal razor paper".split()
)

# Adjectives that count, compare or point, and say nothing of how a thing looks.
POINTING = frozenset(
    "several many few other another same such various different own more most less only certain whole entire next last "
    "first second third nearby adjacent opposite additional numerous multiple assorted respective single ready able "
    "left right both every each any such".split()
)
NUMBERS: dict[str, int] = dict(
    zip("one two three four five six seven eight nine ten eleven twelve".split(), range(1, 13), strict=True)
)

# "a photo of a cat": not in the picture, but what it is.
PICTURES = frozenset(
    "photo photograph picture image painting drawing sketch illustration portrait render rendering watercolor watercolour "
    "snapshot shot close-up closeup up view scene depiction emoji icon artwork art print photography visual still selfie "
    "screenshot "
    "visualization composition poster wallpaper photos images pictures paintings drawings illustrations".split()
)
# "a group of cats": what there is stands behind "of".
GROUPS = frozenset(
    "group pair couple bunch lot number variety set series row stack pile heap kind type sort collection array assortment "
    "bit wisp wisps "
    "piece slice slices pieces pairs groups rows stacks piles lots couples part parts".split()
)
SIDES = frozenset(
    "left right front back top bottom side sides middle center centre corner edge end rear inside outside".split()
)
# Words for a thing that is named elsewhere.
STAND_INS = frozenset("one ones another other others first second third former latter rest".split())
# Nouns of place and time that show nothing; what lies behind does if it is said how it looks.
BACKGROUNDS = frozenset("background backdrop foreground".split())
NO_THINGS = frozenset(
    "day days daytime night nighttime nights morning mornings afternoon evening noon midday midnight dusk dawn "
    "twilight time times moment moments hour hours minute minutes second seconds season seasons summer winter autumn "
    "spring year years month week weekend today tomorrow yesterday age ages era century period way ways distance shade "
    "shape form size sizes color colour colors colours order action actions motion kind type sort example name idea "
    "ideas work place area spot addition midair half rest display game match turn tennis soccer football golf use home "
    "viewer viewers observer onlooker spectator beholder sense senses feeling feelings feel touch hint air aura vibe "
    "vibes mood moods atmosphere ambiance ambience spirit essence soul presence mystery wonder awe magic drama tension "
    "power strength energy grace charm beauty elegance luxury glamour grandeur majesty splendor splendour chaos calm "
    "peace harmony balance contrast contrasts depth warmth coolness intensity emotion emotions joy sorrow sadness "
    "happiness fear anger love hope despair nostalgia romance adventure journey exploration freedom danger death life "
    "history story stories tale narrative memory memories dream dreams imagination fantasy reality theme themes "
    "concept concepts expression expressions gaze pose poses posture stance look looks demeanor demeanour appearance "
    "attitude personality mind thought thoughts attention focus emphasis detail details precision clarity quality "
    "texture textures pattern-making perspective angle angles viewpoint composition layout lighting illumination "
    "shading tone tones hue hues style styles aesthetic aesthetics vibe genre medium technique tradition culture "
    "influence inspiration reference fashion design designs theme setting settings environment environments "
    "surroundings scene scenes world-building context backdrop movement movements flow rhythm progress effect effects "
    "result impact impression illusion interplay juxtaposition mix blend fusion combination blending center centre "
    "middle focal point points part parts range scale level levels degree amount lot bit sort others other something "
    "anything everything nothing someone something anyone everyone everybody nobody it thing things stuff bokeh blur "
    "grain dof resolution craftsmanship handiwork artistry skill work care ease fun excitement comfort convenience "
    "weather temperature heat cold silence sound noise music song rhythm scent smell aroma taste flavor flavour breeze "
    "mid-air overhead underwater outdoors indoors side front back foreground direction view background-blur right left "
    "close-up close photography cinematography realism photorealism surrealism minimalism body-language opportunity "
    "possibility company attributes attribute material tale tales kickflip nap naps jump jumps smile smiles grin grins "
    "frown smirk scowl glare stare wink pout blush highlight tune tunes melody melodies northward southward eastward "
    "westward upward downward universe dimension dimensions occult mid-flight mid-leap mid-stride mid-jump highlights "
    "midst might pace stunt event events race nap bloom height appeal".split()
)
# What may be a thing or a time: "at sunset", but "a red sunset".
TIMES = frozenset(
    "sunset sunrise dusk dawn noon midnight midday night nightfall twilight daybreak sundown christmas halloween easter".split()
)
# Endings of abstract nouns, and the nouns that end so and can be seen.
ABSTRACT_ENDINGS = (
    "ness",
    "ity",
    "ism",
    "tion",
    "sion",
    "ment",
    "ance",
    "ence",
    "ship",
    "hood",
    "dom",
    "tude",
    "ology",
    "graphy",
)
CONCRETE = _WORDNET["concrete"] | frozenset(
    "card cards habit scaffolding leaves wings bangs letters patterns shapes scales spots "
    "wilderness harness witness lioness baroness governess highness city deity celebrity university facility amenity cavity "
    "community entity metropolis "
    "equation equations station stations vegetation decoration decorations constellation constellations construction "
    "plantation fortification "
    "reflection reflections explosion explosions illustration precipitation congregation dandelion mansion cushion pension "
    "lion medallion pavilion champion battalion scorpion "
    "onion companion accordion dominion million television fountain inscription incision projection projections formation "
    "formations infestation ammunition nation population procession "
    "garment garments monument monuments apartment apartments instrument instruments equipment ornament ornaments pavement "
    "basement parchment armament cement embellishment embellishments "
    "adornment adornments compartment compartments establishment settlement battlement battlements document documents "
    "pigment fragment fragments filament regiment parliament tenement casement monument ointment "
    "fence ambulance entrance appliance appliances residence audience fences hence substance conveyance ordinance "
    "ship ships airship airships spaceship spaceships starship starships longship "
    "longships gunship gunships mothership dropship warship warships battleship battleships flagship "
    "steamship hood hoods kingdom kingdoms "
    "neighborhood neighbourhood riding-hood crystal prism organism organisms mechanism mechanisms gravity vanity trinity "
    "infinity "
    "champions infantry fraternity sorority carnation carnations crustacean creation creations intersection section sections "
    "collection concoction contraption contraptions potion potions lotion "
    "locomotion audition exhibition excavation foundation junction transmission mission possession possessions "
    "passion-fruit passion extension "
    "figurine element elements experiment attachment implement implements regimen segment segments "
    "pageant elephant infant merchant giant servant sergeant lightness calligraphy photography topography cartography "
    "pornography typography".split()
)
VERBS = _WORDNET["verbs"]
NOUNS = _WORDNET["nouns"]  # that are neither of the other lists
# Words that are adjectives and hardly ever nouns.
ADJECTIVES = _WORDNET["adjectives"] | COLOURS
ABSTRACT = _WORDNET["abstract"] - CONCRETE
# All words that are no proper names, in their base forms; the last line has some that are younger than WordNet.
WORDS = frozenset().union(*_WORDNET.values()) | frozenset(
    "cyborg mecha katana hoodie sneakers headphone smartphone selfie drone emoji anime manga graffiti ramen sushi kimono "
    "onesie skateboard snowboard synthesizer hologram nanobot robot android spaceship starship steampunk cyberpunk elf "
    "orc".split()
)
WRITING = frozenset(
    "text texts word words wording phrase title slogan caption captions message quote inscription headline tagline name font "
    "typography".split()
)
MAKING = frozenset("made built carved crafted constructed sculpted woven knitted formed molded moulded assembled cut".split())
DRESSING = frozenset("dressed clad clothed painted colored coloured".split())
# Verbs by which a picture says what is in it: "the image shows a cat".
SHOWING = frozenset(
    "show shows showing depict depicts depicting feature features featuring capture captures capturing portray portrays "
    "portraying present presents presenting "
    "display displays displaying illustrate illustrates illustrating contain contains include includes represent represents "
    "showcase showcases showcasing reveal reveals "
    "highlight highlights evoke evokes convey conveys focus focuses unfold unfolds".split()
)
# Words for what is done with a thing or how it is shown; the thing stands before: "a desk setup", "vikings war".
SHELLS = frozenset("setup arrangement war battle fight race collaboration gathering".split())
NEGATIONS = frozenset({"not", "n't", "n’t", "never", "cannot", "nt"})
WITHOUT = frozenset("instead rather without sans minus lacking excluding".split())
# Things of one kind: in "blue walls and floor" the adjective is said of both.
KINDRED = tuple(
    frozenset(words.split())
    for words in (
        "wall walls floor floors ceiling ceilings roof roofs door doors window windows shutter shutters curtain curtains "
        "tile tiles trim carpet rug cabinets counter counters countertop countertops",
        "hat hats cap coat coats cape cloak gloves glove boots boot shoes shoe socks sock scarf scarves jacket jackets belt "
        "belts dress skirt shirt blouse vest pants trousers shorts suit suits tie robe "
        "robes hood tunic uniform helmet helmets gauntlets armor armour shield stockings leggings sneakers heels sandals "
        "sash veil gown mask",
        "hair beard mustache moustache eyebrows fur mane whiskers sideburns goatee",
        "ears ear tail tails paws paw wings wing horns horn claws claw hooves beak feathers feather scales scale fins fin "
        "legs feet",
        "sofa couch chair chairs armchair armchairs table tables stool stools desk desks bed beds shelf shelves lamp lamps "
        "cushions cushion pillows pillow blanket blankets bench benches",
        "flower flowers petals petal leaf leaves stem stems rose roses tulip tulips lily lilies grass bushes bush tree trees "
        "moss vines fern ferns",
        "cup cups plate plates bowl bowls saucer saucers mug mugs teapot fork knife spoon forks knives spoons napkin napkins "
        "tablecloth vase vases",
        "cat cats dog dogs kitten kittens puppy puppies horse horses bird birds fish rabbit rabbits",
        "ball balls balloon balloons ribbon ribbons flag flags banner banners kite kites",
    )
)
# Verbs that begin a tag with what is held or done: "holding sword".
ACTIONS = frozenset(
    "holding sharing wearing carrying eating drinking riding playing reading using touching hugging kissing facing "
    "wielding pulling pushing breathing casting throwing catching feeding petting pouring cooking making painting "
    "drawing writing chasing hunting driving lifting raising grabbing gripping removing adjusting covering showing "
    "pointing aiming shooting smoking biting licking stroking watching climbing chopping cutting slicing selling "
    "buying picking gathering collecting planting harvesting peeling squeezing stirring mixing baking serving brushing "
    "combing cleaning washing polishing crossing following leading tossing kicking hitting building carving sewing "
    "knitting opening closing folding wrapping decorating filling surrounding saddling walking greeting visiting "
    "entering leaving exploring examining inspecting studying lighting blowing reflecting overlooking blocking "
    "supporting offering giving taking bringing dropping dragging hauling loading steering piloting tying having "
    "finding keeping sipping tasting tearing waving hanging setting firing operating boarding approaching hurling "
    "stacking arranging dipping rolling spinning sliding roping grooming shaving trimming mowing raking sweeping "
    "mopping scrubbing dusting sharpening photographing filming sketching juggling repairing guarding nibbling herding "
    "emitting releasing revealing exposing clutching cradling balancing creating evoking adding conveying casting "
    "giving doing fighting slaying defending summoning controlling operating performing singing".split()
) - frozenset("peeling folding rolling spinning sliding hanging lighting walking setting reflecting".split())
NOUNS_IN_ING = frozenset(
    "lightning building painting ring wing king string spring clothing ceiling earring awning railing wedding pudding "
    "stocking icing frosting topping "
    "piercing scaffolding bedding sling herring duckling gosling sapling dumpling viking pudding swing".split()
)
PAST = frozenset(
    "sat stood lay lit held ran flew swam wore put cut set hung shot rose fell sank sprang grew drew threw caught built "
    "bent".split()
)
PLURALS = frozenset(
    "people men women children mice geese feet teeth sheep fish deer cattle folk police oxen crew crowd family couple".split()
)
MATERIALS = frozenset(
    "wood metal glass stone brick marble concrete leather silk cotton velvet wool steel iron gold silver copper brass bronze "
    "plastic "
    "paper clay ceramic porcelain crystal ice bamboo tile granite satin denim lace fur".split()
)
# Verbs with the colour in which a thing shines: "its eyes glow orange".
SHINING = frozenset(
    "glow glows glowing shine shines shining gleam gleams gleaming burn burns burning turn turns turning flash flashes blink "
    "blinks".split()
)
# Adjectives of size and shape that stand in a row: "a tall, slender woman".
MEASURES = frozenset(
    "tall short big small large huge tiny little old young long wide narrow thick thin round square slender slim fat heavy "
    "massive giant "
    "gigantic enormous low high deep beautiful pretty lovely fluffy furry shiny dirty dusty rusty muddy cute happy sad "
    "angry".split()
)
# Verbs that ask for a picture, not what is in it.
ORDERS = frozenset(
    "draw create make show imagine generate paint add give use put write depict include have design render illustrate want "
    "need see let".split()
)
SINGULAR_IN_S = frozenset(
    "series species lens canvas iris cactus bus chess dress news tennis headquarters barracks glasses scissors pants jeans "
    "shorts sunglasses goggles headphones trousers boots shoes pajamas binoculars tongs pliers".split()
)
