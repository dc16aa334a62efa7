"""The base class of losses, their weighted sums, and losses made from functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from ..errors import MethodError
from ..precision import in_single
from ..settings import Documented, NotNegative, Positive, check_settings, is_number, setting
from .groups import TokenGroups
from .maps import SIGMA, Kept, SoftmaxSettings

PreviousMaps = Literal["measured", "moved"]
"""Which maps of the previous step a loss needs: those of its last evaluation ("measured"), or those read again after the update
("moved"), which takes one additional partial forward."""


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of a batch at one evaluation of a loss. All fields but `maps` are given only to losses that ask for them.

    >>> import torch
    >>> from unbleed.losses import AttentionMaps
    >>> AttentionMaps(torch.full((1, 8, 16, 16), 1 / 8), progress=0.2).maps.shape
    torch.Size([1, 8, 16, 16])

    Args:
        maps: Attention to the text averaged over layers and heads, (batch, token, height, width), raw: each pixel sums to 1
            over the tokens. At least float32.
        self_maps: Self-attention averaged over layers and heads, (batch, pixel, pixel), on the same grid: each row sums to 1.
        previous_maps: `maps` of the previous step, detached, see `Loss.needs_previous_maps`; None in the first step.
        progress: Fraction of the run that is done, from 0 to 1.
        regions: Bool (entity, height, width), in the order of `TokenGroups.noun`, for methods with regions.
    """

    maps: Tensor
    self_maps: Tensor | None = None
    previous_maps: Tensor | None = None
    progress: float = 0.0
    regions: Tensor | None = None


LossFunction = Callable[[Tensor, TokenGroups], Tensor]
"""`f(maps, groups)`: raw maps (batch, token, height, width) to one value per image, (batch,), lower is better."""


class Loss(Documented, ABC):
    """A loss on attention maps with its settings. Losses and functions add up:

    >>> from unbleed.losses import BindingLoss, ExciteLoss
    >>> def spread(maps, groups):
    ...     return maps.var(dim=(2, 3)).sum(dim=1)
    >>> ExciteLoss() + 0.5 * BindingLoss() - spread  # doctest: +ELLIPSIS
    SumLoss(weighted=((1.0, ExciteLoss(...)), (0.5, BindingLoss(...)), (-1.0, spread)))

    A subclass implements `terms`. It may be a frozen dataclass; its fields are then checked against their annotations.
    """

    def __post_init__(self) -> None:
        if is_dataclass(self):
            check_settings(self)

    @property
    def reads_self_attention(self) -> bool:
        """Whether the loss reads `AttentionMaps.self_maps`."""
        return False

    @property
    def reads_regions(self) -> bool:
        """Whether the loss reads `AttentionMaps.regions`. No step is guided before there are regions."""
        return False

    @property
    def needs_previous_maps(self) -> PreviousMaps | None:
        """Which maps of the previous step the loss reads in `AttentionMaps.previous_maps`, if any."""
        return None

    @abstractmethod
    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        """Return the loss as named terms that add up to it, each (batch,). Maps are at least float32."""

    def applies_to(self, groups: TokenGroups) -> Tensor:
        """Return the images that the loss applies to, bool (batch,), by default all. The others are not guided by it."""
        return torch.ones(groups.images, dtype=torch.bool, device=groups.prompt.device)

    def __call__(self, maps: Tensor, groups: TokenGroups, **more: Any) -> Tensor:
        """Return the loss, (batch,), in the precision of `maps`; maps in half precision are computed in float32.

        Args:
            maps: Raw attention maps, (batch, token, height, width).
            groups: The entities of the batch.
            **more: Further fields of `AttentionMaps`.

        Raises:
            MethodError: If the loss does not return one float per image, computed from the maps.
        """
        # a floor, or one pixel among many, underflows in float16
        single: dict[str, Any] = {
            name: in_single(value) if isinstance(value, Tensor) else value for name, value in more.items()
        }
        terms = terms_of(self, AttentionMaps(in_single(maps), **single), groups)
        return torch.stack(list(terms.values())).sum(dim=0).to(maps.dtype)

    def __add__(self, other: Loss | LossFunction) -> Loss:
        if not (isinstance(other, Loss) or callable(other)):
            return NotImplemented
        return SumLoss((*_weighted(self), *_weighted(as_loss(other))))

    def __radd__(self, other: LossFunction | Literal[0]) -> Loss:
        if other == 0:  # sum([...]) begins with it
            return self
        return as_loss(other) + self if callable(other) else NotImplemented

    def __sub__(self, other: Loss | LossFunction) -> Loss:
        return self + -as_loss(other) if isinstance(other, Loss) or callable(other) else NotImplemented

    def __rsub__(self, other: LossFunction) -> Loss:
        return as_loss(other) + -self if callable(other) else NotImplemented

    def __neg__(self) -> Loss:
        return -1 * self

    def __mul__(self, weight: float) -> Loss:
        if not isinstance(weight, int | float):
            return NotImplemented
        if not is_number(weight):
            raise MethodError(f"the weight of {called(self)} is {weight}; expected a finite number")
        return SumLoss(tuple((weight * own, loss) for own, loss in _weighted(self)))

    __rmul__ = __mul__


