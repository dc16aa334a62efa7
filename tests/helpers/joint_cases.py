"""Tokens of entities in joint attention."""

from __future__ import annotations

import unbleed

NEGATIVE = {"flux": {"negative_prompt": "a bird", "true_cfg_scale": 2.0}}  # guided without negative prompts elsewhere


def tokens_of(run: unbleed.Run, image: int = 0) -> dict[str, list[int]]:
    """Return the tokens of each entity, its modifiers' too."""
    tokens = run.tokens[image]
    return {
        str(entity): [p for part in (noun, *modifiers) for p in part]
        for entity, (noun, modifiers) in zip(tokens.kept, tokens.entities, strict=True)
    }
