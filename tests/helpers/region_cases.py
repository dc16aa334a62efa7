"""Token groups, maps and runs that regions are tested on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unbleed.losses.groups import TokenGroups

PROMPT = "a red car and a dog"


def groups_of(*entities: tuple[int, list[int]], modifiers: dict[int, list[int]] | None = None, tokens: int = 8) -> TokenGroups:
    """Groups of a batch. An entity is its image and its noun's tokens, `modifiers` the tokens of an entity's one modifier."""

    def row(positions: list[int]) -> Tensor:
        return torch.isin(torch.arange(tokens), torch.tensor(positions))

    images = 1 + max(image for image, _ in entities)
    return TokenGroups(
        images=images,
        noun=torch.stack([row(noun) for _, noun in entities]),
        entity_image=torch.tensor([image for image, _ in entities]),
        modifier=torch.stack([row(own) for own in (modifiers or {}).values()] or [row([])])[: len(modifiers or {})],
        modifier_entity=torch.tensor(list(modifiers or {}), dtype=torch.long),
        prompt=torch.ones(images, tokens, dtype=torch.bool),
        padded_with_end=torch.ones(images, dtype=torch.bool),
    )


def random_maps(images: int, tokens: int, grid: tuple[int, int], seed: int = 0) -> Tensor:
    return torch.rand(images, tokens, *grid, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)


def draw(pipe: Any, prompt: Any = PROMPT, steps: int = 4, seed: int = 3, **options: Any) -> Tensor:
    count = 1 if isinstance(prompt, str) else len(prompt)
    seeds = [torch.Generator().manual_seed(seed + at) for at in range(count)]
    return pipe(prompt, num_inference_steps=steps, guidance_scale=3.0, generator=seeds, output_type="latent", **options).images
