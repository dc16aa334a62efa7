"""The guidance of a run, step by step, whoever walks through the steps: what is read, what is moved, what is noted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..attention import AttentionProbe, Capture, JointSequence, average_maps, average_self_maps, family_of
from ..attention.families import Grid, grid_of
from ..attention.probe import native_processors
from ..errors import ModelError, UnbleedWarning
from ..losses import AttentionMaps, Loss
from ..losses.base import applies_to_images, terms_of
from ..losses.groups import TokenGroups
from ..precision import at_least_single, casting_by_replacement, computes_in_float16, gradient_through, without_autocast
from ..regions.given import Given, assign_all
from .call import DenoiserCall
from .checks import refuse_regions, refuse_what_cannot_work
from .compiled import uncompiled
from .edit import ActiveEdit, BatchRows, CallContext
from .levels import Levels, NoiseLevel
from .method import BaseMethod
from .needs import needs_of
from .noise import search_noise
from .noise_choice import NoiseChoice, choose_noise
from .prompts import Reading, warn_about
from .run import FirstNoise, Run, Step, StepMaps
from .update import Evaluate, Evaluation, update


@contextmanager
def frozen(denoiser: nn.Module) -> Iterator[None]:
    """Let no weight require a gradient, so that the graph holds no activations for gradients that nobody wants."""
    asking = [name for name, weight in denoiser.named_parameters() if weight.requires_grad]
    denoiser.requires_grad_(False)
    try:
        yield
    finally:
        for name in asking:  # by name: offloading and casting replace weights by others
            denoiser.get_parameter(name).requires_grad_(True)


class Session:
    """A method at work on a pipeline's denoiser, one call of the pipeline after another.

    `begin_call` begins a call, `guide` moves the latents of a step: `corrected` are those that the step is to go on with, None
    where they stay. `scheduler` is the one that the call steps, `scale` its scaling of latents for the denoiser.
    """

    scheduler: Any
    scale: Callable[..., Tensor]

    def __init__(
        self, pipe: Any, denoiser: nn.Module, method: BaseMethod, run: Run, record_maps: bool, regions: Given = None
    ) -> None:
        self.given = regions
        self.pipe, self.denoiser, self.method, self.run = pipe, denoiser, method.parts(), run
        self.record_maps = record_maps
        self.loss, self.schedule, self.noise = self.method.loss, self.method.schedule, self.method.noise
        losses = [loss for loss in (self.loss, self.method.refinement, self.noise and self.noise.loss) if loss]
        self.needs_previous_maps = {loss.needs_previous_maps for loss in losses} - {None}
        self.family = family_of(denoiser)
        refuse_what_cannot_work(denoiser, self.family, self.method)
        if regions:
            refuse_regions(self.method)
        self.layers = self.family.layers(denoiser, self.method.resolution, self.method.layers)
        self.self_names = self.layers.self_names if any(loss.reads_self_attention for loss in losses) else ()
        self.probe = AttentionProbe(denoiser, self.layers.names, self.self_names)
        config: Any = denoiser.config
        patch = config.patch_size**2 if self.family.packed else 1
        self._channels: int = patch * (config.out_channels or config.in_channels)  # of the latents
        self.evaluating = False  # the denoiser runs for the guidance
        self.call = -1
        self.groups: TokenGroups | None = None
        self.opened: list[ActiveEdit] = []
        self.begin()

    def begin(self) -> None:
        """Forget the run before."""
        self.corrected: Tensor | None = None
        self.own: Tensor | None = None  # the step's latents as the pipeline has them
        self.previous_maps: Tensor | None = None  # maps of the last step, for losses that remember
        self.measured: dict[int, Tensor] = {}  # of each image, the maps of its last evaluation
        self.progress = 0.0  # of the run that is over
        self.step, self.steps = 0, 1  # its index, and how many there are
        self.heard: dict[str, Capture] | None = None  # attention of the pipeline's own run of the denoiser, for edits
        self.grid: Grid | None = None  # of the maps, the same in all of a run
        self.levels: Levels | None = None  # of noise, that the run walks through
        self.done = 0  # steps of the scheduler
        self.concerned = self._rows_of(self.loss)  # images that are still to be guided

    def begin_call(self, reading: Reading) -> None:
        """Take up what a call of the pipeline is to draw."""
        self.call += 1
        self.run.layers = self.layers.names
        self.run.calls.append((len(self.run.prompts), reading.images_per_prompt))
        self.run.prompts += reading.prompts
        self.run.entities += [tokens.kept for tokens in reading.tokens]
        self.run.tokens += reading.tokens
        self.groups = reading.groups
        self.chosen: dict[tuple[int, ...], TokenGroups] = {}
        self.searched = self._rows_of(self.noise.loss if self.noise else None)
        parsed, tokens = reading.per_image(reading.parsed), reading.per_image(reading.tokens)
        scene = CallContext(
            self.pipe,
            self.denoiser,
            parsed,
            tokens,
            reading.groups,
            reading.encode,
            self.layers.names,
            self.family,
            reading.per_image([own for _, own in assign_all(reading.parsed, self.given)]),
            self.run,
            self.call,
        )
        self.opened = [edit.open(scene) for edit in self.method.edits]
        self.concerned = self._rows_of(self.loss)
        if self.loss and self.loss.reads_regions:  # about the images that have regions
            self.concerned = [row for row in self.concerned if any(opened.applies_to(row) for opened in self.opened)]
        if self.loss or self.noise or self.opened:
            for first in range(0, len(parsed), reading.images_per_prompt):
                edited = any(opened.applies_to(first) for opened in self.opened)
                concerned = first in self.concerned or first in self.searched or edited
                warn_about(parsed[first], tokens[first], self.method.name, None if concerned else self._needs())

    def _needs(self) -> str:
        losses = [loss for loss in (self.loss, self.noise and self.noise.loss) if loss]
        return needs_of(losses, self.method.edits)

    def _rows_of(self, loss: Loss | None) -> list[int]:
        """Return the images that `loss` has something to say about."""
        return [] if loss is None or self.groups is None else applies_to_images(loss, self.groups).nonzero().flatten().tolist()

    def _groups_of(self, rows: tuple[int, ...], device: torch.device) -> TokenGroups:
        """Return the groups of the images `rows`, chosen on the CPU and once, so that no step waits for the device."""
        assert self.groups is not None
        if rows not in self.chosen:
            self.chosen[rows] = self.groups.select(list(rows)).to(device)
        return self.chosen[rows]

    def rows(self, call: DenoiserCall) -> BatchRows:
        images = tuple(range(call.conditional.stop - call.conditional.start))
        return self._rows_from(call.conditional.start, call, images)

    def _rows_alone(self, call: DenoiserCall, images: Sequence[int]) -> BatchRows:
        return replace(self._rows_from(0, call, images), evaluating=True)

    def _rows_from(self, first: int, call: DenoiserCall, images: Sequence[int]) -> BatchRows:
        grid = self._grid(call)
        height, width = grid if self.family.packed else call.sample.shape[-2:]
        return BatchRows(
            first, tuple(images), self.progress, grid, (height, width), self.step, self.steps, joint=self._joint(call)
        )

    def _grid(self, call: DenoiserCall) -> Grid:
        if self.grid is None:  # asked for once: where the call has it in a tensor, the device is waited for
            height, width = grid_of(self.layers, call.sample, call.kwargs)
            if self.family.packed and call.sample.shape[1] != height * width:
                raise ModelError(
                    f"the denoiser was given {call.sample.shape[1]} places for a picture of {height}x{width}; pipelines that "
                    "put other pictures into the same sequence (FLUX Kontext, Qwen-Image-Edit) cannot be guided yet"
                )
            self.grid = height, width
        return self.grid

    def with_own_text(self, call: DenoiserCall) -> DenoiserCall:
        """Return the call on the text embeddings that the edits make of its own."""
        own = embeddings = call.embeddings
        for opened in self.opened:
            embeddings = opened.text(embeddings, self.rows(call))
        return call if embeddings is own else call.with_text(embeddings)

    def on_same_latents(self, call: DenoiserCall, other: DenoiserCall) -> bool:
        """Return whether two calls of the denoiser are on the same latents. The device is waited for."""
        return torch.equal(call.latents(self._channels), other.latents(self._channels))

    def refuse_other_latents(self, sample: Tensor) -> None:
        """Raise `ModelError` where the scheduler's `sample` is not what the denoiser was given, but for half precision."""
        own = self.own
        assert own is not None
        if sample.shape != own.shape or (sample - own).abs().max() > 0.01 * own.abs().max():
            raise ModelError(
                f"the scheduler is given other latents {tuple(sample.shape)} than the denoiser {tuple(own.shape)}, as Sana "
                "Sprint and panoramas do, so no correction can be given to both; take a pipeline that gives both the same"
            )

    @contextmanager
    def edited(self, rows: BatchRows) -> Iterator[None]:
        """Run the denoiser as the edits want it; `show` then gives them the attention that they asked for."""
        with ExitStack() as around:
            if any(edit.acts_inside for edit in self.method.edits):
                around.enter_context(uncompiled())
            if not rows.evaluating:
                listening = any(opened.reads_maps(rows) for opened in self.opened)
                self.heard = around.enter_context(self.probe.listen()) if listening else None
            for opened in self.opened:
                around.enter_context(opened.around(rows))
            yield

    @contextmanager
    def negative(self, rows: BatchRows) -> Iterator[None]:
        """Run the denoiser on negative prompts alone as the edits want it."""
        with ExitStack() as around:
            for opened in self.opened:
                around.enter_context(opened.around_negative(rows))
            yield

    def show(self, call: DenoiserCall) -> None:
        """Give the edits the attention of the run of the denoiser that has just ended, where they asked for it."""
        if self.heard is None:
            return
        self.probe.check(self.heard)
        rows = self.rows(call)
        own = [self.heard[name].of_rows(rows.slice) for name in self.layers.names]
        self.heard = None
        with torch.no_grad(), without_autocast(call.sample.device):
            maps = average_maps(own, rows.grid, rows.joint)
        for opened in self.opened:
            if opened.reads_maps(rows):
                opened.see(maps, rows)

    def _regions(self, images: Sequence[int]) -> Tensor | None:
        """Return the regions of the entities of `images`, if an edit has some, in the order of their groups."""
        assert self.groups is not None
        found = next((opened.regions for opened in self.opened if opened.regions is not None), None)
        if found is None:
            return None
        found = found.to(self.groups.noun.device)
        if len(images) == self.groups.images:
            return found
        wanted = torch.zeros(self.groups.images, dtype=torch.bool)
        wanted[list(images)] = True
        return found[wanted[self.groups.entity_image].to(found.device)]

    def guide(self, call: DenoiserCall, raw: Tensor | None = None) -> None:
        """Guide the step that begins with this call of the denoiser; `raw` are its latents before they were scaled."""
        # weights are frozen for this alone: a change would have the pipeline's own forwards compiled again
        with frozen(self.denoiser), uncompiled(), casting_by_replacement(self.denoiser):
            self._guide(call, raw)

    def _guide(self, call: DenoiserCall, raw: Tensor | None) -> None:
        if self.levels is None:
            paper = self.method.parity == "paper"
            self.levels = Levels(self.scheduler, call.time * self.family.times, paper=paper)
        place = self.levels.turn(self.done)
        if place is None:
            return
        latents = call.latents(self._channels) if raw is None or len(raw) != len(call.sample) else raw[call.conditional]
        latents = self.own = at_least_single(latents.detach())  # refinement adds up small updates: not in half precision
        self.progress, self.step, self.steps = place.index / place.steps, place.index, place.steps
        if place.index == 0 and self.noise and self.searched:
            latents = self._search_noise(call, latents)
        if place.index == 0:
            self._look_first(call, latents)
        ready = not (self.loss and self.loss.reads_regions) or self._regions(self.concerned) is not None
        if self.concerned and ready and self.schedule.guides(place.index, place.asked):
            self.levels.check(self.done, call.time * self.family.times)
            latents = self._update(call, latents, place)
        look_back = (
            "moved" in self.needs_previous_maps and self.concerned and self.schedule.guides(place.index + 1, place.asked)
        )
        if self.record_maps or look_back:
            with torch.no_grad(), native_processors(self.probe.modules.values()):
                maps = self._see(call, latents, list(range(len(latents)))).maps
            self.previous_maps = maps if look_back else self.previous_maps
            if self.record_maps:
                self.run.maps.append(StepMaps(self.call, place.index, place.timestep, maps.cpu()))

    def _look_first(self, call: DenoiserCall, latents: Tensor) -> None:
        """Give the edits that ask for it the attention at the first latents."""
        rows = self._rows_alone(call, range(len(latents)))
        asking = [opened for opened in self.opened if opened.looks_first(rows)]
        if asking:
            with torch.no_grad(), native_processors(self.probe.modules.values()):
                maps = self._see(call, latents, rows.images).maps
            for opened in asking:
                opened.see(maps, rows)

    def _search_noise(self, call: DenoiserCall, latents: Tensor) -> Tensor:
        """Return the latents with better noise, set them as the step's corrected latents, and note what happened."""
        assert self.noise is not None
        assert self.groups is not None
        if self.levels is not None and not self.levels.from_noise:
            if isinstance(self.noise, NoiseChoice):  # the picture that the run begins with is the user's choice
                return latents
            raise ModelError(
                f"{self.method.name} looks for better first noise, but this run begins in the middle of the scheduler's "
                "levels, as image-to-image does; take a method without noise search"
            )
        loss, rows, sigma = self.noise.loss, self.searched, float(getattr(self.scheduler, "init_noise_sigma", 1.0))

        def evaluate(part: Tensor, of: Sequence[int]) -> Evaluation:
            found = self._evaluate(call, part * sigma, [rows[i] for i in of], loss)
            return Evaluation(found.loss, found.terms, found.gradient * sigma)

        def score(part: Tensor, of: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
            return self._score(call, part * sigma, [rows[i] for i in of], loss)

        if isinstance(self.noise, NoiseChoice):
            noise, outcomes = choose_noise(latents[rows] / sigma, score, self.noise)
        else:
            noise, outcomes = search_noise(latents[rows] / sigma, evaluate, self.noise)
        own = latents
        latents = latents.clone()
        latents[rows] = noise * sigma
        self.corrected = latents
        for row, outcome in zip(rows, outcomes, strict=True):
            self.run.noises.append(FirstNoise(self.call, row, (own[row] / sigma).cpu(), (latents[row] / sigma).cpu(), outcome))
        return latents

    def _update(self, call: DenoiserCall, latents: Tensor, place: NoiseLevel) -> Tensor:
        """Move the images that the loss concerns, set them as the step's corrected latents, and note what happened."""
        assert self.loss is not None
        begun = time.perf_counter()
        rows = self.concerned
        own, scaling = latents[rows], self._scaling(call)

        def by(loss: Loss) -> Evaluate:
            def evaluate(part: Tensor, of: Sequence[int]) -> Evaluation:
                found = self._evaluate(call, part / scaling, [rows[i] for i in of], loss)
                return Evaluation(found.loss, found.terms, found.gradient / scaling)

            return evaluate

        descent = self.method.descent
        if (
            self.loss.needs_previous_maps and self.previous_maps is None
        ):  # a part of the loss is missing yet: it cannot be low enough
            descent = replace(descent, enough=None)
        outcome = update(
            own * scaling,
            by(self.loss),
            step_size=self.schedule.step_size_at(place.index, place.steps) * self.family.step_scale,
            descent=descent,
            refinement=self.schedule.refinement_at(place.index, place.asked),
            refine_by=by(self.method.refinement) if self.method.refinement else None,
        )
        latents = latents.clone()
        # an image that was not moved keeps its last bit
        latents[rows] = outcome.latents if scaling == 1 else own + (outcome.latents - own * scaling) / scaling
        self.corrected = latents
        if self.needs_previous_maps == {"measured"}:
            known = self.measured[rows[0]]
            self.previous_maps = torch.stack([self.measured.get(row, torch.zeros_like(known)) for row in range(len(latents))])
        self.concerned = [row for row, met in zip(rows, outcome.met, strict=True) if not met]
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

    def _evaluate(self, call: DenoiserCall, latents: Tensor, rows: Sequence[int], of: Loss | None) -> Evaluation:
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
            if "measured" in self.needs_previous_maps:
                self.measured.update(zip(rows, seen.maps.detach(), strict=True))
            half = computes_in_float16(self.denoiser, z.device)
            with without_autocast(z.device):
                terms = terms_of(of, seen, self._groups_of(tuple(rows), z.device))
                loss = torch.stack(list(terms.values())).sum(dim=0)
            # with gradient checkpointing the backward runs parts of the denoiser again, and they are to be edited too
            with self.edited(self._rows_alone(call, rows)):
                # a loss on the step before has nothing to say at the first
                through = [seen.maps] if seen.self_maps is None else [seen.maps, seen.self_maps]
                gradient = gradient_through(through, loss, z, half=half) if loss.requires_grad else torch.zeros_like(z)
        return Evaluation(loss.detach(), {name: term.detach() for name, term in terms.items()}, gradient)

    def _score(self, call: DenoiserCall, latents: Tensor, rows: Sequence[int], of: Loss) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss `of` and its parts at `latents` of the images `rows`, without a gradient."""
        with torch.no_grad(), native_processors(self.probe.modules.values()):
            terms = terms_of(of, self._see(call, latents, rows), self._groups_of(tuple(rows), latents.device))
        return torch.stack(list(terms.values())).sum(dim=0), terms

    def _scaling(self, call: DenoiserCall) -> float:
        """Return by how much the scheduler scales latents for the denoiser at this step: not at all but for Euler and its kin.

        The step size belongs to latents as the denoiser sees them. Euler's own are up to 15 times as large, and what they
        have of the gradient is as much smaller; the papers' codes take no notice.
        """
        if self.method.parity == "paper":
            return 1.0
        return float(self.scale(torch.ones(1, dtype=torch.float32, device=call.sample.device), call.timestep))

    def _see(self, call: DenoiserCall, latents: Tensor, rows: Sequence[int]) -> AttentionMaps:
        """Return the attention of the images `rows` at `latents`, text-conditioned."""
        x = latents if self.method.parity == "paper" else self.scale(latents, call.timestep)
        args, kwargs = call.conditional_rows(x, rows)

        def denoise() -> None:
            with self.edited(self._rows_alone(call, rows)):  # inside the probe, which ends the run by an exception
                self.denoiser(*args, **kwargs)

        self.evaluating = True
        try:
            captures = self.probe(denoise)
        finally:
            self.evaluating = False
        grid, joint = self._grid(call), self._joint(call)
        own, regions = [captures[name] for name in self.self_names], self._regions(rows)
        with without_autocast(latents.device):
            return AttentionMaps(
                maps=average_maps((captures[name] for name in self.layers.names), grid, joint),
                self_maps=average_self_maps(own, grid, joint) if own else None,
                previous_maps=None if self.previous_maps is None else self.previous_maps[list(rows)],
                progress=self.progress,
                regions=None if regions is None else regions.to(latents.device),
            )

    def _joint(self, call: DenoiserCall) -> JointSequence | None:
        """Return where picture and text stand where they are one sequence; maps are asked for of all images' own pieces."""
        assert self.groups is not None
        if self.layers.joint is None:
            return None
        wanted = self.groups.prompt.any(dim=0).nonzero().flatten().to(call.sample.device)
        return JointSequence(self.layers.joint == "text first", call.embeddings.shape[1], wanted, self.groups.tokens)
