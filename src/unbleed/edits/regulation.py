"""Attention Regulation: what is added to the logits of the text attention is found anew in every layer and step.

Zhang et al., ECCV 2024, arXiv 2403.06381; the objective is `unbleed.losses.regulation`. From the authors' code: the weights
of the Gaussians descend by the plain gradient, the best of all iterations is taken, mixed with that of the step before, and
fades with the steps; start and end token keep the attention that they had, so that the attention of a place no longer sums to 1
(`keep_ends=False`: it does). Ours: the weights begin at 0.5, the mean of the authors' random ones, so that pictures repeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..attention.probe import native_processors
from ..guidance.edit import Edit, Opened, Rows, Scene
from ..losses.regulation import patterns, regulation


def regulated(
    logits: Tensor, targets: list[int], grid: tuple[int, int], *, iterations: int, rate: float, share: float, quantile: float
) -> Tensor:
    """Return what to add to `logits` (head, place, token) at `targets`, (head, place, target), after so many iterations."""
    heads = len(logits)
    fixed = logits.detach().float()
    pattern = patterns(*grid, dtype=fixed.dtype, device=fixed.device).flatten(1)  # (pattern, place)
    weights = fixed.new_full((heads, len(pattern), len(targets)), 0.5)
    least, best = fixed.new_full((heads,), torch.inf), fixed.new_zeros(heads, fixed.shape[1], len(targets))
    index = torch.tensor(targets, device=fixed.device)
    with torch.enable_grad():
        for _ in range(iterations):
            weights.requires_grad_(True)
            added = torch.einsum("px,hpt->hxt", pattern, weights)
            attention = fixed.index_add(2, index, added).softmax(dim=-1)[:, :, index]
            loss = regulation(attention, weights, share=share, quantile=quantile)
            (slope,) = torch.autograd.grad(loss.sum(), weights)
            better = (loss < least).detach()
            least = torch.where(better, loss.detach(), least)
            best = torch.where(better[:, None, None], added.detach(), best)
            weights = weights.detach() - rate * slope
    return best


@dataclass(frozen=True)
class RegulateEdit(Edit):
    """See the module."""

    stop: float = 0.5
    iterations: int = 20
    rate: float = 100.0
    share: float = 0.2
    quantile: float = 0.9
    memory: float = 0.25  # share of the step before in what is added
    fading: float = 0.99  # what is added is worth this to the power of the share of the run times 50
    keep_ends: bool = True

    def open(self, scene: Scene) -> Opened:
        return _Regulated(self, scene)


class _Regulated(Opened):
    def __init__(self, edit: RegulateEdit, scene: Scene) -> None:
        self.edit = edit
        self.modules = {name: scene.denoiser.get_submodule(name) for name in scene.layers}
        self.targets = [sorted({p for noun, _ in tokens.entities for p in noun}) for tokens in scene.tokens]
        self.ends = [tokens.end for tokens in scene.tokens]
        self.before: dict[tuple[str, int], tuple[float, Tensor]] = {}  # by layer and image: share of the run, what was added

    @contextmanager
    def around(self, rows: Rows) -> Iterator[None]:
        if rows.share >= self.edit.stop - 1e-9:
            yield
            return
        with ExitStack() as stack:
            stack.enter_context(native_processors(self.modules.values()))
            mode = _Answer(self, rows)
            for name, module in self.modules.items():
                stack.callback(module.register_forward_pre_hook(mode.entering(name)).remove)
                stack.callback(module.register_forward_hook(mode.leaving, always_call=True).remove)
            stack.enter_context(mode)
            yield

    def answer(self, name: str, image: int, share: float, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Return the layer's answer for one image, (head, place, channel), for its Q, K and V (head, ..., channel)."""
        edit, targets = self.edit, self.targets[image]
        logits = (query.float() @ key.float().mT * scale).detach()
        own = logits.softmax(dim=-1)
        added = regulated(
            logits,
            targets,
            _grid(logits.shape[1]),
            iterations=edit.iterations,
            rate=edit.rate,
            share=edit.share,
            quantile=edit.quantile,
        )
        last, before = self.before.get((name, image), (share, added))
        if last != share or (name, image) not in self.before:
            self.before[name, image] = (share, added)
        mixed = edit.fading ** (50 * share) * (edit.memory * before + (1 - edit.memory) * added)
        index = torch.tensor(targets, device=logits.device)
        attention = logits.index_add(2, index, mixed).softmax(dim=-1)
        if edit.keep_ends:
            ends = [place for place in (0, self.ends[image]) if place < attention.shape[-1]]
            attention[:, :, ends] = own[:, :, ends]
        return attention.to(value.dtype) @ value


def _grid(places: int) -> tuple[int, int]:
    side = int(places**0.5)
    while places % side:
        side -= 1
    return side, places // side


class _Answer(TorchFunctionMode):
    """Answers the text attention of the text-conditioned rows."""

    def __init__(self, regulated: _Regulated, rows: Rows) -> None:
        super().__init__()
        self.regulated, self.rows = regulated, rows
        self.name: str | None = None

    def entering(self, name: str) -> Any:
        def hook(*_: Any) -> None:
            self.name = name

        return hook

    def leaving(self, *_: Any) -> None:
        self.name = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention or self.name is None:
            return func(*args, **kwargs)
        name, self.name = self.name, None  # the first call of a module is the one on the text
        query, key, value = args[:3] if len(args) >= 3 else (kwargs["query"], kwargs["key"], kwargs["value"])
        scale = kwargs.get("scale") or query.shape[-1] ** -0.5
        out = func(*args, **kwargs).clone()
        for at, image in enumerate(self.rows.images):
            if self.regulated.targets[image]:
                row = self.rows.first + at
                out[row] = self.regulated.answer(name, image, self.rows.share, query[row], key[row], value[row], scale)
        return out
