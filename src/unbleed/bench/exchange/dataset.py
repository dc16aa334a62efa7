"""Export of a run as a data set for `datasets.load_dataset`: Parquet shards that contain the images, and a card.

data/train-00000-of-00002.parquet ...    one row per image
README.md                                the card
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import BenchError
from ..extras import extra
from ..scoring.run_folder import RunFolder
from ..storage.images import read_png
from ..storage.owned_files import OwnFiles

SHARD_BYTES = 400_000_000
ROW_GROUP = 100  # rows in memory at once, and the rows that a viewer reads to show one

_COLUMNS = {
    "image": "the image as PNG; images sampled by unbleed contain their recipe",
    "prompt": "the prompt",
    "seed": "the seed of the image, or of the first draw of a best-of-N",
    "method": "the method's label",
    "settings": "the method's settings as JSON",
    "entities": "the entities that the image should show",
    "groups": "the groups of the prompt",
    "model": "the model",
    "seconds": "wall-clock seconds; null if unknown",
}
_TYPES = {"seed": "int64", "seconds": "float64", "entities": "list", "groups": "list", "image": "image"}  # others are strings


def export(run: RunFolder, out: Path, *, shard_bytes: int = SHARD_BYTES) -> list[Path]:
    """Write the images of a run to `out` and return the files. Those of an earlier export are replaced.

    Raises `BenchError` if pyarrow is not installed or an image is missing, `OutputError` if `out` cannot be written to or has a
    file of the same name that no export wrote.
    """
    names = [score.name for score in run.results.scores]
    if taken := sorted(set(names) & _COLUMNS.keys()):
        raise BenchError(f"a score and a column are both called {', '.join(taken)}; leave that metric out with --metrics")
    images = run.results.images
    if not images:
        raise BenchError(f"{run.path} has no complete prompt to export; finish the run first")
    total = sum(row.image.stat().st_size if row.image.is_file() else len(read_png(row.image)) for row in images)
    shards = min(len(images), max(1, math.ceil(total / shard_bytes)))
    written = [f"data/train-{number:05}-of-{shards:05}.parquet" for number in range(shards)]
    rows, own = _rows(run, names), OwnFiles(out)
    extra("pyarrow.parquet")
    # remove the card first, so that an incomplete export has none, and all shards, because a stale one would be loaded too
    own.remove(["README.md", *written, *(f"data/{old.name}" for old in sorted((out / "data").glob("train-*.parquet")))])
    for number, name in enumerate(written):
        count = len(images) * (number + 1) // shards - len(images) * number // shards
        with own.file(name) as file:
            _write(file, islice(rows, count), names)
    return [*(out / name for name in written), own.write("README.md", card(run, names))]


def _rows(run: RunFolder, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    settings = {c.label: json.dumps(dict(c.settings)) for c in run.plan.contenders}
    for row in run.results.images:
        case = run.plan.suite.cases[row.case]
        yield {
            "image": {"bytes": read_png(row.image, row.sha256), "path": row.image.name},
            "prompt": row.prompt,
            "seed": row.seed,
            "method": row.method,
            "settings": settings[row.method],
            "entities": [str(entity) for entity in case.entities],
            "groups": list(case.groups),
            "model": run.plan.model,
            "seconds": row.seconds,
            **{name: row.scores.get(name) for name in names},
        }


def _write(file: BinaryIO, rows: Iterator[dict[str, Any]], names: Sequence[str]) -> None:
    """Write a shard in row groups."""
    arrow, parquet = extra("pyarrow"), extra("pyarrow.parquet")
    schema = _schema(names)
    with parquet.ParquetWriter(file, schema) as writer:
        while part := list(islice(rows, ROW_GROUP)):
            writer.write_table(arrow.Table.from_pylist(part, schema=schema))


def _schema(names: Sequence[str]) -> Any:
    """Return the Arrow schema, with the metadata that tells `datasets` which column is an image."""
    arrow = extra("pyarrow")
    types = {
        "image": arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())]),
        "list": arrow.list_(arrow.string()),
        "string": arrow.string(),
        "int64": arrow.int64(),
        "float64": arrow.float64(),
    }
    kinds = {name: _TYPES.get(name, "string") for name in _COLUMNS} | dict.fromkeys(names, "float64")
    metadata = {"huggingface": json.dumps({"info": {"features": {name: _feature(kind) for name, kind in kinds.items()}}})}
    return arrow.schema([(name, types[kind]) for name, kind in kinds.items()], metadata=metadata)


def _feature(kind: str) -> dict[str, Any]:
    """Return a column's type in the notation of `datasets`."""
    if kind == "image":
        return {"_type": "Image"}
    if kind == "list":
        return {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"}
    return {"dtype": kind, "_type": "Value"}


def card(run: RunFolder, names: Sequence[str]) -> str:
    """Return the data set's card."""
    plan, images = run.plan, run.results.images
    abouts = {score.name: score.about for score in run.results.scores}
    prompts = len({row.case for row in images})
    labels = ", ".join(c.label for c in plan.contenders)
    title = plan.title if plan.imported else f"{plan.suite.name}, images by {plan.model}"
    lines = [
        "---",
        f"pretty_name: {json.dumps(title)}",
        "tags: [text-to-image, benchmark]",
        f"size_categories: [{_size_category(len(images))}]",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: data/train-*.parquet",
        "---",
        "",
        f"# {title}",
        "",
        f"{len(images)} images of {prompts} prompts ({plan.suite.about}), {plan.seeds} seeds per prompt, by {labels}"
        f"{_made(run)}.",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'images = load_dataset("path/of/this/folder", split="train")',
        "```",
        "",
        "| column | content |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {_cell(about)} |" for name, about in (_COLUMNS | {name: abouts[name] for name in names}).items()]
    lines += ["", *(f"Scores of `{m.name}`, fingerprint {m.fingerprint[:16]}." for m in run.metrics)]
    lines += ["", "The images were generated by a model; its licence governs their use.", ""]
    return "\n".join(lines)


def _made(run: RunFolder) -> str:
    """Return how the images were made, as the end of a sentence."""
    plan, on = run.plan, f" on {run.date}" if run.date else ""
    if plan.imported:
        return f". They were made elsewhere and imported by `unbleed bench`{on}; it is not known how they were sampled"
    versions = ", ".join(f"{name} {version}" for name, version in plan.versions.items())
    return (
        f": the same prompts and seeds for every method, {plan.steps} steps, guidance scale {plan.guidance_scale or 0:g}, "
        f"{plan.dtype}. Sampled by `unbleed bench`{on} with {versions}"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _size_category(count: int) -> str:
    """Return the hub's size category for `count` rows."""
    bounds: Mapping[int, str] = {1000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
    return next((word for bound, word in bounds.items() if count < bound), "1M<n<10M")
