"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def named(text: str) -> Path:
    """Return the path that an option or argument names. An empty text is refused: it would be the current folder."""
    if not str(text):
        raise typer.BadParameter("an empty name; name a file or a folder (. is the current one)")
    return Path(text)


Model = Annotated[
    str,
    typer.Option(
        help="emoji or emoji-mmdit (embedded), a pipeline folder, a .safetensors file, or a hub id.",
        metavar="emoji|PATH|HUB-ID",
    ),
]
Config = Annotated[
    str | None,
    typer.Option(help="A pipeline of the kind of a single-file MODEL, for what the file lacks [the one diffusers knows]."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]
EntitiesOption = Annotated[str | None, typer.Option("--entities", help='Overrule the parser: "red cat; blue bench".')]
Setting = Annotated[list[str] | None, typer.Option("--set", help="A setting of the method, NAME=VALUE; may be repeated.")]
MethodName = Annotated[
    str,
    typer.Option(help="NAME (settings for the model), NAME@paper (its paper's) or a sum, as in 'syngen + 0.5*overlap-iou'."),
]
DefaultMethod = Annotated[
    str | None,
    typer.Option("--method", help="NAME (settings for the model), NAME@paper (its paper's) or a sum [the library's default]."),
]
Steps = Annotated[int | None, typer.Option(help="Denoising steps [what suits the model].")]
Scale = Annotated[float | None, typer.Option("--guidance-scale", help="Classifier-free guidance [what suits the model].")]
Precision = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    typer.Option("--dtype", help="Precision [float16 with CUDA, else float32]."),
]
Height = Annotated[int | None, typer.Option(help="Pixels, a multiple of 8 [the model's own].")]
Width = Annotated[int | None, typer.Option(help="Pixels, a multiple of 8 [the model's own].")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps ... [the fastest that is here].")]
Scheduler = Annotated[str | None, typer.Option(help="euler, euler-ancestral, ddim, dpm-solver, uni-pc ... [the model's own].")]
Loras = Annotated[list[str] | None, typer.Option("--lora", help="A LoRA, PATH or HUB-ID, or with :WEIGHT; may be repeated.")]
RegionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        help='Where an entity goes, "red cat: left", "red cat: 0,0.2,0.5,1" or "red cat: mask.png"; may be repeated. '
        '"knight: left, adapter=knight" keeps the LoRA of knight.safetensors there.',
        metavar="PHRASE: WHERE",
    ),
]
