"""Attention Regulation: every target has much attention somewhere, and all targets have the same share of it.

Zhang et al., ECCV 2024, arXiv 2403.06381. For one layer and image, with P[h, xy, t] the attention of head h at place xy to a
target t, one of n, and W the weights of what is added to the logits,

    L = mean over h, t of (quantile_q of P[h, :, t] - q)^2
        + 80 mean over h, t of (mean of P[h, :, t] - s)^2
        + 0.09 mean of W^2

q = 0.9, s = min(1, 0.2 n) / n, so 0.2 for up to five targets. What is added to the logit of a target is a sum of Gaussians
with the weights W, on a lattice of twice their width, which is a sixteenth of the grid's side.

From the authors' code, which is under the MIT licence; the figures are its, the code here is not.
"""

from __future__ import annotations

import torch
from torch import Tensor


def patterns(height: int, width: int, **like: object) -> Tensor:
    """Return the Gaussians, (pattern, height, width), each with a height of 1, on a lattice over the grid."""
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
    """Return L for each head, (head,), for `attention` (head, place, target) and `weights` (head, pattern, target).

    The mean over heads is the L of the module; heads do not touch each other, so each can descend on its own.
    """
    targets = attention.shape[-1]
    high = ((torch.quantile(attention, quantile, dim=1) - quantile) ** 2).mean(dim=-1)
    even = ((attention.mean(dim=1) - min(1.0, share * targets) / targets) ** 2).mean(dim=-1)
    return high + weight_share * even + weight_size * (weights**2).mean(dim=(1, 2))
