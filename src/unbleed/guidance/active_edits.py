"""The edits of a method at work in one call of the pipeline: all of them around each run of the denoiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from ..attention import Capture
from ..errors import ModelError
from ..losses.groups import TokenGroups
from .call import DenoiserCall
from .compiled import uncompiled
from .edit import ActiveEdit, BatchRows, CallContext, Edit
from .evaluator import Evaluator


class ActiveEdits:
    """The `edits` of a method. None is at work before `open`."""

    def __init__(self, edits: Sequence[Edit], evaluator: Evaluator) -> None:
        self.edits, self.evaluator = edits, evaluator
        self.active: list[ActiveEdit] = []
        self.heard: dict[str, Capture] | None = None  # attention of the pipeline's own run of the denoiser

    def __bool__(self) -> bool:
        return bool(self.active)

    def begin(self) -> None:
        """Forget what was heard of the run before."""
        self.heard = None

    def open(self, context: CallContext) -> None:
        """Put the edits to work on the prompts of a call of the pipeline."""
        self.active = [edit.open(context) for edit in self.edits]

    def applies_to(self, image: int) -> bool:
        """Return whether an edit acts on an image."""
        return any(edit.applies_to(image) for edit in self.active)

    def with_text(self, call: DenoiserCall, rows: BatchRows) -> DenoiserCall:
        """Return the call of the denoiser on its text embeddings as the edits change them."""
        embeddings = call.embeddings
        for edit in self.active:
            embeddings = edit.text(embeddings, rows)
        return call if embeddings is call.embeddings else call.with_text(embeddings)

    def beside(self, call: DenoiserCall, rows: BatchRows) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Return the arguments of a call with the rows that an edit adds; None if none does."""
        added = [embeddings for edit in self.active if (embeddings := edit.beside(rows)) is not None]
        if not added:
            return None
        own = call.embeddings.shape[1]
        if len(added) > 1 or added[0].shape[1] != own:
            raise ModelError(
                f"{len(added)} further texts of {added[0].shape[1]} tokens beside a prompt of {own}; expected one of the same "
                "length: give prompts as text, not as embeddings"
            )
        return call.with_more_rows(range(*rows.slice.indices(len(call.sample))), added[0])

    @contextmanager
    def around(self, rows: BatchRows) -> Iterator[None]:
        """Let the denoiser run with all edits. `show` afterwards gives them the attention that they asked for."""
        with ExitStack() as stack:
            if any(edit.acts_inside for edit in self.edits):
                stack.enter_context(uncompiled())
            if not rows.evaluating:
                listening = any(edit.reads_maps(rows) for edit in self.active)
                self.heard = stack.enter_context(self.evaluator.probe.listen()) if listening else None
            for edit in self.active:
                stack.enter_context(edit.around(rows))
            yield

    @contextmanager
    def around_negative(self, rows: BatchRows) -> Iterator[None]:
        """Let the denoiser run with all edits on negative prompts only."""
        with ExitStack() as stack:
            for edit in self.active:
                stack.enter_context(edit.around_negative(rows))
            yield

    def show(self, rows: BatchRows) -> None:
        """Give the edits that asked for it the attention of the run of the denoiser that has just ended."""
        if self.heard is None:
            return
        heard, self.heard = self.heard, None
        maps = self.evaluator.heard_maps(heard, rows.slice, rows.grid, rows.joint)
        for edit in self.active:
            if edit.reads_maps(rows):
                edit.see(maps, rows)

    def look_first(self, see: Callable[[BatchRows], Tensor], rows: BatchRows) -> None:
        """Give the edits that ask for it the attention at the first latents, which `see` returns."""
        asking = [edit for edit in self.active if edit.looks_first(rows)]
        if asking:
            maps = see(rows)
            for edit in asking:
                edit.see(maps, rows)

    def after(self, prediction: Tensor, rows: BatchRows, denoise: Callable[[Tensor, Sequence[int]], Tensor]) -> Tensor:
        """Return what the edits make of the denoiser's prediction, (row, ...); see `ActiveEdit.after`."""
        for edit in self.active:
            prediction = edit.after(prediction, rows, denoise)
        return prediction

    def regions(self, images: Sequence[int], groups: TokenGroups) -> Tensor | None:
        """Return the regions of the entities of `images`, bool (entity, height, width); None if there are none yet."""
        found = next((edit.regions for edit in self.active if edit.regions is not None), None)
        if found is None:
            return None
        found = found.to(groups.noun.device)
        if len(images) == groups.images:
            return found
        wanted = torch.zeros(groups.images, dtype=torch.bool)
        wanted[list(images)] = True
        return found[wanted[groups.entity_image].to(found.device)]
