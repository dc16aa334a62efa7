"""Contenders: what is compared, as a user names it.

A method's label (see `unbleed.model_settings`): `syngen` with the settings that suit the model, `syngen@paper` with its
paper's, `syngen:step_size=5` with one changed. Or `best-of-4`, the one of four unguided pictures that the judge likes best:
what the time of a guided picture could buy instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import BenchError
from ...methods import METHODS
from ...model_settings import method_of

MAX_DRAWS = 99
"""A draw takes seeds 1,000 further on; a hundredth would reach those of the validation suite, which begin at 100,000."""


@dataclass(frozen=True)
class Variant:
    """A method with all of its settings; `draws` pictures are drawn for each seed, and the best is kept."""

    label: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 1


def variants_from(labels: Sequence[str], model: str) -> tuple[Variant, ...]:
    """Return what `labels` (a method's, best-of-N, or "all" for every method) mean for a model.

    Raises `MethodError` for a method or setting that does not exist, `BenchError` for a label that stands twice.
    """
    labels = [name for label in labels for name in (METHODS if label.strip() == "all" else [label.strip()])]
    if not labels or not all(labels):
        raise BenchError(f'"{",".join(labels)}" has an empty place; expected names with single commas, as in none,syngen')
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise BenchError(f"{', '.join(twice)} named twice; name each method once")
    return tuple(_contender(label, model) for label in labels)


def _contender(label: str, model: str) -> Variant:
    best = re.fullmatch(r"best-of-(\d+)", label)
    if not best:
        method = method_of(label, model)
        return Variant(label, method.name, method.settings())
    draws = int(best[1])
    if not 2 <= draws <= MAX_DRAWS:
        raise BenchError(f"{label} keeps the best of {draws}; expected 2 to {MAX_DRAWS}")
    return Variant(label, "none", method_of("none", model).settings(), draws)
