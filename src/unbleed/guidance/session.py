"""State of one guided run: reads attention, updates the latents, records every step."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..attention import JointSequence, family_of
from ..attention.family import Grid
from ..errors import ModelError, UnbleedWarning
from ..losses import AttentionMaps, Loss
from ..losses.base import applies_to_images
from ..losses.groups import TokenGroups
from ..precision import at_least_single
from ..regions.given import Given, assign_all
from .active_edits import ActiveEdits
from .call import DenoiserCall, arguments_of, as_latents, as_tensor
from .checks import refuse_regions, refuse_what_cannot_work
from .edit import BatchRows, CallContext
from .evaluator import Evaluator, See
from .first_noise import first_noise
from .levels import Levels, NoiseLevel
from .method import BaseMethod
from .needs import needs_of
from .prompts import CallPrompts, warn_about
from .run import Run, Step, StepMaps
from .update import Descent, Evaluate, Evaluation, Outcome, update
from .velocity import VelocityStep, refuse_without_velocity


class Session:
    """A method at work on a pipeline's denoiser, one call of the pipeline after another.

    `follow` names the scheduler, `begin` begins a run, `begin_call` a call of the pipeline, and `guide` moves the latents of a
    step. Then `corrected_for` and `with_corrected` say which latents the scheduler and the denoiser go on with, and `step_done`
    ends the step.
    """

    def __init__(
        self, pipe: Any, denoiser: nn.Module, method: BaseMethod, run: Run, record_maps: bool, regions: Given = None
    ) -> None:
        self.pipe, self.method, self.run = pipe, method.parts(), run
        self.record_maps, self.given = record_maps, regions
        self.loss, self.schedule, self.noise = self.method.loss, self.method.schedule, self.method.noise
        self.needs_previous_maps = {loss.needs_previous_maps for loss in self.method.losses} - {None}
        self.family = family_of(denoiser)
        refuse_what_cannot_work(denoiser, self.family, self.method)
        if regions:
            refuse_regions(self.method)
        self.evaluator = Evaluator(denoiser, self.method, self.family)
        self.edits = ActiveEdits(self.method.edits, self.evaluator)
        self.channels = self.evaluator.channels
        self.call = -1
        self.groups: TokenGroups | None = None  # of the images of the call; None before the first
        self.begin()

    # ---------------------------------------------------------------------------------------- runs, calls and steps

    def follow(self, scheduler: Any) -> None:
        """Name the scheduler that the next run steps."""
        if self.method.descent.update == "velocity":
            refuse_without_velocity(scheduler, self.family, self.method.name)
        self.scheduler = scheduler
        self.scale = getattr(scheduler, "scale_model_input", lambda sample, _: sample)

    def begin(self) -> None:
        """Forget the run before."""
        self.corrected: Tensor | None = None  # latents that the step goes on with; None if they stay
        self.velocity: VelocityStep | None = None  # the correction of this step's velocity, if it gets one
        self.own: Tensor | None = None  # latents of the step as the pipeline has them
        self.previous_maps: Tensor | None = None  # maps of the step before, for losses that need them
        self.measured: dict[int, Tensor] = {}  # by image, the maps of its last evaluation
        self.progress = 0.0  # fraction of the run that is done
        self.step, self.steps = 0, 1  # index of the step, and how many there are
        self.grid: Grid | None = None  # of the maps, the same in all of a run
        self.levels: Levels | None = None  # noise levels of the run
        self.done = 0  # steps of the scheduler
        self.guided = self._images_of(self.loss)  # images that are still to be guided
        self.edits.begin()

    def begin_call(self, prompts: CallPrompts) -> None:
        """Begin a call of the pipeline on `prompts`."""
        self.call += 1
        self.run.layers = self.evaluator.layers.names
        self.run.calls.append((len(self.run.prompts), prompts.images_per_prompt))
        self.run.prompts += prompts.prompts
        self.run.entities += [tokens.kept for tokens in prompts.tokens]
        self.run.tokens += prompts.tokens
        self.groups = prompts.groups
        self.selected: dict[tuple[int, ...], TokenGroups] = {}
        self.searched = self._images_of(self.noise.loss if self.noise else None)
        parsed, tokens = prompts.per_image(prompts.parsed), prompts.per_image(prompts.tokens)
        self.edits.open(
            CallContext(
                self.pipe,
                self.evaluator.denoiser,
                parsed,
                tokens,
                prompts.groups,
                prompts.encode,
                self.evaluator.layers.names,
                self.family,
                prompts.per_image([own for _, own in assign_all(prompts.parsed, self.given)]),
                self.run,
                self.call,
            )
        )
        self.guided = self._images_of(self.loss)
        if self.loss and self.loss.reads_regions:  # it applies to images that have regions
            self.guided = [image for image in self.guided if self.edits.applies_to(image)]
        if self.loss or self.noise or self.edits:
            for first in range(0, len(parsed), prompts.images_per_prompt):
                acts = first in self.guided or first in self.searched or self.edits.applies_to(first)
                warn_about(parsed[first], tokens[first], self.method.name, None if acts else self._needs())

    def begin_step(self, done: int) -> None:
        """Begin the step after `done` steps of the scheduler."""
        self.corrected, self.velocity, self.done = None, None, done

    def step_done(self) -> None:
        """End a step of the scheduler."""
        self.begin_step(self.done + 1)

    def corrected_for(self, sample: Tensor) -> Tensor:
        """Return the corrected latents in place of the `sample` that the scheduler steps; `sample` itself if there are none.

        Raises `ModelError` where `sample` is not what the denoiser was given, up to half precision.
        """
        if self.corrected is None or self.own is None:
            return sample
        own = self.own
        if sample.shape != own.shape or (sample - own).abs().max() > 0.01 * own.abs().max():
            raise ModelError(
                f"the scheduler is given other latents {tuple(sample.shape)} than the denoiser {tuple(own.shape)}, as Sana "
                "Sprint and panoramas do, so no correction can be given to both; take a pipeline that gives both the same"
            )
        return self.corrected.to(sample.dtype)

    def with_corrected(self, call: DenoiserCall) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call of the denoiser, on the corrected latents if there are some."""
        if self.corrected is None:
            return call.whole
        return call.with_latents(self.scale(self.corrected, call.timestep))

    def same_latents(self, call: DenoiserCall, other: DenoiserCall) -> bool:
        """Return whether two calls of the denoiser are on the same latents. The device is waited for."""
        return torch.equal(call.latents(self.channels), other.latents(self.channels))

    def read_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], doubled: bool | None) -> DenoiserCall:
        """Return a call of the denoiser by the pipeline; `doubled` is whether the pipeline says that it holds negative rows.

        Raises `ModelError` for a call that cannot be guided.
        """
        assert self.groups is not None
        given = arguments_of(args, kwargs, self.family)
        if reason := self.family.refuses(given):
            raise ModelError(reason)
        if self.grid is None:
            texts = as_tensor(given[self.family.text]).shape[1]
            self.grid = self.evaluator.grid(as_latents(given[self.family.sample]), given, texts)
        pixels = self.grid[0] * self.grid[1] if self.family.packed else None
        return DenoiserCall(args, kwargs, self.groups.images, doubled, self.family, pixels)

    # -------------------------------------------------------------------------------------------- images and rows

    def _needs(self) -> str:
        losses = [loss for loss in (self.loss, self.noise and self.noise.loss) if loss]
        return needs_of(losses, self.method.edits)

    def _images_of(self, loss: Loss | None) -> list[int]:
        """Return the images that `loss` applies to."""
        return [] if loss is None or self.groups is None else applies_to_images(loss, self.groups).nonzero().flatten().tolist()

    def groups_of(self, images: tuple[int, ...], device: torch.device) -> TokenGroups:
        """Return the groups of `images`, selected on the CPU and once, so that no step waits for the device."""
        assert self.groups is not None
        if images not in self.selected:
            self.selected[images] = self.groups.select(list(images)).to(device)
        return self.selected[images]

    def rows(self, call: DenoiserCall) -> BatchRows:
        """Return the text-conditioned rows of a call of the pipeline's own."""
        return self._rows_from(call.conditional.start, call, range(call.conditional.stop - call.conditional.start))

    def rows_alone(self, call: DenoiserCall, images: Sequence[int], *, evaluating: bool = True) -> BatchRows:
        """Return the rows of a run of the denoiser on the conditional rows of `images` only."""
        return replace(self._rows_from(0, call, images), evaluating=evaluating)

    def _rows_from(self, first: int, call: DenoiserCall, images: Sequence[int]) -> BatchRows:
        assert self.grid is not None
        height, width = self.grid if self.family.packed else call.sample.shape[-2:]
        joint = self._joint(call, [call.conditional.start + image for image in images])
        return BatchRows(first, tuple(images), self.progress, self.grid, (height, width), self.step, self.steps, joint=joint)

    def _joint(self, call: DenoiserCall, rows: Sequence[int]) -> JointSequence | None:
        """Return the positions of image and text if they are one sequence; the tokens of all prompts in the batch are read."""
        assert self.groups is not None
        assert self.grid is not None
        if self.evaluator.layers.joint is None:
            return None
        texts = call.texts(rows)
        wanted = self.groups.prompt[:, :texts].any(dim=0).nonzero().flatten().to(call.sample.device)
        arguments = call.arguments(rows) if self.family.starts else None
        return self.evaluator.joint(self.grid, texts, wanted, self.groups.tokens, arguments)

    # --------------------------------------------------------------------------------------------- guidance of a step

    def guide(self, call: DenoiserCall, raw: Tensor | None = None) -> None:
        """Guide the step that begins with this call of the denoiser; `raw` are its latents before they were scaled."""
        with self.evaluator.prepared():
            self._guide(call, raw)

    def _guide(self, call: DenoiserCall, raw: Tensor | None) -> None:
        if self.levels is None:
            paper = self.method.parity == "paper"
            self.levels = Levels(self.scheduler, self.family.timestep(call.time), paper=paper)
        level = self.levels.turn(self.done)
        if level is None:
            return
        latents = call.latents(self.channels) if raw is None or len(raw) != len(call.sample) else raw[call.conditional]
        latents = self.own = at_least_single(latents.detach())  # refinement adds up small updates: not in half precision
        self.progress, self.step, self.steps = level.index / level.steps, level.index, level.steps
        everything = range(len(latents))
        if level.index == 0:
            latents = first_noise(self, call, latents)
            self.edits.look_first(lambda rows: self.maps_at(call, latents, rows.images), self.rows_alone(call, everything))
        ready = not (self.loss and self.loss.reads_regions) or self._regions_of(self.guided) is not None
        if self.guided and ready and self.schedule.guides(level.index, level.asked):
            self.levels.check(self.done, self.family.timestep(call.time))
            if self.method.descent.update == "velocity":
                self.velocity = VelocityStep(self, call, latents, level)
            else:
                latents = self._update(call, latents, level)
        look_back = (
            self.velocity is None
            and "moved" in self.needs_previous_maps
            and self.guided
            and self.schedule.guides(level.index + 1, level.asked)
        )
        if self.record_maps or look_back:
            maps = self.maps_at(call, latents, everything)
            self.previous_maps = maps if look_back else self.previous_maps
            if self.record_maps:
                self.run.maps.append(StepMaps(self.call, level.index, level.timestep, maps.cpu()))

    def _update(self, call: DenoiserCall, latents: Tensor, level: NoiseLevel) -> Tensor:
        """Move the images that are still guided, keep the result as the step's corrected latents, and record what was done."""
        assert self.loss is not None
        begun = time.perf_counter()
        images = self.guided
        own, scaling = latents[images], self._scaling(call)

        def by(loss: Loss) -> Evaluate:
            def evaluate(part: Tensor, of: Sequence[int]) -> Evaluation:
                found = self.measure(call, part / scaling, [images[i] for i in of], loss)
                return Evaluation(found.loss, found.terms, found.gradient / scaling)

            return evaluate

        outcome = update(
            own * scaling,
            by(self.loss),
            step_size=self.schedule.step_size_at(level.index, level.steps),
            descent=self.descent(),
            refinement=self.schedule.refinement_at(level.index, level.asked),
            refine_by=by(self.method.refinement) if self.method.refinement else None,
        )
        latents = latents.clone()
        # an image that was not moved keeps its last bit
        latents[images] = outcome.latents if scaling == 1 else own + (outcome.latents - own * scaling) / scaling
        self.corrected = latents
        if self.needs_previous_maps == {"measured"}:
            known = self.measured[images[0]]
            every = [self.measured.get(image, torch.zeros_like(known)) for image in range(len(latents))]
            self.previous_maps = torch.stack(every)
        self.record(images, outcome, level, time.perf_counter() - begun)
        return latents

    def descent(self) -> Descent:
        """Return the update rule of this step."""
        assert self.loss is not None
        lacking = self.loss.needs_previous_maps and self.previous_maps is None
        # a loss that lacks a part cannot be low enough
        return replace(self.method.descent, enough=None) if lacking else self.method.descent

    def record(self, images: Sequence[int], outcome: Outcome, level: NoiseLevel, seconds: float) -> None:
        """Record what was done to `images`, and leave those alone from now on whose loss was low enough."""
        self.guided = [image for image, met in zip(images, outcome.met, strict=True) if not met]
        if any(outcome.skipped) and not self.run.skipped:
            warnings.warn(
                f"loss or gradient was not finite at step {level.index} (timestep {level.timestep:g}): the update was left "
                "out; run.steps counts how often. A smaller step_size or a float32 model may help",
                UnbleedWarning,
                stacklevel=2,
            )
        for at, image in enumerate(images):
            self.run.steps.append(
                Step(
                    call=self.call,
                    image=image,
                    step=level.index,
                    timestep=level.timestep,
                    loss=outcome.losses[at][-1],
                    terms=outcome.terms[at],
                    losses=outcome.losses[at],
                    gradient_norm=outcome.gradient_norms[at],
                    refinements=outcome.refinements[at],
                    skipped=outcome.skipped[at],
                    seconds=seconds,
                )
            )

    def _scaling(self, call: DenoiserCall) -> float:
        """Return the factor by which the scheduler scales latents for the denoiser at this step, 1 for most schedulers.

        The step size belongs to latents as the denoiser sees them. Those of Euler and similar schedulers are up to 15 times as
        large, and their gradient is smaller by that factor; the papers' codes ignore it.
        """
        if self.method.parity == "paper":
            return 1.0
        return float(self.scale(torch.ones(1, dtype=torch.float32, device=call.sample.device), call.timestep))

    # ------------------------------------------------------------------------------------------------ evaluations

    def measure(self, call: DenoiserCall, latents: Tensor, images: Sequence[int], loss: Loss) -> Evaluation:
        """Return a loss and its gradient at `latents` of `images`."""
        own = tuple(images)
        around = self.edits.around(self.rows_alone(call, own))
        found = self.evaluator.measure(self.see(call, own), latents, loss, self.groups_of(own, latents.device), around)
        if "measured" in self.needs_previous_maps and found.maps is not None:
            self.measured.update(zip(images, found.maps, strict=True))
        return found

    def maps_at(self, call: DenoiserCall, latents: Tensor, images: Sequence[int]) -> Tensor:
        """Return the maps (image, token, height, width) at `latents` of `images`, without a gradient."""
        with torch.no_grad():
            return self.see(call, images)(latents).maps

    def see(self, call: DenoiserCall, images: Sequence[int]) -> See:
        """Return the function from latents of `images` to their attention, text-conditioned."""
        rows = self.rows_alone(call, images)

        def see(latents: Tensor) -> AttentionMaps:
            x = latents if self.method.parity == "paper" else self.scale(latents, call.timestep)
            args, kwargs = call.conditional_rows(x, images)

            def run() -> None:
                with self.edits.around(rows):  # inside the probe, which ends the run by an exception
                    self.evaluator.denoise(*args, **kwargs)

            return self.completed(self.evaluator.read(run, rows.grid, rows.joint), images)

        return see

    def completed(self, seen: AttentionMaps, images: Sequence[int]) -> AttentionMaps:
        """Return the attention of `images` with what else losses may ask for."""
        previous, regions = self.previous_maps, self._regions_of(images)
        return replace(
            seen,
            previous_maps=None if previous is None else previous[list(images)],
            progress=self.progress,
            regions=None if regions is None else regions.to(seen.maps.device),
        )

    def _regions_of(self, images: Sequence[int]) -> Tensor | None:
        """Return the regions of the entities of `images`, if an edit has some."""
        assert self.groups is not None
        return self.edits.regions(images, self.groups)
