"""A studio without its page: the embedded model, and jobs that are waited for."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

import unbleed
from unbleed.studio.form import House
from unbleed.studio.jobs import Job
from unbleed.studio.limits import Limits
from unbleed.studio.sampler import Sampler
from unbleed.studio.studio import Studio

PROMPT = "a red cat and a blue bench"


@contextmanager
def studio_in(folder: Path, **limits: Any) -> Iterator[Studio]:
    """Give a studio on the embedded model."""
    pipe = unbleed.load("emoji", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    with Studio(House(), [Sampler(pipe)], folder, Limits(**limits)) as studio:
        yield studio


def finished(job: Job, seconds: float = 120.0) -> Job:
    """Return a job once it is over."""
    end = time.monotonic() + seconds
    while not job.over:
        assert time.monotonic() < end, f"{job} is not over"
        time.sleep(0.01)
    return job


def png_with(**texts: str) -> bytes:
    """Return a small PNG with these text chunks."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()
