"""Look at a pipeline: call it once on a small picture, and its denoiser a few times more."""

from __future__ import annotations

import inspect as python
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..attention.families import row_of
from ..attention.family import Family
from ..attention.table import FAMILIES
from ..errors import ModelError, UnbleedError
from ..estimation import estimate
from ..guidance.call import arguments_of, as_tensor
from ..guidance.checks import refuse_guided
from .keys import attention_of, other_values, text_and_pixels
from .result import AttentionModule, Inspection
from .row import draft_of, misplaced, missing_of
from .small_call import small_call

_TEXTS = ("encoder_hidden_states", "cap_feats", "prompt_embeds", "context", "text_embeds", "txt")
_LATENTS = ("hidden_states", "sample", "x", "latents", "img")


def inspect(pipe: Any) -> Inspection:
    """Return what guidance needs to know about a pipeline's denoiser, also of one that no row of the table of families is for.

    The pipeline runs one step on a small picture, and the denoiser a few times more. Text and pixels are found by changing
    them: the keys that change are theirs.

    >>> import unbleed
    >>> found = unbleed.inspect(unbleed.load("emoji"))
    >>> found.joint, found.text.length, [module.name for module in found.attention if module.read][0]
    (False, 24, 'down_blocks.1.attentions.0.transformer_blocks.0.attn2')

    Args:
        pipe: A diffusers pipeline.

    Raises:
        ModelError: if the pipeline has no denoiser, or is being guided.
    """
    attribute, denoiser = _denoiser_of(pipe)
    refuse_guided(pipe, denoiser)
    family = row_of(denoiser)
    facts: dict[str, Any] = {
        "pipeline": type(pipe).__name__,
        "denoiser": type(denoiser).__name__,
        "attribute": attribute,
        "parameters": sum(weight.numel() for weight in denoiser.parameters()),
        "family": family.name if family else None,
    }
    call, size, problem = small_call(pipe, denoiser)
    if call is None:
        nothing = {"arguments": {}, "rows": 0, "calls": 0, "negatives": "none", "attention": (), "joint": None}
        nothing |= {"text": None, "pixels": None, "word": (), "draft": None, "cost": None}
        return Inspection(**facts, **nothing, size=None, missing=(f"the pipeline could not be called: {problem}",))
    given = arguments(denoiser, call.args, call.kwargs, family)
    names = (family.sample, family.text) if family else (first_tensor(given, _LATENTS), first_tensor(given, _TEXTS))
    seen, text, pixels, joint = attention_of(denoiser, call), None, None, None
    if names[0] is not None and names[1] is not None:
        others = (attention_of(denoiser, call, {name: other_values(given[name])}) for name in (names[1], names[0]))
        text, pixels, joint = text_and_pixels(seen, *others)
    read = family.layers(denoiser, None, "all").names if family else ()
    modules = tuple(
        AttentionModule(name, last.heads, last.queries, last.lengths.shape[1], len(found), last.masked, name in read)
        for name, found in seen.items()
        for last in found[-1:]
    )
    facts |= {
        "size": size,
        "arguments": {name: shape_of(value) for name, value in given.items() if shape_of(value) is not None},
        "rows": _rows(given, names[0]),
        "calls": call.calls,
        "negatives": call.negatives(given, names[1]),
        "attention": modules,
        "joint": joint,
        "text": text,
        "pixels": pixels,
        "word": call.word,
    }
    missing = missing_of(family, denoiser, facts, names)
    if family and call.given and call.word:
        missing += misplaced(pipe, family, call, as_tensor(given[family.text]).shape[1])
    cost = None
    if family:
        try:
            cost = estimate(pipe, "syngen", forwards_per_step=max(facts["calls"], facts["rows"]))
        except (UnbleedError, RuntimeError, NotImplementedError):  # shapes that depend on values cannot be counted
            cost = None
    return Inspection(**facts, missing=missing, draft=None if family else draft_of(facts, names, given), cost=cost)


def _denoiser_of(pipe: Any) -> tuple[str, nn.Module]:
    """Return where the pipeline keeps its denoiser, and the denoiser: the one of a family, else its largest other part."""
    parts = {name: part for name, part in getattr(pipe, "components", {}).items() if isinstance(part, nn.Module)}
    for name in dict.fromkeys([*(family.pipeline_attribute for family in FAMILIES), "unet", "transformer"]):
        part = parts.get(name, getattr(pipe, name, None))
        if isinstance(part, nn.Module):
            return name, getattr(part, "_orig_mod", part)
    others = {name: part for name, part in parts.items() if not name.startswith(("text_encoder", "image_encoder", "vae"))}
    if not others:
        raise ModelError(f"{type(pipe).__name__} has no part that could be a denoiser; give a diffusers pipeline")
    name = max(others, key=lambda name: sum(weight.numel() for weight in others[name].parameters()))
    return name, others[name]


def arguments(denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], family: Family | None) -> dict[str, Any]:
    if family is not None:
        return arguments_of(args, kwargs, family)
    return {**dict(zip(python.signature(denoiser.forward).parameters, args, strict=False)), **kwargs}


def first_tensor(given: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first of `names` that is a tensor of a batch among the arguments, or a list of tensors."""
    return next((name for name in names if shape_of(given.get(name)) is not None), None)


def shape_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return [shape_of(one) for one in value] if isinstance(value, list) and value and isinstance(value[0], Tensor) else None


def _rows(given: Mapping[str, Any], name: str | None) -> int:
    return 0 if name is None else len(given[name])
