"""Which pipeline's call is running, read from the interpreter's stack.

A denoiser and a scheduler do not know who calls them. Pipelines share both (image-to-image made of a text-to-image
pipeline's components, a detailer, a refiner), so a hook has to find out whose call it is in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from diffusers import DiffusionPipeline


def running() -> Iterator[FrameType]:
    """Yield the frames that are running in this thread, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def pipeline_call() -> FrameType | None:
    """Return the innermost running `__call__` of a diffusers pipeline, None where there is none, as in a loop of one's own."""
    return next((frame for frame in running() if isinstance(pipeline_of(frame), DiffusionPipeline)), None)


def pipeline_of(frame: FrameType) -> Any:
    """Return the object whose `__call__` runs in `frame`, None where it runs another function."""
    # the locals of other frames are not asked for: Python before 3.13 makes a dictionary of them
    return frame.f_locals.get("self") if frame.f_code.co_name == "__call__" else None
