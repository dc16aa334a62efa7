"""Denoisers compiled by `torch.compile`: guidance runs outside the compiled graph, and its evaluations run uncompiled.

An evaluation ends the forward by an exception and reads attention through hooks and a function mode. All three break graphs,
and Dynamo silently skips hooks that are added to a compiled module. The pipeline's own forwards stay compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import nn

from .patching import replace_attribute

Before = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]] | None]
After = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]


def uncompiled() -> AbstractContextManager[Any]:
    """Return a context in which compiled modules and functions run as if they had not been compiled."""
    return torch.compiler.set_stance("force_eager")


def is_compiled(called: nn.Module) -> bool:
    """Return whether a denoiser, or one of its blocks, was compiled."""
    return hasattr(called, "_orig_mod") or any(module._compiled_call_impl is not None for module in called.modules())


def hook_calls(undo: ExitStack, called: nn.Module, before: Before, after: After | None = None) -> None:
    """Register `before` and `after` as forward hooks of `called`; `after` gets None as output if the forward failed.

    After `called.compile()` a module's hooks belong to the compiled graph, so there the compiled call itself is wrapped.
    """
    compiled = called._compiled_call_impl
    if compiled is None:
        undo.callback(called.register_forward_pre_hook(before, with_kwargs=True).remove)
        if after is not None:
            undo.callback(called.register_forward_hook(after, with_kwargs=True, always_call=True).remove)
        return

    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = before(called, args, kwargs) or (args, kwargs)
        output = None
        try:
            output = compiled(*args, **kwargs)
        finally:
            changed = after(called, args, kwargs, output) if after is not None else None
        return output if changed is None else changed

    replace_attribute(undo, called, "_compiled_call_impl", call)
