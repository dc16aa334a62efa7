"""What a method needs in a prompt, found by trying its losses on made-up prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from ..losses import Loss
from ..losses.base import SumLoss, applies_to_images
from ..losses.groups import TokenGroups
from .edit import Edit

_KINDS = (  # number of modifiers of each entity, and words for that; from the smallest need to the largest
    ((0,), "an entity"),
    ((0, 0), "two entities"),
    ((1,), 'an entity with a modifier, as in "red cat"'),
    ((1, 1), 'two entities with modifiers, as in "red cat and blue bench"'),
)


def needs_of(losses: Iterable[Loss], edits: Sequence[Edit]) -> str:
    """Return what a prompt must have for one of these losses and edits to act on it.

    >>> from unbleed.losses import BindingLoss, OverlapLoss
    >>> needs_of([OverlapLoss()], ())
    'two entities'
    >>> needs_of([BindingLoss()], ())
    'an entity with a modifier, as in "red cat" (or include_entities=True)'
    """
    # a loss on regions applies to images in which an edit has some
    parts = [part for loss in losses if not loss.reads_regions for part in _parts(loss)]
    found = dict.fromkeys([next((_words(part, words) for kind, words in _KINDS if _acts(part, kind)), "") for part in parts])
    return " or ".join(dict.fromkeys([*filter(None, found), *(edit.needs for edit in edits)])) or "something else"


def _parts(loss: Loss) -> Iterator[Loss]:
    if isinstance(loss, SumLoss):
        for _, part in loss.weighted:
            yield from _parts(part)
    else:
        yield loss


def _words(loss: Loss, words: str) -> str:
    choice = getattr(loss, "include_entities", None) is False
    return f"{words} (or include_entities=True)" if choice else words


def _acts(loss: Loss, modifiers: tuple[int, ...]) -> bool:
    """Return whether a loss acts on a prompt whose entities have these numbers of modifiers."""
    owners = [entity for entity, count in enumerate(modifiers) for _ in range(count)]
    words = torch.eye(len(modifiers) + len(owners) + 1, dtype=torch.bool)[1:]  # the first token is the start
    groups = TokenGroups(
        images=1,
        noun=words[: len(modifiers)],
        entity_image=torch.zeros(len(modifiers), dtype=torch.long),
        modifier=words[len(modifiers) :],
        modifier_entity=torch.tensor(owners, dtype=torch.long),
        prompt=words.any(dim=0, keepdim=True),
        padded_with_end=torch.ones(1, dtype=torch.bool),
    )
    return bool(applies_to_images(loss, groups).any())
