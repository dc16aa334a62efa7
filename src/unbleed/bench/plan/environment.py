"""Environment: library versions, hardware, model fingerprint."""

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
"""Name of a model without a network. Its images are grey, 64x64 pixels; it measures the runner's own cost."""


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("unbleed", "torch", "diffusers", "transformers")}


def machine(threads: int | None = None) -> Machine:
    """Return the hardware that the time per image depends on; `threads` per process defaults to torch's choice."""
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
    """Return the processor's name; `platform` does not find it on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def model_fingerprint(model: str) -> str:
    """Return a hash that identifies a model regardless of its name or path.

    For a folder, the sha256 of its index and of its components' weights and configs, with their file names. Other files,
    such as method settings, do not affect images and are not hashed. For a hub id, the commit of its snapshot.

    Raises `ModelError` if the model does not exist.
    """
    if model == NULL_MODEL:
        return NULL_MODEL
    folder = folder_named(model)
    if not os.path.exists(folder):
        return _hub_commit(model)
    try:
        parts = [name for name in json.loads((folder / "model_index.json").read_text()) if (folder / name).is_dir()]
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is not a diffusers pipeline: its model_index.json cannot be read ({error})") from error
    files = [folder / "model_index.json"]
    files += [f for part in parts for f in (folder / part).rglob("*") if f.suffix in (".safetensors", ".json")]
    return fingerprints.of_files(folder, files)


def _hub_commit(model: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        index = hf_hub_download(model, "model_index.json")  # falls back to the cache if the hub cannot be reached
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise ModelError(
            f'"{model}" cannot be loaded ({str(error).strip().splitlines()[0]}); give "emoji", a pipeline folder with '
            "safetensors, or a hub id that can be reached"
        ) from error
    return Path(index).parent.name
