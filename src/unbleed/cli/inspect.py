"""`unbleed inspect` and `unbleed families`: what guidance finds in a model, and which kinds of models it knows."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from . import app
from .common import load_pipeline, print_json
from .options import AsJson, Config, Device, Precision


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="emoji or emoji-mmdit, a pipeline folder, a .safetensors file, or a hub id.")],
    config: Config = None,
    dtype: Precision = None,
    device: Device = None,
    json: AsJson = False,
) -> None:
    """Describe a model's denoiser: its attention, where the text stands, the cost of guidance, and what is missing for it."""
    from ..inspection import inspect as look

    pipe = load_pipeline(model, dtype, device=device, config=config)
    found = look(pipe)
    if json:
        print_json(found.document())
    else:
        typer.echo(str(found))


@app.command()
def families(json: AsJson = False) -> None:
    """List the kinds of models that can be guided."""
    from ..attention.table import FAMILIES

    rows = [
        {"name": one.name, "models": one.models, "denoiser": one.denoiser_class, "negatives": one.negatives} for one in FAMILIES
    ]
    if json:
        print_json({"families": rows})
        return
    table = Table(Column("family", no_wrap=True), "models", "denoiser", "negative prompts", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row.values())
    Console(highlight=False).print(table)
