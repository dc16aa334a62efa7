"""What several commands share: options, loading with quiet libraries, printing."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import OutputError, PromptError
from ..model_settings import settings_of

Model = Annotated[str, typer.Option(help="emoji (embedded), a pipeline folder, or a hub id.", metavar="emoji|PATH|HUB-ID")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]
EntitiesOption = Annotated[str | None, typer.Option("--entities", help='Overrule the parser: "red cat; blue bench".')]
Setting = Annotated[list[str] | None, typer.Option("--set", help="A setting of the method, NAME=VALUE; may be repeated.")]


def load_pipeline(model: str, dtype: str | None = None) -> Any:
    """Return the pipeline of `model`, with the libraries' remarks about missing extras kept quiet."""
    quiet_libraries()
    import torch

    from ..loading import load

    pipe = load(model, dtype=getattr(torch, dtype) if dtype else None)
    pipe.set_progress_bar_config(disable=not sys.stderr.isatty(), leave=False)
    return pipe


def quiet_libraries() -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    import huggingface_hub

    huggingface_hub.logging.set_verbosity_error()  # it would tell of every retry where there is no network


def sampling_defaults(model: str, steps: int | None, guidance_scale: float | None) -> tuple[int, float]:
    """Return step count and guidance scale: as given, else the model's own, else the papers'."""
    own = settings_of(model)
    return own.steps if steps is None else steps, own.guidance_scale if guidance_scale is None else guidance_scale


def read_seeds(text: str) -> list[int]:
    """Return the seeds of "7", "1,5,9" or "0-7"; raise `PromptError` for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:\s*-\s*(\d{1,18}))?\s*", part)
        if not match:
            raise PromptError(f'"{text}" is no list of seeds; expected numbers as in 7, 1,5,9 or 0-7')
        first = int(match[1])
        last = int(match[2] or match[1])
        if not first <= last < first + 10_000:
            raise PromptError(f'"{part}" has {last - first + 1} seeds; expected from 1 to 10000, the smaller number first')
        seeds += range(first, last + 1)
    if len(set(seeds)) != len(seeds):
        raise PromptError(f'"{text}" names a seed twice; each makes the same picture again')
    return seeds


def print_json(document: Any) -> None:
    """Print one JSON document; numbers that JSON does not know (a loss that was not finite) become null."""
    sys.stdout.write(json.dumps(_finite(document), ensure_ascii=False, indent=2, default=str, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def slug(text: str, length: int = 60) -> str:
    """Return a file name's worth of a prompt."""
    return re.sub(r"[^\w]+", "-", text.lower(), flags=re.UNICODE).strip("-_")[:length].rstrip("-") or "picture"


def is_file_name(path: Path) -> bool:
    """Return whether `path` names a picture rather than a folder; raise `OutputError` for a picture that is no PNG."""
    if path.suffix.lower() in (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"):
        raise OutputError(f"{path}: pictures are written as PNG, which holds their recipe; name it {path.stem}.png")
    return path.suffix.lower() == ".png"
