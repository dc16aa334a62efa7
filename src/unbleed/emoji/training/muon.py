"""Muon: momentum whose matrices are made orthogonal before each step.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum for matrices (rows, columns). Its step has a spectral norm of about `lr`.

    Matrices of one shape are made orthogonal together, in bfloat16.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.05) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            moved = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                moved[parameter.shape].append((parameter, parameter.grad.lerp(state["momentum"], group["momentum"])))
            for (rows, columns), pairs in moved.items():
                steps = orthogonal(torch.stack([direction for _, direction in pairs]))
                for (parameter, _), step in zip(pairs, steps, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(step.to(parameter), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return for each of `matrices` (matrix, rows, columns) about the nearest orthogonal one, in bfloat16.

    A quintic Newton-Schulz iteration brings the singular values near 1, into 0.7 to 1.2.
    """
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.flatten(1).norm(dim=1)[:, None, None].clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x
