"""Where text and pixels stand among the keys of a denoiser's attention: the keys that change with them are theirs."""

from __future__ import annotations

import inspect as python
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .result import Span
from .small_call import Call


@dataclass(frozen=True)
class Attention:
    heads: int
    queries: int
    lengths: Tensor  # (row, key): the length of each key over all heads, which changes with what it depends on
    masked: bool


class _Watch(TorchFunctionMode):
    """Keeps every attention by the module that is running."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.seen: dict[str, list[Attention]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and self.running:
            query, key = args[:2] if len(args) >= 2 else (kwargs["query"], kwargs["key"])
            masked = bool(kwargs.get("is_causal")) or (args[3] if len(args) > 3 else kwargs.get("attn_mask")) is not None
            lengths = key.detach().double().square().sum(dim=(1, 3))
            self.seen.setdefault(self.running[-1], []).append(Attention(query.shape[1], query.shape[2], lengths, masked))
        return func(*args, **kwargs)


def attention_of(denoiser: nn.Module, call: Call, changed: Mapping[str, Any] | None = None) -> dict[str, list[Attention]]:
    """Return every attention of one run of the denoiser by module, with some arguments changed."""
    order, changes, watch = list(python.signature(denoiser.forward).parameters), changed or {}, _Watch()
    args = [changes.get(name, value) for name, value in zip(order, call.args, strict=False)]
    # without caches, which the run before has filled
    kwargs = {name: changes.get(name, value) for name, value in call.kwargs.items() if not name.startswith("kv_cache")}
    with ExitStack() as undo:
        for name, module in denoiser.named_modules():
            if name:
                undo.callback(module.register_forward_pre_hook(lambda *_, name=name: watch.running.append(name)).remove)
                undo.callback(module.register_forward_hook(lambda *_: watch.running.pop() and None).remove)
        with watch, torch.no_grad():
            denoiser(*args, **kwargs)
    return watch.seen


def text_and_pixels(
    plain: Mapping[str, list[Attention]], by_text: Mapping[str, list[Attention]], by_pixels: Mapping[str, list[Attention]]
) -> tuple[Span | None, Span | None, bool | None]:
    """Return where text and pixels stand among keys, and whether they are one sequence, from runs on other text or pixels.

    The first attention that has text among its keys decides; one of the text to itself does not count.
    """
    for name, found in plain.items():
        own = found[-1]
        text, pixels = (_changed(own, other[name][-1]) if name in other else None for other in (by_text, by_pixels))
        if text is not None and (pixels is not None or own.queries != own.lengths.shape[1]):
            return text, pixels, pixels is not None
    return None, None, None


def _changed(own: Attention, other: Attention) -> Span | None:
    """Return the span of the keys that differ, None if none does."""
    if own.lengths.shape != other.lengths.shape:
        return None
    at = (own.lengths != other.lengths).any(dim=0).nonzero().flatten().tolist()
    return Span(at[0], at[-1] + 1) if at else None


def other_values(value: Any) -> Any:
    """Return other values of the same shapes."""
    if isinstance(value, Tensor):
        return value + torch.linspace(0.5, 1.5, value.shape[-1], device=value.device).to(value.dtype)
    return type(value)(other_values(one) for one in value)
