"""The command line. `main` runs it and turns every error that a user can fix into one line and exit code 2."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from .. import __version__
from ..errors import UnbleedError, printable

OUT_OF_MEMORY = "out of memory; take a smaller --batch-size, --height or --width"

app = typer.Typer(
    name="unbleed",
    help="Draw every entity of the prompt, each with its own attributes, each in its own place.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"unbleed {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0 on success, 2 after one line about bad input, 130 if interrupted."""
    from . import (  # noqa: F401  (each adds its commands to `app`)
        bench,
        bench_distance,
        bench_export,
        bench_import,
        bench_report,
        draw,
        emoji,
        inspect,
        look,
        rate,
        studio,
        study,
        text,
    )

    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # Windows uses a legacy encoding for files and pipes
            stream.reconfigure(encoding="utf-8", errors=stream.errors)
    return _run(sys.argv[1:] if arguments is None else arguments)


def _run(arguments: list[str]) -> int:
    try:
        _check_unicode(arguments)
        code = app(args=arguments, standalone_mode=False) or 0
        sys.stdout.flush()
        return code
    except UnbleedError as error:
        return _complain(str(error))
    except MemoryError:
        return _complain(OUT_OF_MEMORY)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        _abandon(sys.stdout)
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        if error.filename is None:
            _abandon(sys.stdout)
        return _complain(f"{error.filename or 'the output'} cannot be written: {error.strerror}")
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stdout.write(f"{error}\n")
            return 0
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of a device
            return _complain(OUT_OF_MEMORY)
        message = getattr(error, "format_message", None)  # the command line's own usage errors
        if message is None:
            raise
        return _complain(f"{message()} (unbleed --help lists the commands)")


def _check_unicode(arguments: list[str]) -> None:
    for number, argument in enumerate(arguments, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode(errors="backslashreplace").decode()
            raise UnbleedError(f'argument {number}, "{shown}", is not Unicode; write it in UTF-8') from None


def _abandon(stream: Any) -> None:
    """Discard the buffer of a stream, so that Python does not try to write it again at exit."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a file descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _complain(text: str) -> int:
    """Print an error on one line, without the line breaks and control characters that a prompt or a path may hold."""
    _write(f"unbleed: {printable(text)}\n")
    return 2


def _write(line: str) -> None:
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except OSError:
        _abandon(sys.stderr)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Print unbleed's own warnings on one line; those of other libraries are for developers."""
    from ..errors import UnbleedWarning

    if issubclass(category, UnbleedWarning):
        _write(f"unbleed: warning: {printable(str(message))}\n")
