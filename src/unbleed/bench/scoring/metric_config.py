"""What a folder keeps of a metric beside its rows, so that a report can make it again without its model.

    metrics/<name>-<fingerprint>/metric.json    {"name", "settings", "fingerprint"}

The settings are those that are not the defaults. The device is none of them: what was seen on one counts on any.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypedDict

from ...errors import BenchError
from ...files import atomic_write, read_json
from ..metrics.base import Metric
from ..storage.table import MAKE_ROOM

FILE_NAME = "metric.json"
_MODELS = ("model", "clip", "backbone", "tokenizer")  # settings that a path may be
_WHERE = ("device", "fingerprint")  # that of a metric of one's own may be a field, and is kept beside the settings


class Definition(TypedDict):
    settings: Mapping[str, Any]


def keep_definition(folder: Path, metric: Metric) -> None:
    """Write how the metric of a table's folder was made, where that is not what stands there."""
    settings = settings_of(metric)
    kept = {"name": metric.name, "settings": settings, "fingerprint": metric.fingerprint}
    # a metric of one's own may hold what is no JSON; no report makes one of it
    text = json.dumps(kept, ensure_ascii=False, indent=1, default=repr) + "\n"
    path = folder / FILE_NAME
    try:
        if path.read_bytes() == text.encode():
            return
    except OSError:
        pass  # written anew
    atomic_write(path, text, MAKE_ROOM)


def settings_of(metric: Metric) -> dict[str, Any]:
    """Return the settings in which a metric departs from its defaults; paths in full, so that they hold from anywhere."""
    if not is_dataclass(metric):
        return {}
    own = {field.name: (getattr(metric, field.name), field.default) for field in fields(metric) if field.init}
    found = {name: value for name, (value, default) in own.items() if value != default and name not in _WHERE}
    return {
        name: str(Path(value).resolve()) if name in _MODELS and os.path.exists(value) else value
        for name, value in found.items()
    }


def kept_settings(folder: Path) -> Mapping[str, Any]:
    """Return the settings of the metric of a table's folder; none where nothing is said of them, as in older folders.

    Raises `BenchError` where what is said cannot be understood.
    """
    path, remedy = folder / FILE_NAME, "let the metric look again: unbleed bench score"
    try:
        return read_json(path, Definition, error=BenchError, remedy=remedy)["settings"]
    except FileNotFoundError:
        return {}
