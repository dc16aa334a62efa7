"""Every scheduler of diffusers in a tiny random pipeline: how much of a run is guided, and what is left afterwards."""

from __future__ import annotations

import importlib
import inspect
from typing import Any, NamedTuple

import diffusers
import torch
from torch import Tensor

import unbleed
from helpers import tiny

STEPS = 4
PROMPT = "a red cat and a blue bench"

# Those that run in neither pipeline, guided or not: why.
CANNOT = {
    "AmusedScheduler": "fills in masked tokens of a picture",
    "BlockRefinementScheduler": "fills in masked tokens of text",
    "CogVideoXDPMScheduler": "its step takes another form, for CogVideoX alone",
    "DDPMWuerstchenScheduler": "for Wuerstchen alone, with times from 1 to 0",
    "EntropyBoundScheduler": "fills in masked tokens of text",
    "HeliosDMDScheduler": "for Helios alone, in stages",
    "HeliosScheduler": "for Helios alone, in stages",
    "KarrasVeScheduler": "its step takes another form",
    "PiflowScheduler": "for models with several outputs alone",
    "RFD4ProteinaScheduler": "for proteins",
    "RePaintScheduler": "its step takes a picture and a mask",
    "SCMScheduler": "for Sana Sprint alone, whose loop gives scheduler and denoiser different latents",
    "ScoreSdeVeScheduler": "has no step, but a predictor and a corrector",
    "UnCLIPScheduler": "for unCLIP alone",
    "VQDiffusionScheduler": "fills in tokens of a picture",
}


class Row(NamedTuple):
    scheduler: str
    pipeline: str
    calls: int  # of the denoiser, in the unguided run
    guided: list[float]  # timesteps
    same: bool  # whether the run after the guided one is bit-identical to that before it
    moved: bool  # whether the guided run is another


def kinds() -> list[Any]:
    """Return every scheduler class that diffusers exports."""
    found = []
    for name in sorted(dir(importlib.import_module("diffusers.schedulers"))):
        kind = getattr(diffusers, name, None)
        if inspect.isclass(kind) and name.endswith("Scheduler"):
            found.append(kind)
    return found


def pipelines(tokenizer: Any) -> list[Any]:
    """Return the pipelines to try in this order: for noise schedules of diffusion, for those of flow matching."""
    return [tiny.make("sdxl", tokenizer), tiny.make("sd3", tokenizer)]


def row_of(kind: Any, pipes: list[Any], **config: Any) -> Row:
    """Return the row of the first pipeline that runs with the scheduler; raise the last one's error where none does."""
    for pipe in pipes[:-1]:
        try:
            return row(kind, pipe, **config)
        except (unbleed.UnbleedError, ImportError):  # the second of those that need torchsde
            raise
        except Exception:
            continue
    return row(kind, pipes[-1], **config)


def row(kind: Any, pipe: Any, **config: Any) -> Row:
    """Return what became of `STEPS` steps, the first half of them guided, of a pipeline with a scheduler of this class."""
    own, calls = pipe.scheduler, []
    pipe.scheduler = kind.from_config(own.config, **config)
    denoiser = pipe.transformer if hasattr(pipe, "transformer") else pipe.unet

    def draw() -> Tensor:
        torch.manual_seed(0)  # some draw noise with no generator of their own
        generator = torch.Generator().manual_seed(0)
        options = {"height": 128, "width": 128, "num_inference_steps": STEPS, "output_type": "latent"}
        return pipe(PROMPT, generator=generator, **options).images

    try:
        counting = denoiser.register_forward_hook(lambda *_: calls.append(1))
        before = draw()
        counting.remove()
        with unbleed.guide(pipe, unbleed.methods.SynGen(stop=0.5)) as run:
            guided = draw()
        moved = not torch.equal(guided, before)
        times = [step.timestep for step in run.steps]
        return Row(kind.__name__, type(pipe).__name__, len(calls), times, torch.equal(draw(), before), moved)
    finally:
        pipe.scheduler = own
