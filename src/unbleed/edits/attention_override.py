"""Override the cross-attention output of chosen modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..attention.probe import native_processors


@dataclass(frozen=True)
class AttentionCall:
    """One call of a module's attention to the text."""

    module: nn.Module
    text: Tensor | None  # text embeddings that the module gets, (row, token, channel); None if they are in its one sequence
    query: Tensor  # (row, head, pixel, channel)
    key: Tensor  # (row, head, token, channel)
    value: Tensor  # (row, head, token, channel)
    scale: float  # of the logits
    mask: Tensor | None  # added to the logits, or bool, broadcast to (row, head, pixel, token)


Override = Callable[[str, AttentionCall, Callable[[], Tensor]], Tensor]
"""`override(name, call, own)`: the attention output to use, (row, head, pixel, channel); `own()` computes the module's own."""


@contextmanager
def overriding(modules: Mapping[str, nn.Module], override: Override, *, every: bool = False) -> Iterator[None]:
    """Replace the output of each module's attention to the text, `own()`, by `override(name, call, own)`.

    That is the first attention that a module computes; with `every` all of them are replaced.
    Modules whose processor computes attention by itself get the native one meanwhile. The mode that intercepts the attention is
    active inside the modules only, so it also works when gradient checkpointing runs them again in the backward pass.
    """
    with ExitStack() as undo:
        undo.enter_context(native_processors(modules.values()))
        for name, module in modules.items():
            mode = _Overriding(name, override, every)
            undo.callback(mode.leave)
            undo.callback(module.register_forward_pre_hook(mode.enter, with_kwargs=True).remove)
            undo.callback(module.register_forward_hook(mode.leave, prepend=True, always_call=True).remove)
        yield


class _Overriding(TorchFunctionMode):
    def __init__(self, name: str, override: Override, every: bool) -> None:
        super().__init__()
        self.name, self.override, self.every = name, override, every
        self.module: nn.Module | None = None  # that is running
        self.text: Tensor | None = None
        self.overridden = False

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.leave()
        self.module, self.overridden = module, False
        self.text = kwargs["encoder_hidden_states"] if "encoder_hidden_states" in kwargs else args[1] if len(args) > 1 else None
        self.__enter__()

    def leave(self, *_: Any) -> None:
        """End with the module's forward, also after an exception."""
        if self.module is not None:
            self.module = self.text = None
            self.__exit__(None, None, None)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention or self.module is None or self.overridden:
            return func(*args, **kwargs)
        self.overridden = not self.every  # the first call of a module is the one on the text
        query, key, value = args[:3] if len(args) >= 3 else (kwargs["query"], kwargs["key"], kwargs["value"])
        if key.shape[1] != query.shape[1]:  # grouped queries
            key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], dim=1) for part in (key, value))
        mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
        if kwargs.get("is_causal"):
            mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
        scale = query.shape[-1] ** -0.5 if kwargs.get("scale") is None else kwargs["scale"]
        call = AttentionCall(self.module, self.text, query, key, value, scale, mask)
        return self.override(self.name, call, lambda: func(*args, **kwargs))
