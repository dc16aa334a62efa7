"""Reading the exact queries and keys of chosen attention modules while a denoiser runs.

No attention processor is replaced, so Q and K are read after LoRA, QK-norm and rotary positions. The probe uses two public
parts of torch: forward hooks show which module is running, and a `TorchFunctionMode` sees its call of
`scaled_dot_product_attention`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import CaptureError

# Processors that compute attention without `scaled_dot_product_attention`, whose native twin gives the same result.
_OPAQUE_PROCESSORS = frozenset({"AttnProcessor", "SlicedAttnProcessor", "XFormersAttnProcessor"})


@dataclass(frozen=True)
class Capture:
    """Queries and keys of one attention call, as they entered the softmax."""

    query: Tensor  # (batch, head, pixel, channel)
    key: Tensor  # (batch, head, token, channel)
    scale: float
    mask: Tensor | None  # added to the logits, broadcast to (batch, head, pixel, token)

    def of_rows(self, rows: slice) -> Capture:
        """Return the capture of some rows of the batch."""
        mask = self.mask[rows] if self.mask is not None and len(self.mask) == len(self.query) else self.mask
        return Capture(self.query[rows], self.key[rows], self.scale, mask)


class _Enough(BaseException):
    """Ends the forward at the last wanted layer; a BaseException, so that no model code mistakes it for a failure."""


class AttentionProbe:
    """Runs a denoiser up to the last of the layers `names` and returns the queries and keys of their attention.

    `names` are in running order; `more` are further layers that run before the last of them. `reads` says which attention call
    of a layer is wanted, if it makes several.
    """

    def __init__(
        self, denoiser: nn.Module, names: Sequence[str], more: Sequence[str] = (), reads: Literal["first", "last"] = "first"
    ) -> None:
        self.denoiser = denoiser
        self.reads: Literal["first", "last"] = reads
        self.modules = {name: denoiser.get_submodule(name) for name in (*more, *names)}

    def __call__(self, run: Callable[[], Any]) -> dict[str, Capture]:
        """Return the capture of every layer, in running order, after calling `run` (which calls the denoiser).

        The forward ends inside the last layer. With gradient checkpointing the recomputation in the backward passes
        through the same modules; nothing is captured then.

        Raises `CaptureError` when a layer was not reached or its attention cannot be read.
        """
        with self._hooked(_CaptureMode(self.reads, until=list(self.modules)[-1])) as captures, suppress(_Enough):
            run()
        self.check(captures)
        return captures

    @contextmanager
    def listen(self) -> Iterator[dict[str, Capture]]:
        """Fill a dict with the captures of the layers while the denoiser runs to its end, by any caller."""
        with native_processors(self.modules.values()), self._hooked(_CaptureMode(self.reads)) as captures:
            yield captures

    @contextmanager
    def _hooked(self, mode: _CaptureMode) -> Iterator[dict[str, Capture]]:
        with ExitStack() as stack:
            for name, module in self.modules.items():
                stack.callback(module.register_forward_pre_hook(mode.entering(name)).remove)
                stack.callback(module.register_forward_hook(mode.leaving, always_call=True).remove)
            with mode:
                yield mode.captures

    def check(self, captures: Mapping[str, Capture]) -> None:
        """Raise `CaptureError` when a layer is not among the captures."""
        missing = [name for name in self.modules if name not in captures]
        if missing:
            processors = sorted({type(getattr(self.modules[n], "processor", None)).__name__ for n in missing})
            raise CaptureError(
                f"no cross-attention could be read from {len(missing)} of {len(self.modules)} layers (first: {missing[0]}, "
                f"processor {', '.join(processors)}); it must call torch's scaled_dot_product_attention: "
                "pipe.unet.set_attn_processor(AttnProcessor2_0()) restores the native one"
            )


@contextmanager
def native_processors(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Replace the processors of modules whose attention cannot be seen by the native one, and restore them at the end.

    With gradient checkpointing the backward pass belongs inside too, since it runs the modules again.
    """
    with ExitStack() as stack:
        for module in modules:
            own: Any = getattr(module, "processor", None)
            if type(own).__name__ in _OPAQUE_PROCESSORS:
                module.processor = AttnProcessor2_0()  # type: ignore[assignment]
                stack.callback(setattr, module, "processor", own)
            elif getattr(own, "_attention_backend", None) is not None:  # another kernel than torch's own
                stack.callback(setattr, own, "_attention_backend", own._attention_backend)
                own._attention_backend = None
        yield


class _CaptureMode(TorchFunctionMode):
    def __init__(self, reads: Literal["first", "last"], until: str | None = None) -> None:
        super().__init__()
        self.reads, self.until = reads, until
        self.running: str | None = None
        self.captures: dict[str, Capture] = {}

    def entering(self, name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            self.running = name

        return hook

    def leaving(self, *_: Any) -> None:
        name, self.running = self.running, None
        if self.reads == "last" and name is not None and name == self.until and name in self.captures:
            raise _Enough

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention or self.running is None:
            return func(*args, **kwargs)
        # the first call of a module is the one on the text; IP-Adapter adds others for its images
        if self.reads == "last" or self.running not in self.captures:
            self.captures[self.running] = _read(*args, **kwargs)
            if self.reads == "first" and self.running == self.until:
                raise _Enough
        return func(*args, **kwargs)


def _read(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Capture:
    del value, dropout_p
    if enable_gqa:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    if is_causal:
        attn_mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    return Capture(query, key, query.shape[-1] ** -0.5 if scale is None else scale, attn_mask)
