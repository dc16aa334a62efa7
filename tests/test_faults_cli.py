"""What the command line and the recipes once got wrong."""

from __future__ import annotations

import importlib
import subprocess
import sys

import unbleed


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_I12_the_package_imports_nothing_heavy_until_a_name_is_used() -> None:
    """So that completion and --version answer at once, and Ctrl-C is heard from the beginning."""
    code = "import unbleed, sys; print('torch' in sys.modules, callable(unbleed.guide), 'torch' in sys.modules)"
    assert python(code).stdout == "False True True\n"


def test_I12_every_public_name_is_there_whichever_module_came_first() -> None:
    importlib.import_module("unbleed.estimation")  # a module must not take the place of a name

    assert all(getattr(unbleed, name) is not None for name in unbleed.__all__)
    assert callable(unbleed.estimate)
    assert unbleed.losses.Loss is unbleed.Loss
    assert not hasattr(unbleed, "nonsense")
