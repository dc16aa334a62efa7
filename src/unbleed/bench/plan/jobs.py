"""Jobs: one per image, with a key that is the hash of everything the image depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from ...recipes import Recipe

# Settings that methods got after runs had been stored. At these values a run is the same as before, so its keys are too.
_ADDED = {"update": "latents"}


@dataclass(frozen=True)
class Setup:
    """Everything an image depends on except its prompt and seed.

    The other images of a batch change the last bits of an image. The batch size is therefore part of the setup, and the batches
    follow from the plan alone. The number of threads can change the last bits too, but it is left out: otherwise resuming
    a run on a busier machine would start over.
    """

    method: str
    settings: Mapping[str, Any]
    steps: int
    guidance_scale: float | None
    model: str  # as the user named it
    model_fingerprint: str
    dtype: str
    device: str
    batch_size: int
    versions: Mapping[str, str]

    @property
    def content(self) -> dict[str, Any]:
        values = asdict(self)
        del values["model"]  # the fingerprint identifies it
        values["settings"] = {k: v for k, v in values["settings"].items() if k not in _ADDED or v != _ADDED[k]}
        return values

    @cached_property
    def digest(self) -> str:
        return _hash(canonical_json(self.content))

    def job(self, prompt: str, seed: int, file: str = "") -> Job:
        return Job(self, prompt, seed, file)


@dataclass(frozen=True)
class Job:
    """An image to sample, or to import if `file` is the sha256 of an existing one."""

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
"""Jobs of one setup that are sampled together."""


def in_batches(jobs: Iterable[Job], size: int) -> Iterator[Batch]:
    """Yield the jobs in batches of `size`."""
    rest = iter(jobs)
    while batch := tuple(islice(rest, size)):
        yield batch


def canonical_json(value: Any) -> str:
    """Return JSON that does not depend on key order or on 20 versus 20.0, for hashing.

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
    """Result of a job: the image as PNG with its recipe, or the error."""

    job: Job
    png: bytes | None
    seconds: float | None = 0.0  # of its batch, divided by the number of images in it; None if unknown
    together: int = 1  # images in its batch
    dtype: str | None = None
    error: str | None = None  # message in the first line, then the traceback
