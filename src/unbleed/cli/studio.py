"""`unbleed studio`: a local page on which a prompt is typed, read, guided and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import app
from .options import AsJson, Config, Loras, Model, Precision, Scheduler, named


@app.command()
def studio(
    model: Model = "emoji",
    config: Config = None,
    scheduler: Scheduler = None,
    loras: Loras = None,
    dtype: Precision = None,
    devices: Annotated[
        list[str] | None,
        typer.Option(
            "--device", help="cpu, cuda, cuda:1 ...; may be repeated, one worker for each [the fastest that is here]."
        ),
    ] = None,
    bench: Annotated[
        list[Path] | None,
        typer.Option("--bench", parser=named, help="A benchmark run to browse; may be repeated.", metavar="RUN"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to serve at; only this machine reaches the default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8428,
    share: Annotated[
        bool,
        typer.Option("--share", help="Open a public address through Gradio's servers: everybody who has it can draw here."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Serve the studio until Ctrl-C: type a prompt, see what is read from it, draw, compare."""
    from ..studio.extra import require_gradio

    require_gradio()
    from ..studio.form import House
    from ..studio.run_table import open_run_table
    from ..studio.sampler import Sampler
    from ..studio.serve import free_port, serve
    from .common import load_pipeline, print_json

    port = free_port(host, port)  # before the model is loaded, which can take minutes
    run_tables = [open_run_table(folder) for folder in bench or []]
    house = House(model, config, scheduler, tuple(loras or ()), dtype)
    chosen = devices or [None]
    samplers = [
        Sampler(load_pipeline(model, dtype, device=device, config=config, scheduler=scheduler, loras=house.loras))
        for device in chosen
    ]
    for sampler in samplers:
        sampler.pipe.set_progress_bar_config(disable=True)

    def ready(url: str, shared: str | None) -> None:
        if json:
            print_json({"url": url, "share": shared, "model": model, "dtype": samplers[0].dtype})
        else:
            typer.echo(f"{url}  {model}, {samplers[0].dtype}; Ctrl-C ends" + (f"\n{shared}  public" if shared else ""))
        typer.get_text_stream("stdout").flush()

    serve(house, samplers, run_tables, host=host, port=port, share=share, device=chosen[0], ready=ready)
