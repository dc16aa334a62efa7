"""The command line. `main` runs it and turns every error of a user's into one line and exit code 2."""

from __future__ import annotations

import io
import sys
import warnings
from typing import Any

import typer

from ..errors import UnbleedError

OUT_OF_MEMORY = "out of memory; take a smaller --batch-size, --height or --width"

app = typer.Typer(
    name="unbleed",
    help="Draw every entity of the prompt, each with its own attributes, each in its own place.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 when all went well, 2 after one clear line on bad input, 130 when interrupted."""
    from . import (  # noqa: F401  (each adds its commands to `app`)
        bench,
        bench_distance,
        bench_export,
        bench_import,
        bench_report,
        draw,
        emoji,
        look,
        study,
        text,
    )

    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # Windows writes into files and pipes in the country's old encoding
            stream.reconfigure(encoding="utf-8", errors=stream.errors)
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    try:
        return app(args=arguments, standalone_mode=False) or 0
    except UnbleedError as error:
        return _complain(str(error))
    except BrokenPipeError:  # the reader of our output went away; nothing is left to say
        sys.stderr.close()
        return 0
    except MemoryError:
        return _complain(OUT_OF_MEMORY)
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except typer.Abort:
        return 130
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stdout.write(f"{error}\n")
            return 0
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of a device
            return _complain(OUT_OF_MEMORY)
        message = getattr(error, "format_message", None)  # the command line's own usage errors
        if message is None:
            raise
        return _complain(f"{message()} (unbleed --help shows what there is)")


def _complain(text: str) -> int:
    """Print one line, whatever line breaks a prompt or a path brought into the text."""
    sys.stderr.write(f"unbleed: {' '.join(text.split())}\n")
    return 2


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Print our own warnings as one line; those of other libraries are for developers."""
    from ..errors import UnbleedWarning

    if issubclass(category, UnbleedWarning):
        sys.stderr.write(f"unbleed: warning: {' '.join(str(message).split())}\n")
