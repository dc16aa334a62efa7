"""Helpers that several commands share: loading a pipeline, seeds, JSON, file names."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import OutputError, PromptError


def load_pipeline(
    model: str,
    dtype: str | None = None,
    *,
    device: str | None = None,
    config: str | None = None,
    scheduler: str | None = None,
    loras: Sequence[str] = (),
) -> Any:
    """Return the pipeline of `model`; the libraries' log messages are switched off."""
    quiet_libraries()
    import torch

    from ..loading import add_loras, load, set_scheduler

    pipe = load(model, dtype=getattr(torch, dtype) if dtype else None, device=device, config=config)
    if scheduler is not None:
        set_scheduler(pipe, scheduler)
    add_loras(pipe, loras)
    pipe.set_progress_bar_config(disable=not sys.stderr.isatty(), leave=False)
    return pipe


def quiet_libraries() -> None:
    """Switch off log messages and progress bars of transformers, diffusers and the hub's client."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    import huggingface_hub

    huggingface_hub.logging.set_verbosity_error()  # without a network it would log every retry


def read_seeds(text: str) -> list[int]:
    """Return the seeds of "7", "1,5,9" or "0-7"; raise `PromptError` for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:\s*-\s*(\d{1,18}))?\s*", part)
        if not match:
            raise PromptError(f'"{text}" is not a list of seeds; expected numbers as in 7, 1,5,9 or 0-7')
        first = int(match[1])
        last = int(match[2] or match[1])
        if not first <= last < first + 10_000:
            raise PromptError(f'"{part}" has {last - first + 1} seeds; expected from 1 to 10000, the smaller number first')
        seeds += range(first, last + 1)
    if len(set(seeds)) != len(seeds):
        raise PromptError(f'"{text}" names a seed twice; each makes the same picture again')
    return seeds


def print_json(document: Any) -> None:
    """Print one JSON document; numbers that JSON cannot hold (a loss that is not finite) become null."""
    text = json.dumps(_finite(document), ensure_ascii=False, indent=2, default=str, allow_nan=False)
    sys.stdout.write(re.sub("[\x7f-\x9f]", lambda sign: f"\\u{ord(sign[0]):04x}", text) + "\n")  # some control terminals


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def is_file_name(path: Path) -> bool:
    """Return whether `path` names an image file rather than a folder; raise `OutputError` for one that is not a PNG."""
    if path.suffix.lower() in (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"):
        raise OutputError(f"{path}: pictures are written as PNG, which holds their recipe; name it {path.stem}.png")
    return path.suffix.lower() == ".png"


def check_picture(path: Path) -> None:
    """Raise `OutputError` before the work if a picture cannot be written to this path."""
    from ..files import check_writable

    if not is_file_name(path):
        raise OutputError(f"{path} is not the name of a picture; expected one that ends in .png")
    check_writable(path.parent)
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; choose another --out")
        path.exists()
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}; choose another --out") from error
