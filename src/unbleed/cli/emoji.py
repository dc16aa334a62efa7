"""`unbleed emoji`: making the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from . import app
from .common import AsJson, Model, is_file_name, load_pipeline, print_json, quiet_libraries, sampling_defaults

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())

emoji = typer.Typer(help="The embedded model: train it from nothing, look at it.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(emoji, name="emoji")


@emoji.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the pipeline; OUT/work keeps the state of the run.")],
    preset: Annotated[str, typer.Option(help="first (the shipped model), quick, or smoke (a test).")] = "quick",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    font: Annotated[Path | None, typer.Option(help="Noto Color Emoji font file [where the system has it].")] = None,
    json: AsJson = False,
) -> None:
    """Train the emoji model from nothing. A run that was stopped goes on where it was."""
    quiet_libraries()
    from ..emoji.train import PRESETS, check_device
    from ..emoji.train import train as run
    from ..errors import OutputError, TrainingError
    from ..generation import check_writable

    if preset not in PRESETS:
        raise TrainingError(f'there is no preset "{preset}"; known: {", ".join(PRESETS)}')
    if is_file_name(out):
        raise OutputError(f"{out} names a picture; expected a folder for the model")
    check_writable(out)
    check_device(device)
    with Progress(*_COLUMNS, TextColumn("loss {task.fields[loss]:.4f}"), console=Console(stderr=True)) as progress:
        tasks: dict[str, int] = {}

        def report(stage: str, step: int, steps: int, loss: float) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=steps, loss=loss)
            progress.update(tasks[stage], completed=step, loss=loss)  # type: ignore[arg-type]

        run(out, PRESETS[preset], device=device, font=font, report=report)
    if json:
        print_json({"path": str(out)})
    else:
        typer.echo(str(out))


@emoji.command()
def sheet(
    model: Model = "emoji",
    labels: Annotated[bool, typer.Option(help="Write the prompt under each picture.")] = True,
    out: Annotated[Path, typer.Option(help="The picture to write, NAME.png.")] = Path("singles.png"),
    json: AsJson = False,
) -> None:
    """Draw 48 prompts of one entity: every noun as it is and in one colour, the seed its place in the sheet."""
    from .. import figures
    from ..emoji.sprites import COLOURS, NOUNS
    from ..errors import OutputError
    from ..generation import Recipe, check_writable, generate, save

    if not is_file_name(out):
        raise OutputError(f"{out} is no picture's name; expected one that ends in .png")
    check_writable(out.parent)
    steps, scale = sampling_defaults(model, None, None)
    pairs = [(noun, f"{COLOURS[i % len(COLOURS)]} {noun}") for i, noun in enumerate(NOUNS)]
    prompts = [f"a {words}" for pair in pairs for words in pair]
    pipe = load_pipeline(model)
    recipes = [Recipe(prompt=p, seed=i, steps=steps, guidance_scale=scale, model=model) for i, p in enumerate(prompts)]
    with Progress(*_COLUMNS, console=Console(stderr=True)) as progress:
        pictures = [next(generate(pipe, r, [r.seed])) for r in progress.track(recipes, description="pictures")]
    rows = [pictures[start : start + 12] for start in range(0, len(pictures), 12)]
    drawn = figures.grid(
        [[p.image for p in row] for row in rows],
        captions=[[p.recipe.prompt for p in row] for row in rows] if labels else (),
        note=f"model {model}, {steps} steps, guidance scale {scale:g}, seeds 0 to {len(pictures) - 1}, none picked",
    )
    save(pictures[0], out, drawn)
    if json:
        print_json({"path": str(out), "prompts": prompts})
    else:
        typer.echo(str(out))
