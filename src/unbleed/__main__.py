"""The installed command and `python -m unbleed`. Ctrl-C is handled from the start, while the rest is still being imported."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import MutableMapping
from types import FrameType

interrupted = False
"""Whether Ctrl-C was pressed: some libraries turn the KeyboardInterrupt into errors of their own."""


def main() -> None:
    """Run the command line and exit: 0 on success, 2 after one line about bad input, 130 if interrupted."""
    atexit.register(_leave)  # first, so that it runs last
    signal.signal(signal.SIGINT, _interrupt)
    _wait_briefly(os.environ)
    try:
        from .cli import main as run

        code = run()
    except BaseException:
        if not interrupted:
            raise
        code = 130
    if interrupted:
        code = 130
        os.write(2, b"unbleed: interrupted\n")
    sys.exit(code)


def _wait_briefly(environ: MutableMapping[str, str]) -> None:
    """Let threads that wait for each other give up their core soon; takes effect if torch is imported afterwards.

    By default they turn in a loop for about a millisecond after each operation. If other programs fill the cores, the thread
    that is waited for cannot run meanwhile, and a picture takes many times as long (docs/performance.md, "Beside other
    programs").
    """
    if "OMP_WAIT_POLICY" not in environ:
        environ.setdefault("GOMP_SPINCOUNT", "10000")


def _interrupt(_: int, frame: FrameType | None) -> None:
    global interrupted
    if interrupted:  # the second time: end at once
        os._exit(130)
    if _importing(frame):  # an exception inside the import of a C++ library would abort the process
        os.write(2, b"unbleed: interrupted\n")
        os._exit(130)
    interrupted = True
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _leave() -> None:
    """Exit with 130. Python itself would end as killed by the signal if Ctrl-C came while a library ran `exec`."""
    if interrupted:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(130)


if __name__ == "__main__":
    main()
