"""`unbleed parse` and `unbleed prompt`: what is read from a prompt, and the parser that reads it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import app
from .common import print_json, quiet_libraries
from .options import AsJson, EntitiesOption, Model, named
from .progress import showing_progress

if TYPE_CHECKING:
    from ..prompt import Parsed, PromptTokens

prompt_app = typer.Typer(help="The parser of prompts.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(prompt_app, name="prompt")
ParserOption = Annotated[str | None, typer.Option("--parser", help="A spaCy pipeline in place of the embedded parser.")]
Treebank = Annotated[Path, typer.Option(parser=named, help="Folder of UD_English-EWT, with its .conllu files.")]

_COLOURS = ("red", "blue", "green", "magenta", "yellow", "cyan")


@app.command()
def parse(
    prompt: Annotated[str, typer.Argument(help="The prompt to read.")],
    entities: EntitiesOption = None,
    parser: ParserOption = None,
    model: Model = "emoji",
    json: AsJson = False,
) -> None:
    """Show the entities of a prompt, their modifiers, and where their pieces stand in every text encoder of MODEL."""
    from ..errors import PromptError

    if not prompt.strip():
        raise PromptError("the prompt is empty; write what the picture should show")
    from ..prompt import locate
    from ..prompt import parse as read

    parsed = read(prompt, entities, parser=parser)
    located = {name: locate(parsed, tokenizer) for name, tokenizer in tokenizers_of(model).items()}
    if json:
        print_json({**_document(parsed, located), "model": model})
    else:
        _show(parsed, located, model)


@prompt_app.command()
def train(
    treebank: Treebank,
    out: Annotated[Path, typer.Option(parser=named, help="Folder to write; unbleed parse --parser FOLDER reads it.")] = Path(
        "parser"
    ),
    seed: Annotated[int, typer.Option(help="Of the made sentences and of the order.")] = 0,
    fraction: Annotated[float, typer.Option(min=0.001, max=1, help="Of the steps of both stages, for a trial.")] = 1.0,
    json: AsJson = False,
) -> None:
    """Train the embedded parser on a treebank and on sentences in the language of prompts."""
    from ..files import check_writable
    from ..prompt.training.train import STAGES
    from ..prompt.training.train import train as train_parser

    check_writable(out.parent)
    stages = [replace(stage, seed=seed, steps=max(1, round(fraction * stage.steps))) for stage in STAGES]
    with showing_progress() as advance:
        train_parser(treebank, out, stages, report=lambda done, of, loss: advance("parser", done, of, loss))
    if json:
        print_json({"out": str(out)})
    else:
        typer.echo(str(out))


@prompt_app.command()
def evaluate(
    treebank: Treebank,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    parser: ParserOption = None,
    json: AsJson = False,
) -> None:
    """Measure how well a parser parses a split of a treebank from its plain text."""
    from ..prompt.parser import load
    from ..prompt.training.train import evaluate as measure
    from ..prompt.training.train import evaluate_templates

    pipeline = load(parser).pipeline
    scores = measure(pipeline, treebank, split)
    scores |= {f"templates_{name}": value for name, value in evaluate_templates(pipeline, treebank).items()}
    if json:
        print_json(scores)
        return
    table = Table("", "", box=None, show_header=False, pad_edge=False)
    for title, key in (
        ("governing word right (UAS)", "uas"),
        ("and the relation (LAS)", "las"),
        ("part of speech right", "pos"),
    ):
        table.add_row(title, f"{scores[key]:.1%}")
    table.add_row(
        "the same of templates that were held out (UAS, LAS)", f"{scores['templates_uas']:.1%}, {scores['templates_las']:.1%}"
    )
    table.add_row("words per second", f"{scores['words_per_second']:.0f}")
    Console(highlight=False).print(table)


def _document(parsed: Parsed, located: dict[str, PromptTokens]) -> dict[str, Any]:
    return {
        "prompt": parsed.prompt,
        "entities": [
            {
                "noun": entity.noun,
                "modifiers": entity.modifiers,
                "count": entity.count,
                "weight": entity.weight,
                "alternatives": [span.text for span in entity.alternatives],
                "span": [entity.noun_span.start, entity.noun_span.end],
                "modifier_spans": [[span.start, span.end] for span in entity.modifier_spans],
            }
            for entity in parsed.entities
        ],
        "absent": [span.text for span in parsed.absent],
        "written": [span.text for span in parsed.written],
        "left_out": [{"word": span.text, "span": [span.start, span.end], "reason": why} for span, why in parsed.left_out],
        "encoders": {
            name: {
                "length": len(tokens.pieces),
                "pieces": [tokens.pieces[p] for p in tokens.own],
                "positions": list(tokens.own),
                "entities": [
                    {
                        "noun": entity.noun,
                        "noun_positions": list(noun),
                        "modifier_positions": [list(p) for p in modifiers],
                    }
                    for entity, (noun, modifiers) in zip(tokens.kept, tokens.entities, strict=True)
                ],
                "dropped": [*map(str, tokens.dropped), *(span.text for span in tokens.cut)],
            }
            for name, tokens in located.items()
        },
    }


def _show(parsed: Parsed, located: dict[str, PromptTokens], model: str) -> None:
    console = Console(highlight=False, emoji=False, markup=False)
    line = Text(parsed.prompt)
    for number, entity in enumerate(parsed.entities):
        colour = _COLOURS[number % len(_COLOURS)]
        line.stylize(f"bold {colour}", entity.noun_span.start, entity.noun_span.end)
        for span in entity.modifier_spans:
            line.stylize(colour, span.start, span.end)
    for span, _ in parsed.left_out:
        line.stylize("dim", span.start, span.end)
    console.print(line)
    if parsed.entities:
        console.print(_table(parsed, located))
    else:
        console.print('no entities found; name them yourself: --entities "red cat; blue bench"')
    for title, spans in (("not to be there", parsed.absent), ("to be written", parsed.written)):
        if spans:
            console.print(f"{title}: " + ", ".join(f'"{span.text}"' for span in spans))
    reasons: dict[str, list[str]] = {}
    for span, reason in parsed.left_out:
        reasons.setdefault(reason, []).append(f'"{" ".join(span.text.split())}"')
    for reason, words in reasons.items():
        if reason != "is not to be there":
            console.print(f"left out, {reason}: {', '.join(words)}")
    lengths = ", ".join(f"{name} ({len(tokens.pieces)} tokens)" for name, tokens in located.items())
    hint = "; --model names another model" if model == "emoji" else ""
    console.print(f"positions in {lengths} of the model {model}{hint}", soft_wrap=True)
    for name, tokens in located.items():
        if tokens.dropped:
            several = f"{len(tokens.dropped)} of {len(parsed.entities)} entities"
            console.print(f"beyond: {several} stand after the {len(tokens.pieces)} tokens that {name} reads")
        if tokens.cut:
            words = ", ".join(f'"{span.text}"' for span in tokens.cut)
            console.print(f"beyond the {len(tokens.pieces)} tokens that {name} reads: {words}")


def _table(parsed: Parsed, located: dict[str, PromptTokens]) -> Table:
    table = Table("entity", "modifiers", "how many", *located, box=None, pad_edge=False)
    for number, entity in enumerate(parsed.entities):
        table.add_row(
            Text(entity.noun, f"bold {_COLOURS[number % len(_COLOURS)]}"),
            ", ".join(entity.modifiers) or "-",
            str(entity.count or "-"),
            *(_positions(entity, tokens) for tokens in located.values()),
        )
    return table


def _positions(entity: Any, tokens: PromptTokens) -> str:
    if entity not in tokens.kept:
        return "beyond"
    noun, modifiers = tokens.entities[tokens.kept.index(entity)]
    positions = sorted({p for word in (noun, *modifiers) for p in word})
    pieces = " ".join(tokens.pieces[p].replace("</w>", "").lstrip("▁") for p in positions)
    return f"{', '.join(map(str, positions))} ({pieces})"


def tokenizers_of(model: str) -> dict[str, Any]:
    """Return the tokenizers of a model by the names of its folders, without loading its weights."""
    quiet_libraries()
    from diffusers import DiffusionPipeline
    from transformers import AutoTokenizer

    from ..emoji import folder_named
    from ..errors import ModelError

    source = folder_named(model)
    path = str(source) if os.path.exists(source) else model
    try:
        index = DiffusionPipeline.load_config(path)
        names = sorted(name for name, (library, _) in _parts(index) if name.startswith("tokenizer") and library)
        found = {name: AutoTokenizer.from_pretrained(path, subfolder=name) for name in names}
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f'the tokenizers of "{model}" cannot be loaded ({reason}); give a model of diffusers') from error
    if not found:
        raise ModelError(f'"{model}" has no tokenizer; give a text-to-image model of diffusers')
    return found


def _parts(index: Any) -> list[tuple[str, tuple[Any, Any]]]:
    return [(name, tuple(value)) for name, value in index.items() if isinstance(value, list | tuple) and len(value) == 2]
