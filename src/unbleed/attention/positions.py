"""Positions of pixels and text in a denoiser's sequence, from the arguments of a call."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .family import Arguments, Grid, Starts


def grid_of_ids(arguments: Arguments, texts: int) -> Grid:
    """Return the grid from `img_ids` of FLUX and its kin: (picture, row, column, ...) of every pixel, this picture's first."""
    del texts
    ids = arguments["img_ids"]
    return _of_first_picture(ids[0] if ids.ndim == 3 else ids)


def grid_of_positions(arguments: Arguments, texts: int) -> Grid:
    """Return the grid from `position_ids` of Krea 2, which has the text's positions first."""
    return _of_first_picture(arguments["position_ids"][texts:])


def _of_first_picture(ids: Tensor) -> Grid:
    row, column = ids[ids[:, 0] == ids[0, 0], 1:3].amax(dim=0).tolist()
    return int(row) + 1, int(column) + 1


def grid_of_shapes(arguments: Arguments, texts: int) -> Grid:
    """Return the grid from `img_shapes` of Qwen-Image, [[(frames, height, width), reference pictures]] per row."""
    del texts
    shapes = arguments["img_shapes"]
    first = shapes[0][0] if isinstance(shapes[0], list) else shapes[0]
    return int(first[-2]), int(first[-1])


def padded(multiple: int) -> Any:
    """Return the starts of a sequence of pixels, then text, each padded to a multiple (Z-Image: its pads are attended to)."""

    def starts(arguments: Arguments, pixels: int, texts: int) -> tuple[Starts, Starts]:
        del arguments, texts
        return 0, -(-pixels // multiple) * multiple

    return starts


def after_own_text(arguments: Arguments, pixels: int, texts: int) -> tuple[Starts, Starts]:
    """Return the starts in Lumina 2, where the pixels of each row follow its own text, without padding."""
    del pixels, texts
    return tuple(arguments["encoder_attention_mask"].sum(dim=1).tolist()), 0


def after_glyphs(arguments: Arguments, pixels: int, texts: int) -> tuple[Starts, Starts]:
    """Return the starts in HunyuanImage: after the pixels come the tokens of quoted text (ByT5), then those of the prompt."""
    del texts
    mask = arguments.get("encoder_attention_mask_2")
    if mask is None or arguments.get("encoder_hidden_states_2") is None:
        return 0, pixels
    return 0, tuple(pixels + glyphs for glyphs in mask.sum(dim=1).tolist())
