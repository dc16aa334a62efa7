"""What a run finds: the versions of its libraries, its machine, and which model a name means."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from ...emoji import folder_named
from ...errors import ModelError
from . import fingerprints
from .plan import Machine

NULL_MODEL = "null"
"""Grey pictures of 64x64 pixels and no network: what the runner itself costs."""


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("unbleed", "torch", "diffusers", "transformers")}


def machine(threads: int | None = None) -> Machine:
    """Return what the seconds of a picture depend on; `threads` are those of a process, by default torch's own choice."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads or torch.get_num_threads(),
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
    if model == NULL_MODEL:
        return NULL_MODEL
    folder = folder_named(model)
    if not os.path.exists(folder):
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
