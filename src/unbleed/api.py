"""The two calls that most users make: `load` a pipeline, `guide` it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from .emoji import WEIGHTS
from .errors import ModelError
from .guidance.attach import attach
from .guidance.method import BaseMethod
from .guidance.reading import Entities
from .guidance.run import Run
from .losses import Loss
from .model_settings import method_for


@contextmanager
def guide(
    pipe: Any,
    method: str | BaseMethod | Loss = "attend-and-excite",
    *,
    entities: Entities = None,
    parser: Any = None,
    prompts: Sequence[str] | None = None,
    record_maps: bool = False,
    checkpointing: bool = False,
) -> Iterator[Run]:
    """Guide every call of a diffusers pipeline inside the `with` block.

    >>> import unbleed
    >>> pipe = unbleed.load("emoji")
    >>> with unbleed.guide(pipe, "syngen") as run:
    ...     image = pipe("a red cat and a blue bench", num_inference_steps=10).images[0]
    >>> [str(entity) for entity in run.entities[0]]
    ['red cat', 'blue bench']

    `method` is a label (`syngen`, with the settings kept in the model's folder, else the paper's; `syngen@paper`;
    `syngen:step_size=5`), a method object with settings of one's own, or a loss. `entities` overrules the parser
    ("red cat; blue bench", or one such text per prompt); `parser`, a spaCy pipeline or its name ("en_core_web_trf"), takes
    the place of the embedded one. `prompts` gives the words when the pipeline is called with
    embeddings. `record_maps` keeps the attention of every step in `run.maps`, at the price of one more part of a forward
    per step. `checkpointing` trades time for memory in the gradient.

    On leaving the block, also by an exception, the pipeline is as it was. Raises `MethodError`, `ModelError`,
    `PromptError` or `CaptureError` when something cannot work.
    """
    with attach(
        pipe,
        method_for(pipe, method),
        entities=entities,
        parser=parser,
        prompts=prompts,
        record_maps=record_maps,
        checkpointing=checkpointing,
    ) as run:
        yield run


def load(model: str | Path = "emoji", *, dtype: torch.dtype | None = None, device: str | torch.device | None = None) -> Any:
    """Return a diffusers pipeline: the embedded model ("emoji"), a folder, or a model of the Hugging Face hub.

    Without `dtype` and `device`: float16 on a CUDA device when there is one, float32 on the CPU otherwise. Only
    safetensors are read.

    Raises `ModelError` when it cannot be loaded.
    """
    from diffusers import DiffusionPipeline

    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.float16)
    source = WEIGHTS if model == "emoji" else Path(model)
    if source.exists() and not (source / "model_index.json").is_file():
        raise ModelError(
            f"{source} is no diffusers pipeline: it has no model_index.json; name the folder that save_pretrained wrote"
        )
    try:
        pipe = DiffusionPipeline.from_pretrained(
            str(source) if source.exists() else str(model), dtype=dtype, use_safetensors=True
        )
    except (OSError, ValueError, TypeError, RuntimeError, ImportError, AttributeError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f'"{model}" cannot be loaded ({reason}); give "emoji", a pipeline folder with safetensors, or a hub id '
            "that can be reached"
        ) from error
    if device.type == "cpu" and model == "emoji":
        pipe.unet.to(memory_format=torch.channels_last)  # faster for it; a UNet of Stable Diffusion 1's size gets slower
    return pipe.to(device)