@dataclass(frozen=True, repr=False)
class FunctionLoss(Loss):
    """A loss from a function `f(maps, groups) -> (batch,)`, see `LossFunction`."""

    function: LossFunction

    def __repr__(self) -> str:
        return called(self)

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return {called(self): self.function(attention.maps, groups)}


def as_loss(given: Any, name: str = "loss") -> Loss:
    """Return the loss for a loss, its class, or a function; raise `MethodError`, with `name`, for anything else."""
    if isinstance(given, type) and issubclass(given, Loss):
        given = given()
    if isinstance(given, Loss):
        return given
    if callable(given) and not isinstance(given, type):
        return FunctionLoss(cast(LossFunction, given))
    raise MethodError(f"{name} is {given!r}; expected a loss such as ExciteLoss(), or a function f(maps, groups) -> (batch,)")


def called(loss: Loss) -> str:
    """Return the name of a loss for messages: that of its function or its class."""
    if isinstance(loss, FunctionLoss):
        return getattr(loss.function, "__name__", type(loss.function).__name__)
    return type(loss).__name__


def terms_of(loss: Loss, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
    """Return `loss.terms(...)`; raise `MethodError` unless they are named tensors of one value per image, with a gradient.

    A term that is 0 may be without a gradient.
    """
    terms = loss.terms(attention, groups)
    expected = f"one value per image, a float tensor of shape ({groups.images},)"
    if not isinstance(terms, dict) or not terms:
        raise MethodError(f"terms of {called(loss)} returned {_shown(terms)}; expected names with {expected}")
    for name, value in terms.items():
        part = "" if isinstance(loss, FunctionLoss) else f' for "{name}"'
        if not (isinstance(value, Tensor) and value.shape == (groups.images,) and value.is_floating_point()):
            raise MethodError(f"{called(loss)} returned {_shown(value)}{part}; expected {expected}")
        if attention.maps.requires_grad and torch.is_grad_enabled() and not value.requires_grad and value.any():
            raise MethodError(
                f"{called(loss)} returned values without a gradient{part}; expected them to be computed from the maps by torch "
                "alone, without detach(), item(), numpy or no_grad()"
            )
    return terms


def applies_to_images(loss: Loss, groups: TokenGroups) -> Tensor:
    """Return `loss.applies_to(groups)`; raise `MethodError` for anything but bool (batch,)."""
    applies = loss.applies_to(groups)
    if not (isinstance(applies, Tensor) and applies.dtype == torch.bool and applies.shape == (groups.images,)):
        raise MethodError(
            f"applies_to of {called(loss)} returned {_shown(applies)}; expected a bool tensor of shape ({groups.images},), "
            "True for the images that the loss applies to"
        )
    return applies


def _shown(value: Any) -> str:
    return f"a {value.dtype} tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


@dataclass(frozen=True)
class SumLoss(Loss):
    """A weighted sum of losses; its terms are those of all of them, by their names."""

    weighted: tuple[tuple[float, Loss], ...]

    @property
    def reads_self_attention(self) -> bool:
        return any(loss.reads_self_attention for _, loss in self.weighted)

    @property
    def reads_regions(self) -> bool:
        return any(loss.reads_regions for _, loss in self.weighted)

    @property
    def needs_previous_maps(self) -> PreviousMaps | None:
        wanted = {loss.needs_previous_maps for _, loss in self.weighted}
        return "moved" if "moved" in wanted else "measured" if "measured" in wanted else None

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        for weight, loss in self.weighted:
            for name, value in terms_of(loss, attention, groups).items():
                while name in parts:
                    name += "'"
                parts[name] = weight * value
        return parts

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return torch.stack([applies_to_images(loss, groups) for _, loss in self.weighted]).any(dim=0)


@dataclass(frozen=True)
class RenormalisingLoss(Loss):
    """Base of the losses that read maps as Attend-and-Excite does, see `maps.excited_maps`."""

    kept: Kept = setting(
        "auto",
        help='tokens in the softmax: "padding" all but first and last, "words" the prompt\'s own, "auto" by the tokenizer',
    )
    temperature: Positive = setting(100.0, help="factor of the maps in the softmax over tokens")
    sigma: NotNegative = setting(SIGMA, help="width of the 3x3 smoothing of the maps, in pixels; 0 for none")

    @property
    def softmax(self) -> SoftmaxSettings:
        return {"kept": self.kept, "temperature": self.temperature, "sigma": self.sigma}


def _weighted(loss: Loss) -> tuple[tuple[float, Loss], ...]:
    return loss.weighted if isinstance(loss, SumLoss) else ((1.0, loss),)


def has_entities(groups: TokenGroups, least: int = 1) -> Tensor:
    """Return bool (batch,): the images whose prompt has at least `least` entities."""
    return torch.bincount(groups.entity_image, minlength=groups.images) >= least


def has_modifiers(groups: TokenGroups) -> Tensor:
    """Return bool (batch,): the images whose prompt has an entity with a modifier."""
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
