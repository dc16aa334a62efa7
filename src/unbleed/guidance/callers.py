"""The pipeline call that is running, found on the interpreter's stack.

A denoiser and a scheduler do not know who calls them. Pipelines share both (image-to-image made of a text-to-image
pipeline's components, a detailer, a refiner), so a hook has to find out which pipeline's call it runs in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from diffusers import DiffusionPipeline


def running() -> Iterator[FrameType]:
    """Yield the frames of this thread, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def pipeline_call() -> FrameType | None:
    """Return the innermost running `__call__` of a diffusers pipeline; None in a loop of the user's own."""
    return next((frame for frame in running() if isinstance(pipeline_of(frame), DiffusionPipeline)), None)


def pipeline_of(frame: FrameType) -> Any:
    """Return the object whose `__call__` runs in `frame`; None if the frame runs another function."""
    # locals of other frames are not read: Python before 3.13 copies them into a dictionary
    return frame.f_locals.get("self") if frame.f_code.co_name == "__call__" else None
