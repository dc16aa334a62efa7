"""`unbleed parse` and `unbleed methods`: commands that only tell."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from . import app
from .common import AsJson, EntitiesOption, Model, print_json, quiet_libraries

_COLOURS = ("red", "blue", "green", "magenta", "yellow", "cyan")


@app.command()
def parse(
    prompt: Annotated[str, typer.Argument(help="The prompt to read.")],
    entities: EntitiesOption = None,
    model: Model = "emoji",
    json: AsJson = False,
) -> None:
    """Show the entities of a prompt, their modifiers, and where their pieces stand in the text encoder."""
    from ..errors import PromptError
    from ..prompt import locate
    from ..prompt import parse as read

    if not prompt.strip():
        raise PromptError("the prompt is empty; write what the picture should show")
    parsed = read(prompt, entities)
    tokens = locate(parsed, _tokenizer(model))
    if json:
        print_json(
            {
                "prompt": prompt,
                "entities": [
                    {
                        "noun": entity.noun,
                        "modifiers": list(entity.modifiers),
                        "noun_positions": list(noun),
                        "modifier_positions": [list(p) for p in modifiers],
                    }
                    for entity, (noun, modifiers) in zip(tokens.kept, tokens.entities, strict=True)
                ],
                "dropped": [str(entity) for entity in tokens.dropped],
                "pieces": list(tokens.pieces[1 : tokens.end]),
            }
        )
        return
    console = Console(highlight=False)
    line = Text(prompt)
    table = Table("entity", "modifiers", "pieces", "positions", box=None, pad_edge=False)
    for number, entity in enumerate(parsed.entities):
        colour = _COLOURS[number % len(_COLOURS)]
        line.stylize(f"bold {colour}", entity.noun_span.start, entity.noun_span.end)
        for span in entity.modifier_spans:
            line.stylize(colour, span.start, span.end)
    for number, (entity, (noun, modifiers)) in enumerate(zip(tokens.kept, tokens.entities, strict=True)):
        places = sorted({p for word in (noun, *modifiers) for p in word})
        table.add_row(
            Text(entity.noun, f"bold {_COLOURS[number % len(_COLOURS)]}"),
            ", ".join(entity.modifiers) or "-",
            " ".join(tokens.pieces[p].replace("</w>", "") for p in places),
            ", ".join(str(p) for p in places),
        )
    console.print(line)
    if tokens.kept:
        console.print(table)
    else:
        console.print('no entities found; name them yourself: --entities "red cat; blue bench"')
    for entity in tokens.dropped:
        console.print(f"left out: {entity} lies beyond the {len(tokens.pieces)} tokens that the text encoder reads")


def _tokenizer(model: str) -> Any:
    """Return the tokenizer of a model without loading its weights."""
    quiet_libraries()
    from pathlib import Path

    from transformers import CLIPTokenizer

    from ..emoji import WEIGHTS
    from ..errors import ModelError

    source = WEIGHTS if model == "emoji" else Path(model)
    try:
        return CLIPTokenizer.from_pretrained(str(source) if source.exists() else model, subfolder="tokenizer")
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f'"{model}" has no CLIP tokenizer that can be loaded ({reason}); give a Stable Diffusion model'
        ) from error


@app.command()
def methods(
    name: Annotated[
        str | None, typer.Argument(help="One method, or a sum of them: its settings and where they come from.")
    ] = None,
    json: AsJson = False,
) -> None:
    """List every method, its paper, and what it needs; or every setting of one."""
    from ..methods import METHODS, method_from

    console = Console(highlight=False)
    if name is not None:
        parameters = method_from(name).describe()
        if json:
            print_json({"name": method_from(name).name, "settings": [row._asdict() for row in parameters]})
            return
        table = Table("setting", "default", "where it comes from", box=None, pad_edge=False)
        for row in parameters:
            table.add_row(row.name, _written(row.default), Text(row.source))
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
