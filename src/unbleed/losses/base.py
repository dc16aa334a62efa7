"""What every loss has in common, and how losses add up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .groups import TokenGroups
from .maps import Kept

Remembered = Literal["measured", "moved"]
"""Maps of a step: as the loss was last measured on them, or behind the update, at the price of a part of a forward more."""


@dataclass(frozen=True)
class Seen:
    """What a loss sees of a batch at one evaluation. All but `maps` is there only for losses that ask for it."""

    maps: Tensor  # averaged attention to the text, (batch, token, height, width), raw: each place sums to 1 over tokens
    self_maps: Tensor | None = None  # averaged self-attention, (batch, place, place), of the same grid: each row sums to 1
    before: Tensor | None = None  # `maps` of the step before (`Loss.remembers`), without gradient; None at a run's first step
    share: float = 0.0  # of the run that is over, from 0 to 1


class Loss(ABC):
    """A loss with its settings. Losses compose: `ExciteLoss() + 0.5 * BindingLoss()`."""

    @property
    def reads_self_attention(self) -> bool:
        return False

    @property
    def remembers(self) -> Remembered | None:
        """Which maps of the step before are wanted in `Seen.before`, if any."""
        return None

    @abstractmethod
    def terms(self, seen: Seen, groups: TokenGroups) -> dict[str, Tensor]:
        """Return the loss in parts that add up to it, each of shape (batch,)."""

    @abstractmethod
    def concerns(self, groups: TokenGroups) -> Tensor:
        """Return bool (batch,): where the prompt has something that this loss is about."""

    def __call__(self, maps: Tensor, groups: TokenGroups, **more: Any) -> Tensor:
        """Return the loss, (batch,), for maps (batch, token, height, width); `more` are further fields of `Seen`."""
        return torch.stack(list(self.terms(Seen(maps, **more), groups).values())).sum(dim=0)

    def __add__(self, other: Loss) -> Loss:
        return SumLoss((*_weighted(self), *_weighted(other))) if isinstance(other, Loss) else NotImplemented

    def __mul__(self, weight: float) -> Loss:
        return SumLoss(tuple((weight * own, loss) for own, loss in _weighted(self)))

    __rmul__ = __mul__


@dataclass(frozen=True)
class SumLoss(Loss):
    """A weighted sum of losses; its parts are named after the loss they come from."""

    weighted: tuple[tuple[float, Loss], ...]

    @property
    def reads_self_attention(self) -> bool:
        return any(loss.reads_self_attention for _, loss in self.weighted)

    @property
    def remembers(self) -> Remembered | None:
        wanted = {loss.remembers for _, loss in self.weighted}
        return "moved" if "moved" in wanted else "measured" if "measured" in wanted else None

    def terms(self, seen: Seen, groups: TokenGroups) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        for weight, loss in self.weighted:
            for name, value in loss.terms(seen, groups).items():
                while name in parts:
                    name += "'"
                parts[name] = weight * value
        return parts

    def concerns(self, groups: TokenGroups) -> Tensor:
        return torch.stack([loss.concerns(groups) for _, loss in self.weighted]).any(dim=0)


@dataclass(frozen=True)
class RenormalisingLoss(Loss):
    """Settings of the losses that read the maps as Attend-and-Excite makes them, see `unbleed.losses.maps`."""

    kept: Kept = "auto"
    temperature: float = 100.0
    sigma: float = 0.5

    @property
    def reading(self) -> dict[str, Any]:
        return {"kept": self.kept, "temperature": self.temperature, "sigma": self.sigma}


def _weighted(loss: Loss) -> tuple[tuple[float, Loss], ...]:
    return loss.weighted if isinstance(loss, SumLoss) else ((1.0, loss),)


def has_entities(groups: TokenGroups, least: int = 1) -> Tensor:
    """Return bool (batch,): where the prompt has at least so many entities."""
    return torch.bincount(groups.entity_image, minlength=groups.images) >= least


def has_modifiers(groups: TokenGroups) -> Tensor:
    """Return bool (batch,): where the prompt has an entity with a modifier."""
    return any_per_image(groups, groups.entity_image[groups.modifier_entity])


def any_per_image(groups: TokenGroups, image: Tensor) -> Tensor:
    """Return bool (batch,): True where `image`, a list of image indices, names it."""
    named = torch.zeros(groups.images, dtype=torch.bool, device=image.device)
    named[image] = True
    return named


def sum_per_image(values: Tensor, image: Tensor, images: int) -> Tensor:
    """Return (batch,): the sum of `values` (item,) over the items of each image; 0 where it has none."""
    return values.new_zeros(images).index_add(0, image, values)


def mean_per_image(values: Tensor, image: Tensor, images: int) -> Tensor:
    """Return (batch,): the mean of `values` (item,) over the items of each image; 0 where it has none."""
    count = torch.bincount(image, minlength=images).clamp(min=1)
    return sum_per_image(values, image, images) / count


def worst_per_image(values: Tensor, image: Tensor, images: int) -> Tensor:
    """Return (batch,): the largest of `values` (item,), which are 0 or more, of each image; 0 where it has none."""
    return values.new_zeros(images).scatter_reduce(0, image, values, reduce="amax", include_self=True)
