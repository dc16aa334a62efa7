"""Cost of guidance, known before sampling: operations and memory, counted on shapes only."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from . import sampling
from .attention import family_of
from .attention.families import denoiser_of
from .errors import PromptError
from .guidance.evaluator import Evaluator
from .guidance.method import BaseMethod, Method
from .guidance.noise import NoiseSearch
from .guidance.noise_choice import NoiseChoice
from .losses import AttentionMaps, Loss
from .losses.groups import TokenGroups
from .model_settings import method_for
from .sizes import check_size, own_side

WORDS = 16  # tokens whose maps are read if image and text are one sequence


@dataclass(frozen=True, repr=False)
class Estimate:
    """Guidance cost for one image. The unit is one forward of the denoiser; classifier-free guidance takes two per step.

    >>> import unbleed
    >>> cost = unbleed.estimate(unbleed.load("emoji"), "attend-and-excite@paper", steps=10)
    >>> cost.evaluations_without_refinement, cost.evaluations
    (5, 65)

    Args:
        forwards: Forwards of the run without guidance.
        evaluation: Cost of one evaluation of the guidance, including the gradient, in forwards.
        evaluations: Largest number of evaluations; refinement ends sooner if its targets are reached.
        evaluations_without_refinement: Number of evaluations without refinement.
        activation_bytes: Memory kept for the gradient.
        activation_bytes_checkpointed: The same with `checkpointing=True`, which costs most of a forward per evaluation.
        weight_bytes: Memory of the denoiser's weights.
        reading: Cost of reading attention without a gradient, in forwards, with the steps that are made before that.
        readings: Number of such readings: one for each candidate of a first noise.
        added: Forwards that edits add to the run, for a prompt of two entities.
    """

    forwards: float
    evaluation: float
    evaluations: int
    evaluations_without_refinement: int
    activation_bytes: int
    activation_bytes_checkpointed: int
    weight_bytes: int
    reading: float = 0.0
    readings: int = 0
    added: float = 0.0

    @property
    def ratio(self) -> float:
        """Operations of the guided run over those of the unguided run, at most."""
        return 1 + (self.evaluations * self.evaluation + self.readings * self.reading + self.added) / self.forwards

    @property
    def ratio_without_refinement(self) -> float:
        """The same without refinement."""
        return self.ratio - (self.evaluations - self.evaluations_without_refinement) * self.evaluation / self.forwards

    def __str__(self) -> str:
        weights = f"weights {_bytes(self.weight_bytes)}"
        more = f" and {self.readings} readings of {self.reading:.2f}" if self.readings else ""
        more += f" and {self.added:g} forwards that are added" if self.added else ""
        if not self.evaluations:
            return f"{self.ratio:.2f} times the unguided run: no evaluations with a gradient{more}; {weights}"
        ratios = _range(f"{self.ratio_without_refinement:.2f}", f"{self.ratio:.2f}")
        evaluations = _range(str(self.evaluations_without_refinement), str(self.evaluations))
        return (
            f"{ratios} times the unguided run: {evaluations} evaluations of {self.evaluation:.2f} forwards each{more}, "
            f"beside {self.forwards:g} forwards; {_bytes(self.activation_bytes)} kept for the gradient, "
            f"{_bytes(self.activation_bytes_checkpointed)} with checkpointing; {weights}"
        )

    def __repr__(self) -> str:
        return f"<Estimate: {self}>"


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"


def _bytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"


def estimate(
    pipe: Any,
    method: str | BaseMethod | Loss = "regions",
    size: tuple[int, int] | None = None,
    *,
    steps: int | None = None,
    forwards_per_step: int | None = None,
) -> Estimate:
    """Return the cost of `method` on a pipeline, for one image.

    Operations of matrix products and convolutions are counted, without text encoders and autoencoder. This runs on the meta
    device, in seconds and without memory.

    >>> import unbleed
    >>> print(estimate(unbleed.load("emoji"), "syngen", (136, 72)))  # doctest: +ELLIPSIS
    1.29 times the unguided run: 9 evaluations of 1.92 forwards each, beside 60 forwards; ...

    Args:
        pipe: A diffusers pipeline.
        method: As in `unbleed.guide`.
        size: (height, width) in pixels; by default the model's own.
        steps: Number of denoising steps, from 1 to 1000; by default what suits the model.
        forwards_per_step: 2 with classifier-free guidance, 1 without; by default what the pipeline does.

    Raises:
        ModelError: for an unknown denoiser.
        PromptError: for a size that the model cannot sample, or a number out of range.
    """
    denoiser: Any = denoiser_of(pipe)
    parts = method_for(pipe, method).parts()
    own = sampling.sampling_of(pipe)
    steps = own.steps if steps is None else steps
    if forwards_per_step is None:
        forwards_per_step = sampling.forwards_per_step(pipe, sampling.guidance_arguments(pipe, own.guidance_scale))
    if not 1 <= steps <= 1000:
        raise PromptError(f"{steps} steps; expected 1 to 1000")
    if forwards_per_step < 1:
        raise PromptError(f"{forwards_per_step} forwards per step; expected 2 with classifier-free guidance, 1 without")
    height, width = _sides(pipe, size)
    scale = pipe.vae_scale_factor
    plain, evaluation, reading, kept, saved = _counted(denoiser, parts, height // scale, width // scale)
    least, most = _evaluations(parts, steps)
    return Estimate(
        forwards=float(steps * forwards_per_step),
        evaluation=evaluation / plain,
        evaluations=most,
        evaluations_without_refinement=least,
        activation_bytes=kept,
        activation_bytes_checkpointed=saved,
        weight_bytes=sum(weight.nbytes for weight in denoiser.parameters()),
        reading=reading / plain + (parts.noise.ahead * forwards_per_step if isinstance(parts.noise, NoiseChoice) else 0),
        readings=parts.noise.candidates if isinstance(parts.noise, NoiseChoice) else 0,
        added=float(steps * sum(edit.forwards for edit in parts.edits)),
    )


def _sides(pipe: Any, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return height and width in pixels, by default the pipeline's own; refuse sizes that it cannot sample."""
    if size is None:
        return own_side(pipe), own_side(pipe)
    if not isinstance(size, Sequence) or len(size) != 2:
        raise PromptError(f"size is {size!r}; expected a pair of pixels, (height, width)")
    check_size(pipe, *size)
    return size


