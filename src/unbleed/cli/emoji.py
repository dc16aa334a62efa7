"""`unbleed emoji`: train, evaluate and show the embedded model and its oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from . import app
from .common import check_picture, is_file_name, load_pipeline, print_json, quiet_libraries
from .options import AsJson, Model, named
from .progress import showing_progress

emoji = typer.Typer(
    help="The embedded model and its oracle: train them from nothing, look at them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(emoji, name="emoji")


@emoji.command()
def train(
    out: Annotated[Path, typer.Option(parser=named, help="Folder of the pipeline; OUT/work keeps the state of the run.")],
    model: Annotated[str, typer.Option(help="unet (emoji) or mmdit (emoji-mmdit).")] = "unet",
    preset: Annotated[str, typer.Option(help="release (the shipped model), quick, or smoke (a test).")] = "quick",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    font: Annotated[
        Path | None, typer.Option(parser=named, help="Noto Color Emoji font file [where the system has it].")
    ] = None,
    json: AsJson = False,
) -> None:
    """Train an embedded model from nothing. A stopped run goes on where it was."""
    quiet_libraries()
    from ..emoji.training.mmdit import JOINT_PRESETS, train_joint
    from ..emoji.training.model import PRESETS
    from ..emoji.training.model import train as train_unet
    from ..errors import OutputError, TrainingError
    from ..files import check_writable
    from ..loading import usable_device

    kinds: dict[str, Any] = {"unet": (train_unet, PRESETS), "mmdit": (train_joint, JOINT_PRESETS)}
    if model not in kinds:
        raise TrainingError(f'there is no model "{model}" to train; known: {", ".join(kinds)}')
    run, presets = kinds[model]
    if preset not in presets:
        raise TrainingError(f'there is no preset "{preset}" of {model}; known: {", ".join(presets)}')
    if is_file_name(out):
        raise OutputError(f"{out} names a picture; expected a folder for the model")
    check_writable(out)
    usable_device(device)
    with showing_progress("steps") as advance:
        run(out, presets[preset], device=device, font=font, report=advance)
    if json:
        print_json({"path": str(out)})
    else:
        typer.echo(str(out))


@emoji.command("train-oracle")
def train_oracle(
    out: Annotated[
        Path, typer.Option(parser=named, help="Folder of the oracle's weights; OUT/work keeps the state of the run.")
    ],
    preset: Annotated[str, typer.Option(help="release (the shipped oracle) or smoke (a test).")] = "release",
    model: Model = "emoji",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    font: Annotated[
        Path | None, typer.Option(parser=named, help="Noto Color Emoji font file [where the system has it].")
    ] = None,
    json: AsJson = False,
) -> None:
    """Train the oracle, which detects the things in an image, for images of MODEL.

    A run that was stopped goes on where it was.
    """
    quiet_libraries()
    from ..emoji.sprites import find_font
    from ..emoji.training.oracle import ORACLE_PRESETS
    from ..emoji.training.oracle import train_oracle as run
    from ..errors import OutputError, TrainingError
    from ..files import check_writable
    from ..loading import usable_device

    if preset not in ORACLE_PRESETS:
        raise TrainingError(f'there is no preset "{preset}"; known: {", ".join(ORACLE_PRESETS)}')
    if is_file_name(out):
        raise OutputError(f"{out} names a picture; expected a folder for the oracle")
    check_writable(out)
    usable_device(device)
    font = find_font(font)
    pipe = _emoji_pipeline(model)
    with showing_progress("steps") as advance:
        path = run(out, ORACLE_PRESETS[preset], pipe=pipe, device=device, font=font, report=advance)
    if json:
        print_json({"path": str(path)})
    else:
        typer.echo(str(path))


@emoji.command()
def evaluate(
    model: Model = "emoji",
    oracle: Annotated[Path | None, typer.Option(parser=named, help="Folder of the oracle's weights [the shipped one].")] = None,
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes, and as many with a blend.")] = 1000,
    font: Annotated[
        Path | None, typer.Option(parser=named, help="Noto Color Emoji font file [where the system has it].")
    ] = None,
    json: AsJson = False,
) -> None:
    """Measure the error rates of the oracle, on scenes as made, after the autoencoder of MODEL, and redrawn by MODEL."""
    quiet_libraries()
    from ..emoji.oracle import ORACLE_FOLDER, Oracle
    from ..emoji.sprites import find_font
    from ..emoji.training import oracle_evaluate

    font = find_font(font)
    network = Oracle.load(oracle or ORACLE_FOLDER)
    pipe = _emoji_pipeline(model)
    with showing_progress() as advance:
        found = oracle_evaluate.evaluate(network, pipe, font, scenes, report=lambda done, of: advance("scenes", done, of))
    if json:
        print_json({**found, "model": model, "fingerprint": network.fingerprint})
    else:
        _print_rates(found["oracle"], scenes)


@emoji.command()
def words(json: AsJson = False) -> None:
    """List the words that the embedded model knows."""
    from ..emoji.scenes import WORDS
    from ..emoji.sprites import COLOURS, NOUNS

    others = sorted(WORDS - {*NOUNS, *COLOURS})
    if json:
        print_json({"nouns": NOUNS, "colours": COLOURS, "others": others})
        return
    for title, listed in ((f"{len(NOUNS)} nouns", NOUNS), (f"{len(COLOURS)} colours", COLOURS), ("others", others)):
        typer.echo(f"{title}: {', '.join(listed)}")


@emoji.command()
def sheet(
    model: Model = "emoji",
    labels: Annotated[bool, typer.Option(help="Write the prompt under each picture.")] = True,
    out: Annotated[Path, typer.Option(parser=named, help="The picture to write, NAME.png.")] = Path("singles.png"),
    json: AsJson = False,
) -> None:
    """Draw 48 prompts of one entity: every noun as it is and in one colour, the seed its place in the sheet."""
    from .. import figures
    from ..emoji.sprites import COLOURS, NOUNS
    from ..generation import generate
    from ..recipes import Recipe, sampled_as, save

    check_picture(out)
    pairs = [(noun, f"{COLOURS[i % len(COLOURS)]} {noun}") for i, noun in enumerate(NOUNS)]
    prompts = [f"a {words}" for pair in pairs for words in pair]
    pipe = load_pipeline(model)
    recipes = [Recipe(prompt=p, seed=i, model=model) for i, p in enumerate(prompts)]
    pictures = []
    with showing_progress() as advance:
        for recipe in recipes:
            pictures += generate(pipe, recipe, [recipe.seed])
            advance("pictures", len(pictures), len(recipes))
    rows = [pictures[start : start + 12] for start in range(0, len(pictures), 12)]
    drawn = figures.grid(
        [[p.image for p in row] for row in rows],
        captions=[[p.recipe.prompt for p in row] for row in rows] if labels else (),
        note=f"model {model}, {sampled_as(pictures[0].recipe)}, seeds 0 to {len(pictures) - 1}, none picked",
    )
    save(drawn, pictures[0].recipe, out)
    if json:
        print_json({"path": str(out), "prompts": prompts})
    else:
        typer.echo(str(out))


def _emoji_pipeline(model: str) -> Any:
    """Return the pipeline of `model`; raise `ModelError` unless it is of the emoji model's kind, with all its parts."""
    from ..emoji.networks import IMAGE_SIDE, LATENT_CHANNELS
    from ..errors import ModelError

    pipe = load_pipeline(model)
    channels = getattr(getattr(getattr(pipe, "vae", None), "config", None), "latent_channels", None)
    if channels != LATENT_CHANNELS:
        raise ModelError(
            f"{model} has an autoencoder of {channels} latent channels; expected an emoji model, which has {LATENT_CHANNELS}: "
            f"the oracle is for what such a model draws, pictures of {IMAGE_SIDE}x{IMAGE_SIDE}"
        )
    missing = [part for part in ("text_encoder", "tokenizer", "scheduler") if getattr(pipe, part, None) is None]
    if missing:
        raise ModelError(
            f"{model} has no {' and no '.join(missing)}; expected an emoji model, which redraws pictures with them"
        )
    return pipe


