"""Whoever draws the pictures of a batch, and what becomes of a batch that cannot be drawn as it is.

A batch that fails is halved until the pictures that are to blame stand alone; where memory ran out, later batches are as small.
A picture that holds values that are no numbers is drawn once more in float32.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL import Image

from ...errors import PrecisionError
from ...generation import GeneratedImage, draw
from ...loading import load
from ...recipes import as_png
from ..plan.environment import NULL_MODEL
from ..plan.jobs import Job, JobResult

OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)

logger = logging.getLogger(__name__)


class Worker(Protocol):
    def paint(self, jobs: Sequence[Job]) -> list[JobResult]:
        """Return what came of jobs of one setup, in their order; whatever goes wrong is told and not raised."""
        ...


@dataclass
class PipelineWorker:
    """Draws with a pipeline, which is loaded when the first picture is asked for. `threads`: of torch, None as they are."""

    model: str
    dtype: str
    device: str
    batch_size: int
    threads: int | None = None
    pipe: Any = None

    def paint(self, jobs: Sequence[Job]) -> list[JobResult]:
        if self.pipe is None:
            self.pipe = self._load()
        parts = [jobs[first : first + self.batch_size] for first in range(0, len(jobs), self.batch_size)]
        return [painted for part in parts for painted in self._paint(part)]

    def _load(self) -> Any:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        pipe = loaded(self.model, self.dtype, self.device)
        while True:
            try:
                return warm(pipe, self.batch_size)
            except OUT_OF_MEMORY:
                if self.batch_size == 1:
                    return pipe  # every picture will say so for itself
            self._halve(self.batch_size)

    def _paint(self, jobs: Sequence[Job]) -> list[JobResult]:
        try:
            return self._draw(jobs)
        except Exception as error:  # whatever one prompt meets, hours of others must not be lost to it
            logger.debug("%d pictures of %s", len(jobs), jobs[0].setup.method, exc_info=True)
            if len(jobs) == 1:
                if isinstance(error, PrecisionError) and jobs[0].setup.dtype != "float32":
                    return self._in_float32(jobs[0])
                return [failed(jobs[0], error)]
            out_of_memory = isinstance(error, OUT_OF_MEMORY)
        half = (len(jobs) + 1) // 2
        if out_of_memory:
            self._halve(len(jobs))
        return [*self._paint(jobs[:half]), *self._paint(jobs[half:])]

    def _draw(self, jobs: Sequence[Job]) -> list[JobResult]:
        return [painted(job, one, len(jobs)) for job, one in zip(jobs, draw(self.pipe, [j.recipe for j in jobs]), strict=True)]

    def _halve(self, pictures: int) -> None:
        self.batch_size = min(self.batch_size, (pictures + 1) // 2)
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def _in_float32(self, job: Job) -> list[JobResult]:
        try:
            self.pipe.to(torch.float32)
            return self._draw([job])
        except Exception as error:
            return [failed(job, error)]
        finally:
            self.pipe = None  # T5 keeps some weights in float32 whatever is asked for: casting back would round them
            self.pipe = self._load()


class NullWorker:
    """Grey pictures: what a run costs without a model."""

    def paint(self, jobs: Sequence[Job]) -> list[JobResult]:
        begun = time.perf_counter()
        grey = Image.new("RGB", (64, 64), (128, 128, 128))
        pngs = [as_png(grey, job.recipe) for job in jobs]
        seconds = (time.perf_counter() - begun) / len(jobs)
        return [JobResult(job, png, seconds, len(jobs), job.setup.dtype) for job, png in zip(jobs, pngs, strict=True)]


def worker_for(model: str, dtype: str, device: str, batch_size: int, threads: int | None = None) -> Worker:
    """Return who draws the pictures of `model`."""
    return NullWorker() if model == NULL_MODEL else PipelineWorker(model, dtype, device, batch_size, threads)


def painted(job: Job, picture: GeneratedImage, together: int) -> JobResult:
    return JobResult(job, as_png(picture.image, picture.recipe), picture.seconds, together, picture.recipe.dtype)


def failed(job: Job, error: BaseException) -> JobResult:
    """Return a job that failed: the error in a line, and the traceback beneath."""
    line = str(error).strip() or type(error).__name__
    return JobResult(job, None, dtype=job.setup.dtype, error="\n".join([line, "", *traceback.format_exception(error)]))


def loaded(model: str, dtype: str, device: str) -> Any:
    pipe = load(model, dtype=getattr(torch, dtype), device=device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def warm(pipe: Any, batch_size: int) -> Any:
    """Return the pipeline, warm: its first forward pays for memory and kernels, and no contender is to be charged with it."""
    pipe("a picture", num_images_per_prompt=batch_size, num_inference_steps=1)
    return pipe
