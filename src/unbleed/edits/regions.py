"""Text attention limited to regions: inside an entity's region the words of all other entities are hidden.

With v(p, t) the fraction of pixel p in which token t is visible, log v is added to the logits of every text attention, in the
text-conditioned rows. An entity's tokens are visible in its region, and with `background` outside of all regions too. All
other tokens (articles, signs, start, end, padding) are visible everywhere.

In joint attention, where image and text are one sequence, the same holds in both directions: an entity's tokens attend to the
pixels of its region only, and words of different entities do not attend to each other. Pixels attend to all pixels: closing
that draws separate pictures side by side.

Regions are found in the attention of the pipeline's own forward, or given by the user. No gradient is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import PromptError
from ..guidance.edit import ActiveEdit, BatchRows, CallContext, Edit
from ..guidance.noise import NoiseOutcome, fresh_noise
from ..guidance.run import RegionStep
from ..losses.base import has_entities
from ..losses.maps import entity_maps
from ..regions.arrange import arrange
from ..regions.bias import emphasis, joint_bias, text_bias, visibility
from ..regions.given import masks_of
from ..regions.layout import drawn_on, grid_of, layout, resize
from ..regions.score import layout_score
from ..regions.settle import settle
from ..settings import AtLeastOne, setting
from .adapters import layers_of, limited, warn_of_text_encoders
from .attention_override import AttentionCall, overriding

_TOLERANCE = 1e-9  # 0.2 * 50 must be 10 whatever the rounding
_FINER = 4  # pixels of a given region per pixel of the maps


@dataclass(frozen=True)
class RegionEdit(Edit):
    """Hide the words of other entities inside the region of each entity, and find regions that the user did not give.

    Regions are laid out from the attention of the first step, and every later step is masked. Times are fractions of the run,
    lengths fractions of the square root of the grid's area.

    This project, 2026; see `unbleed.methods.Regions` for what it owes to whom.

    >>> RegionEdit(candidates=4).takes_regions
    True
    """

    settle_at: float | None = setting(
        0.3,
        help="time at which found regions become what has grown in them, and given ones are no longer narrowed; None for never",
    )
    stop: float = setting(1.0, help="time at which masking ends")
    wait: float = setting(
        0.13,
        help="if the first step is longer than this, regions are found before it, at the cost of part of a forward, and it is "
        "masked too",
    )
    background: bool = setting(
        False, help="let pixels outside of all regions attend to the words of entities until `settle_at`"
    )
    emphasis: float = setting(0.0, help="added to the logits of an entity's modifiers inside its region")
    sigma: float = setting(0.125, help="blur of the maps in which centers are chosen")
    spacing: float = setting(0.45, help="least distance of two centers")
    margin: float = setting(0.16, help="least distance of a found region's center from the picture's edge")
    radius: float = setting(0.36, help="radius of a planned region, and of a narrowed one")
    tau: float = setting(0.4, help="threshold of a settled region, as a fraction of the map's maximum")
    grow: float = setting(0.125, help="margin around a settled region")
    memory: float = setting(0.5, help="weight of earlier steps in the running mean of the maps, by which regions settle")
    candidates: AtLeastOne = setting(
        1,
        help="number of noises that are arranged for given regions and read twice, at part of a forward each; one is taken. "
        "Until `settle_at` an entity then has only what is around its piece. 1 keeps the pipeline's noise, and a run that "
        "begins with a picture keeps it too",
    )

    families: ClassVar[tuple[str, ...] | None] = None
    needs = "two entities"

    @property
    def replaces_attention(self) -> bool:
        return True

    @property
    def takes_regions(self) -> bool:
        return True

    def open(self, context: CallContext) -> ActiveEdit:
        return _Regions(self, context)


class _Regions(ActiveEdit):
    def __init__(self, edit: RegionEdit, context: CallContext) -> None:
        self.edit, self.context, self.groups = edit, context, context.groups
        self.modules = {name: context.denoiser.get_submodule(name) for name in context.family.text_modules(context.denoiser)}
        image = self.groups.entity_image
        entities = [(at, entity) for at, tokens in enumerate(context.tokens) for entity in tokens.kept]
        self.given = [context.regions[at].get(entity) for at, entity in entities]  # per entity
        named = [region is not None and not region.is_found for region in self.given]
        self.named = given = torch.tensor(named, dtype=torch.bool)
        anywhere = torch.tensor([region is not None and region.where is None for region in self.given], dtype=torch.bool)
        adapters = {region.adapter for region in self.given if region is not None and region.adapter}
        self.adapters = {adapter: layers_of(context.denoiser, adapter) for adapter in sorted(adapters)}
        warn_of_text_encoders(context.pipe, self.adapters)
        self.finding = has_entities(self.groups, 2)[image] & ~given  # bool (entity,): gets a region from attention
        self.fixed = given & ~anywhere  # bool (entity,): has one from the user
        self.drawn: Tensor | None = None  # `masks` as the user gave them, True for the others
        self.masks: Tensor | None = None  # bool (entity, height, width); True where there is no region yet
        self.limited = torch.zeros_like(given)  # bool (entity,): has a region by now
        self.grid = (0, 0)  # of the maps
        self.grown = False  # maps of a masked step were seen
        self.settled = False
        self.begun = False  # the pipeline has run the denoiser, or the first step is long enough to be pulled too
        self.narrowed = False  # given regions are narrowed to what is around the pieces of their noise
        self.maps: Tensor | None = None  # their running mean, (batch, token, height, width)
        self.seen = -1  # the last step whose maps were seen
        self.biases: dict[tuple[int, int, torch.dtype, tuple[int, ...]], Tensor] = {}

    def applies_to(self, image: int) -> bool:
        return bool((self.finding | self.named)[self.groups.entity_image == image].any())

    @property
    def regions(self) -> Tensor | None:
        """On the grid of the maps, on the CPU. None in a short first step, and until every entity that gets one has it."""
        known = self.begun and self.masks is not None and bool(self.limited.any()) and bool(self.limited[self.finding].all())
        return self._on(self.grid) if known else None

    def _on(self, grid: tuple[int, int]) -> Tensor:
        assert self.masks is not None
        return drawn_on(self.masks, grid)

    # ---------------------------------------------------------------------------------------------- finding them

    def looks_first(self, rows: BatchRows) -> bool:
        self.begun = rows.steps * self.edit.wait < 1 - _TOLERANCE
        return self.begun and not bool(self.limited[self.finding].all())

    def reads_maps(self, rows: BatchRows) -> bool:
        if rows.step == self.seen:  # a later run of the denoiser in the same step, which may leave layers out
            return False
        waiting = not bool(self.limited[self.finding].all())
        settling = self.edit.settle_at is not None and not self.settled and bool(self.finding.any())
        return waiting or settling

    def see(self, maps: Tensor, rows: BatchRows) -> None:
        if not rows.evaluating:
            self.seen = rows.step
            self.grown = self.grown or bool(self.limited[self.finding].any())
        keep = self.edit.memory
        self.maps = maps if self.maps is None else keep * self.maps + (1 - keep) * maps
        if self.finding.any() and not self.limited[self.finding].any():
            edit, groups = self.edit, self.groups.only(self.finding).to(maps.device)
            lengths = {"sigma": edit.sigma, "spacing": edit.spacing, "margin": edit.margin, "radius": edit.radius}
            taken = self._taken(rows.grid).to(maps.device)
            self._take(layout(maps, groups, taken=taken if taken.any() else None, **lengths), rows)

    def _taken(self, grid: tuple[int, int]) -> Tensor:
        """Return bool (batch, height, width): the pixels of the regions that the user gave."""
        taken = torch.zeros(self.groups.images, *grid, dtype=torch.bool)
        if self.drawn is not None and self.fixed.any():
            fixed = drawn_on(self.drawn, grid)[self.fixed]
            for mask, image in zip(fixed, self.groups.entity_image[self.fixed].tolist(), strict=True):
                taken[image] |= mask
        return taken

    def _begin(self, rows: BatchRows) -> None:
        """Draw the regions that the user gave, on a grid fine enough for their edges."""
        fine = _FINER if self.fixed.any() else 1
        grid = (rows.grid[0] * fine, rows.grid[1] * fine)
        self.grid, image = rows.grid, self.groups.entity_image
        parts = [
            masks_of([self.given[at] for at in (image == number).nonzero().flatten().tolist()], grid)
            for number in image.unique().tolist()
        ]
        self.masks = self.drawn = torch.cat(parts) if parts else torch.zeros(0, *grid, dtype=torch.bool)
        full = self._taken(rows.grid).flatten(1).all(dim=1)[image] & self.finding
        if full.any():
            at = int(full.nonzero()[0])
            entity = [entity for tokens in self.context.tokens for entity in tokens.kept][at]
            raise PromptError(
                f'nothing is left for "{entity}": the regions that were given cover the whole picture; give "{entity}" a '
                "region too, or None to the entity that is everywhere"
            )
        self._limit(self.fixed, rows)

    def _take(self, found: Tensor, rows: BatchRows) -> None:
        assert self.masks is not None
        self.masks = self.masks.clone()  # one that was made in inference mode cannot be changed out of it
        self.masks[self.finding] = resize(found.cpu(), (self.masks.shape[-2], self.masks.shape[-1])) >= 0.5
        self._limit(self.finding, rows)

    def _limit(self, which: Tensor, rows: BatchRows) -> None:
        """Let the regions of some entities count from here on, and note them."""
        assert self.masks is not None
        self.limited, self.biases = self.limited | which, {}
        for image in self.groups.entity_image[which].unique().tolist():
            masks = self.masks[self.groups.entity_image == image].clone()
            self.context.run.regions.append(RegionStep(self.context.call, image, rows.step, masks))

    def _settle(self, rows: BatchRows) -> None:
        assert self.maps is not None
        self.settled = True
        groups, planned = self.groups.only(self.finding), self._on(rows.grid)[self.finding]
        settled = settle(self.maps.cpu(), groups, planned, tau=self.edit.tau, grow=self.edit.grow)
        free = ~self._taken(rows.grid)[groups.entity_image]
        self._take(torch.where((settled & free).flatten(1).any(dim=1)[:, None, None], settled & free, planned), rows)

    # ------------------------------------------------------------------------------------------------ the first noise

    def composes_noise(self, image: int) -> bool:
        return self.edit.candidates > 1 and bool(self.fixed[self.groups.entity_image == image].any())

    def compose_noise(
        self, noise: Tensor, rows: BatchRows, read: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, list[NoiseOutcome]]:
        if self.masks is None:
            self._begin(rows)
        assert self.masks is not None
        groups = self.groups.select(rows.images)
        placed = (self.fixed | self.finding)[self._of(rows.images)]
        best, narrowed, least = noise, self.masks[self._of(rows.images)], torch.full((len(noise),), torch.inf)
        scores: list[Tensor] = []
        for number in range(self.edit.candidates):
            own = noise if number == 0 else torch.stack([fresh_noise(one, number) for one in noise])
            arranged, regions = self._arranged(own, entity_maps(read(own), groups.to(noise.device)).cpu(), rows)
            maps = read(arranged).cpu()
            on_grid = drawn_on(regions, (maps.shape[-2], maps.shape[-1]))
            scores.append(layout_score(maps, groups.only(placed), on_grid[placed]))
            better = scores[-1] < least
            least = torch.where(better, scores[-1], least)
            best = torch.where(better.to(noise.device).view(-1, *[1] * (noise.ndim - 1)), arranged, best)
            narrowed = torch.where(better[groups.entity_image, None, None], regions, narrowed)
        self.masks = self.masks.clone()
        self.masks[self._of(rows.images) & self.fixed] = narrowed[self.fixed[self._of(rows.images)]]
        self.narrowed = True
        self._limit(self.fixed, rows)
        outcomes = [
            NoiseOutcome(losses, len(losses), lowest < torch.inf, {"layout": lowest} if lowest < torch.inf else {})
            for losses, lowest in zip(torch.stack(scores, dim=1).tolist(), least.tolist(), strict=True)
        ]
        return best, outcomes

    def _arranged(self, noise: Tensor, maps: Tensor, rows: BatchRows) -> tuple[Tensor, Tensor]:
        """Return the noise of `rows.images` with its pieces moved, and the narrowed regions of their entities.

        `maps` (entity, height, width) are those of the nouns. Entities that the model finds get the rest of the picture.
        """
        assert self.masks is not None
        assert self.drawn is not None
        edit, image = self.edit, self.groups.entity_image
        placed, of_rows = self.fixed | self.finding, self._of(rows.images)
        free = ~self._taken((self.masks.shape[-2], self.masks.shape[-1]))[image]
        areas = torch.where(self.fixed[:, None, None], self.drawn, free)
        narrowed, arranged = areas.clone(), []
        lengths = {"radius": edit.radius, "spacing": edit.spacing}  # a given region is small: its margin is `arrange`'s own
        for one, number in zip(noise, rows.images, strict=True):
            own = placed & (image == number)
            moved, narrowed[own] = arrange(_spatial(one, rows.latents), maps[own[of_rows]], areas[own], **lengths)
            arranged.append(moved if one.ndim == 3 else moved.flatten(1).T)
        return torch.stack(arranged), narrowed[of_rows]

    def _of(self, images: Sequence[int]) -> Tensor:
        """Return bool (entity,): those of some of the images."""
        return torch.isin(self.groups.entity_image, torch.tensor(images))

    def _widen(self, rows: BatchRows) -> None:
        """Give the entities all of the regions that the user gave."""
        assert self.masks is not None
        assert self.drawn is not None
        self.narrowed = False
        self.masks = torch.where(self.fixed[:, None, None], self.drawn, self.masks)
        self._limit(self.fixed, rows)

    # ------------------------------------------------------------------------------------------------ masking

    @contextmanager
    def around(self, rows: BatchRows) -> Iterator[None]:
        edit = self.edit
        self.begun = self.begun or not rows.evaluating
        if self.masks is None:
            self._begin(rows)
        if rows.grid != self.grid:  # a second run on the same prompts, at another size
            self.grid, self.maps, self.seen, self.biases = rows.grid, None, -1, {}
        due = edit.settle_at is not None and rows.progress >= edit.settle_at - _TOLERANCE
        if due and not self.settled and self.grown and self.maps is not None:
            self._settle(rows)
        if due and self.narrowed:
            self._widen(rows)
        with ExitStack() as stack:
            self._limit_adapters(stack, rows, negative=False)
            if not rows.evaluating and self.limited.any() and rows.progress < edit.stop - _TOLERANCE:
                stack.enter_context(self._masked(rows))
            yield

    @contextmanager
    def around_negative(self, rows: BatchRows) -> Iterator[None]:
        with ExitStack() as stack:
            self._limit_adapters(stack, rows, negative=True)
            yield

    def _limit_adapters(self, stack: ExitStack, rows: BatchRows, *, negative: bool) -> None:
        for adapter, layers in self.adapters.items():
            inside, tokens = self._reach(adapter)
            tokens = tokens & (not negative)  # a negative prompt has no words of an entity
            stack.enter_context(limited(layers, inside, tokens, rows, self.context.family.on_text))

    def _reach(self, adapter: str) -> tuple[Tensor, Tensor]:
        """Return where an adapter acts: bool (batch, height, width) and (batch, token). Nowhere until its region is found."""
        assert self.masks is not None
        assert self.drawn is not None
        inside = torch.zeros(self.groups.images, *self.masks.shape[-2:], dtype=torch.bool)
        tokens = torch.zeros_like(self.groups.prompt)
        for at, region in enumerate(self.given):
            if region is not None and region.adapter == adapter and (self.limited[at] or not self.finding[at]):
                image = int(self.groups.entity_image[at])
                inside[image] |= self.masks[at] if self.finding[at] else self.drawn[at]
                tokens[image] |= self.groups.whole[at]
        return inside, tokens

    @contextmanager
    def _masked(self, rows: BatchRows) -> Iterator[None]:
        """Mask the attention to the text while the denoiser runs for `rows`."""

        def override(name: str, asked: AttentionCall, own: Callable[[], Tensor]) -> Tensor:
            del name, own
            return masked_attention(asked, self._bias(asked, rows), rows.slice)

        with overriding(self.modules, override, every=self.context.family.reads == "last"):
            yield

    def _bias(self, asked: AttentionCall, rows: BatchRows) -> Tensor:
        """Return the bias of the images `rows`, (image, 1, query, key), in the precision of the query."""
        queries, keys, device = asked.query.shape[2], asked.key.shape[2], asked.query.device
        key = (queries, keys, asked.query.dtype, rows.images)
        if key not in self.biases:
            assert self.masks is not None
            groups = self.groups.only(self.limited).select(rows.images).to(device)
            masks = self.masks[self.limited & self._of(rows.images)]
            regions = resize(masks, rows.grid if rows.joint else grid_of(queries, rows.latents)).to(device)
            visible = visibility(regions, groups, background=self.edit.background and not self.settled)
            added = self.edit.emphasis * emphasis(regions, groups) if self.edit.emphasis else 0.0
            bias = _of_call(joint_bias(visible, groups, rows.joint, added), queries, keys) if rows.joint else None
            bias = text_bias(visible, added) if bias is None else bias
            self.biases[key] = bias[:, None].to(asked.query.dtype)
        return self.biases[key]


def _of_call(bias: Tensor, queries: int, keys: int) -> Tensor:
    """Return the part of the bias of a joint sequence that a call asks for: its queries are the last of its keys.

    What stands behind pixels and tokens, padding and reference pictures, is visible everywhere.
    """
    more = max(keys - bias.shape[-1], 0)
    return F.pad(bias, (0, more, 0, more))[:, keys - queries : keys, :keys]


def _spatial(noise: Tensor, latents: tuple[int, int]) -> Tensor:
    """Return the noise of an image as (channel, height, width); a sequence is (pixel, channel)."""
    return noise if noise.ndim == 3 else noise.T.unflatten(1, latents)


def masked_attention(asked: AttentionCall, bias: Tensor, rows: slice) -> Tensor:
    """Return the attention with `bias` (row, 1, query, key) added to the logits of the rows `rows`, and to those alone.

    A bias for fewer keys than there are leaves the last keys as they were.
    """
    keys = asked.key.shape[2]
    bias = F.pad(bias, (0, keys - bias.shape[-1])) if bias.shape[-1] < keys else bias[..., :keys]
    behind = len(asked.query) - rows.start - len(bias)
    every = F.pad(bias, (0, 0, 0, 0, 0, 0, rows.start, behind)) if len(bias) < len(asked.query) else bias
    mask = every if asked.mask is None else _added(every, asked.mask)
    return F.scaled_dot_product_attention(asked.query, asked.key, asked.value, attn_mask=mask, scale=asked.scale)


def _added(bias: Tensor, mask: Tensor) -> Tensor:
    return bias.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else bias + mask
