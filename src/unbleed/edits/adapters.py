"""LoRA adapters limited to regions: what an adapter adds is kept inside the region of its entity, and 0 elsewhere.

A LoRA layer of peft computes W x + s B A x. The hook here multiplies B A x by a mask over the sequence: for pixels, the region;
for tokens of the text, the entity's own tokens. A layer whose output has no sequence (time and size embeddings) adds nothing,
since it would act everywhere. Both rows of classifier-free guidance are masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..guidance.edit import Rows
from ..regions.layout import grid_of, resize

_OF_TEXT = re.compile(
    r"attn2\.to_[kv]\b|add_[qkv]_proj|to_add_out|ff_context|context_embedder|caption_projection|encoder_hid_proj"
)


def layers_of(denoiser: nn.Module, adapter: str) -> dict[str, nn.Module]:
    """Return the layers of peft whose output is what `adapter` adds, by the name of the layer that it is added to.

    Raises `ModelError` for an adapter that is not there, not active, fused into the weights, or of a kind (DoRA) whose part
    cannot be told from the weights'.
    """
    found: dict[str, nn.Module] = {}
    known: set[str] = set()
    for name, layer in denoiser.named_modules():
        inner: Any = getattr(layer, "lora_B", None)
        if not isinstance(inner, nn.ModuleDict):
            continue
        known |= set(inner)
        if adapter not in inner:
            continue
        own: Any = layer
        if own.merged:
            raise ModelError(f'the adapter "{adapter}" is fused into the weights and acts everywhere; call pipe.unfuse_lora()')
        if adapter in getattr(own, "lora_magnitude_vector", ()):
            raise ModelError(f'the adapter "{adapter}" is a DoRA, which scales the weights; a region needs a plain LoRA')
        if own.disable_adapters:
            raise ModelError(f'a region names the adapter "{adapter}", but adapters are disabled; call pipe.enable_lora()')
        if adapter not in own.active_adapters:
            active = ", ".join(own.active_adapters) or "none"
            raise ModelError(f'the adapter "{adapter}" is not active (active: {active}); call pipe.set_adapters([...]) with it')
        found[name] = inner[adapter]
    if not found:
        there = ", ".join(sorted(known)) or "no adapter"
        raise ModelError(
            f'a region names the adapter "{adapter}", but the denoiser has {there}; load it with '
            f'pipe.load_lora_weights(..., adapter_name="{adapter}")'
        )
    return found


@contextmanager
def limited(layers: Mapping[str, nn.Module], masks: Tensor, tokens: Tensor, rows: Rows) -> Iterator[None]:
    """Let the adapter's `layers` add something inside `masks` and at `tokens` alone, while the denoiser runs for `rows`.

    `masks` bool (batch, height, width) and `tokens` bool (batch, token) are of all images of the pipeline's call.
    """
    images = torch.tensor(rows.images)

    def hook(name: str) -> Any:
        def keep(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            del module, args
            copies = len(output) // len(images)
            own = _mask_for(name, output, masks[images], tokens[images], rows)
            return output * own.repeat(copies, *[1] * (own.ndim - 1)).to(output)

        return keep

    with ExitStack() as undo:
        for name, layer in layers.items():
            undo.callback(layer.register_forward_hook(hook(name)).remove)
        yield


def _mask_for(name: str, output: Tensor, masks: Tensor, tokens: Tensor, rows: Rows) -> Tensor:
    """Return what an adapter's `output` is multiplied by, (image, ...), broadcast to the output's own rows."""
    if output.ndim == 4:  # a convolution: (row, channel, height, width)
        return _inside(masks, (output.shape[2], output.shape[3]))[:, None]
    if output.ndim != 3:
        return torch.zeros(len(masks), *[1] * (output.ndim - 1))
    length, joint = output.shape[1], rows.joint
    own = torch.zeros(len(tokens), max(length, tokens.shape[1]), dtype=torch.bool)
    own[:, : tokens.shape[1]] = tokens
    if _OF_TEXT.search(name):
        return own[:, :length, None]
    pixels = rows.grid[0] * rows.grid[1]
    if joint and length == joint.texts + pixels:  # both in one sequence
        picture = _inside(masks, rows.grid).flatten(1)
        parts = [own[:, : joint.texts], picture] if joint.text_first else [picture, own[:, : joint.texts]]
        return torch.cat(parts, dim=1)[:, :, None]
    return _inside(masks, rows.grid if joint else grid_of(length, rows.grid)).flatten(1)[:, :, None]


def _inside(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    return resize(masks, grid) >= 0.5
