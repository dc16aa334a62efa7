"""How guidance attaches to a diffusers pipeline, and how it lets go.

In every loop of diffusers a step is: [scheduler.scale_model_input], the denoiser once or more, scheduler.step. A pre-hook
on the denoiser sees the exact call; at the first call of a step it runs the guidance and hands on the corrected latents,
and a shim on scheduler.step gives the same latents to the scheduler. Nothing else of the pipeline is touched, and leaving
the `with` block, by whatever way, undoes all of it.
"""

from __future__ import annotations

import functools
import inspect
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..attention import AttentionProbe, average_maps, average_self_maps, family_of
from ..attention.families import denoiser_of
from ..attention.probe import native_processors
from ..errors import ModelError, PromptError, UnbleedWarning
from ..losses import Loss, Seen
from ..losses.groups import TokenGroups
from ..precision import at_least_single
from .call import DenoiserCall
from .edit import Opened, Rows, Scene
from .instance import replace_attribute
from .method import BaseMethod
from .noise import search_noise
from .reading import Entities, Reading, parse_for, warn_about, watched
from .run import FirstNoise, Run, Step, StepMaps
from .update import Evaluation, update


@contextmanager
def attach(
    pipe: Any,
    method: BaseMethod,
    *,
    entities: Entities = None,
    parser: Any = None,
    prompts: Sequence[str] | None = None,
    record_maps: bool = False,
    checkpointing: bool = False,
) -> Iterator[Run]:
    """Guide every call of `pipe` inside the `with` block by `method`; see `unbleed.guide`."""
    denoiser: Any = denoiser_of(pipe)
    _refuse_what_cannot_work(pipe, denoiser)
    run = Run(method=method.name)
    session = _Session(pipe, denoiser, method, run, record_maps)
    with ExitStack() as undo:
        undo.callback(session.release_scheduler)
        session.hold_scheduler()
        for owner in (pipe, denoiser):
            replace_attribute(undo, owner, "_unbleed_session", session)
        read = functools.partial(parse_for, entities=entities, parser=parser)
        replace_attribute(undo, pipe, "encode_prompt", watched(pipe, pipe.encode_prompt, read, prompts, session.begin_call))
        undo.callback(denoiser.register_forward_pre_hook(session.on_denoise, with_kwargs=True).remove)
        if session.method.edits:
            hook = denoiser.register_forward_hook(session.on_denoised, with_kwargs=True, always_call=True)
            undo.callback(hook.remove)
        undo.callback(session.around.close)
        for weight in [p for p in denoiser.parameters() if p.requires_grad]:
            weight.requires_grad_(False)  # the graph holds no activations for gradients that nobody wants
            undo.callback(weight.requires_grad_, True)
        if checkpointing and not denoiser.is_gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()
            undo.callback(denoiser.disable_gradient_checkpointing)
        yield run


def _refuse_what_cannot_work(pipe: Any, denoiser: nn.Module) -> None:
    if getattr(pipe, "_unbleed_session", None) or getattr(denoiser, "_unbleed_session", None):
        raise ModelError(
            "this pipeline, or another one with the same denoiser, is being guided already; leave that `with` block first, "
            "or add the two losses into one"
        )
    if getattr(denoiser, "is_cache_enabled", False):
        raise ModelError(
            "the denoiser has a cache enabled, which skips layers, so its maps would be stale; call disable_cache()"
        )
    hooks = (name for m in denoiser.modules() for name in getattr(getattr(m, "_diffusers_hook", None), "hooks", {}))
    if any("group_offloading" in name for name in hooks):
        raise ModelError(
            "group offloading swaps weights under the gradient, which would be wrong; use pipe.enable_model_cpu_offload()"
        )
    if not callable(getattr(pipe, "encode_prompt", None)):
        raise ModelError(f"{type(pipe).__name__} has no encode_prompt, so its prompts cannot be read; it is not supported yet")


