"""Masks that a user gives as pictures: read, checked, and written into a text."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import PromptError
from ..files import open_image, read_bytes

DATA = "data:image/png;base64,"
LONGEST_SIDE = 512  # of a mask in a text: four pixels for each of the finest text attention's
_LARGEST = 4096  # pixels of a mask's side, as of a picture's


def mask_file(path: Path) -> Tensor:
    """Return the mask in a picture's file, (height, width) from 0 to 1.

    Raises `PromptError` for a file that cannot be read, is not a picture, is larger than any picture, or marks nothing.
    """
    try:
        data = read_bytes(path, error=PromptError, remedy="name a PNG that marks the region in white")
    except FileNotFoundError:
        raise PromptError(f"the mask {path} cannot be used: no such file") from None
    return mask_of(_opened(data, f"the mask {path}"))


def mask_data(text: str) -> Tensor:
    """Return the mask in a text that `as_data` made; raise `PromptError` where it is not one."""
    try:
        data = base64.b64decode(text.removeprefix(DATA), validate=True)
    except (binascii.Error, ValueError):
        raise PromptError("the mask cannot be used: its text is not base64") from None
    return mask_of(_opened(data, "the mask"))


def as_data(mask: Tensor) -> str:
    """Return a mask (height, width) as the text of a PNG of one bit a pixel, its longer side at most 512 pixels.

    >>> import torch
    >>> bool(torch.equal(mask_data(as_data(torch.eye(8))), torch.eye(8)))
    True
    """
    inside = Image.fromarray(((mask > 0.5).numpy() * 255).astype(np.uint8))
    if max(inside.size) > LONGEST_SIDE:
        scale = LONGEST_SIDE / max(inside.size)
        inside = inside.resize([max(1, round(side * scale)) for side in inside.size], Image.Resampling.BOX)
    shares = np.array(inside).astype(int)
    stream = io.BytesIO()
    Image.fromarray(2 * shares >= min(255, 2 * shares.max())).save(stream, "PNG", optimize=True)
    return DATA + base64.b64encode(stream.getvalue()).decode()


def mask_of(where: Any) -> Tensor:
    """Return an image, an array or a tensor as a mask (height, width), from 0 to 1.

    Raises `PromptError` for another shape, and for a mask that marks nothing.
    """
    if isinstance(where, Image.Image):
        where = _greys(where)
    mask = torch.as_tensor(where).detach().float().cpu()
    if mask.ndim != 2 or not mask.numel():
        raise PromptError(f"a mask has the shape {tuple(mask.shape)}; expected (height, width)")
    if not mask.isfinite().all() or mask.max() <= 0:
        raise PromptError("a mask is empty: nothing of it is above 0; mark the region in white")
    return (mask / mask.max()).clamp(min=0)


def _greys(image: Image.Image) -> np.ndarray:
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits, which Pillow would cut off at 255
        return np.array(image).astype(np.float32)
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    # a mask that is drawn on a transparent ground has its shape in the transparency
    transparent = image.mode in ("RGBA", "LA") and np.array(image.getchannel("A")).min() < 255
    return np.array(image.getchannel("A") if transparent else image.convert("L"))


def _opened(data: bytes, name: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is checked below
            image = open_image(io.BytesIO(data))
            width, height = image.size
            if max(width, height) <= _LARGEST:
                image.load()
                return image
    except Image.DecompressionBombError:
        raise PromptError(f"{name} cannot be used: it is too large; expected at most {_LARGEST}x{_LARGEST} pixels") from None
    except Exception:  # Pillow has many kinds for what it cannot read
        raise PromptError(f"{name} cannot be used: it cannot be read as a picture") from None
    raise PromptError(f"{name} has {width}x{height} pixels; expected at most {_LARGEST}x{_LARGEST}")
