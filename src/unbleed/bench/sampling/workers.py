"""Workers: sample the images of a batch, with fallbacks for running out of memory and for NaN.

A batch that fails is halved until the failing images are alone. After running out of memory, later batches are as small.
An image that contains NaN or inf is sampled once more in float32.
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
    def run(self, jobs: Sequence[Job]) -> list[JobResult]:
        """Return the results of jobs of one setup, in their order. Errors are returned as results, not raised."""
        ...


@dataclass
class PipelineWorker:
    """Samples with a pipeline, which is loaded for the first job. `threads` sets torch's threads unless it is None."""

    model: str
    dtype: str
    device: str
    batch_size: int
    threads: int | None = None
    pipe: Any = None

    def run(self, jobs: Sequence[Job]) -> list[JobResult]:
        if self.pipe is None:
            self.pipe = self._load()
        parts = [jobs[first : first + self.batch_size] for first in range(0, len(jobs), self.batch_size)]
        return [result for part in parts for result in self._run(part)]

    def sample(self, jobs: Sequence[Job]) -> list[JobResult]:
        """Return the results of a batch; raise any error."""
        pictures = draw(self.pipe, [job.recipe for job in jobs])
        return [job_result(job, picture, len(jobs)) for job, picture in zip(jobs, pictures, strict=True)]

    def _load(self) -> Any:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        pipe = load_pipeline(self.model, self.dtype, self.device)
        while True:
            try:
                return warm_up(pipe, self.batch_size)
            except OUT_OF_MEMORY:
                if self.batch_size == 1:
                    return pipe  # each job will report the error
            self._halve(self.batch_size)

    def _run(self, jobs: Sequence[Job]) -> list[JobResult]:
        try:
            return self.sample(jobs)
        except Exception as error:  # one failing prompt must not cost the other images of a long run
            logger.debug("%d images of %s", len(jobs), jobs[0].setup.method, exc_info=True)
            if len(jobs) == 1:
                if isinstance(error, PrecisionError) and jobs[0].setup.dtype != "float32":
                    return self._in_float32(jobs[0])
                return [failure(jobs[0], error)]
            out_of_memory = isinstance(error, OUT_OF_MEMORY)
        half = (len(jobs) + 1) // 2
        if out_of_memory:
            self._halve(len(jobs))
        return [*self._run(jobs[:half]), *self._run(jobs[half:])]

    def _halve(self, size: int) -> None:
        self.batch_size = min(self.batch_size, (size + 1) // 2)
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def _in_float32(self, job: Job) -> list[JobResult]:
        try:
            self.pipe.to(torch.float32)
            return self.sample([job])
        except Exception as error:
            return [failure(job, error)]
        finally:
            self.pipe = None  # reload instead of casting back: T5 keeps some weights in float32, which a cast would round
            self.pipe = self._load()


class NullWorker:
    """Writes grey images, to measure what a run costs without a model."""

    def run(self, jobs: Sequence[Job]) -> list[JobResult]:
        begun = time.perf_counter()
        grey = Image.new("RGB", (64, 64), (128, 128, 128))
        pngs = [as_png(grey, job.recipe) for job in jobs]
        seconds = (time.perf_counter() - begun) / len(jobs)
        return [JobResult(job, png, seconds, len(jobs), job.setup.dtype) for job, png in zip(jobs, pngs, strict=True)]


def worker_for(model: str, dtype: str, device: str, batch_size: int, threads: int | None = None) -> Worker:
    """Return a worker that samples with `model`."""
    return NullWorker() if model == NULL_MODEL else PipelineWorker(model, dtype, device, batch_size, threads)


def job_result(job: Job, picture: GeneratedImage, together: int) -> JobResult:
    """Return the result of a job that succeeded, in a batch of `together` images."""
    return JobResult(job, as_png(picture.image, picture.recipe), picture.seconds, together, picture.recipe.dtype)


def failure(job: Job, error: BaseException) -> JobResult:
    """Return the result of a job that failed: the message in one line, then the traceback."""
    line = str(error).strip() or type(error).__name__
    return JobResult(job, None, dtype=job.setup.dtype, error="\n".join([line, "", *traceback.format_exception(error)]))


def load_pipeline(model: str, dtype: str, device: str) -> Any:
    pipe = load(model, dtype=getattr(torch, dtype), device=device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def warm_up(pipe: Any, batch_size: int) -> Any:
    """Return the pipeline after one step, so that no method is charged for first-use allocations and kernel builds."""
    pipe("a picture", num_images_per_prompt=batch_size, num_inference_steps=1)
    return pipe
