"""A denoiser beside its row of the table of families: what the row has wrong, and a draft where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..attention.family import Family
from ..guidance.prompts import PromptReader
from .small_call import Call


def missing_of(
    family: Family | None, denoiser: nn.Module, facts: dict[str, Any], names: tuple[str | None, str | None]
) -> tuple[str, ...]:
    found = []
    if not facts["attention"]:
        kinds = sorted({type(one.processor).__name__ for one in denoiser.modules() if hasattr(one, "processor")})
        found.append(
            "no call of torch's scaled_dot_product_attention was seen, so nothing can be read "
            f"(processors: {', '.join(kinds) or 'none'})"
        )
    elif None in names:
        found.append(f"no argument of the denoiser is known to be the {'latents' if names[0] is None else 'text'}")
    elif facts["text"] is None:
        found.append("no attention call with text keys was seen: no key of any attention changes with the text embeddings")
    if family is None:
        found.append(f"there is no row for {facts['denoiser']} in unbleed/attention/table.py")
    elif facts["text"] is not None:
        found += _against(family, denoiser, facts)
    return tuple(found)


def misplaced(pipe: Any, family: Family, call: Call, length: int) -> tuple[str, ...]:
    """Return what to say if the family's encoders put the prompt's last word elsewhere than where the text changes with it."""
    prompts = PromptReader().read(pipe, family, call.given, length, lambda _: torch.empty(0))
    tokens = prompts.tokens[0]
    noun, own = tokens.kept[-1].noun, tokens.entities[-1][0]
    if set(own) & set(call.word):
        return ()
    return (f'the row of {family.name} finds "{noun}" at {own}, but another word in its place changes the text at {call.word}',)


def _against(family: Family, denoiser: nn.Module, facts: dict[str, Any]) -> list[str]:
    """Return where a family's row differs from what was measured."""
    found = []
    joint = family.layers(denoiser, None, "all").joint
    if (joint is not None) != facts["joint"]:
        found.append(
            f"the row of {family.name} says {joint or 'keys of their own'}, but text and pixels are "
            f"{'one sequence' if facts['joint'] else 'apart'}"
        )
    elif joint is not None and (facts["text"].start < facts["pixels"].start) != (joint == "text first"):
        found.append(
            f'the row of {family.name} says "{joint}", but text begins at {facts["text"].start} and pixels at '
            f"{facts['pixels'].start}"
        )
    if facts["negatives"] not in ("none", family.negatives):
        found.append(f'the row of {family.name} says negatives="{family.negatives}", but they are {facts["negatives"]}')
    return found


def draft_of(facts: dict[str, Any], names: tuple[str | None, str | None], given: Mapping[str, Any]) -> str:
    """Return the beginning of a row for a denoiser that has none."""
    stacks = {module.name.partition(".")[0]: module.name.rpartition(".")[2] for module in facts["attention"]}
    joint = None
    if facts["joint"]:
        joint = "text first" if facts["text"].start < facts["pixels"].start else "image first"
    attention = next(iter(stacks.values()), "attn")
    latents = given.get(names[0]) if names[0] else None
    packed = isinstance(latents, Tensor) and latents.ndim == 3
    lines = [
        "# a draft of a row for unbleed/attention/table.py; see docs/families.md",
        "Family(",
        '    name="...",',
        '    models="...",',
        f'    denoiser_class="{facts["denoiser"]}",',
        f"    layers=blocks({', '.join(repr(stack) for stack in stacks)}, attention={attention!r}, joint={joint!r}),",
        "    example=...,  # arguments for counting on shapes",
        f"    text_length={facts['text'].length if facts['text'] else '...'},",
        "    encoders=...,  # how the text encoder gets a prompt",
        f"    text_modules=of_blocks({', '.join(repr(stack) for stack in stacks)}, attention={attention!r}),",
        '    on_text=r"...",  # names of the layers that act on text alone',
        f"    pipeline_attribute={facts['attribute']!r},",
        f"    sample={names[0]!r},",
        f"    text={names[1]!r},",
        *(["    packed=2,", "    grid=...,  # height and width from the arguments"] if packed else []),
        f"    negatives={'first' if facts['negatives'] == 'none' else facts['negatives']!r},",
        ")",
    ]
    return "\n".join(lines)
