"""What every training of the emoji world shares: a state that is kept, steps from where it stands, noise by number.

Everything random comes from the seed and the step, so a run that was stopped goes on as if it had not been: the state
(safetensors: weights, running average, both Adam moments) is written every few hundred steps under a temporary name and
renamed.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ...errors import TrainingError
from ...files import atomic_write

_SAVE_AFTER = 240.0  # seconds after which a state is saved between its usual steps

Report = Callable[[str, int, int, float | None], None]  # stage, step, steps, loss if it has one


def check_recipe(path: Path, recipe: Any) -> None:
    """Keep the recipe in the file `path`; raise `TrainingError` when another one is there."""
    text = json.dumps(asdict(recipe), indent=2)
    if not path.exists():
        path.write_text(text)
    found, wanted = json.loads(path.read_text()), json.loads(text)
    if found != wanted:
        changed = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
        raise TrainingError(
            f"{path.parent} holds a run with another {', '.join(changed)}; go on with its own preset, or take another folder"
        )


class State:
    """Weights' running average, Adam's moments and the step, kept in one safetensors file."""

    def __init__(self, path: Path, module: nn.Module, averaging: float) -> None:
        self.path, self.module, self.averaging = path, module, averaging
        self.step, self.seconds, self.loss = 0, 0.0, math.nan
        self.average = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self.moments: dict[str, Tensor] = {}

    def load(self) -> bool:
        if not self.path.exists():
            return False
        tensors = load_file(self.path)
        with safe_open(self.path, "pt") as file:
            facts = file.metadata()
        device = next(self.module.parameters()).device
        part = {kind: {k.split(":", 1)[1]: v.to(device) for k, v in tensors.items() if k.startswith(kind)} for kind in "wam"}
        self.module.load_state_dict(part["w"])
        self.average, self.moments = part["a"], part["m"]
        self.step, self.seconds, self.loss = int(facts["step"]), float(facts["seconds"]), float(facts["loss"])
        return True

    def save(self, moments: dict[str, Tensor]) -> None:
        # copies: T5 has one embedding under two names, and a file of safetensors holds no tensor twice
        tensors = {f"w:{k}": v.clone() for k, v in self.module.state_dict().items()}
        tensors |= {f"a:{k}": v for k, v in self.average.items()} | {f"m:{k}": v for k, v in moments.items()}
        facts = {"step": str(self.step), "seconds": str(self.seconds), "loss": str(self.loss)}
        save_tensors(tensors, self.path, facts)

    @torch.no_grad()
    def follow(self) -> None:
        # a short memory at first, so that the average does not carry the random start
        decay = min(self.averaging, (1 + self.step) / (10 + self.step))
        moving = {key: value for key, value in self.module.state_dict().items() if value.is_floating_point()}
        torch._foreach_lerp_([self.average[key] for key in moving], list(moving.values()), 1 - decay)


def adamw(named: Mapping[str, nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
    return [torch.optim.AdamW(named.values(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)]


def optimise(
    stage: str,
    module: nn.Module,
    state: State,
    loss_of: Callable[[int], Tensor],
    rate: float,
    steps: int,
    warm_up: int,
    report: Report,
    save_every: int,
    flat: float = 0.0,
    optimisers_of: Callable[[Mapping[str, nn.Parameter], float], Sequence[torch.optim.Optimizer]] = adamw,
) -> None:
    """Optimise from where `state` stands to `steps`, by AdamW or the optimisers that `optimisers_of` makes.

    The rate rises over `warm_up` steps, stays up to the share `flat` of all, and falls by a cosine to zero.

    Raises `TrainingError` when the loss is no number any more.
    """
    named = dict(module.named_parameters())
    optimisers = optimisers_of(named, rate)
    _take_moments(optimisers, named, state)
    rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimisers]
    saved = time.monotonic()
    for step in range(state.step, steps):
        begun = time.perf_counter()
        warm = min(1.0, (step + 1) / warm_up)
        for optimiser, highest in zip(optimisers, rates, strict=True):
            for group, top in zip(optimiser.param_groups, highest, strict=True):
                group["lr"] = top * warm * 0.5 * (1 + math.cos(math.pi * max(0.0, step / steps - flat) / (1 - flat)))
        loss = loss_of(step)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss of the {stage} is {loss.item()} at step {step}; the last good state is in {state.path}"
            )
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        state.step = step + 1
        state.follow()
        state.loss = loss.item() if math.isnan(state.loss) else 0.98 * state.loss + 0.02 * loss.item()
        state.seconds += time.perf_counter() - begun
        if state.step % save_every == 0 or state.step == steps or time.monotonic() - saved > _SAVE_AFTER:
            state.save(_moments(optimisers, named))
            saved = time.monotonic()
        report(stage, state.step, steps, state.loss)


def _moments(optimisers: Sequence[torch.optim.Optimizer], named: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return what the optimisers remember of each parameter, by "parameter:moment"."""
    kept = {parameter: values for optimiser in optimisers for parameter, values in optimiser.state.items()}
    return {f"{n}:{k}": v for n, p in named.items() for k, v in kept.get(p, {}).items() if k != "step"}


def _take_moments(optimisers: Sequence[torch.optim.Optimizer], named: Mapping[str, nn.Parameter], state: State) -> None:
    """Give the optimisers the moments of `state`, in each parameter's own memory layout: fused ones walk both as they lie."""
    names = {parameter: name for name, parameter in named.items()}
    kept: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in state.moments.items():
        name, moment = key.rsplit(":", 1)
        kept[name][moment] = torch.empty_like(named[name]).copy_(value)
    for optimiser in optimisers:
        for parameter in (p for group in optimiser.param_groups for p in group["params"]):
            if moments := kept.get(names[parameter]):
                step = torch.tensor(float(state.step), device=parameter.device)
                optimiser.state[parameter] = {"step": step, **moments}


def normal_noise(shape: torch.Size, seed: int, step: int, device: torch.device) -> Tensor:
    """Return standard normal noise that depends on seed and step alone, the same on every device."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return torch.randn(shape, generator=generator).to(device)


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    atomic_write(path, save({k: v.contiguous() for k, v in tensors.items()}, metadata), "make room and start again")
