"""`unbleed methods`: the list of methods, and the settings of one."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from . import app
from .common import print_json
from .options import AsJson


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method or a sum of methods, whose settings to show.")] = None,
    json: AsJson = False,
) -> None:
    """List the methods, their papers and what they need; or the settings of one."""
    from ..methods import METHODS, method_from

    console = Console(highlight=False)
    if name is not None:
        parameters = method_from(name).describe()
        if json:
            print_json({"name": method_from(name).name, "settings": [row._asdict() for row in parameters]})
            return
        table = Table("setting", "default", "what it does", "where the default comes from", box=None, pad_edge=False)
        for row in parameters:
            table.add_row(row.name, _written(row.default), Text(row.help), Text(row.source))
        console.print(table)
        return
    rows = []
    for label, kind in METHODS.items():
        method = kind()
        rows.append(
            {
                "name": label,
                "paper": kind.paper,
                "year": kind.year or None,
                "summary": (kind.__doc__ or "").strip().splitlines()[0],
                "needs": list(method.needs),
                "reconstruction": kind.reconstruction,
                "settings": method.settings(),
            }
        )
    if json:
        print_json({"methods": rows})
        return
    table = Table(Column("method", no_wrap=True), "year", "what it does", "paper", "needs", box=None, pad_edge=False)
    for row in rows:
        paper = f"{row['paper']} (a reconstruction)" if row["reconstruction"] else row["paper"]
        table.add_row(row["name"], str(row["year"] or "-"), row["summary"], paper, ", ".join(row["needs"]) or "-")
    console.print(table)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
