"""Connecting to Ray: a cluster started on this machine for one run, or one that is already running.

The cluster started here listens on the loopback interface only, requires a token, and keeps its files in a folder that only
the user can open. Ray has tokens since 2.52.0 (https://docs.ray.io/en/latest/ray-security/token-auth.html).
"""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import BenchError
from ..extras import extra, install_command

OLDEST = (2, 52)  # the first that has tokens
LOOPBACK = ("127.0.0.1", "::1")


@contextmanager
def connected(address: str | None, *, cpus: int) -> Iterator[Any]:
    """Yield the module `ray`, connected to the cluster at `address`; None starts one with `cpus` cores for the block.

    Raises `BenchError` if Ray is not installed or too old, or if the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # keep the user's GPU settings in workers without a GPU
    os.environ.setdefault("RAY_worker_niceness", "0")  # the default of 15 stalls beside any other program
    if address is None:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # makes Ray use the loopback address, on any system
    else:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # for a cluster without tokens users set "disabled" themselves
    module = extra("ray", "ray")
    if tuple(int(part) for part in module.__version__.split(".")[:2]) < OLDEST:
        raise BenchError(
            f"Ray {module.__version__} does not support tokens; expected {'.'.join(map(str, OLDEST))} or newer: "
            f"{install_command('ray')}"
        )
    with _sigterm_interrupts() as catch, _private_folder() as folder:
        own = {} if address else {"num_cpus": cpus, "include_dashboard": False, "_temp_dir": folder}
        try:
            module.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **own)
        except Exception as error:
            raise BenchError(f"Ray cannot be reached ({str(error).strip().splitlines()[0]}); see --ray-address") from error
        try:
            catch()
            module._private.worker._worker_logs_enabled = False  # or Ray prints logs of dead processes into our output
            if address is None:
                _check_loopback(module)
            yield module
        finally:
            module.shutdown()


def capacity(module: Any, each: Mapping[str, int]) -> int:
    """Return how many workers that need the resources `each` fit on the live nodes; a worker needs one node."""
    nodes = [node["Resources"] for node in module.nodes() if node["Alive"]]
    return sum(min(int(node.get(kind, 0) // count) for kind, count in each.items() if count) for node in nodes)


def _check_loopback(module: Any) -> None:
    found = {node["NodeManagerAddress"] for node in module.nodes()}
    if not found <= set(LOOPBACK):
        raise BenchError(
            f"Ray listens on {', '.join(sorted(found))} because this process imported it earlier; expected loopback: set "
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before the import, or name a running cluster's address"
        )


@contextmanager
def _private_folder() -> Iterator[str]:
    """Yield a path inside a folder that only this user can open; Ray makes its own folder readable to all.

    The path is short because Unix socket paths are limited.
    """
    with tempfile.TemporaryDirectory(
        prefix="unbleed-", dir="/tmp" if os.name == "posix" else None, ignore_cleanup_errors=True
    ) as folder:
        yield str(Path(folder) / "ray")


@contextmanager
def _sigterm_interrupts() -> Iterator[Callable[[], object]]:
    """Yield a function that turns SIGTERM into `KeyboardInterrupt`, the only exception that interrupts Ray's waiting.

    Call it after `ray.init`, whose own handler prints a stack trace and leaves processes behind.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield lambda: None
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield lambda: signal.signal(signal.SIGTERM, signal.default_int_handler)
    finally:
        signal.signal(signal.SIGTERM, before)
