"""Jobs: one picture each, named by all that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from ...recipes import Recipe


@dataclass(frozen=True)
class Setup:
    """All that a picture depends on, but for its prompt and seed.

    Pictures are drawn in batches, and what is drawn beside a picture changes its last bits: the size of the batches is part of
    this, and the batches follow from the plan alone. The number of threads can change last bits too, and is left out: who
    goes on with a run on a busier machine would begin anew.
    """

    method: str
    settings: Mapping[str, Any]
    steps: int
    guidance_scale: float
    model: str  # as the user calls it
    model_fingerprint: str
    dtype: str
    device: str
    batch_size: int
    versions: Mapping[str, str]

    @property
    def content(self) -> dict[str, Any]:
        values = asdict(self)
        del values["model"]  # a model is its weights, whatever it is called
        return values

    @cached_property
    def digest(self) -> str:
        return _hash(canonical_json(self.content))

    def job(self, prompt: str, seed: int, file: str = "") -> Job:
        return Job(self, prompt, seed, file)


@dataclass(frozen=True)
class Job:
    """A picture to be drawn, or, where `file` is the sha256 of one, to be imported."""

    setup: Setup
    prompt: str
    seed: int
    file: str = ""

    @cached_property
    def key(self) -> str:
        return _hash(f"{self.setup.digest}\0{self.seed}\0{self.prompt}{self.file and chr(0) + self.file}")

    @property
    def recipe(self) -> Recipe:
        setup = self.setup
        return Recipe(
            prompt=self.prompt,
            seed=self.seed,
            method=setup.method,
            settings=setup.settings,
            steps=setup.steps,
            guidance_scale=setup.guidance_scale,
            model=setup.model,
            dtype=setup.dtype,
        )


Batch = tuple[Job, ...]
"""Jobs of one setup that are drawn together."""


def in_batches(jobs: Iterable[Job], size: int) -> Iterator[Batch]:
    """Yield the jobs, so many at a time."""
    rest = iter(jobs)
    while batch := tuple(islice(rest, size)):
        yield batch


def canonical_json(value: Any) -> str:
    """Return the one text of a value, whatever the order of its keys and whether it says 20 or 20.0.

    >>> canonical_json({"b": 20.0, "a": [0.5]}) == canonical_json({"a": [0.5], "b": 20})
    True
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class JobResult:
    """Result of a job: the picture as PNG with its recipe, or the error."""

    job: Job
    png: bytes | None
    seconds: float | None = 0.0  # of its batch, divided by the batch's pictures; None if unknown
    together: int = 1  # pictures in its batch
    dtype: str | None = None
    error: str | None = None  # what went wrong, and the traceback below
