"""Templates in the language of prompts: tags, fragments, negation, coordination, compounds, writing, long descriptions.

A template is a line of words. Each is `text|part of speech|relation|head`, the head counted from 1, 0 for the root. A text
with `*` in front is a slot, filled by `_Filler`; a slot for a whole phrase has no part of speech. Every fifth template is
held out of training, so that what was learnt can be measured on sentences of a form that was never seen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

from . import template_words as words
from .templates import Lexicon, Maker, Phrase, Word, govern, ing_of, plural_of, third_of

TEMPLATES = """
*bare|root|0
*bare|root|0
*adjs|amod|2 *verblike|NOUN|root|0
*adj|ADJ|amod|2 *verblike|NOUN|root|0 in|ADP|case|5 the|DET|det|5 *place|NOUN|nmod|2
*verblike|NOUN|root|0 and|CCONJ|cc|3 *bare|conj|1
*verblike|NOUN|root|0 *prep|ADP|case|3 *np|nmod|1
a|DET|det|3 *adj|ADJ|amod|3 *verblike1|NOUN|root|0 *prep|ADP|case|5 *np|nmod|3
two|NUM|nummod|2 *verblike|NOUN|root|0 on|ADP|case|4 *np|nmod|2
*adj|ADJ|root|0
*adv|ADV|advmod|2 *adj|ADJ|root|0
*colour|ADJ|root|0 and|CCONJ|cc|3 *colour|ADJ|conj|1
*adj|ADJ|root|0 and|CCONJ|cc|3 *adj|ADJ|conj|1
*ing|VERB|root|0
*ing|VERB|root|0 *things|obj|1
*ing|VERB|root|0 *bare|obj|1
*being|VERB|root|0 *prep|ADP|case|3 *np|obl|1
*being|VERB|root|0 *prep|ADP|case|3 *bare|obl|1
*being|VERB|root|0 next|ADP|case|4 to|ADP|case|4 *np|obl|1
*standing|VERB|root|0 *prep|ADP|case|3 *np|obl|1
with|ADP|case|2 *things|root|0
with|ADP|case|2 *bare|root|0
in|ADP|case|2 *np|root|0
on|ADP|case|2 *np|root|0
*prep|ADP|case|2 *np|root|0
*bare|root|0 with|ADP|case|3 *bare|nmod|1
*bare|root|0 with|ADP|case|3 *bare|nmod|1 and|CCONJ|cc|5 *bare|conj|3
*bare|root|0 in|ADP|case|3 *bare|nmod|1
*bare|root|0 *prep|ADP|case|3 *bare|nmod|1
*bare|root|0 *ing|VERB|acl|1 *bare|obj|2
*bare|root|0 *ing|VERB|acl|1 *np|obj|2 *prep|ADP|case|5 *bare|obl|2
*bare|root|0 *being|VERB|acl|1 *prep|ADP|case|4 *bare|obl|2
*bare|root|0 *made|VERB|acl|1 *madeby|ADP|case|4 *bare|obl|2
*bare|root|0 and|CCONJ|cc|3 *bare|conj|1
*bare|root|0 *bare|conj|1
*np|root|0 without|ADP|case|3 *bare|nmod|1
*np|root|0 without|ADP|case|5 any|DET|det|5 *adj|ADJ|amod|5 *bare|nmod|1
*np|root|0 without|ADP|case|4 a|DET|det|4 *bare|nmod|1
without|ADP|case|2 *bare|root|0
no|DET|det|2 *bare|root|0
no|DET|det|2 *verblike|NOUN|root|0
no|DET|det|2 *bare|root|0 and|CCONJ|cc|5 no|DET|det|5 *bare|conj|2
no|DET|det|2 *bare|root|0 or|CCONJ|cc|4 *bare|conj|2
*np|root|0 and|CCONJ|cc|4 no|DET|det|4 *bare|conj|1
*np|root|0 ,|PUNCT|punct|4 no|DET|det|4 *bare|conj|1
*np|root|0 with|ADP|case|4 no|DET|det|4 *bare|nmod|1
*np|root|0 that|PRON|nsubj|3 has|VERB|acl:relcl|1 no|DET|det|5 *bare|obj|3
*np|root|0 who|PRON|nsubj|3 has|VERB|acl:relcl|1 no|DET|det|5 *bare|obj|3
*np|root|0 that|PRON|nsubj|5 does|AUX|aux|5 n't|PART|advmod|5 have|VERB|acl:relcl|1 *np|obj|5
*np|nsubj|4 does|AUX|aux|4 not|PART|advmod|4 have|VERB|root|0 any|DET|det|6 *bare|obj|4
*np|nsubj|4 is|AUX|aux|4 not|PART|advmod|4 *ing|VERB|root|0 *np|obj|4
*np|root|0 that|PRON|nsubj|5 is|AUX|cop|5 not|PART|advmod|5 *adj|ADJ|acl:relcl|1
there|PRON|expl|2 are|VERB|root|0 no|DET|det|4 *bare|nsubj|2 in|ADP|case|7 the|DET|det|7 *place|NOUN|obl|2
not|PART|advmod|3 a|DET|det|3 *bare|root|0
*verblike|NOUN|root|0 that|PRON|nsubj|4 are|AUX|cop|4 *colour|ADJ|acl:relcl|1 ,|PUNCT|punct|6 *colour|ADJ|conj|4 and|CCONJ|cc|8 *colour|ADJ|conj|4
*np|root|0 that|PRON|nsubj|4 is|AUX|cop|4 *colour|ADJ|acl:relcl|1 ,|PUNCT|punct|6 *colour|ADJ|conj|4 ,|PUNCT|punct|9 and|CCONJ|cc|9 *colour|ADJ|conj|4
*np|nsubj|3 is|AUX|cop|3 *colour|ADJ|root|0 ,|PUNCT|punct|5 *colour|ADJ|conj|3 and|CCONJ|cc|7 *colour|ADJ|conj|3
*colour|ADJ|amod|6 ,|PUNCT|punct|3 *colour|ADJ|conj|1 and|CCONJ|cc|5 *colour|ADJ|conj|1 *noun|NOUN|root|0
*colour|ADJ|amod|2 *noun|NOUN|root|0 and|CCONJ|cc|4 *noun|NOUN|conj|2
*adj|ADJ|amod|2 *plural|NOUN|root|0 and|CCONJ|cc|4 *plural|NOUN|conj|2
*np|root|0 with|ADP|case|4 *colour|ADJ|amod|4 *plural|NOUN|nmod|1 and|CCONJ|cc|6 *noun|NOUN|conj|4
*first|NOUN|compound|2 *noun|NOUN|root|0
a|DET|det|3 *first|NOUN|compound|3 *noun|NOUN|root|0
a|DET|det|4 *colour|ADJ|amod|4 *first|NOUN|compound|4 *noun|NOUN|root|0
a|DET|det|4 *first|NOUN|compound|3 *noun|NOUN|compound|4 *noun|NOUN|root|0
a|DET|det|3 *first|NOUN|compound|3 *person|NOUN|nmod:poss|6 's|PART|case|3 *adj|ADJ|amod|6 *noun|NOUN|root|0
*first|NOUN|compound|2 *verblike|NOUN|root|0
the|DET|det|4 *first|NOUN|compound|4 *first|NOUN|compound|4 *noun|NOUN|root|0 *being|VERB|acl|4 *prep|ADP|case|7 *np|obl|5
a|DET|det|2 *noun|NOUN|root|0 that|PRON|nsubj|4 reads|VERB|acl:relcl|2
a|DET|det|2 *noun|NOUN|root|0 that|PRON|nsubj|4 says|VERB|acl:relcl|2
a|DET|det|3 *adj|ADJ|amod|3 *noun|NOUN|root|0 saying|VERB|acl|3
*np|root|0 with|ADP|case|4 the|DET|det|4 text|NOUN|nmod|1
*np|nsubj|2 reads|VERB|root|0 in|ADP|case|5 *colour|ADJ|amod|5 *plural|NOUN|obl|2
Her|PRON|nmod:poss|2 *bare|nsubj|4 is|AUX|cop|4 *adj|ADJ|root|0
His|PRON|nmod:poss|2 *plural|NOUN|nsubj|4 are|AUX|cop|4 *adj|ADJ|root|0 and|CCONJ|cc|6 *adj|ADJ|conj|4
She|PRON|nsubj|2 wears|VERB|root|0 *things|obj|2
He|PRON|nsubj|2 has|VERB|root|0 *things|obj|2
She|PRON|nsubj|3 is|AUX|aux|3 *ing|VERB|root|0 *things|obj|3
It|PRON|nsubj|3 is|AUX|cop|3 *adj|ADJ|root|0
They|PRON|nsubj|3 are|AUX|aux|3 *being|VERB|root|0 *prep|ADP|case|5 *np|obl|3
The|DET|det|2 *noun|NOUN|nsubj|4 is|AUX|cop|4 *adj|ADJ|root|0
The|DET|det|2 *abstract|NOUN|nsubj|4 is|AUX|cop|4 *adj|ADJ|root|0
The|DET|det|2 scene|NOUN|nsubj|3 *shows|VERB|root|0 *things|obj|3
The|DET|det|2 *abstract|NOUN|nsubj|3 *shows|VERB|root|0 *np|obj|3 ,|PUNCT|punct|6 *making|VERB|advcl|3 a|DET|det|8 sense|NOUN|obj|6 of|ADP|case|10 *abstract|NOUN|nmod|8
*np|root|0 ,|PUNCT|punct|3 *making|VERB|acl|1 a|DET|det|6 *adj|ADJ|amod|6 *abstract|NOUN|obj|3
*making|VERB|root|0 a|DET|det|3 sense|NOUN|obj|1 of|ADP|case|5 *abstract|NOUN|nmod|3 and|CCONJ|cc|7 *abstract|NOUN|conj|5
In|ADP|case|3 the|DET|det|3 *ground|NOUN|obl|6 ,|PUNCT|punct|6 *np|nsubj|6 *stands|VERB|root|0 *prep|ADP|case|8 *np|obl|6
in|ADP|case|3 the|DET|det|3 *ground|NOUN|obl|5 *np|nsubj|5 *stands|VERB|root|0
*np|root|0 in|ADP|case|4 the|DET|det|4 *ground|NOUN|nmod|1
*np|nsubj:pass|3 is|AUX|aux:pass|3 *adorned|VERB|root|0 *by|ADP|case|5 *things|obl|3
*np|nsubj|2 *stands|VERB|root|0 *prep|ADP|case|4 *np|obl|2 ,|PUNCT|punct|6 its|PRON|nmod:poss|7 *bare|nsubj|8 *ing|VERB|advcl|2 *prep|ADP|case|10 *np|obl|8
*np|nsubj|2 *stands|VERB|root|0 *prep|ADP|case|4 *np|obl|2 ,|PUNCT|punct|6 *adorned|VERB|advcl|2 *by|ADP|case|8 *np|obl|6
*np|root|0 ,|PUNCT|punct|3 *adorned|VERB|acl|1 *by|ADP|case|5 *np|obl|3
*np|root|0 ,|PUNCT|punct|3 *ing|VERB|acl|1 *np|obj|3
*np|root|0 ,|PUNCT|punct|4 with|ADP|case|4 *np|nmod|1
*adorned|VERB|root|0 *by|ADP|case|3 *things|obl|1
*adorned|VERB|root|0 in|ADP|case|3 *bare|obl|1
*np|nsubj|2 *stands|VERB|root|0 *prep|ADP|case|4 *np|obl|2 while|SCONJ|mark|7 *np|nsubj|7 *stands|VERB|advcl|2 *prep|ADP|case|9 *np|obl|7
*np|nsubj|2 features|VERB|root|0 *things|obj|2
*np|nsubj|3 is|AUX|aux|3 *being|VERB|root|0 *prep|ADP|case|5 *np|obl|3 ,|PUNCT|punct|7 *ing|VERB|advcl|3 *np|obj|7
as|SCONJ|mark|3 *np|nsubj|3 *stands|VERB|root|0 *prep|ADP|case|5 *np|obl|3
one|NUM|nsubj|2 *does|VERB|root|0 *np|obj|2 and|CCONJ|cc|7 the|DET|det|6 other|ADJ|nsubj|7 *does|VERB|conj|2 *np|obj|7
*np|root|0 on|ADP|case|4 the|DET|det|4 left|NOUN|nmod|1 and|CCONJ|cc|6 *np|conj|1 on|ADP|case|9 the|DET|det|9 right|NOUN|nmod|6
*bare|root|0 as|ADP|case|3 *np|nmod|1
*np|root|0 that|PRON|nsubj|3 looks|VERB|acl:relcl|1 like|ADP|case|5 *np|obl|3
*np|root|0 half|ADV|advmod|3 *adorned|VERB|acl|1 *by|ADP|case|5 *np|obl|3
*colour|ADJ|amod|2 *noun|NOUN|root|0 ,|PUNCT|punct|5 *colour|ADJ|amod|5 *noun|NOUN|conj|1
A|DET|det|3 *pic|NOUN|compound|3 shot|NOUN|root|0 of|ADP|case|5 *things|nmod|3
*name|PROPN|compound|2 *name|PROPN|root|0
*name|PROPN|root|0 as|ADP|case|4 a|DET|det|4 *bare|nmod|1
*name|PROPN|nsubj|3 is|AUX|aux|3 *ing|VERB|root|0 *np|obj|3
*noun|NOUN|root|0
*noun|NOUN|root|0
*adj|ADJ|amod|2 *noun|NOUN|root|0
*colour|ADJ|amod|2 *noun|NOUN|root|0
*first|NOUN|compound|2 *noun|NOUN|root|0
*first|NOUN|compound|2 *noun|NOUN|root|0
*first|NOUN|compound|2 *verblike|NOUN|root|0
*first|NOUN|compound|2 *plural|NOUN|root|0
*beingadj|VERB|amod|2 *bare|root|0
*beingadj|VERB|amod|2 *noun|NOUN|root|0
a|DET|det|3 *beingadj|VERB|amod|3 *noun|NOUN|root|0
in|ADP|case|4 *beingadj|VERB|amod|4 *colour|ADJ|amod|4 *noun|NOUN|root|0
*np|root|0 in|ADP|case|4 *beingadj|VERB|amod|4 *bare|nmod|1
*ing|VERB|root|0 *noun|NOUN|obj|1
*ing|VERB|root|0 *first|NOUN|compound|3 *noun|NOUN|obj|1
*ing|VERB|root|0 *adj|ADJ|amod|3 *noun|NOUN|obj|1
*noun|NOUN|root|0 *being|VERB|acl|1
*bare|root|0 *being|VERB|acl|1
*verblike|NOUN|root|0 *being|VERB|acl|1 *prep|ADP|case|4 *np|obl|2
*bare|root|0 *being|VERB|acl|1 *where|ADV|advmod|2
*noun|NOUN|root|0 *where|ADV|advmod|1
*verblike|NOUN|nsubj|2 *standp|VERB|root|0 *prep|ADP|case|4 *np|obl|2
*plural|NOUN|nsubj|2 *standp|VERB|root|0 *prep|ADP|case|4 *np|obl|2
*plural|NOUN|nsubj|2 *dop|VERB|root|0 *np|obj|2
*adj|ADJ|amod|2 *plural|NOUN|nsubj|3 *standp|VERB|root|0 *prep|ADP|case|5 *np|obl|3
*noun|NOUN|nsubj|2 *does|VERB|root|0 *np|obj|2
a|DET|det|2 *noun|NOUN|nsubj|3 *stands|VERB|root|0
the|DET|det|2 *noun|NOUN|nsubj|3 *stands|VERB|root|0 *prep|ADP|case|5 *np|obl|3
a|DET|det|3 *first|NOUN|compound|3 *noun|NOUN|nsubj|4 *stands|VERB|root|0 *prep|ADP|case|6 *np|obl|4
a|DET|det|3 *first|NOUN|compound|3 *noun|NOUN|root|0 with|ADP|case|5 *np|nmod|3
*np|root|0 that|PRON|nsubj|4 is|AUX|aux:pass|4 *adorned|VERB|acl:relcl|1 *colour|ADJ|xcomp|4
*np|nsubj|7 that|PRON|nsubj|3 has|VERB|acl:relcl|1 *colour|ADJ|amod|5 *plural|NOUN|obj|3 ,|PUNCT|punct|1 *stands|VERB|root|0
*np|nsubj|6 that|PRON|nsubj|3 has|VERB|acl:relcl|1 *adj|ADJ|amod|5 *plural|NOUN|obj|3 *stands|VERB|root|0 *prep|ADP|case|8 *np|obl|6
*np|root|0 with|ADP|case|3 *bare|nmod|1 but|CCONJ|cc|6 without|ADP|case|6 *bare|conj|3
*np|nsubj|2 *stands|VERB|root|0 side|NOUN|obl:unmarked|2 by|ADP|case|5 side|NOUN|nmod|3 on|ADP|case|7 *np|obl|2
a|DET|det|2 *noun|NOUN|root|0 full|ADJ|amod|2 of|ADP|case|5 *bare|obl|3
*verblike|NOUN|root|0 ,|PUNCT|punct|3 *colour|ADJ|conj|1 and|CCONJ|cc|5 *colour|ADJ|conj|3
""".strip().splitlines()  # noqa: E501

HELD_OUT = TEMPLATES[4::5]
LEARNT = [template for template in TEMPLATES if template not in HELD_OUT]

_VERBLIKE = (
    "sail wave bow duck fly drop light rock step fall leave plant stand train park watch ring crown mask pan nail stamp "
    "spring "
    "bat bear saw hammer swing walk ship cook tear crack bloom spark star fan flag pipe swallow stripe spot feather flower "
    "tattoo braid horn freckle glass cloud shadow reflection bubble ripple petal button pocket sleeve lace strap buckle "
    "curl lock bang bob curve coil loop trail track block brick board print stain splash spray stream flame smoke beam ray "
    "glow bark paw point spike scale shell web nest pool bridge arch dome tower pillar column gate fence cage chain rope"
).split()
_ABSTRACT = (
    "mood atmosphere composition lighting contrast depth beauty elegance mystery wonder nostalgia serenity tranquility calm "
    "movement motion warmth intensity drama tension joy sadness power grace harmony energy emotion focus detail texture "
    "perspective palette tone style aesthetic ambiance feeling scale realism magic adventure solitude peace freedom luxury"
).split()
_ADORNED = (
    "adorned surrounded illuminated decorated framed bathed filled covered lit topped lined draped dotted scattered crowned "
    "flanked accented complemented wrapped dressed clad engulfed shrouded submerged immersed silhouetted nestled"
).split()
_SURFACES = "wall floor ceiling roof door window curtain shirt hat glove boot shoe jacket scarf eye ear tail wing".split()


class Filler(Maker):
    """Fills templates."""

    def template(self, line: str) -> Phrase:
        items = [item.split("|") for item in line.split()]
        parts: list[Phrase] = []
        for text, *pos, _, _ in items:
            parts.append(getattr(self, text[1:])() if not pos else [Word(self.word(text), pos[0])])
        roots = [next(word for word in part if word.head is None) for part in parts]
        for item, part in zip(items, parts, strict=True):
            if int(item[-1]):
                govern(roots[int(item[-1]) - 1], item[-2], part)
        found = [word for part in parts for word in part]
        for before, word in pairwise(found):
            if word.text in (",", "n't", "'s"):
                before.space = False
        return found

    def word(self, text: str) -> str:
        return getattr(self, "w_" + text[1:])() if text.startswith("*") else text

    # ------------------------------------------------------------------------------------------------------ phrases

    def np(self) -> Phrase:
        return self.noun_phrase(2)

    def bare(self) -> Phrase:
        return self.noun_phrase(2, article=False, plain=True)

    def adjs(self) -> Phrase:
        head = Word(self.adjective(), "ADJ")
        if self.chance(0.3):
            return [Word(self.rng.choice(words.SHADES), "ADJ", "amod", head), head]
        return [head]

    # -------------------------------------------------------------------------------------------------------- words

    def w_adj(self) -> str:
        return self.adjective()

    def w_colour(self) -> str:
        return self.rng.choice(words.COLOURS)

    def w_noun(self) -> str:
        return self.noun().split()[-1]

    def w_plural(self) -> str:
        return plural_of(self.rng.choice(_SURFACES) if self.chance(0.3) else self.noun().split()[-1])

    def w_person(self) -> str:
        return self.rng.choice(words.PEOPLE)

    def w_first(self) -> str:
        if self.chance(0.4):
            return self.noun().split()[-1]
        return self.pick(words.FIRST_NOUNS, words.MATERIALS).split()[0]

    def w_verblike(self) -> str:
        return plural_of(self.rng.choice(_VERBLIKE))

    def w_verblike1(self) -> str:
        return self.rng.choice(_VERBLIKE)

    def w_place(self) -> str:
        return self.rng.choice((*words.PLACES, "sunset", "rain", "snow", "wind", "moonlight", "fog", "night")).split()[-1]

    def w_adv(self) -> str:
        return self.rng.choice((*words.HOW, "intricately", "ultra", "hyper", "incredibly", "finely", "super"))

    def w_ing(self) -> str:
        return ing_of(self.verb(words.DOING))

    def w_being(self) -> str:
        return ing_of(self.verb(words.BEING))

    def w_beingadj(self) -> str:
        return ing_of(self.rng.choice((*words.BEING, *"shine flow fold ride fish race".split())))

    def w_standp(self) -> str:
        return self.verb((*words.BEING, "crash"))

    def w_dop(self) -> str:
        return self.verb(words.DOING)

    def w_where(self) -> str:
        return self.rng.choice(
            ("overhead", "underwater", "everywhere", "nearby", "outside", "above", "below", "around", "away")
        )

    def w_standing(self) -> str:
        return self.rng.choice(words.STANDING)

    def w_prep(self) -> str:
        return self.rng.choice((*words.PREPOSITIONS, "through", "across", "among", "along", "behind", "into", "against"))

    def w_made(self) -> str:
        return self.rng.choice(words.MADE)

    def w_madeby(self) -> str:
        return self.rng.choice(("of", "from", "with", "in", "out"))

    def w_adorned(self) -> str:
        return self.rng.choice(_ADORNED)

    def w_by(self) -> str:
        return self.rng.choice(("with", "by", "in"))

    def w_ground(self) -> str:
        return self.rng.choice(("background", "foreground", "distance", "center", "middle", "corner", "sky"))

    def w_stands(self) -> str:
        return third_of(self.verb(words.BEING))

    def w_does(self) -> str:
        return third_of(self.verb(words.DOING))

    def w_shows(self) -> str:
        return self.rng.choice(("shows", "captures", "depicts", "features", "evokes", "highlights", "reveals", "conveys"))

    def w_making(self) -> str:
        return self.rng.choice(("creating", "evoking", "adding", "giving", "conveying", "casting", "suggesting", "capturing"))

    def w_abstract(self) -> str:
        return self.rng.choice(_ABSTRACT)

    def w_pic(self) -> str:
        return self.rng.choice(("close-up", "portrait", "film", "drone", "body", "action", "product", "wide"))

    def w_name(self) -> str:
        name = self.invented()
        return name.title() if self.chance(0.8) else name


def prompts(seed: int, lexicon: Lexicon, templates: Sequence[str]) -> Iterator[Phrase]:
    """Yield filled templates without end; the n-th depends on the seed and n alone."""
    number = 0
    while True:
        rng = random.Random(f"{seed} template {number}")
        made = Filler(rng, lexicon).template(rng.choice(templates))
        if rng.random() < 0.3:
            made[0].text = made[0].text[:1].upper() + made[0].text[1:]
        elif rng.random() < 0.06:
            for word in made:
                word.text = word.text.title()
        if rng.random() < 0.25:
            made[-1].space = rng.random() < 0.05
            made = [*made, Word(".", "PUNCT", "punct", next(word for word in made if word.head is None))]
        yield made
        number += 1
