"""Attention Regulation: what is added to the logits of the text attention is found anew in every layer and step.

Zhang et al., ECCV 2024, arXiv 2403.06381; the objective is `unbleed.losses.regulation`. From the authors' code: the weights
of the Gaussians descend by the plain gradient, the best of all iterations is taken, mixed with that of the step before, and
fades with the steps; start and end token keep the attention that they had, so that the attention of a place no longer sums to 1
(`keep_ends=False`: it does). Ours: the best iteration is each head's own, where the authors take one for all heads and
images; the weights begin at 0.5, the mean of the authors' random ones, so that pictures repeat; and in the first step, which
has none before it, the best is not mixed (the authors mix it with where the weights began).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ..guidance.edit import ActiveEdit, BatchRows, CallContext, Edit
from ..losses.regulation import patterns, regulation
from ..precision import at_least_single, without_autocast
from ..settings import Positive, Share, WholeNumber
from .attention_override import AttentionCall, overriding


def regulated(
    logits: Tensor, targets: list[int], grid: tuple[int, int], *, iterations: int, rate: float, share: float, quantile: float
) -> Tensor:
    """Return what to add to `logits` (head, place, token) at `targets`, (head, place, target), after so many iterations."""
    heads = len(logits)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # whatever the user wrapped the pipeline in
        stack.enter_context(torch.enable_grad())
        stack.enter_context(saved_tensors_hooks(_as_it_is, _as_it_is))  # gradient checkpointing has no part in this graph
        fixed = at_least_single(logits.detach()).clone()
        pattern = patterns(*grid, dtype=fixed.dtype, device=fixed.device).flatten(1)  # (pattern, place)
        weights = fixed.new_full((heads, len(pattern), len(targets)), 0.5)
        least, best = fixed.new_full((heads,), torch.inf), fixed.new_zeros(heads, fixed.shape[1], len(targets))
        index = torch.tensor(targets, device=fixed.device)
        for _ in range(iterations):
            weights.requires_grad_(True)
            added = torch.einsum("px,hpt->hxt", pattern, weights)
            attention = fixed.index_add(2, index, added).softmax(dim=-1)[:, :, index]
            loss = regulation(attention, weights, share=share, quantile=quantile)
            (slope,) = torch.autograd.grad(loss.sum(), weights)
            better = (loss < least).detach()
            least = torch.where(better, loss.detach(), least)
            best = torch.where(better[:, None, None], added.detach(), best)
            weights = weights.detach() - rate * slope
    return best


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class RegulateEdit(Edit):
    """See the module."""

    stop: Share = 0.5
    iterations: WholeNumber = 20
    rate: Positive = 100.0
    share: Share = 0.2
    quantile: Share = 0.9
    memory: Share = 0.25  # share of the step before in what is added
    fading: Share = 0.99  # what is added is worth this to the power of the share of the run times 50
    keep_ends: bool = True

    @property
    def replaces_attention(self) -> bool:
        return True

    def open(self, context: CallContext) -> ActiveEdit:
        return _Regulated(self, context)


class _Regulated(ActiveEdit):
    def __init__(self, edit: RegulateEdit, context: CallContext) -> None:
        self.edit = edit
        self.modules = {name: context.denoiser.get_submodule(name) for name in context.layers}
        self.targets = [sorted({p for noun, _ in tokens.entities for p in noun}) for tokens in context.tokens]
        # start and end token, of each chunk of a long prompt
        self.ends = [
            [*range(0, len(tokens.pieces), len(tokens.pieces) // tokens.chunks), *tokens.ends] for tokens in context.tokens
        ]
        # by layer and image: share of the run at the last run of the denoiser, what was added then, and in the step before;
        # guidance runs the denoiser several times in a step
        self.added: dict[tuple[str, int], tuple[float, Tensor | None, Tensor | None]] = {}

    def applies_to(self, image: int) -> bool:
        return bool(self.targets[image])

    @contextmanager
    def around(self, rows: BatchRows) -> Iterator[None]:
        if rows.progress >= self.edit.stop - 1e-9:
            yield
            return

        def override(name: str, call: AttentionCall, own: Callable[[], Tensor]) -> Tensor:
            out = own().clone()
            with without_autocast(out.device):
                for row, image in enumerate(rows.images, start=rows.first):
                    if self.targets[image]:
                        logits = at_least_single(call.query[row]) @ at_least_single(call.key[row]).mT * call.scale
                        attention = self.attention(name, image, rows, logits)
                        out[row] = attention.to(out.dtype) @ call.value[row].to(out.dtype)
            return out

        with overriding(self.modules, override):
            yield

    def attention(self, name: str, image: int, rows: BatchRows, logits: Tensor) -> Tensor:
        """Return the attention of one layer and image, (head, place, token), for its `logits`.

        What is added has no gradient; the logits that it is added to have theirs, for losses on the layers behind.
        """
        edit, targets, share = self.edit, self.targets[image], rows.progress
        added = regulated(
            logits,
            targets,
            rows.grid,
            iterations=edit.iterations,
            rate=edit.rate,
            share=edit.share,
            quantile=edit.quantile,
        )
        last, latest, before = self.added.get((name, image), (share, None, None))
        before = before if last == share else latest
        self.added[name, image] = (share, added, before)
        mixed = added if before is None else edit.memory * before + (1 - edit.memory) * added
        index = torch.tensor(targets, device=logits.device)
        attention = logits.index_add(2, index, edit.fading ** (50 * share) * mixed).softmax(dim=-1)
        if edit.keep_ends:
            own = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
            own[self.ends[image]] = True
            attention = torch.where(own, logits.softmax(dim=-1), attention)
        return attention
