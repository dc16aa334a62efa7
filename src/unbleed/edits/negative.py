"""Normalized attention guidance: attention away from a negative prompt, for models without classifier-free guidance.

Chen et al., NAG, arXiv 2505.21179; from its formulas. The denoiser runs on a second text beside the prompt. Where image tokens
attend to text, the attention outputs z+ and z- of the two texts become

    z  = s z+ - (s - 1) z-
    r  = |z| / |z+|                               L1 norms over all heads and channels of a token
    out = alpha min(r, tau) / r  z  +  (1 - alpha) z+

and both texts go on with `out`, so there is one picture and two texts.

Ours: the second text is a further row of the batch, so a step costs as much as with classifier-free guidance; evaluations of a
loss and recorded maps are of the prompt alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..guidance.edit import ActiveEdit, BatchRows, CallContext, Edit
from ..settings import NotNegative, Positive, Share, setting
from .attention_override import AttentionCall, overriding


def away_from(positive: Tensor, negative: Tensor, *, scale: float, tau: float, alpha: float) -> Tensor:
    """Return attention outputs (row, head, token, channel) moved away from those of the negative text.

    >>> away_from(torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 1, 2), scale=5.0, tau=2.5, alpha=0.25).flatten()
    tensor([1.3750, 1.3750])
    """
    own, other = positive.float(), negative.float()
    moved = scale * own - (scale - 1) * other

    def norm(values: Tensor) -> Tensor:
        return values.abs().sum(dim=(1, 3), keepdim=True)

    limit = tau * norm(own) / norm(moved).clamp(min=torch.finfo(torch.float32).tiny)
    return (alpha * limit.clamp(max=1) * moved + (1 - alpha) * own).to(positive.dtype)


@dataclass(frozen=True)
class NegativeEdit(Edit):
    """Move the image's attention to the text away from that to a negative prompt.

    Chen et al., arXiv 2505.21179.

    >>> from unbleed.edits import NegativeEdit
    >>> NegativeEdit(negative="blurry").scale
    5.0
    """

    negative: str = setting("", help="the negative prompt; empty for no text")
    scale: NotNegative = setting(5.0, help="how far away: 1 is the prompt's own attention, 0 that to the negative prompt")
    tau: Positive = setting(2.5, help="largest growth of a token's L1 norm")
    alpha: Share = setting(0.25, help="share of the moved attention in the result")
    families = ("sd", "sd3", "flux", "flux2")  # texts of one length, without a mask
    needs = "a prompt"
    forwards = 1  # the row of the negative prompt

    def open(self, context: CallContext) -> ActiveEdit:
        embedding = context.encode([self.negative])
        return _Negative(self, context, embedding)


class _Negative(ActiveEdit):
    def __init__(self, edit: NegativeEdit, context: CallContext, embedding: Tensor) -> None:
        self.edit, self.embedding = edit, embedding  # (1, token, channel)
        denoiser, family = context.denoiser, context.family
        self.modules = {name: denoiser.get_submodule(name) for name in family.text_modules(denoiser)}

    def beside(self, rows: BatchRows) -> Tensor | None:
        return self.embedding.expand(len(rows.images), -1, -1)

    @contextmanager
    def around(self, rows: BatchRows) -> Iterator[None]:
        if rows.evaluating:
            yield
            return
        edit, count = self.edit, len(rows.images)

        def override(name: str, call: AttentionCall, own: Callable[[], Tensor]) -> Tensor:
            given = own()  # (row, head, query, channel); the last rows are those of the negative prompt
            if len(given) < rows.first + 2 * count:  # a run without these rows, as on the pipeline's own negative prompts
                return given
            moved = away_from(given[rows.slice], given[-count:], scale=edit.scale, tau=edit.tau, alpha=edit.alpha)
            at = slice(None) if rows.joint is None else _pixels(call, rows)
            out = given.clone()
            out[rows.slice, :, at] = out[-count:, :, at] = moved[:, :, at]
            return out

        with overriding(self.modules, override):
            yield


def _pixels(call: AttentionCall, rows: BatchRows) -> Tensor:
    """Return the positions of a joint sequence that hold no text, (position,)."""
    assert rows.joint is not None
    first = rows.joint.texts_at
    assert isinstance(first, int)  # in the families of this edit, the same in every row
    positions = torch.arange(call.query.shape[2], device=call.query.device)
    return positions[(positions < first) | (positions >= first + rows.joint.texts)]
