"""A metric's settings, stored beside its outputs so that a report can recreate the metric without its model.

    metrics/<name>-<fingerprint>/metric.json    {"name", "settings", "fingerprint"}

Only settings that differ from the defaults are stored, and never the device, because outputs do not depend on it.
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
_PATHS = ("model", "clip", "backbone", "tokenizer")  # settings that may be paths
_OMITTED = ("device", "fingerprint")  # a user's metric may have its fingerprint as a field; it is stored beside the settings


class MetricConfig(TypedDict):
    settings: Mapping[str, Any]


def keep_config(folder: Path, metric: Metric) -> None:
    """Write the metric's settings into the folder of its table, unless they are there already."""
    settings = settings_of(metric)
    config = {"name": metric.name, "settings": settings, "fingerprint": metric.fingerprint}
    # a user's metric may have settings that are not JSON; reports do not recreate it
    text = json.dumps(config, ensure_ascii=False, indent=1, default=repr) + "\n"
    path = folder / FILE_NAME
    try:
        if path.read_bytes() == text.encode():
            return
    except OSError:
        pass  # write it
    atomic_write(path, text, MAKE_ROOM)


def settings_of(metric: Metric) -> dict[str, Any]:
    """Return the settings of a metric that differ from its defaults; paths are made absolute."""
    if not is_dataclass(metric):
        return {}
    own = {field.name: (getattr(metric, field.name), field.default) for field in fields(metric) if field.init}
    found = {name: value for name, (value, default) in own.items() if value != default and name not in _OMITTED}
    return {
        name: str(Path(value).resolve()) if name in _PATHS and os.path.exists(value) else value for name, value in found.items()
    }


def kept_settings(folder: Path) -> Mapping[str, Any]:
    """Return the stored settings of the metric of a table's folder; empty in older folders without a file.

    Raises `BenchError` if the file is invalid.
    """
    path, remedy = folder / FILE_NAME, "run the metric again: unbleed bench score"
    try:
        return read_json(path, MetricConfig, error=BenchError, remedy=remedy)["settings"]
    except FileNotFoundError:
        return {}
