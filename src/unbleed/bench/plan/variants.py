"""Variants: the methods that a benchmark compares, each with all of its settings.

A label (see `unbleed.model_settings`) names a method: `syngen` uses the settings stored for the model, `syngen@paper` those
of the paper, `syngen:step_size=5` changes one. `best-of-4:judge=clip` draws four unguided images to the end and keeps the best
by the metric clip: an alternative use of the time that guidance costs. Other metrics judge what it kept; clip itself is not
reported for it. `best-of-4` alone is chosen by the very scores that are reported, as an upper bound. (The method `best-of-n`
chooses before the image exists, by attention.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import BenchError
from ...methods import METHODS
from ...model_settings import method_of, settings_of

MAX_DRAWS = 99
"""Each draw uses seeds 1,000 higher; the hundredth would reach those of the validation suite, which start at 100,000."""


@dataclass(frozen=True)
class Variant:
    """A method with all of its settings. `draws` images are sampled per seed, and the best one is kept.

    `judge` is the metric that chooses it; without one all scores of the report do.
    """

    label: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 1
    judge: str = ""


def variants_from(labels: Sequence[str], model: str) -> tuple[Variant, ...]:
    """Return the variants that labels name for a model. "all" stands for every method that works on it.

    Raises `MethodError` for an unknown method or setting, `BenchError` for a repeated label.
    """
    suited = settings_of(model).methods
    every = [name for name in METHODS if suited.get(name, {}) is not None]
    labels = [name for label in labels for name in (every if label.strip() == "all" else [label.strip()])]
    if not labels or not all(labels):
        raise BenchError(
            f'"{",".join(labels)}" has an empty name; expected names separated by single commas, as in none,syngen'
        )
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise BenchError(f"{', '.join(twice)} named twice; name each method once")
    return tuple(_variant(label, model) for label in labels)


def _variant(label: str, model: str) -> Variant:
    best = re.fullmatch(r"best-of-(\d+)(?::judge=([\w-]+))?", label)
    if not best:
        method = method_of(label, model)
        return Variant(label, method.name, method.settings())
    draws = int(best[1])
    if not 2 <= draws <= MAX_DRAWS:
        raise BenchError(f"{label} keeps the best of {draws}; expected 2 to {MAX_DRAWS}")
    return Variant(label, "none", method_of("none", model).settings(), draws, best[2] or "")
