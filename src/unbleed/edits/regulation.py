"""Attention Regulation: an addition to the logits of the text attention, found anew in every layer and step.

Zhang et al., ECCV 2024, arXiv 2403.06381. For one layer and image, with P[h, xy, t] the attention of head h at pixel xy to a
target t, one of n, and W the weights of the addition,

    L = mean over h, t of (quantile_q of P[h, :, t] - q)^2
        + 80 mean over h, t of (mean of P[h, :, t] - s)^2
        + 0.09 mean of W^2

q = 0.9, s = min(1, 0.2 n) / n, so 0.2 for up to five targets: every target has much attention somewhere, and all have the same
mean. The addition to the logit of a target is a sum of Gaussians with the weights W, on a lattice of twice their width, which
is a sixteenth of the grid's side.

From the authors' code, which is under the MIT licence (the numbers are its, the code here is not): the weights of the Gaussians
descend by the plain gradient, the best of all iterations is taken, mixed with that of the previous step, and fades with the
steps; start and end token keep the attention that they had, so that the attention of a pixel no longer sums to 1
(`keep_ends=False`: it does). Ours: the best iteration is each head's own, where the authors take one for all heads and images;
the weights begin at 0.5, the mean of the authors' random ones, so that images repeat; and in the first step the best is not
mixed (the authors mix it with where the weights began).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ..guidance.edit import ActiveEdit, BatchRows, CallContext, Edit
from ..precision import at_least_single, without_autocast
from ..settings import Positive, Share, WholeNumber, setting
from .attention_override import AttentionCall, overriding


def patterns(height: int, width: int, **like: object) -> Tensor:
    """Return the Gaussians, (pattern, height, width), each with a peak of 1, on a lattice over the grid."""
    sigma = max(1, min(height, width) // 16)
    rows, columns = torch.arange(height, **like), torch.arange(width, **like)  # type: ignore[arg-type]
    centres = torch.cartesian_prod(
        torch.arange(2 * sigma, max(height, 2 * sigma + 1), 2 * sigma, **like),  # type: ignore[arg-type]
        torch.arange(2 * sigma, max(width, 2 * sigma + 1), 2 * sigma, **like),  # type: ignore[arg-type]
    )
    squared = (rows[None, :, None] - centres[:, 0, None, None]) ** 2 + (columns[None, None, :] - centres[:, 1, None, None]) ** 2
    return torch.exp(-squared / (2 * sigma**2))


def regulation(
    attention: Tensor,
    weights: Tensor,
    *,
    quantile: float = 0.9,
    share: float = 0.2,
    weight_share: float = 80.0,
    weight_size: float = 0.09,
) -> Tensor:
    """Return L for each head, (head,), for `attention` (head, pixel, target) and `weights` (head, pattern, target).

    The mean over heads is the L above; heads are independent, so each can descend on its own.
    """
    targets = attention.shape[-1]
    high = ((torch.quantile(attention, quantile, dim=1) - quantile) ** 2).mean(dim=-1)
    even = ((attention.mean(dim=1) - min(1.0, share * targets) / targets) ** 2).mean(dim=-1)
    return high + weight_share * even + weight_size * (weights**2).mean(dim=(1, 2))


def regulated(
    logits: Tensor, targets: list[int], grid: tuple[int, int], *, iterations: int, rate: float, share: float, quantile: float
) -> Tensor:
    """Return the addition to `logits` (head, pixel, token) at `targets`, (head, pixel, target), after `iterations` steps."""
    heads = len(logits)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # the user may have wrapped the pipeline in it
        stack.enter_context(torch.enable_grad())
        stack.enter_context(saved_tensors_hooks(_as_it_is, _as_it_is))  # gradient checkpointing must not see this graph
        fixed = at_least_single(logits.detach()).clone()
        pattern = patterns(*grid, dtype=fixed.dtype, device=fixed.device).flatten(1)  # (pattern, pixel)
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
    """Add to the logits of the text attention until every noun is attended to enough.

    Zhang et al., ECCV 2024, arXiv 2403.06381. For denoisers with text attention of its own.

    >>> from unbleed.edits import RegulateEdit
    >>> RegulateEdit(iterations=5).replaces_attention
    True
    """

    stop: Share = setting(0.5, help="fraction of the run in which attention is changed")
    iterations: WholeNumber = setting(20, help="gradient steps per layer and denoising step")
    rate: Positive = setting(100.0, help="step size of these gradient steps")
    share: Share = setting(0.2, help="mean attention, from 0 to 1, that a noun is to have")
    quantile: Share = setting(0.9, help="quantile over pixels of a noun's attention, and the value that it is to have")
    memory: Share = setting(0.25, help="fraction of the addition that comes from the previous step")
    fading: Share = setting(0.99, help="the addition is multiplied by this to the power of 50 times the fraction of the run")
    keep_ends: bool = setting(True, help="leave the attention to the start and end tokens as it is")

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
        # by layer and image: progress at the last run of the denoiser, the addition there, and that of the previous step;
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
        """Return the attention of one layer and image, (head, pixel, token), for its `logits`.

        The addition has no gradient; the logits keep theirs, for losses on later layers.
        """
        edit, targets, progress = self.edit, self.targets[image], rows.progress
        added = regulated(
            logits,
            targets,
            rows.grid,
            iterations=edit.iterations,
            rate=edit.rate,
            share=edit.share,
            quantile=edit.quantile,
        )
        last, latest, before = self.added.get((name, image), (progress, None, None))
        before = before if last == progress else latest
        self.added[name, image] = (progress, added, before)
        mixed = added if before is None else edit.memory * before + (1 - edit.memory) * added
        index = torch.tensor(targets, device=logits.device)
        attention = logits.index_add(2, index, edit.fading ** (50 * progress) * mixed).softmax(dim=-1)
        if edit.keep_ends:
            own = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
            own[self.ends[image]] = True
            attention = torch.where(own, logits.softmax(dim=-1), attention)
        return attention
