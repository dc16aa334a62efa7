"""Half precision is for weights and activations; what is compared or added up little by little is not."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(values: Tensor) -> Tensor:
    """Return `values` in single precision if they were in half, as they are otherwise."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