def _print_rates(rates: dict[str, Any], scenes: int) -> None:
    """Print the rates of `evaluate`: overall, then the errors of every noun and every colour, side by side."""
    measured = [
        ("entities seen, and nothing else", "presence", "{:.1%}"),
        ("their colour right", "colour", "{:.1%}"),
        ("as many things as there are", "count", "{:.1%}"),
        ("middle off by, pixels", "centre_error_pixels", "{:.2f}"),
    ]
    versions = {"as drawn": "", "decoded": "_round_trip", "redrawn": "_redrawn"}
    overall = Table("", *versions, title=f"the oracle on {scenes} scenes of one to three things")
    for title, key, form in measured:
        overall.add_row(title, *(form.format(rates[f"{key}{suffix}"]) for suffix in versions.values()))
    blends = Table("", "half decoded", "redrawn", title=f"blends: {scenes} pictures with one, {scenes} without")
    for title, key in (("found", "blend_recall"), ("seen where there is none", "blend_false_alarm")):
        blends.add_row(title, f"{rates[key]:.1%}", f"{rates[f'{key}_redrawn']:.1%}")
    nouns, colours = (Table(kind, *versions, title=f"errors by {kind}") for kind in ("noun", "colour"))
    for table, errors in ((nouns, rates["per_noun"]), (colours, rates["per_colour"])):
        for name, error in errors.items():
            table.add_row(name, *(f"{error[f'error{suffix}']:.1%}" for suffix in versions.values()))
    console = Console()
    for table in (overall, blends, nouns, colours):
        for column in table.columns[1:]:
            column.justify = "right"
        console.print(table)