def _evaluations(parts: Method, steps: int) -> tuple[int, int]:
    """Return the number of evaluations in a run, without refinement and at most."""
    schedule, search = parts.schedule, parts.noise
    first = 1 if parts.loss and parts.loss.reads_regions else 0  # regions are found in the first step
    guided = [index for index in range(first, steps) if schedule.guides(index, steps)] if parts.loss else []
    refined = [schedule.refinement_at(index, steps) for index in guided]
    searched = search.rounds * search.steps + search.last_steps if isinstance(search, NoiseSearch) else 0
    return len(guided), len(guided) + searched + sum(refinement.most for refinement in refined if refinement)


def _counted(denoiser: Any, parts: Method, height: int, width: int) -> tuple[int, int, int, int, int]:
    """Return the operations of a forward, of an evaluation and of reading attention, and the bytes that an evaluation keeps.

    The bytes are those without and with checkpointing.
    """
    family = family_of(denoiser)
    tokens = family.text_length
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of diffusers about its own classes
        copy: Any = type(denoiser).from_config(denoiser.config)
        call = family.example(copy.config, height, width, tokens)
    copy = nn.Module.to(copy, denoiser.dtype).eval().requires_grad_(False)  # diffusers' own `to` gives a needless warning
    call = _cast(call, denoiser.dtype)
    evaluator = Evaluator(copy, parts, family)
    square = family.packed
    grid = (height // square, width // square) if square else evaluator.layers.grid(height, width)
    joint = evaluator.joint(grid, tokens, torch.arange(WORDS, device="meta"), tokens, call)
    listed = not isinstance(call[family.sample], Tensor)
    leaf = call[family.sample][0] if listed else call[family.sample]

    def see(latents: Tensor) -> AttentionMaps:
        own = latents.clone()  # the counter cannot do with a leaf that enters a module
        inputs = {**call, family.sample: [own] if listed else own}
        return evaluator.read(lambda: evaluator.denoise(**inputs), grid, joint)

    with torch.no_grad(), _Fused(), FlopCounterMode(display=False) as counter:
        copy(**call)
    plain = counter.get_total_flops()
    kept, saved = _Kept(copy), _Kept(copy)
    with _Fused(), FlopCounterMode(display=False) as counter, saved_tensors_hooks(kept, _same):
        evaluator.measure(see, leaf, _SumOfMaps(), _no_entities(tokens))
    evaluation = counter.get_total_flops()
    with torch.no_grad(), _Fused(), FlopCounterMode(display=False) as counter:
        see(leaf)
    reading = counter.get_total_flops()
    if parts.descent.update == "velocity":  # the forward is the pipeline's own
        evaluation -= reading
    elif any(loss.needs_previous_maps == "moved" for loss in parts.losses):  # reads the maps once more at the end of a step
        evaluation += reading

    def checkpointed(module: Any, *given: Any, **named: Any) -> Any:
        for value in (*given, *named.values()):
            if isinstance(value, Tensor):
                saved(value)
        return checkpoint(module, *given, use_reentrant=False, **named)

    copy.enable_gradient_checkpointing(checkpointed)
    with _Fused(), saved_tensors_hooks(saved, _same):
        see(leaf.detach().requires_grad_(True))
    return plain, evaluation, reading, kept.bytes, saved.bytes


class _SumOfMaps(Loss):
    """Stands for any loss: its gradient reaches all maps, and it needs no operations to speak of."""

    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        total = seen.maps.flatten(1).sum(dim=1)
        return {"maps": total if seen.self_maps is None else total + seen.self_maps.flatten(1).sum(dim=1)}


def _no_entities(tokens: int) -> TokenGroups:
    """Return the groups of one image without entities, on the meta device."""
    none, no_words = torch.empty(0, dtype=torch.long, device="meta"), torch.empty(0, tokens, dtype=torch.bool, device="meta")
    prompt = torch.empty(1, tokens, dtype=torch.bool, device="meta")
    return TokenGroups(1, no_words, none, no_words, none, prompt, prompt[:, 0])


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, list):
        return [_cast(item, dtype) for item in value]
    return {key: _cast(item, dtype) for key, item in value.items()} if isinstance(value, dict) else value


def _same(tensor: Tensor) -> Tensor:
    return tensor


class _Fused(TorchFunctionMode):
    """Attention by the fused kernel, as on a GPU; on the meta device it would be two matrix products and their matrix."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.where and any(isinstance(value, Tensor) and value.is_meta for value in args):
            args = [value.to("meta") if isinstance(value, Tensor) else value for value in args]  # a mask that was looked into
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        query, key, value = args[:3] if len(args) >= 3 else (kwargs["query"], kwargs["key"], kwargs["value"])
        kernel = torch.ops.aten._scaled_dot_product_flash_attention
        return kernel(query, key, value, 0.0, False, scale=kwargs.get("scale"))[0]


class _Kept:
    """Adds up the bytes of tensors that are kept for the backward pass, each storage once, without weights."""

    def __init__(self, model: nn.Module) -> None:
        self.storages: dict[int, Tensor] = {weight.untyped_storage()._cdata: weight for weight in model.parameters()}
        self.bytes = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.storages:
            self.storages[storage._cdata] = tensor
            self.bytes += storage.nbytes()
        return tensor
