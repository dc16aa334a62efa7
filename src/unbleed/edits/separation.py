"""DOS: the text embeddings of objects are pushed apart, the more the likelier the model is to mix them.

DOS, AAAI 2026 40(4), arXiv 2510.14376; from its formulas. For every ordered pair of objects (n, m) of a prompt with k objects,
the tokens of n and the end token move along directions that come from other texts. With e the embedding of a text at its object
or at its end token,

    object n   +=  a_obj ( e["a n"] - e["a m"] )
    end        +=  a_end ( e["a n separated from a m"] - e["a n mixed with a m"] )
    a = strength max( sigmoid((v - v0) / 0.6), sigmoid((b - b0) / 0.6) ) / (k - 1)

v is how alike the two objects look, b how unlike their surroundings are. A profile z_n over words w holds the cosines of
e["a n"] and e["a w n"], standardised. Then v = cos(z_n, z_m) over adjectives of shape and texture, and b = 1 - cos(z_n, z_m)
over scenes, in texts "w, there is a n". v0 and b0 are the authors', for Stable Diffusion XL and 3.5.

Ours: the 42 adjectives and 36 scenes (the authors' number, our words, so v0 and b0 fit them only roughly); an object of several
pieces is their mean, and all of them move; the pooled embedding, which the paper moves too, stays as it is. On Stable Diffusion
3 CLIP's tokens move, not T5's, as in the paper. A text encoder that mixes no words gives every text of one length the same end,
which then does not move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..guidance.edit import ActiveEdit, BatchRows, CallContext, Edit
from ..settings import NotNegative, setting

ADJECTIVES = (
    "round square triangular rectangular oval flat curved straight pointed spiky angular long short thin thick slender bulky "
    "tall smooth rough fluffy furry hairy scaly feathered shiny glossy matte wrinkled bumpy striped spotted wooden metallic "
    "glassy leathery woolen rubbery plastic stony soft hard"
).split()
SCENES = (
    "in a forest|in a desert|on a beach|in the ocean|in a river|by a lake|on a mountain|in a field|in a meadow|in a jungle|"
    "in snow|in a cave|in the sky|in space|in a garden|in a park|on a farm|in a barn|on a street|on a road|in a city|"
    "in a village|in a kitchen|in a bedroom|in a living room|in a bathroom|in an office|in a classroom|in a library|"
    "in a museum|in a restaurant|in a shop|in a garage|in a factory|in a stadium|on a table"
).split("|")
WIDTH = 0.6  # of the sigmoid
_AT_ONCE = 64  # texts that are encoded together


class Centers(NamedTuple):
    """Where the two sigmoids are at one half, for one kind of token."""

    looks: float
    scenes: float


CENTERS = {
    "sd": {"object": Centers(0.5550, 0.1592), "end": Centers(0.5474, 0.3862)},  # Stable Diffusion XL
    "sd3": {"object": Centers(0.5536, 0.1705), "end": Centers(0.5473, 0.3877)},  # Stable Diffusion 3.5
}


def standardised(values: Tensor) -> Tensor:
    """Return values (..., word) with mean 0 and deviation 1 over words; 0 where they are all alike."""
    apart = values - values.mean(dim=-1, keepdim=True)
    deviation = apart.square().mean(dim=-1, keepdim=True).sqrt()
    return torch.where(deviation > 1e-6, apart / deviation.clamp(min=1e-6), 0)


def strength_of(looks: Tensor, scenes: Tensor, centers: Centers, objects: int, strength: float = 1.0) -> Tensor:
    """Return a (object, object), how far each object moves from each other one.

    Args:
        looks: Profiles over adjectives, (object, word): cosines.
        scenes: Profiles over scenes, (object, word).
        centers: Of the sigmoids.
        objects: Their number k.
        strength: A factor.
    """

    def alike(profiles: Tensor) -> Tensor:
        z = F.normalize(standardised(profiles), dim=-1)
        return z @ z.mT

    by_looks = torch.sigmoid((alike(looks) - centers.looks) / WIDTH)
    by_scenes = torch.sigmoid((1 - alike(scenes) - centers.scenes) / WIDTH)
    return strength * torch.maximum(by_looks, by_scenes) / max(objects - 1, 1)


def shifts(own: Tensor, weights: Tensor) -> Tensor:
    """Return how each object moves, (object, channel): over the others, the weight times the difference from them.

    >>> shifts(torch.tensor([[1.0], [3.0]]), torch.full((2, 2), 0.5)).flatten()
    tensor([-1.,  1.])
    """
    weights = weights - torch.diag(weights.diagonal())
    return weights.sum(dim=1, keepdim=True) * own - weights @ own


@dataclass(frozen=True)
class SeparationEdit(Edit):
    """Push the text embeddings of the objects of a prompt apart.

    DOS, AAAI 2026, arXiv 2510.14376.

    >>> from unbleed.edits import SeparationEdit
    >>> SeparationEdit().families
    ('sd', 'sd3')
    """

    strength: NotNegative = setting(1.0, help="factor of all shifts")
    families = ("sd", "sd3")
    acts_inside = False
    needs = "two entities"

    def open(self, context: CallContext) -> ActiveEdit:
        length = _tokenizer(context.pipe).model_max_length
        objects = [_objects(tokens, length) for tokens in context.tokens]
        texts = _Encoded(context, {noun for own in objects for noun in own})
        centers = CENTERS[context.family.name]
        moves = [
            self._moves(own, tokens.end, texts, centers) if len(own) > 1 else []
            for own, tokens in zip(objects, context.tokens, strict=True)
        ]
        return _Separated(moves)

    def _moves(self, objects: Mapping[str, list[int]], end: int, texts: _Encoded, centers: Mapping[str, Centers]) -> list[Move]:
        """Return how the embeddings of one prompt move, from its objects' positions and that of its end token."""
        nouns = list(objects)
        far = {
            kind: strength_of(texts.looks(kind, nouns), texts.scenes(kind, nouns), own, len(nouns), self.strength)
            for kind, own in centers.items()
        }
        alone = torch.stack([texts.at("object", f"a {noun}", noun) for noun in nouns])
        of_end = torch.zeros_like(alone[0])
        for a, b in permutations(range(len(nouns)), 2):
            n, m = nouns[a], nouns[b]
            apart, mixed = (texts.at("end", f"a {n} {how} a {m}", m) for how in ("separated from", "mixed with"))
            of_end = of_end + far["end"][a, b] * (apart - mixed)
        return [*zip(objects.values(), shifts(alone, far["object"]), strict=True), ([end], of_end)]


