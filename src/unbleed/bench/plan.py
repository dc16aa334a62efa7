"""The plan of a run, and the jobs that follow from it: pure data, told apart by what the pictures depend on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..emoji import WEIGHTS
from ..errors import BenchError, ModelError
from ..generation import Recipe
from . import fingerprints
from .cases import Case, Expected, Suite
from .contenders import Contender

MAX_SEEDS = 1000
"""Draw j of seed k is k + 1000 j, so that no two draws of a prompt share a seed."""


@dataclass(frozen=True)
class Job:
    """Pictures of one recipe that are drawn together, as one batch."""

    recipe: Recipe
    seeds: tuple[int, ...]
    model_fingerprint: str
    device: str
    versions: Mapping[str, str]

    @property
    def content(self) -> dict[str, Any]:
        """All that the pictures depend on. A batch changes their last bits, so its seeds are part of it.

        The number of threads can do so too, and is left out: who goes on with a run on a busier machine would begin anew.
        """
        recipe = asdict(self.recipe)
        del recipe["seed"], recipe["model"]  # a model is its weights, whatever it is called
        return {
            **recipe,
            "seeds": list(self.seeds),
            "model": self.model_fingerprint,
            "device": self.device,
            "versions": dict(self.versions),
        }

    @cached_property
    def key(self) -> str:
        return hashlib.sha256(canonical_json(self.content).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Plan:
    """All that a run is to do, and where."""

    suite: Suite
    seeds: int  # per prompt
    contenders: tuple[Contender, ...]
    model: str
    model_fingerprint: str
    steps: int
    guidance_scale: float
    dtype: str
    batch_size: int
    judge: str  # its fingerprint
    versions: Mapping[str, str]
    machine: Mapping[str, Any]  # processor, cores, threads, device (cpu or cuda), accelerator

    def chunks(self) -> list[range]:
        """Return the numbers of the seeds, 0 to `seeds`, in the batches in which they are drawn."""
        return [range(k, min(k + self.batch_size, self.seeds)) for k in range(0, self.seeds, self.batch_size)]

    def job(self, case: Case, contender: Contender, chunk: range, draw: int = 0) -> Job:
        first = self.suite.first_seed + MAX_SEEDS * draw
        recipe = Recipe(
            prompt=case.prompt,
            seed=first + chunk[0],
            method=contender.method,
            settings=contender.settings,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            model=self.model,
            dtype=self.dtype,
        )
        seeds = tuple(first + k for k in chunk)
        return Job(recipe, seeds, self.model_fingerprint, self.machine["device"], self.versions)

    def jobs_of(self, case: Case) -> Iterator[Job]:
        """Yield the jobs of a prompt, the contenders in turn; a job that two of them share comes twice."""
        for chunk in self.chunks():
            for contender in self.contenders:
                for draw in range(contender.draws):
                    yield self.job(case, contender, chunk, draw)

    def jobs(self) -> list[Job]:
        """Return every job once, prompt by prompt, so that a run that was stopped can be compared all the same."""
        return list({job.key: job for case in self.suite.cases for job in self.jobs_of(case)}.values())

    def to_json(self) -> dict[str, Any]:
        """Return the plan with its cases, so that it says what was asked even if a suite's rule should change."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        cases = tuple(
            Case(
                case["prompt"],
                tuple(Expected(e["noun"], tuple(e["modifiers"])) for e in case["entities"]),
                tuple(case["groups"]),
                case["annotations"],
            )
            for case in values["suite"]["cases"]
        )
        suite = Suite(**{**values["suite"], "cases": cases})
        return cls(**{**values, "suite": suite, "contenders": tuple(Contender(**c) for c in values["contenders"])})


def check_counts(seeds: int, batch_size: int | None) -> None:
    if not 1 <= seeds <= MAX_SEEDS:
        raise BenchError(f"{seeds} seeds per prompt; expected 1 to {MAX_SEEDS}")
    if batch_size is not None and batch_size < 1:
        raise BenchError(f"a batch of {batch_size} pictures; expected at least 1")


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


# ------------------------------------------------------------------------------------- what is found on this machine


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("unbleed", "torch", "diffusers", "transformers")}


def machine() -> dict[str, Any]:
    """Return what the seconds of a picture depend on."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "accelerator": torch.cuda.get_device_name() if device == "cuda" else None,
    }


def _processor() -> str:
    """Return the processor's name; Linux keeps it where `platform` does not look."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def model_fingerprint(model: str) -> str:
    """Return what tells this model from any other, under whatever name.

    For a folder, the sha256 of its index and of the weights and settings of its components, with their names; what else
    lies there, such as method settings, no picture depends on. For a model of the hub, the commit of its snapshot.

    Raises `ModelError` when there is no such model.
    """
    folder = WEIGHTS if model == "emoji" else Path(model)
    if not folder.exists():
        return _hub_commit(model)
    try:
        parts = [name for name in json.loads((folder / "model_index.json").read_text()) if (folder / name).is_dir()]
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is no diffusers pipeline: its model_index.json cannot be read ({error})") from error
    files = [folder / "model_index.json"]
    files += [f for part in parts for f in (folder / part).rglob("*") if f.suffix in (".safetensors", ".json")]
    return fingerprints.of_files(folder, files)


def _hub_commit(model: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        index = hf_hub_download(model, "model_index.json")  # from the cache where the hub cannot be reached
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise ModelError(
            f'"{model}" cannot be loaded ({str(error).strip().splitlines()[0]}); give "emoji", a pipeline folder with '
            "safetensors, or a hub id that can be reached"
        ) from error
    return Path(index).parent.name