class _Session:
    """The state of one `with` block. One call of the pipeline begins with its prompts and ends with the next one's."""

    def __init__(
        self,
        pipe: Any,
        denoiser: nn.Module,
        method: BaseMethod,
        run: Run,
        record_maps: bool,
    ) -> None:
        self.pipe, self.denoiser, self.method, self.run = pipe, denoiser, method.parts(), run
        self.record_maps = record_maps
        self.loss, self.schedule, self.noise = self.method.loss, self.method.schedule, self.method.noise
        losses = [loss for loss in (self.loss, self.method.refinement, self.noise and self.noise.loss) if loss]
        self.remembers = any(loss.remembers for loss in losses)
        self.layers = family_of(denoiser).layers(denoiser, self.method.resolution, self.method.layers)
        self.self_names = self.layers.self_names if any(loss.reads_self_attention for loss in losses) else ()
        self.probe = AttentionProbe(denoiser, self.layers.names, self.self_names)
        self.scheduler: Any = None
        self.scheduler_shims = ExitStack()
        self.around = ExitStack()  # what edits hold open while the denoiser runs
        self.evaluating = False
        self.call = -1
        self.groups: TokenGroups | None = None
        self.opened: list[Opened] = []
        self._begin_denoising()

    def begin_call(self, reading: Reading) -> None:
        """Take up what a call of the pipeline is to draw."""
        self.call += 1
        self.hold_scheduler()
        self._begin_denoising()
        self.run.prompts += reading.prompts
        self.run.entities += [tokens.kept for tokens in reading.tokens]
        self.run.tokens += reading.tokens
        self.groups = reading.groups
        self.concerned = self._rows_of(self.loss)
        self.searched = self._rows_of(self.noise.loss if self.noise else None)
        parsed, tokens = reading.per_image(reading.parsed), reading.per_image(reading.tokens)
        scene = Scene(self.pipe, self.denoiser, parsed, tokens, reading.groups, reading.encode, self.layers.names)
        self.opened = [edit.open(scene) for edit in self.method.edits]
        if self.loss or self.noise:
            for first in range(0, len(parsed), reading.images_per_prompt):
                concerned = first in self.concerned or first in self.searched
                warn_about(parsed[first], tokens[first], self.method.name, concerned)

    def _rows_of(self, loss: Loss | None) -> list[int]:
        """Return the images that `loss` has something to say about."""
        assert self.groups is not None
        return loss.concerns(self.groups).nonzero().flatten().tolist() if loss else []

    # ---------------------------------------------------------------------------------------------- scheduler

    def hold_scheduler(self) -> None:
        """Put the shims on the pipeline's scheduler, which the user may have replaced since the last call."""
        if self.pipe.scheduler is self.scheduler:
            return
        self.release_scheduler()
        self.scheduler = self.pipe.scheduler
        self.scale: Callable[..., Tensor] = getattr(self.scheduler, "scale_model_input", lambda sample, _: sample)
        replace_attribute(self.scheduler_shims, self.scheduler, "step", self.watch_step(self.scheduler.step))
        if hasattr(self.scheduler, "scale_model_input"):
            replace_attribute(self.scheduler_shims, self.scheduler, "scale_model_input", self.watch_scaling(self.scale))

    def release_scheduler(self) -> None:
        self.scheduler_shims.close()
        self.scheduler = None

    def _begin_denoising(self) -> None:
        self.fresh = True  # the next denoiser call is the first of its step
        self.raw: Tensor | None = None  # the latents before the scheduler scaled them
        self.corrected: Tensor | None = None
        self.before: Tensor | None = None  # maps at the end of the last step, for losses that remember
        self.share = 0.0  # of the run that is over
        self.from_noise = True  # the run begins with the scheduler's first level
        self.timesteps: list[float] = []
        self.seen: list[float] = []  # noise levels that have had their guidance, in order

    def watch_scaling(self, scale_model_input: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(scale_model_input)
        def watched(sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            self.raw = sample
            return scale_model_input(sample, *args, **kwargs)

        return watched

    def watch_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(step)

        @functools.wraps(step)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if self.corrected is not None:
                bound = signature.bind(*args, **kwargs)
                bound.arguments["sample"] = self.corrected.to(bound.arguments["sample"].dtype)
                args, kwargs = bound.args, bound.kwargs
            self.fresh, self.raw, self.corrected = True, None, None
            return step(*args, **kwargs)

        return watched

    def _position(self, timestep: float) -> tuple[int, int, int] | None:
        """Return (index, steps, asked) of a noise level in the run, or None where it is not its turn to be guided.

        `steps` is the length of the run; `asked` what shares of the run refer to. They differ for the papers' way of
        counting alone: PNDM runs one call more than the steps that were asked for.

        Guidance happens once per noise level. PNDM runs its second level twice, and the scheduler throws the second
        sample away; the inner evaluations of Heun and its kin are thrown away too. The run is what the pipeline walks
        through: image-to-image begins in the middle of the scheduler's levels.
        """
        scheduler = self.pipe.scheduler
        if not self.timesteps:
            levels = scheduler.timesteps.tolist()
            self.timesteps = levels if self.method.parity == "paper" else list(dict.fromkeys(levels))
            first = self.timesteps.index(timestep) if timestep in self.timesteps else 0
            self.from_noise = first == 0
            self.timesteps = self.timesteps[first:]
        inner = not getattr(scheduler, "state_in_first_order", True)
        if self.method.parity != "paper" and (inner or timestep in self.seen):
            return None
        self.seen.append(timestep)
        steps = len(self.timesteps)
        return len(self.seen) - 1, steps, scheduler.num_inference_steps if self.method.parity == "paper" else steps

    # ------------------------------------------------------------------------------------------------ denoiser

    def on_denoise(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """The pre-hook: guide at the first denoiser call of a step; give later calls of the step the same latents."""
        if self.evaluating:
            return None
        if self.groups is None:
            raise PromptError("the denoiser ran before the pipeline read a prompt, so there is nothing to guide by")
        if getattr(self.pipe, "do_perturbed_attention_guidance", False):
            raise ModelError("perturbed attention splits each batch in three, which guidance cannot follow; set pag_scale=0")
        call = DenoiserCall(args, kwargs, self.groups.images, getattr(self.pipe, "do_classifier_free_guidance", None))
        if self.fresh:
            self.fresh = False
            with torch.inference_mode(False):  # whatever the user wrapped the pipeline in
                self._guide(call)
        self.around.close()
        self.around.enter_context(self._edited(self._rows(call)))
        if self.corrected is None:
            return None
        return call.with_latents(self.scale(self.corrected, call.timestep))

    def on_denoised(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The hook behind the denoiser, of methods that edit: let the edits change what was predicted."""
        if self.evaluating:
            return None
        self.around.close()
        if output is None or self.groups is None:  # the denoiser failed
            return None
        call = DenoiserCall(args, kwargs, self.groups.images, getattr(self.pipe, "do_classifier_free_guidance", None))
        prediction = output[0]

        def denoise(embeddings: Tensor, images: Sequence[int]) -> Tensor:
            other = call.with_embeddings(embeddings, images)
            self.evaluating = True
            try:
                return self.denoiser(*other[0], **{**other[1], "return_dict": False})[0]
            finally:
                self.evaluating = False

        for opened in self.opened:
            prediction = opened.after(prediction, self._rows(call), denoise)
        if isinstance(output, tuple):
            return (prediction, *output[1:])
        output.sample = prediction
        return output

    def _rows(self, call: DenoiserCall) -> Rows:
        images = tuple(range(call.conditional.stop - call.conditional.start))
        return Rows(call.conditional.start, images, self.share, self.layers.grid(*call.sample.shape[-2:]))

    def _rows_alone(self, latents: Tensor, images: Sequence[int]) -> Rows:
        return Rows(0, tuple(images), self.share, self.layers.grid(*latents.shape[-2:]))

    @contextmanager
    def _edited(self, rows: Rows) -> Iterator[None]:
        with ExitStack() as around:
            for opened in self.opened:
                around.enter_context(opened.around(rows))
            yield

    def _guide(self, call: DenoiserCall) -> None:
        position = self._position(call.time)
        if position is None:
            return
        index, steps, asked = position
        if self.raw is not None and len(self.raw) == len(call.sample):
            latents = self.raw[call.conditional]
        else:
            latents = call.sample[call.conditional]
        latents = at_least_single(latents.detach())  # refinement adds up small updates: not in half precision
        self.share = index / steps
        if index == 0 and self.noise and self.searched:
            latents = self._search_noise(call, latents)
        if self.concerned and self.schedule.guides(index, asked):
            latents = self._update(call, latents, index, steps, asked)
        if self.record_maps or (self.remembers and self.concerned and self.schedule.guides(index + 1, asked)):
            with torch.no_grad(), native_processors(self.probe.modules.values()):
                maps = self._see(call, latents, list(range(len(latents)))).maps
            self.before = maps
            if self.record_maps:
                self.run.maps.append(StepMaps(self.call, index, call.time, maps.cpu()))

    def _search_noise(self, call: DenoiserCall, latents: Tensor) -> Tensor:
        """Return the latents with better noise, set them as the step's corrected latents, and note what happened."""
        assert self.noise is not None
        assert self.groups is not None
        if not self.from_noise:
            raise ModelError(
                f"{self.method.name} looks for better first noise, but this run begins in the middle of the scheduler's "
                "levels, as image-to-image does; take a method without noise search"
            )
        loss, rows, sigma = self.noise.loss, self.searched, float(getattr(self.scheduler, "init_noise_sigma", 1.0))
        groups = self.groups.to(latents.device).select(rows)

        def evaluate(part: Tensor, of: Sequence[int]) -> Evaluation:
            found = self._evaluate(call, part * sigma, [rows[i] for i in of], groups.select(of), loss)
            return Evaluation(found.loss, found.terms, found.gradient * sigma)

        noise, outcomes = search_noise(latents[rows] / sigma, evaluate, self.noise)
        own = latents
        latents = latents.clone()
        latents[rows] = noise * sigma
        self.corrected = latents
        for row, outcome in zip(rows, outcomes, strict=True):
            self.run.noises.append(FirstNoise(self.call, row, (own[row] / sigma).cpu(), (latents[row] / sigma).cpu(), outcome))
        return latents

    def _update(self, call: DenoiserCall, latents: Tensor, index: int, steps: int, asked: int) -> Tensor:
        """Move the images that the loss concerns, set them as the step's corrected latents, and note what happened."""
        assert self.groups is not None
        begun = time.perf_counter()
        rows = self.concerned
        groups = self.groups.to(latents.device).select(rows)
        refinement = self.schedule.refinement_at(index, asked)
        loss = self.method.refinement if refinement and self.method.refinement else self.loss

        def evaluate(part: Tensor, of: Sequence[int]) -> Evaluation:
            return self._evaluate(call, part, [rows[i] for i in of], groups.select(of), loss)

        outcome = update(
            latents[rows],
            evaluate,
            step_size=self.schedule.step_size_at(index, steps),
            descent=self.method.descent,
            refinement=refinement,
        )
        latents = latents.clone()
        latents[rows] = outcome.latents
        self.corrected = latents
        if any(outcome.skipped) and not self.run.skipped:
            warnings.warn(
                f"loss or gradient was not finite at step {index} (timestep {call.time:g}): the update was left out; "
                "run.steps counts how often. A smaller step_size or a float32 model may help",
                UnbleedWarning,
                stacklevel=2,
            )
        seconds = time.perf_counter() - begun
        for at, row in enumerate(rows):
            self.run.steps.append(
                Step(
                    call=self.call,
                    image=row,
                    step=index,
                    timestep=call.time,
                    loss=outcome.losses[at][-1],
                    terms=outcome.terms[at],
                    losses=outcome.losses[at],
                    gradient_norm=outcome.gradient_norms[at],
                    refinements=outcome.refinements[at],
                    skipped=outcome.skipped[at],
                    seconds=seconds,
                )
            )
        return latents

    def _evaluate(
        self, call: DenoiserCall, latents: Tensor, rows: Sequence[int], groups: TokenGroups, of: Loss | None
    ) -> Evaluation:
        """Return the loss `of` and its gradient at `latents` of the images `rows`; the sum has the gradients of each."""
        assert of is not None
        with torch.enable_grad(), native_processors(self.probe.modules.values()):
            z = latents.detach().clone().requires_grad_(True)
            terms = of.terms(self._see(call, z, rows), groups)
            loss = torch.stack(list(terms.values())).sum(dim=0)
            # with gradient checkpointing the backward runs parts of the denoiser again, and they are to be edited too
            with self._edited(self._rows_alone(latents, rows)):
                # a loss on the step before has nothing to say at the first
                gradient = torch.autograd.grad(loss.sum(), z)[0] if loss.requires_grad else torch.zeros_like(z)
        return Evaluation(loss.detach(), {name: term.detach() for name, term in terms.items()}, gradient)

    def _see(self, call: DenoiserCall, latents: Tensor, rows: Sequence[int]) -> Seen:
        """Return the attention of the images `rows` at `latents`, text-conditioned."""
        x = latents if self.method.parity == "paper" else self.scale(latents, call.timestep)
        args, kwargs = call.conditional_rows(x, rows)

        def denoise() -> None:
            with self._edited(self._rows_alone(latents, rows)):  # inside the probe, which ends the run by an exception
                self.denoiser(*args, **kwargs)

        self.evaluating = True
        try:
            captures = self.probe(denoise)
        finally:
            self.evaluating = False
        return Seen(
            maps=average_maps((captures[name] for name in self.layers.names), self.layers.grid(*latents.shape[-2:])),
            self_maps=average_self_maps(captures[name] for name in self.self_names) if self.self_names else None,
            before=None if self.before is None else self.before[list(rows)],
            share=self.share,
        )
