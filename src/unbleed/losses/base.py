"""What every loss has in common, and how losses add up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from .groups import TokenGroups


class Loss(ABC):
    """A loss with its settings. Losses compose: `ExciteLoss() + 0.5 * BindingLoss()`."""

    @abstractmethod
    def terms(self, maps: Tensor, groups: TokenGroups) -> dict[str, Tensor]:
        """Return the loss in parts that add up to it, each of shape (batch,).

        `maps` are the averaged attention maps (batch, token, height, width), raw: each place sums to 1 over tokens.
        """

    @abstractmethod
    def concerns(self, groups: TokenGroups) -> Tensor:
        """Return bool (batch,): where the prompt has something that this loss is about."""

    def __call__(self, maps: Tensor, groups: TokenGroups) -> Tensor:
        """Return the loss, (batch,)."""
        return torch.stack(list(self.terms(maps, groups).values())).sum(dim=0)

    def __add__(self, other: Loss) -> Loss:
        return SumLoss((*_weighted(self), *_weighted(other))) if isinstance(other, Loss) else NotImplemented

    def __mul__(self, weight: float) -> Loss:
        return SumLoss(tuple((weight * own, loss) for own, loss in _weighted(self)))

    __rmul__ = __mul__


@dataclass(frozen=True)
class SumLoss(Loss):
    """A weighted sum of losses; its parts are named after the loss they come from."""

    weighted: tuple[tuple[float, Loss], ...]

    def terms(self, maps: Tensor, groups: TokenGroups) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        for weight, loss in self.weighted:
            for name, value in loss.terms(maps, groups).items():
                while name in parts:
                    name += "'"
                parts[name] = weight * value
        return parts

    def concerns(self, groups: TokenGroups) -> Tensor:
        return torch.stack([loss.concerns(groups) for _, loss in self.weighted]).any(dim=0)


def _weighted(loss: Loss) -> tuple[tuple[float, Loss], ...]:
    return loss.weighted if isinstance(loss, SumLoss) else ((1.0, loss),)


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
