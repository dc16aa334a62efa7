"""Serving the studio: Gradio's server, told to talk to nobody else, with a guard before it."""

from __future__ import annotations

import io
import logging
import os
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from ..errors import StudioError
from .form import House
from .limits import Limits
from .run_table import RunTable
from .sampler import Sampler

LOOPBACK = ("127.0.0.1", "localhost", "::1")
Ready = Callable[[str, str | None], None]


@dataclass(frozen=True)
class Address:
    """Where a studio is served: its own address, and the public one if it is shared."""

    url: str
    shared: str | None


def serve(
    house: House,
    samplers: Sequence[Sampler],
    run_tables: Sequence[RunTable] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    share: bool = False,
    device: str | None = None,
    ready: Ready = lambda url, shared: None,
) -> None:
    """Serve a studio until the process is interrupted; `ready` is called with its addresses.

    Raises:
        StudioError: the address cannot be used.
    """
    with serving(house, samplers, run_tables, host=host, port=port, share=share, device=device) as address:
        ready(address.url, address.shared)
        threading.Event().wait()


@contextmanager
def serving(
    house: House,
    samplers: Sequence[Sampler],
    run_tables: Sequence[RunTable] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    share: bool = False,
    device: str | None = None,
    limits: Limits | None = None,
) -> Iterator[Address]:
    """Serve a studio inside the block, and give its addresses. Its pictures are in a temporary folder, which goes with it."""
    limits = limits or Limits()
    port = free_port(host, port)
    # before Gradio is imported: it reads these once
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with _own_folder() as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "served")
        (folder / "served").mkdir()
        (folder / "pictures").mkdir()
        from starlette.middleware import Middleware

        from .guard import Guard

        try:
            from .page import page, theme
        except ImportError as error:
            again = 'pip install --force-reinstall "unbleed[studio]"'
            raise StudioError(f"Gradio cannot be imported ({error}); install it again: {again}") from error
        from .studio import Studio
        from .widgets import style

        for library in ("httpx", "gradio", "uvicorn"):
            logging.getLogger(library).setLevel(logging.ERROR)
        hosts = frozenset({*LOOPBACK, host}) if host in LOOPBACK and not share else None
        guard = Middleware(Guard, files=folder / "served", most=limits.body, hosts=hosts)
        with Studio(house, samplers, folder / "pictures", limits, tuple(run_tables), device) as studio:
            blocks = page(studio)
            blocks.queue(max_size=4 * limits.waiting, api_open=False)
            try:
                with warnings.catch_warnings(), redirect_stdout(io.StringIO()) as gradio_says:
                    warnings.simplefilter("ignore")  # of Gradio and its server, about themselves
                    _, url, shared = blocks.launch(
                        server_name=host,
                        server_port=port,
                        share=share,
                        inbrowser=False,
                        quiet=True,
                        prevent_thread_lock=True,
                        show_error=False,
                        footer_links=[],
                        run_history=False,
                        allowed_paths=[],
                        max_threads=2 * limits.waiting,  # how many pages are told at once; the studio's own queue is shorter
                        max_file_size=limits.dropped,
                        state_session_capacity=limits.pages,
                        enable_monitoring=False,
                        ssr_mode=False,
                        pwa=False,
                        mcp_server=False,
                        app_kwargs={"middleware": [guard], "docs_url": None, "redoc_url": None, "openapi_url": None},
                        theme=theme(),
                        css=style(),
                    )
            except OSError as error:
                raise StudioError(f"{host}:{port} cannot be used ({error.strerror or error}); choose another --port") from None
            try:
                if share and shared is None:
                    raise unshared(gradio_says.getvalue())
                yield Address(url.rstrip("/"), shared)
            finally:
                blocks.close(verbose=False)


def unshared(said: str) -> StudioError:
    """Return the error for a public address that was not opened; `said` is what Gradio printed about it."""
    why = next((line.strip() for line in said.splitlines() if line.strip()), "no answer").rstrip(".")
    return StudioError(f"a public address cannot be opened ({why}); leave out --share, or use an SSH tunnel")


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Give a temporary folder, which is removed at the end."""
    try:
        made = tempfile.TemporaryDirectory(prefix="unbleed-studio-")
    except OSError as error:
        raise StudioError(
            f"pictures cannot be kept in the temporary folder ({error.strerror or error}); name another in TMPDIR"
        ) from None
    with made as name:
        yield Path(name).resolve()


def free_port(host: str, port: int) -> int:
    """Return a port that can be listened at: the given one, or any for 0.

    Raises:
        StudioError: the address cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, None)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
            return tried.getsockname()[1]
    except OSError as error:
        raise StudioError(
            f"{host}:{port} cannot be served at ({error.strerror or error}); choose another --port or --host"
        ) from None
