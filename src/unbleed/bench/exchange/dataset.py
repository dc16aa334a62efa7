"""A run as a data set: Parquet shards with the pictures inside, and a card, as `datasets.load_dataset` reads them.

data/train-00000-of-00002.parquet ...    a row per picture
README.md                                what it is
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
from ..scoring.run_folder import Folder
from ..storage.owned_files import OwnFiles
from ..storage.store import read_picture

SHARD_BYTES = 400_000_000
ROW_GROUP = 100  # rows that are held at once, and that a viewer must read to show one

_COLUMNS = {
    "image": "the picture as PNG; one that was drawn here carries its recipe",
    "prompt": "the prompt",
    "seed": "the seed of the picture, or of the first draw of a best-of-N",
    "method": "the method's label",
    "settings": "the method's settings, as JSON",
    "entities": "the entities that the picture should show",
    "groups": "the groups that the prompt is counted in",
    "model": "the model",
    "seconds": "the wall clock's seconds; none where they are not known",
}
_TYPES = {"seed": "int64", "seconds": "float64", "entities": "list", "groups": "list", "image": "image"}  # others are strings


def export(run: Folder, out: Path, *, shard_bytes: int = SHARD_BYTES) -> list[Path]:
    """Write the pictures of a run to `out`, and return the files. Those of an earlier export are replaced.

    Raises `BenchError` when pyarrow is not installed or a picture is gone, `OutputError` when `out` cannot be written, or has
    a file of such a name that no export wrote.
    """
    names = [score.name for score in run.results.scores]
    if taken := sorted(set(names) & _COLUMNS.keys()):
        raise BenchError(f"a score and a column are both called {', '.join(taken)}; leave that metric out with --metrics")
    pictures = run.results.pictures
    if not pictures:
        raise BenchError(f"{run.path} has no complete prompt to export; finish the run first")
    total = sum(r.image.stat().st_size if r.image.is_file() else len(read_picture(r.image)) for r in pictures)
    shards = min(len(pictures), max(1, math.ceil(total / shard_bytes)))
    written = [f"data/train-{number:05}-of-{shards:05}.parquet" for number in range(shards)]
    rows, own = _rows(run, names), OwnFiles(out)
    extra("pyarrow.parquet")
    # the card first, so that an export that is not whole has none; a shard that stayed would be loaded with the others
    own.remove(["README.md", *written, *(f"data/{old.name}" for old in sorted((out / "data").glob("train-*.parquet")))])
    for number, name in enumerate(written):
        count = len(pictures) * (number + 1) // shards - len(pictures) * number // shards
        with own.file(name) as file:
            _write(file, islice(rows, count), names)
    return [*(out / name for name in written), own.write("README.md", card(run, names))]


def _rows(run: Folder, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    settings = {c.label: json.dumps(dict(c.settings)) for c in run.plan.contenders}
    for r in run.results.pictures:
        case = run.plan.suite.cases[r.case]
        yield {
            "image": {"bytes": read_picture(r.image, r.sha256), "path": r.image.name},
            "prompt": r.prompt,
            "seed": r.seed,
            "method": r.contender,
            "settings": settings[r.contender],
            "entities": [str(entity) for entity in case.entities],
            "groups": list(case.groups),
            "model": run.plan.model,
            "seconds": r.seconds,
            **{name: r.scores.get(name) for name in names},
        }


def _write(file: BinaryIO, rows: Iterator[dict[str, Any]], names: Sequence[str]) -> None:
    """Write a shard, a few rows at a time."""
    arrow, parquet = extra("pyarrow"), extra("pyarrow.parquet")
    schema = _schema(names)
    with parquet.ParquetWriter(file, schema) as writer:
        while part := list(islice(rows, ROW_GROUP)):
            writer.write_table(arrow.Table.from_pylist(part, schema=schema))


def _schema(names: Sequence[str]) -> Any:
    """Return the columns as Arrow knows them, with what `datasets` must know besides: which one is a picture."""
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
    """Return a column's type as `datasets` writes it."""
    if kind == "image":
        return {"_type": "Image"}
    if kind == "list":
        return {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"}
    return {"dtype": kind, "_type": "Value"}


def card(run: Folder, names: Sequence[str]) -> str:
    """Return the data set's card."""
    plan, pictures = run.plan, run.results.pictures
    abouts = {score.name: score.about for score in run.results.scores}
    prompts = len({r.case for r in pictures})
    labels = ", ".join(c.label for c in plan.contenders)
    title = plan.title if plan.imported else f"{plan.suite.name} drawn by {plan.model}"
    lines = [
        "---",
        f"pretty_name: {json.dumps(title)}",
        "tags: [text-to-image, benchmark]",
        f"size_categories: [{_size_category(len(pictures))}]",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: data/train-*.parquet",
        "---",
        "",
        f"# {title}",
        "",
        f"{len(pictures)} pictures of {prompts} prompts ({plan.suite.about}), {plan.seeds} seeds each, by {labels}"
        f"{_made(run)}.",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'pictures = load_dataset("path/of/this/folder", split="train")',
        "```",
        "",
        "| column | what |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {_cell(about)} |" for name, about in (_COLUMNS | {name: abouts[name] for name in names}).items()]
    lines += ["", *(f"Scores of `{m.name}`, fingerprint {m.fingerprint[:16]}." for m in run.metrics)]
    lines += ["", "The pictures are a model's: its licence says what may be done with them.", ""]
    return "\n".join(lines)


def _made(run: Folder) -> str:
    """Return how the pictures were made, as the rest of a sentence."""
    plan, on = run.plan, f" on {run.date}" if run.date else ""
    if plan.imported:
        return f". They were made elsewhere and imported by `unbleed bench`{on}; how they were drawn is not known"
    versions = ", ".join(f"{name} {version}" for name, version in plan.versions.items())
    return (
        f": the same prompts from the same seeds, {plan.steps} steps, guidance scale {plan.guidance_scale:g}, {plan.dtype}. "
        f"Made by `unbleed bench`{on} with {versions}"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _size_category(count: int) -> str:
    """Return the hub's word for so many rows."""
    bounds: Mapping[int, str] = {1000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
    return next((word for bound, word in bounds.items() if count < bound), "1M<n<10M")
