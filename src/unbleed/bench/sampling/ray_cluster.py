"""Ray, started on this machine for one run, or a running cluster.

A cluster of our own listens on the loopback interface alone, asks for a token, and keeps its files in a folder that only its
user can open. Ray has tokens since 2.52.0 (https://docs.ray.io/en/latest/ray-security/token-auth.html).
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
    """Give the module `ray`, connected to the cluster at `address`; None starts one of `cpus` cores, which ends with the block.

    Raises `BenchError` when Ray is not installed or too old, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a worker without a GPU keeps what the user set
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default: next to any other program it would stand still
    if address is None:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on any system, Ray then takes the loopback address for its own
    else:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # a cluster without tokens has to be asked for: "disabled"
    module = extra("ray", "ray")
    if tuple(int(part) for part in module.__version__.split(".")[:2]) < OLDEST:
        raise BenchError(
            f"Ray {module.__version__} cannot ask for a token; expected {'.'.join(map(str, OLDEST))} or newer: "
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
            module._private.worker._worker_logs_enabled = False  # Ray prints the log of a dead process among our output
            if address is None:
                _check_loopback(module)
            yield module
        finally:
            module.shutdown()


def workers_that_fit(module: Any, each: Mapping[str, int]) -> int:
    """Return how many workers of so many resources each fit on the nodes that are alive, every worker on one node."""
    nodes = [node["Resources"] for node in module.nodes() if node["Alive"]]
    return sum(min(int(node.get(kind, 0) // count) for kind, count in each.items() if count) for node in nodes)


def _check_loopback(module: Any) -> None:
    found = {node["NodeManagerAddress"] for node in module.nodes()}
    if not found <= set(LOOPBACK):
        raise BenchError(
            f"Ray listens on {', '.join(sorted(found))}, since this process imported it before; expected loopback: set "
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before the import, or name a running cluster's address"
        )


@contextmanager
def _private_folder() -> Iterator[str]:
    """Give a new folder inside one that only this user can open: Ray opens its own to all. Sockets need a short path."""
    with tempfile.TemporaryDirectory(
        prefix="unbleed-", dir="/tmp" if os.name == "posix" else None, ignore_cleanup_errors=True
    ) as folder:
        yield str(Path(folder) / "ray")


@contextmanager
def _sigterm_interrupts() -> Iterator[Callable[[], object]]:
    """Give a function after whose call SIGTERM is a `KeyboardInterrupt`, the one exception that Ray's waiting lets through.

    Ray's own handler, installed when it is initialised, prints a stack and leaves processes.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield lambda: None
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield lambda: signal.signal(signal.SIGTERM, signal.default_int_handler)
    finally:
        signal.signal(signal.SIGTERM, before)