Move = tuple[list[int], Tensor]
"""Positions in the prompt's sequence, and what is added to their embeddings, (channel,)."""


def _tokenizer(pipe: Any) -> Any:
    return pipe.tokenizer or pipe.tokenizer_2


def _objects(tokens: Any, length: int) -> dict[str, list[int]]:
    """Return the nouns of a prompt with their positions in CLIP's sequence, each noun once."""
    found: dict[str, list[int]] = {}
    for entity, (places, _) in zip(tokens.kept, tokens.entities, strict=True):
        found.setdefault(entity.noun, []).extend(place for place in places if place < length)
    return {noun: places for noun, places in found.items() if places}


class _Encoded:
    """Embeddings of texts that end in an object, at the object or at the end token."""

    def __init__(self, context: CallContext, nouns: set[str]) -> None:
        self.encode: Callable[[Sequence[str]], Tensor] = context.encode
        self.tokenizer = _tokenizer(context.pipe)
        self.rows: dict[str, Tensor] = {}  # (token, channel)
        self.pieces = {noun: len(self._ids(noun)) for noun in nouns}

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _of(self, texts: Sequence[str]) -> list[Tensor]:
        lacking = [text for text in dict.fromkeys(texts) if text not in self.rows]
        for start in range(0, len(lacking), _AT_ONCE):
            part = lacking[start : start + _AT_ONCE]
            self.rows.update(zip(part, self.encode(part), strict=True))
        return [self.rows[text] for text in texts]

    def at(self, kind: str, text: str, noun: str) -> Tensor:
        """Return the embedding of a text at its last noun, the mean over its pieces, or at its end token, (channel,)."""
        end = 1 + len(self._ids(text))  # after the start token
        (row,) = self._of([text])
        found = row[end] if kind == "end" else row[end - self.pieces[noun] : end].mean(dim=0)
        return found.float()

    def looks(self, kind: str, nouns: Sequence[str]) -> Tensor:
        """Return the profiles over adjectives, (noun, word)."""
        return torch.stack([self.profile(kind, noun, [f"a {word} {noun}" for word in ADJECTIVES]) for noun in nouns])

    def scenes(self, kind: str, nouns: Sequence[str]) -> Tensor:
        """Return the profiles over scenes, (noun, word)."""
        return torch.stack([self.profile(kind, noun, [f"{word}, there is a {noun}" for word in SCENES]) for noun in nouns])

    def profile(self, kind: str, noun: str, texts: Sequence[str]) -> Tensor:
        """Return the cosines of the embedding of the noun alone and those of `texts`, (text,)."""
        plain = f"a {noun}"
        self._of([plain, *texts])  # together
        others = torch.stack([self.at(kind, text, noun) for text in texts])
        return F.cosine_similarity(others, self.at(kind, plain, noun)[None])


class _Separated(ActiveEdit):
    def __init__(self, moves: list[list[Move]]) -> None:
        self.moves = moves

    def applies_to(self, image: int) -> bool:
        return bool(self.moves[image])

    def text(self, embeddings: Tensor, rows: BatchRows) -> Tensor:
        if not any(self.moves[image] for image in rows.images):
            return embeddings
        moved = embeddings.clone()
        for row, image in enumerate(rows.images, start=rows.first):
            for positions, shift in self.moves[image]:
                moved[row, positions] += shift.to(moved)
        return moved
