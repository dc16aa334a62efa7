"""Answering the text attention of chosen modules in place of `scaled_dot_product_attention`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..attention.probe import native_processors


@dataclass(frozen=True)
class AttentionCall:
    """One call of a module's attention to the text."""

    module: nn.Module
    text: Tensor | None  # the embeddings that the module was given, (row, token, channel); None: they are in its one sequence
    query: Tensor  # (row, head, place, channel)
    key: Tensor  # (row, head, token, channel)
    value: Tensor  # (row, head, token, channel)
    scale: float  # of the logits
    mask: Tensor | None  # added to the logits, or bool, broadcast to (row, head, place, token)


Answer = Callable[[str, AttentionCall, Callable[[], Tensor]], Tensor]


@contextmanager
def answering(modules: Mapping[str, nn.Module], answer: Answer) -> Iterator[None]:
    """Let `answer(name, question, own)` stand for `own()`, what a module's attention to the text gives by itself.

    Modules whose processor hides its attention have the native one meanwhile. The mode that sees the attention is in
    force within the modules alone, so that it is there too when gradient checkpointing runs them again in the backward.
    """
    with ExitStack() as undo:
        undo.enter_context(native_processors(modules.values()))
        for name, module in modules.items():
            mode = _Answering(name, answer)
            undo.callback(mode.leave)
            undo.callback(module.register_forward_pre_hook(mode.enter, with_kwargs=True).remove)
            undo.callback(module.register_forward_hook(mode.leave, prepend=True, always_call=True).remove)
        yield


class _Answering(TorchFunctionMode):
    def __init__(self, name: str, answer: Answer) -> None:
        super().__init__()
        self.name, self.answer = name, answer
        self.module: nn.Module | None = None  # that is running
        self.text: Tensor | None = None
        self.answered = False

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.leave()
        self.module, self.answered = module, False
        self.text = kwargs["encoder_hidden_states"] if "encoder_hidden_states" in kwargs else args[1] if len(args) > 1 else None
        self.__enter__()

    def leave(self, *_: Any) -> None:
        """End with the module's forward, or where an exception ended that."""
        if self.module is not None:
            self.module = self.text = None
            self.__exit__(None, None, None)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention or self.module is None or self.answered:
            return func(*args, **kwargs)
        self.answered = True  # the first call of a module is the one on the text
        query, key, value = args[:3] if len(args) >= 3 else (kwargs["query"], kwargs["key"], kwargs["value"])
        mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
        scale = query.shape[-1] ** -0.5 if kwargs.get("scale") is None else kwargs["scale"]
        asked = AttentionCall(self.module, self.text, query, key, value, scale, mask)
        return self.answer(self.name, asked, lambda: func(*args, **kwargs))
