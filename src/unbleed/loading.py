"""Load pipelines from folders, the hub and single files; set schedulers; add LoRAs."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from .emoji import EMBEDDED, folder_named
from .errors import ModelError

_CANNOT_LOAD = (OSError, ValueError, TypeError, RuntimeError, ImportError, AttributeError, KeyError, SafetensorError)


def load(
    model: str | Path = "emoji",
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    config: str | Path | None = None,
) -> Any:
    """Return a diffusers pipeline.

    >>> import unbleed
    >>> unbleed.load("emoji").unet.dtype
    torch.float32

    Args:
        model: "emoji" or "emoji-mmdit" (the embedded models), a folder that `save_pretrained` wrote, a model of the Hugging
            Face hub, or a single-file checkpoint (`.safetensors`). Only safetensors are read.
        dtype: Precision of the weights; by default float16 on CUDA, else float32.
        device: By default CUDA if available, else Apple's `mps`, else the CPU.
        config: For single files, which hold weights only: the folder or hub model of a pipeline of the same kind, for sizes,
            tokenizer and scheduler. By default the one that diffusers knows for it, from the hub's cache or the hub.

    Raises:
        ModelError: if the model cannot be loaded, or the device cannot be used.
    """
    target = usable_device(device)
    dtype = dtype or (torch.float16 if target.type == "cuda" else torch.float32)
    source = folder_named(model)
    here = is_on_disk(source)
    if config is not None and not (here and source.is_file()):
        raise ModelError(f'config "{config}" was given with "{model}"; it is for single files (.safetensors) only')
    if here and source.is_file():
        pipe = _from_single_file(source, config, dtype)
    else:
        if here and not (source / "model_index.json").is_file():
            raise ModelError(
                f'"{model}" is not a diffusers pipeline: it has no model_index.json; name the folder that save_pretrained wrote'
            )
        pipe = _from_pretrained(str(source) if here else str(model), model, dtype)
    if target.type == "cpu" and model == "emoji":
        pipe.unet.to(memory_format=torch.channels_last)  # faster for it; a UNet of Stable Diffusion 1's size gets slower
    return pipe.to(target)


def usable_device(device: str | torch.device | None = None) -> torch.device:
    """Return a device, by default the fastest of this machine; raise `ModelError` if it cannot compute."""
    here = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    here += ["mps"] if torch.backends.mps.is_available() else []
    if device is None:
        return torch.device(here[0].removesuffix(":0") if here else "cpu")
    try:
        float(torch.zeros(1, device=device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0].split(". ")[0][:160]
        raise ModelError(
            f'the device "{device}" cannot be used ({reason}); here there is {", ".join(["cpu", *here])}'
        ) from None
    return torch.device(device)


def is_on_disk(path: Path) -> bool:
    """Return whether a file or folder exists; False for names that the system does not accept."""
    try:
        return str(path) not in ("", ".") and path.exists()
    except (OSError, ValueError):
        return False


def is_here(model: str) -> bool:
    """Return whether a model is embedded, on this machine's disk, or in the hub's cache. Nothing is downloaded."""
    if model in EMBEDDED:
        return is_on_disk(EMBEDDED[model])
    if model.startswith(("//", "\\\\")):  # a network path: a mere look would contact that machine
        return False
    if is_on_disk(Path(model)):
        return True
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        snapshot_download(model, local_files_only=True)
    except (OSError, ValueError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError):
        return False
    return True


def _from_pretrained(source: str, model: str | Path, dtype: torch.dtype) -> Any:
    from diffusers import DiffusionPipeline

    with _loading(model, 'give "emoji", a pipeline folder with safetensors, or a hub id that can be reached'):
        return DiffusionPipeline.from_pretrained(source, dtype=dtype, use_safetensors=True)


def _from_single_file(path: Path, config: str | Path | None, dtype: torch.dtype) -> Any:
    import diffusers

    if path.suffix.lower() != ".safetensors":
        raise ModelError(
            f"{path} is not a .safetensors file; single-file checkpoints of other kinds can run code and are not read"
        )
    with _loading(
        path, "expected the checkpoint of a whole pipeline; --config (in Python `config`) names a pipeline of its kind"
    ):
        kind = _kind_of(path) if config is None else str(folder_named(config) if config in EMBEDDED else config)
        index: Any = diffusers.DiffusionPipeline.load_config(kind)
        pipeline: Any = getattr(diffusers, index["_class_name"], None)
        if not hasattr(pipeline, "from_single_file"):
            raise ValueError(f"{index['_class_name']} of {kind} is not made from single files")
        pipe = pipeline.from_single_file(str(path), config=kind, dtype=dtype, safety_checker=None)
        absent = [name for name, part in pipe.components.items() if part is None and index.get(name, [None])[0]]
        absent = [name for name in absent if name not in ("safety_checker", "feature_extractor", "image_encoder")]
        if absent:
            raise ValueError(f"it has no {', no '.join(absent)}")
        pipe.register_to_config(_name_or_path=str(path))  # as from_pretrained does; the name tells distilled models
        return pipe


def _kind_of(path: Path) -> str:
    """Return the hub model that diffusers names for these weights."""
    from diffusers.loaders.single_file_utils import fetch_diffusers_config, load_single_file_checkpoint

    return fetch_diffusers_config(load_single_file_checkpoint(str(path)))["pretrained_model_name_or_path"]


@contextmanager
def _loading(name: str | Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except _CANNOT_LOAD as error:
        raise ModelError(f'"{name}" cannot be loaded ({_first_line(error)}); {remedy}') from error


# --------------------------------------------------------------------------------------------- schedulers and LoRAs


def set_scheduler(pipe: Any, name: str) -> None:
    """Replace the scheduler of a pipeline by the one called `name`, with the present one's settings.

    A name is that of a class of diffusers, also without "Scheduler", "Discrete", "Multistep" and punctuation: "euler",
    "euler-ancestral", "dpm-solver", "uni-pc", "ddim".

    Raises `ModelError` for a scheduler that diffusers does not list as compatible with the present one.
    """
    kinds = {kind.__name__: kind for kind in (type(pipe.scheduler), *pipe.scheduler.compatibles)}
    kind = next((kind for known, kind in sorted(kinds.items()) if _short(known) == _short(name)), None)
    if kind is None:
        known = sorted(_readable(known) for known in kinds)
        short = {_short(one): one for one in known}
        close = [short[one] for one in difflib.get_close_matches(_short(name), short, n=2, cutoff=0.5)]
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
        raise ModelError(f'there is no scheduler "{name}" for {type(pipe).__name__}; {hint}')
    try:
        pipe.scheduler = kind.from_config(pipe.scheduler.config)
    except (ImportError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{kind.__name__} cannot replace {type(pipe.scheduler).__name__} ({_first_line(error)})") from error


def _short(name: str) -> str:
    return re.sub(r"scheduler|discrete|multistep|[^a-z0-9]", "", name.lower())


def _readable(name: str) -> str:
    """Return the short name of a class, such as "euler-ancestral" for EulerAncestralDiscreteScheduler."""
    parts = re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z][a-z]+\d*", re.sub(r"Scheduler|Discrete|Multistep", "", name))
    return "-".join(part.lower() for part in parts)


def add_loras(pipe: Any, loras: Sequence[str]) -> None:
    """Load LoRAs, each "PATH", "HUB-ID" or either with ":WEIGHT" (default 1), and activate all of them.

    Their adapters have the names of `adapter_names`. Raises `ModelError` for a LoRA that cannot be loaded, or that fits no
    component of the pipeline.
    """
    if not loras:
        return
    if not hasattr(pipe, "load_lora_weights"):
        raise ModelError(f"{type(pipe).__name__} takes no LoRA")
    weights: dict[str, float] = {}
    for name, lora in zip(adapter_names(loras), loras, strict=True):
        source, weight = lora_of(lora)
        with _loading(source, "give a .safetensors file, a folder or a hub id of a LoRA for this model"):
            path = Path(source)
            if is_on_disk(path) and path.is_file():
                pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name, use_safetensors=True)
            else:
                pipe.load_lora_weights(source, adapter_name=name, use_safetensors=True)
            if not any(name in adapters for adapters in pipe.get_list_adapters().values()):
                raise ValueError("none of its weights is for a part of this pipeline")
        weights[name] = weight
    pipe.set_adapters(list(weights), list(weights.values()))


def adapter_names(loras: Sequence[str]) -> list[str]:
    """Return the names of the adapters that LoRAs are loaded as: their files', without the ending; of two alike, with a number.

    >>> adapter_names(["loras/knight.v2.safetensors:0.8", "someone/wizard", "other/wizard"])
    ['knight_v2', 'wizard', 'wizard-2']
    """
    names: list[str] = []
    for lora in loras:
        stem = Path(lora_of(lora)[0]).name.removesuffix(".safetensors").replace(".", "_")  # torch takes no dots
        same = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
        names.append(next(name for name in same if name not in names))
    return names


def lora_of(text: str) -> tuple[str, float]:
    """Return (path or hub id, weight) of "PATH", "HUB-ID" or either with ":WEIGHT".

    >>> lora_of("style.safetensors:0.8")
    ('style.safetensors', 0.8)
    """
    source, colon, weight = text.rpartition(":")
    try:
        number = float(weight)
    except ValueError:
        source, number = text, 1.0
    if not colon:
        source, number = text, 1.0
    if not source or not math.isfinite(number):
        raise ModelError(
            f'"{text}" is not a LoRA; expected PATH or HUB-ID, or either with :WEIGHT, as in style.safetensors:0.8'
        )
    return source, number


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
