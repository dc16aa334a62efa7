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

from ..attention import AttentionProbe, JointSequence, average_maps, average_self_maps, family_of
from ..attention.families import denoiser_of, grid_of
from ..attention.probe import native_processors
from ..errors import ModelError, PromptError, UnbleedWarning
from ..losses import Loss, Seen
from ..losses.groups import TokenGroups
from ..precision import at_least_single
from .call import DenoiserCall
from .edit import Opened, Rows, Scene
from .instance import replace_attribute
from .levels import Levels, Place
from .method import BaseMethod
from .noise import search_noise
from .reading import Entities, Reading, parse_for, warn_about, watched
from .refusals import refuse_what_cannot_work
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
    run = Run(method=method.name)
    session = _Session(pipe, denoiser, method, run, record_maps)
    with ExitStack() as undo:
        undo.callback(session.release_scheduler)
        session.hold_scheduler()
        for owner in (pipe, denoiser):
            replace_attribute(undo, owner, "_unbleed_session", session)
        read = functools.partial(parse_for, entities=entities, parser=parser)
        replace_attribute(
            undo, pipe, "encode_prompt", watched(pipe, pipe.encode_prompt, session.family, read, prompts, session.hear)
        )
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
        self.family = family_of(denoiser)
        refuse_what_cannot_work(pipe, denoiser, self.family, self.method)
        self.layers = self.family.layers(denoiser, self.method.resolution, self.method.layers)
        self.self_names = self.layers.self_names if any(loss.reads_self_attention for loss in losses) else ()
        self.probe = AttentionProbe(denoiser, self.layers.names, self.self_names)
        config: Any = denoiser.config
        patch = config.patch_size**2 if self.family.packed else 1
        self._channels: int = patch * (config.out_channels or config.in_channels)  # of the latents
        self.scheduler: Any = None
        self.scheduler_shims = ExitStack()
        self.around = ExitStack()  # what edits hold open while the denoiser runs
        self.evaluating = False
        self.call = -1
        self.heard: list[tuple[Reading, Tensor]] = []  # prompts and their embeddings, since the denoiser ran last
        self.groups: TokenGroups | None = None
        self.opened: list[Opened] = []
        self._begin_denoising()

    def hear(self, reading: Reading, embeddings: Tensor) -> None:
        """Take note of prompts that the pipeline encodes; FLUX and Qwen-Image encode negative ones in the same way."""
        self.hold_scheduler()
        self._begin_denoising()
        self.heard.append((reading, embeddings))

    def _begin_call(self, embeddings: Tensor) -> None:
        """Take up what a call of the pipeline is to draw: of the prompts that were encoded those that the denoiser now gets."""
        (reading, _), *more = self.heard
        if more:
            fitting = [one for one, own in self.heard if torch.equal(own.to(embeddings), embeddings[-len(own) :])]
            reading = fitting[0] if fitting else reading
        self.heard = []
        self.call += 1
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
        self.levels: Levels | None = None  # of noise, that the run walks through
        self.done = 0  # steps of the scheduler
        self.negative = False  # this call of the denoiser is on negative prompts

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
            self.done += 1
            return step(*args, **kwargs)

        return watched

    # ------------------------------------------------------------------------------------------------ denoiser

    def on_denoise(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """The pre-hook: guide at the first denoiser call of a step; give later calls of the step the same latents."""
        if self.evaluating:
            return None
        if getattr(self.pipe, "do_perturbed_attention_guidance", False):
            raise ModelError("perturbed attention splits each batch in three, which guidance cannot follow; set pag_scale=0")
        call = self._call(args, kwargs)
        self.negative = not self.fresh and self.family.packed and call.copies == 1
        if self.fresh:
            self.fresh = False
            with torch.inference_mode(False):  # whatever the user wrapped the pipeline in
                self._guide(call)
        self.around.close()
        if not self.negative:
            self.around.enter_context(self._edited(self._rows(call)))
        if self.corrected is None:
            return None
        return call.with_latents(self.scale(self.corrected, call.timestep))

    def on_denoised(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The hook behind the denoiser, of methods that edit: let the edits change what was predicted."""
        if self.evaluating:
            return None
        self.around.close()
        if output is None or self.groups is None or self.negative:  # the denoiser failed, or it is not the prompts' turn
            return None
        call = self._call(args, kwargs)
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

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> DenoiserCall:
        if self.heard:
            self._begin_call(kwargs["encoder_hidden_states"] if "encoder_hidden_states" in kwargs else args[2])
        if self.groups is None:
            raise PromptError("the denoiser ran before the pipeline read a prompt, so there is nothing to guide by")
        # later calls of a step may be on the prompts alone, as for skipped layers
        doubled = getattr(self.pipe, "do_classifier_free_guidance", None) if self.fresh and not self.family.packed else None
        return DenoiserCall(args, kwargs, self.groups.images, doubled, self.family.sample)

    def _rows(self, call: DenoiserCall) -> Rows:
        images = tuple(range(call.conditional.stop - call.conditional.start))
        return Rows(call.conditional.start, images, self.share, grid_of(self.layers, call.sample, call.kwargs))

    def _rows_alone(self, call: DenoiserCall, images: Sequence[int]) -> Rows:
        return Rows(0, tuple(images), self.share, grid_of(self.layers, call.sample, call.kwargs))

    @contextmanager
    def _edited(self, rows: Rows) -> Iterator[None]:
        with ExitStack() as around:
            for opened in self.opened:
                around.enter_context(opened.around(rows))
            yield

    def _guide(self, call: DenoiserCall) -> None:
        if self.levels is None:
            paper = self.method.parity == "paper"
            self.levels = Levels(self.pipe.scheduler, call.time * self.family.times, paper=paper)
        place = self.levels.turn(self.done)
        if place is None:
            return
        if self.raw is not None and len(self.raw) == len(call.sample):
            latents = self.raw[call.conditional]
        else:
            latents = call.latents(self._channels)
        latents = at_least_single(latents.detach())  # refinement adds up small updates: not in half precision
        self.share = place.index / place.steps
        if place.index == 0 and self.noise and self.searched:
            latents = self._search_noise(call, latents)
        if self.concerned and self.schedule.guides(place.index, place.asked):
            latents = self._update(call, latents, place)
        if self.record_maps or (self.remembers and self.concerned and self.schedule.guides(place.index + 1, place.asked)):
            with torch.no_grad(), native_processors(self.probe.modules.values()):
                maps = self._see(call, latents, list(range(len(latents)))).maps
            self.before = maps
            if self.record_maps:
                self.run.maps.append(StepMaps(self.call, place.index, place.timestep, maps.cpu()))

    def _search_noise(self, call: DenoiserCall, latents: Tensor) -> Tensor:
        """Return the latents with better noise, set them as the step's corrected latents, and note what happened."""
        assert self.noise is not None
        assert self.groups is not None
        if self.levels is not None and not self.levels.from_noise:
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

    def _update(self, call: DenoiserCall, latents: Tensor, place: Place) -> Tensor:
        """Move the images that the loss concerns, set them as the step's corrected latents, and note what happened."""
        assert self.groups is not None
        begun = time.perf_counter()
        rows = self.concerned
        groups = self.groups.to(latents.device).select(rows)
        refinement = self.schedule.refinement_at(place.index, place.asked)
        loss = self.method.refinement if refinement and self.method.refinement else self.loss

        def evaluate(part: Tensor, of: Sequence[int]) -> Evaluation:
            return self._evaluate(call, part, [rows[i] for i in of], groups.select(of), loss)

        outcome = update(
            latents[rows],
            evaluate,
            step_size=self.schedule.step_size_at(place.index, place.steps) * self.family.step_scale,
            descent=self.method.descent,
            refinement=refinement,
        )
        latents = latents.clone()
        latents[rows] = outcome.latents
        self.corrected = latents
        if any(outcome.skipped) and not self.run.skipped:
            warnings.warn(
                f"loss or gradient was not finite at step {place.index} (timestep {place.timestep:g}): the update was left "
                "out; run.steps counts how often. A smaller step_size or a float32 model may help",
                UnbleedWarning,
                stacklevel=2,
            )
        seconds = time.perf_counter() - begun
        for at, row in enumerate(rows):
            self.run.steps.append(
                Step(
                    call=self.call,
                    image=row,
                    step=place.index,
                    timestep=place.timestep,
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
            seen = self._see(call, z, rows)
            if not seen.maps.requires_grad:
                raise ModelError(
                    "no gradient comes through the denoiser, as with weights that were quantised for inference alone; load it "
                    "in float16 or bfloat16, or take a method without a gradient (unbleed methods says which)"
                )
            terms = of.terms(seen, groups)
            loss = torch.stack(list(terms.values())).sum(dim=0)
            # with gradient checkpointing the backward runs parts of the denoiser again, and they are to be edited too
            with self._edited(self._rows_alone(call, rows)):
                # a loss on the step before has nothing to say at the first
                gradient = torch.autograd.grad(loss.sum(), z)[0] if loss.requires_grad else torch.zeros_like(z)
        return Evaluation(loss.detach(), {name: term.detach() for name, term in terms.items()}, gradient)

    def _see(self, call: DenoiserCall, latents: Tensor, rows: Sequence[int]) -> Seen:
        """Return the attention of the images `rows` at `latents`, text-conditioned."""
        x = latents if self.method.parity == "paper" else self.scale(latents, call.timestep)
        args, kwargs = call.conditional_rows(x, rows)

        def denoise() -> None:
            with self._edited(self._rows_alone(call, rows)):  # inside the probe, which ends the run by an exception
                self.denoiser(*args, **kwargs)

        self.evaluating = True
        try:
            captures = self.probe(denoise)
        finally:
            self.evaluating = False
        grid, joint = grid_of(self.layers, call.sample, call.kwargs), self._joint(call, latents.device)
        return Seen(
            maps=average_maps((captures[name] for name in self.layers.names), grid, joint),
            self_maps=average_self_maps((captures[name] for name in self.self_names), grid, joint) if self.self_names else None,
            before=None if self.before is None else self.before[list(rows)],
            share=self.share,
        )

    def _joint(self, call: DenoiserCall, device: torch.device) -> JointSequence | None:
        """Return where picture and text stand where they are one sequence; maps are asked for of all images' own pieces."""
        assert self.groups is not None
        if self.layers.joint is None:
            return None
        wanted = self.groups.prompt.any(dim=0).nonzero().flatten().to(device)
        return JointSequence(self.layers.joint == "text first", call.embeddings.shape[1], wanted, self.groups.tokens)
