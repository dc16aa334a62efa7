"""Which language a prompt is in, as far as it takes to know that it is not English."""

from __future__ import annotations

import re
import unicodedata

# Words without which few sentences of a language are written, and that English does not have.
_WORDS: dict[str, frozenset[str]] = {
    "Spanish": frozenset(
        "el los las unos unas del con en por para que una uno sobre bajo muy sin está están su sus y o mujer hombre perro "
        "gato un".split()
    ),
    "Portuguese": frozenset(
        "os um uma uns umas do da dos das com em no na nos nas por para que sobre muito sem está são seu sua e mulher homem "
        "cachorro gato".split()
    ),
    "French": frozenset(
        "le les un une des du avec dans sur sous pour par qui que est sont très sans son sa ses et aux au devant derrière "
        "femme homme chien chat".split()
    ),
    "Italian": frozenset(
        "il lo gli un uno una del della dei delle con nel nella sul sulla per che è sono molto senza suo sua e di tra donna "
        "uomo cane gatto".split()
    ),
    "German": frozenset(
        "der die das ein eine einen einem einer und mit auf von vor hinter unter über für ist sind sehr ohne sein seine im "
        "am auf zwei frau mann hund katze".split()
    ),
    "Dutch": frozenset("een het de van met op onder voor achter en is zijn haar zeer zonder naast twee vrouw hond kat".split()),
    "Polish": frozenset("i z na w pod nad przed za jest są bardzo bez jego jej oraz obok dwa kobieta pies kot".split()),
    "Swedish": frozenset(
        "en ett och med på av under över för är som mycket utan hans hennes bredvid två kvinna hund katt".split()
    ),
    "Turkish": frozenset("bir ve ile üzerinde altında için çok siyah beyaz kırmızı mavi kadın adam köpek kedi".split()),
    "Czech": frozenset("a s na v pod nad před za je jsou velmi bez jeho její vedle dva žena pes kočka červená modrý".split()),
}
_ENGLISH = frozenset("the a an of with and in on is are at by for from wearing holding to his her its under over".split())
_LETTERS = re.compile(r"[^\W\d_]+")
_FEW = 2  # words of a language that it takes


def language_of(text: str) -> str | None:
    """Return the language or script of a text that is not English, None if it is, or if it is too short to tell.

    >>> language_of("un gato rojo y un perro azul"), language_of("a red cat"), language_of("красный кот")
    ('Spanish', None, 'Cyrillic script')
    """
    letters = [c for c in text[:2000] if c.isalpha()]
    foreign = [c for c in letters if c > "\u024f" and not unicodedata.name(c, "LATIN").startswith(("LATIN", "MODIFIER"))]
    words = [word.lower() for word in _LETTERS.findall(text[:2000])]
    english = sum(word in _ENGLISH for word in words)
    if len(foreign) > 0.5 * len(letters) and foreign and english < _FEW:
        script = unicodedata.name(foreign[0], "another").split()[0]
        names = {"CJK": "Chinese or Japanese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
        kinds = {unicodedata.name(c, "").split(" ")[0] for c in foreign}
        japanese = kinds & {"HIRAGANA", "KATAKANA"}
        return "Japanese" if japanese else names.get(script, f"{script.title()} script")
    counts = {name: sum(word in own for word in words) for name, own in _WORDS.items()}
    accents = sum(any(c > "\x7f" for c in word) for word in words)
    best = max(counts, key=lambda name: counts[name])
    enough = counts[best] >= _FEW and counts[best] > 2 * english and 5 * (counts[best] + accents) >= len(words)
    return best if enough else "another language" if not english and len(words) > 3 and accents >= 0.4 * len(words) else None
