"""LoRA adapters limited to regions: an adapter's output is 0 outside of its entity's region.

A LoRA layer of peft computes W x + s B A x. The hook here sets B A x to 0 outside of a mask over the sequence. The mask has the
pixels of the region and the entity's own text tokens; a negative prompt has no such tokens. A layer whose output is not a
sequence (time and size embeddings, modulation) adds nothing, since it would act everywhere.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError, UnbleedWarning
from ..guidance.edit import BatchRows
from ..regions.layout import drawn_on, grid_of


def _added_by(model: nn.Module) -> Iterator[tuple[str, Any, nn.ModuleDict]]:
    """Yield peft's LoRA layers: name, layer, and the modules (by adapter) whose output is added."""
    for name, layer in model.named_modules():
        inner: Any = getattr(layer, "lora_B", None)
        if isinstance(inner, nn.ModuleDict):
            yield name, layer, inner


def layers_of(denoiser: nn.Module, adapter: str) -> dict[str, nn.Module]:
    """Return the modules whose output is added by `adapter`, by the name of the LoRA layer.

    Raises `ModelError` for an adapter that is not loaded, not active, fused into the weights, or of a kind (DoRA, LoHa) whose
    contribution is not a separate output.
    """
    found: dict[str, nn.Module] = {}
    known: set[str] = set()
    for name, layer, inner in _added_by(denoiser):
        known |= set(inner)
        if adapter not in inner:
            continue
        if layer.merged:
            raise ModelError(f'the adapter "{adapter}" is fused into the weights and acts everywhere; call pipe.unfuse_lora()')
        if adapter in getattr(layer, "lora_magnitude_vector", ()):
            raise ModelError(f'the adapter "{adapter}" is a DoRA, which scales the weights; a region needs a plain LoRA')
        if layer.disable_adapters:
            raise ModelError(f'a region names the adapter "{adapter}", but adapters are disabled; call pipe.enable_lora()')
        if adapter not in layer.active_adapters:
            active = ", ".join(layer.active_adapters) or "none"
            raise ModelError(f'the adapter "{adapter}" is not active (active: {active}); call pipe.set_adapters([...]) with it')
        found[name] = inner[adapter]
    other: Any = getattr(denoiser, "peft_config", {}).get(adapter)
    if not found and other is not None:
        kind = getattr(other.peft_type, "value", other.peft_type)
        raise ModelError(
            f'the adapter "{adapter}" has no LoRA layers in the denoiser (it is a {kind}); a region needs a plain LoRA'
        )
    if not found:
        there = ", ".join(f'"{name}"' for name in sorted(known)) or "no adapter"
        raise ModelError(
            f'a region names the adapter "{adapter}", but the denoiser has {there}; load it with '
            f'pipe.load_lora_weights(..., adapter_name="{adapter}")'
        )
    return found


def warn_of_text_encoders(pipe: Any, adapters: Iterable[str]) -> None:
    """Warn of adapters that also act in a text encoder: there they change all words of the prompt."""
    for name, encoder in getattr(pipe, "components", {}).items():
        if not (name.startswith("text_encoder") and isinstance(encoder, nn.Module)):
            continue
        acting = {
            adapter
            for _, layer, inner in _added_by(encoder)
            for adapter in inner
            if adapter in layer.active_adapters and not layer.disable_adapters and layer.scaling[adapter]
        }
        for adapter in sorted(acting & set(adapters)):
            warnings.warn(
                f'the adapter "{adapter}" has layers in the {name} too, which change all words of the prompt, not its '
                f"region's alone; pipe.{name}.disable_adapters() leaves them out",
                UnbleedWarning,
                stacklevel=2,
            )


@contextmanager
def limited(layers: Mapping[str, nn.Module], masks: Tensor, tokens: Tensor, rows: BatchRows, on_text: str) -> Iterator[None]:
    """Limit the adapter's `layers` to `masks` and `tokens` while the denoiser runs for `rows`.

    `masks` bool (batch, height, width) and `tokens` bool (batch, token) are for all images of the pipeline's call. The regular
    expression `on_text` matches the names of layers that act on text tokens only. In the rows of negative prompts, pixels are
    limited and all tokens are closed.
    """
    images = list(rows.images)
    made: dict[Any, Tensor] = {}

    def hook(name: str) -> Any:
        of_text = re.search(on_text, name) is not None

        def keep(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            del module, args
            sizes = output.shape[2:] if output.ndim == 4 else output.shape[1:2] if output.ndim == 3 else ()
            key = (of_text, output.ndim, len(output), *sizes, output.device)
            if key not in made:
                whole = masks[images].repeat(max(len(output) // len(images), 1), 1, 1)  # of negative prompts too
                own = tokens.new_zeros(max(len(output), rows.slice.stop), tokens.shape[1])
                own[rows.slice] = tokens[images]
                made[key] = ~_inside(output, of_text, whole, own, rows).to(output.device)
            return output.masked_fill(made[key], 0)

        return keep

    with ExitStack() as undo:
        for name, layer in layers.items():
            undo.callback(layer.register_forward_hook(hook(name)).remove)
        yield


def _inside(output: Tensor, of_text: bool, masks: Tensor, tokens: Tensor, rows: BatchRows) -> Tensor:
    """Return where an adapter may add its `output`: bool, broadcastable to it. `masks` and `tokens` have its rows."""
    if output.ndim == 4:  # a convolution: (row, channel, height, width)
        return drawn_on(masks, (output.shape[2], output.shape[3]))[:, None]
    if output.ndim != 3:
        return torch.zeros(1, dtype=torch.bool)
    length, pixels, joint = output.shape[1], rows.grid[0] * rows.grid[1], rows.joint
    if of_text:
        if joint is not None and isinstance(joint.texts_at, tuple) and set(joint.texts_at) != {pixels}:
            raise ModelError(
                "an adapter cannot be limited to a region of a prompt that has text in quotes, which has tokens of its own "
                "before those of the prompt in HunyuanImage; leave the quotes out"
            )
        return _to_length(tokens, length)[:, :, None]
    if joint is None:
        return drawn_on(masks, grid_of(length, rows.latents)).flatten(1)[:, :, None]
    picture = drawn_on(masks, rows.grid).flatten(1)
    if length == pixels:
        return picture[:, :, None]
    if length < joint.end and length < pixels:
        raise ModelError(
            f"an adapter's layer has {length} tokens and pixels, but {joint.texts} tokens and {pixels} pixels are expected; "
            "it cannot be limited to a region in this denoiser"
        )
    inside = torch.zeros(len(picture), length, dtype=torch.bool)
    if length < joint.end:  # pixels, then padding or reference pictures
        inside[:, :pixels] = picture
        return inside[:, :, None]
    spans = joint.rows(len(picture))
    for row in range(len(picture)):
        (first, count), (start, texts) = spans[row % len(spans)]
        inside[row, first : first + count] = picture[row]
        inside[row, start : start + texts] = _to_length(tokens[row : row + 1], texts)[0]
    return inside[:, :, None]


def _to_length(tokens: Tensor, length: int) -> Tensor:
    return nn.functional.pad(tokens, (0, max(0, length - tokens.shape[1])))[:, :length]
