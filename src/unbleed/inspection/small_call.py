"""One step of a pipeline on a small picture, to see how it calls its denoiser."""

from __future__ import annotations

import inspect as python
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnbleedError
from ..guidance.call import as_tensor
from ..guidance.patching import replace_attribute

_PROMPTS = ("a red cat and a blue bench", "a red cat and a blue apple")
_STEPS = 2
_SIDES = ((128, 192), (256, 384), (512, 768))  # pixels, tried in this order; no square, so that rows and columns differ


class _Enough(BaseException):
    """Ends the pipeline at its first step of the scheduler."""


@dataclass
class Call:
    """The first call of the denoiser in a small run of the pipeline, and what was seen around it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    calls: int
    encoded: Tensor | None  # text embeddings of the prompt
    word: tuple[int, ...]  # positions that change with the prompt's last word
    given: dict[str, Any]  # arguments of encode_prompt

    def negatives(self, given: Mapping[str, Any], text: str | None) -> str:
        if self.calls > 1:
            return "apart"
        rows = None if text is None else as_tensor(given[text])
        if rows is None or len(rows) < 2 or self.encoded is None:
            return "none"
        own = self.encoded[0].to(rows)
        length = min(len(own), rows.shape[1])
        return "last" if torch.equal(rows[0, :length], own[:length]) else "first"


def small_call(pipe: Any, denoiser: nn.Module) -> tuple[Call | None, tuple[int, int] | None, str]:
    """Return the denoiser's first call in a small run of the pipeline, its picture's size, and why there is none."""
    known = python.signature(pipe.__call__).parameters
    problem = ""
    for height, width in _SIDES:
        for picture in (False, True) if "image" in known else (False,):
            options: dict[str, Any] = {"prompt": _PROMPTS[0], "num_inference_steps": _STEPS, "output_type": "latent"}
            options |= {"height": height, "width": width, "use_resolution_binning": False}
            if picture:
                from PIL import Image

                options |= {
                    "image": Image.new("RGB", (width, height), "grey"),
                    "mask_image": Image.new("L", (width, height), 255),
                }
            options = {name: value for name, value in options.items() if name in known}
            try:
                found = _watched(pipe, denoiser, options)
            except (
                UnbleedError,
                ValueError,
                TypeError,
                RuntimeError,
                AttributeError,
                AssertionError,
                IndexError,
                KeyError,
            ) as error:
                problem = f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0][:160]}"
                continue
            if found is not None:
                return found, (height, width), ""
            problem = "it stepped its scheduler before its denoiser ran"
    return None, None, problem


def _watched(pipe: Any, denoiser: nn.Module, options: dict[str, Any]) -> Call | None:
    """Return the denoiser's first call in a run of the pipeline, which ends at its first step of the scheduler."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    encoded: list[Tensor] = []
    word: tuple[int, ...] = ()
    given: dict[str, Any] = {}
    encode = getattr(pipe, "encode_prompt", None)

    def stop(*_: Any, **__: Any) -> None:
        raise _Enough

    def keep(*args: Any, **kwargs: Any) -> Any:
        nonlocal word, given
        assert encode is not None
        own = [list(value) if isinstance(value, list) else value for value in args]
        named = {name: list(value) if isinstance(value, list) else value for name, value in kwargs.items()}
        found = encode(*args, **kwargs)
        if not encoded:
            encoded.append(as_tensor(found[0]))
            word = _word(encode, own, named, encoded[0])
            bound = python.signature(encode).bind(*own, **named)
            bound.apply_defaults()
            given = {**bound.arguments, "prompt": _PROMPTS[0]}
        return found

    with ExitStack() as undo:
        undo.callback(vars(pipe.scheduler).update, dict(vars(pipe.scheduler)))  # steps that the user has set
        undo.callback(denoiser.register_forward_pre_hook(lambda _, a, k: calls.append((a, k)), with_kwargs=True).remove)
        replace_attribute(undo, pipe.scheduler, "step", stop)
        if encode is not None:
            replace_attribute(undo, pipe, "encode_prompt", keep)
        with torch.no_grad(), suppress(_Enough):
            pipe(generator=torch.Generator().manual_seed(0), **options)
    if not calls:
        return None
    args, kwargs = calls[0]
    return Call(args, dict(kwargs), len(calls), encoded[0] if encoded else None, word, given)


def _word(encode: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], own: Tensor) -> tuple[int, ...]:
    """Return the positions of the text that differ most, and first, where the prompt's last word is another."""

    def other(value: Any) -> Any:
        if isinstance(value, list):
            return [other(one) for one in value]
        return _PROMPTS[1] if isinstance(value, str) and value == _PROMPTS[0] else value

    found = as_tensor(encode(*map(other, args), **{name: other(value) for name, value in kwargs.items()})[0])
    if found.shape != own.shape:
        return ()
    apart = (found[0] - own[0]).abs().flatten(1).amax(dim=1)
    return tuple(dict.fromkeys((int((apart > 1e-4 * apart.max()).nonzero()[0]), int(apart.argmax())))) if apart.max() else ()
