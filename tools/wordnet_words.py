"""Words by their kind, from WordNet into `prompt/wordnet.txt`: nouns that name nothing one could see, nouns that only end like
those, words that are adjectives and hardly ever nouns, verbs, and all other nouns.

    python tools/wordnet_words.py FOLDER

FOLDER has WordNet's database files (`dict/` of its distribution, `/usr/share/wordnet` of the Debian package `wordnet-base`).
A noun is abstract if its first sense is in an abstract category and its physical senses make up less than a fifth of its
uses in WordNet's tagged texts.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from unbleed.prompt.lexicon import ABSTRACT_ENDINGS, COLOURS

TARGET = Path(__file__).parents[1] / "src/unbleed/prompt/wordnet.txt"
# Numbers of WordNet's files of nouns (lexnames(5WN)).
ABSTRACT = {4: "act", 7: "attribute", 9: "cognition", 11: "event", 12: "feeling", 16: "motive", 22: "process", 24: "relation"}
ABSTRACT |= {26: "state", 28: "time"}
ENDINGS = tuple(ending for ending in ABSTRACT_ENDINGS if ending != "ism")
NEITHER = {10: "communication", 19: "phenomenon", 21: "possession", 23: "quantity"}
PHYSICAL = {5: "animal", 6: "artifact", 8: "body", 13: "food", 17: "object", 18: "person", 20: "plant", 27: "substance"}
# Abstract by WordNet's first sense, and seen in pictures.
SEEN = frozenset(
    "fire fires wave waves flame flames blaze bonfire campfire tsunami tide ripple ripples surf tear tears thorn hand "
    "hands eye eyes ghost specter spectre shoe shoes spotlight tentacle halo spark sparks procession parade explosion "
    "eruption tan thunder wedding festival wound scar burn tumor backbone vista baseball football golf ballet splash "
    "splatter spray glitter sparkle glint gleam flash projection thaw trail growth mechanism scan tracks track stock "
    "trap mold arts complex grid mark marks axis vertex polygon fare bunker settlement construction excavation "
    "landslide avalanche wildfire puff swirl storm tornado whirlpool crash wreck ruin ruins demon image tattoo vacuum "
    "drop drain cloud shadow print tan moisture frost dew rot rust decay mess clutter jumble tangle knot bun bow "
    "kneeling backdrop picnic banquet feast crowd mob army crusade march jewel treasure charm tap pump switch clutch "
    "button lock stroke trim finish polish glow glare silk tracing planting fold twist roll curl wash dye stain "
    "staining coat layer edge program computer project model target score board bar stage step steps stair light "
    "lights lamp sun moon star planet space passage crossing drive approach turn corner exit entrance gateway drawing "
    "writing painting carving engraving embroidery housing building landing lodging clearing opening crack break split "
    "cut slit hole plant works church school store shop bank home office mine farm farming garden gardening fishing "
    "hunting stand seat rest bed bath swing slide ride serve net racket club bat ball goal case trunk frame figure "
    "body head face hair skin bone blood flesh fur feather wing tail horn claw paw leaf petal seed root fruit berry "
    "hand finger thumb fist arm leg foot toe knee hip ghost image point spot dot line strip band ring circle square "
    "triangle cube sphere cone mound tomb burial grave monument orbit sail sails sailing chase throw toss catch pitch "
    "saving mining spell charge shot bolt blast ray beam plume jet smoke steam vapor mist fog haze cold warmth heat "
    "frostbite ulcer cyst lesion abscess swelling thrombus hemorrhage halloween christmas easter thanksgiving present "
    "presents number numbers carnival eclipse volleyball sink stop leaves wings letter letters pattern patterns shape "
    "shapes scales quiver wares footprints intersection calendar equipment costume disguise outfit brown black yellow "
    "pink purple".split()
)


def senses(folder: Path) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """Yield every noun of one word with the category of each sense and how often it is used."""
    counts: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for line in (folder / "cntlist.rev").read_text().splitlines():
        key, sense, count = line.split()
        lemma, _, rest = key.partition("%")
        if rest.startswith("1:"):
            counts[lemma][int(sense)] = int(count)
    data = (line.split(" ", 2) for line in (folder / "data.noun").read_text().splitlines() if line[0] != " ")
    category = {offset: int(number) for offset, number, _ in data}
    for line in (folder / "index.noun").read_text().splitlines():
        if line[0] != " ":
            lemma, _, count, *rest = line.split()
            offsets = rest[-int(count) :]
            if lemma.isalpha():
                yield (
                    lemma,
                    [(category[o], counts[lemma].get(n, 0) + 0.5 / n) for n, o in enumerate(offsets, start=1)],
                )


def nouns(folder: Path) -> tuple[list[str], list[str]]:
    """Return the abstract nouns, and those that can be seen although they end like abstract ones."""
    abstract, concrete = [], []
    for lemma, own in senses(folder):
        uses = sum(count for _, count in own)
        seen = sum(count for category, count in own if category not in ABSTRACT | NEITHER)
        tagged = uses >= 1 + sum(0.5 / n for n in range(1, len(own) + 1))
        if tagged and own[0][0] in ABSTRACT and seen < 0.2 * uses and lemma not in SEEN | COLOURS:
            abstract.append(lemma)
        elif lemma.endswith(ENDINGS) and len(lemma) > 6 and own[0][0] in PHYSICAL and seen > 0.55 * uses:
            concrete.append(lemma)
    return abstract, concrete


def adjectives(folder: Path) -> list[str]:
    """Return the words of up to ten letters that are no noun, or at least twice as often an adjective in tagged texts."""
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for line in (folder / "cntlist.rev").read_text().splitlines():
        key, _, count = line.split()
        lemma, _, rest = key.partition("%")
        if rest[0] in "135":
            counts[lemma][rest[0] != "1"] += int(count)
    noun = {line.split(" ", 1)[0] for line in (folder / "index.noun").read_text().splitlines()}
    words = (line.split(" ", 1)[0] for line in (folder / "index.adj").read_text().splitlines() if line[0] != " ")
    return [
        word
        for word in words
        if word.isalpha() and len(word) < 11 and (word not in noun or counts[word][1] > 2 * counts[word][0])
    ]


def verbs(folder: Path) -> list[str]:
    """Return the verbs of one word of up to eleven letters, and their irregular forms."""
    words = {line.split(" ", 1)[0] for line in (folder / "index.verb").read_text().splitlines() if line[0] != " "}
    words |= {line.split(" ", 1)[0] for line in (folder / "verb.exc").read_text().splitlines()}
    words -= {form for form in words if re.search(r"(.)\1(?:ed|ing)$|(?:ied|ies)$", form)}  # regular enough
    return sorted(word for word in words if word.isalpha() and len(word) < 12)


def others(folder: Path, listed: set[str]) -> list[str]:
    """Return the remaining nouns of one word that are no proper names, so that what is in no list may be one."""
    written: set[str] = set()
    for line in (folder / "data.noun").read_text().splitlines():
        if line[0] != " " and " @i " not in line:
            _, _, _, count, *rest = line.split(" ")
            written.update(word for word in rest[: 2 * int(count, 16) : 2] if word.isalpha() and word.islower())
    return sorted(word for word in written - listed if 2 < len(word) < 12)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    folder = options.parse_args().folder
    lists = dict(zip(("abstract", "concrete"), nouns(folder), strict=True)) | {
        "adjectives": adjectives(folder),
        "verbs": verbs(folder),
    }
    lists["nouns"] = others(folder, {word for own in lists.values() for word in own})
    header = (
        TARGET.read_text().partition("\n[")[0] if TARGET.exists() else "# WordNet 3.0 Copyright 2006 by Princeton University."
    )
    blocks = (f"[{name}]\n{textwrap.fill(' '.join(own), 126)}" for name, own in lists.items())
    TARGET.write_text("\n".join([header, *blocks]) + "\n")


if __name__ == "__main__":
    main()
