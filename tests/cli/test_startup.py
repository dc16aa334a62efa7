"""Start-up: what the command line imports for help and usage errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "transformers", "spacy", "matplotlib", "pandas", "ray", "scipy", "numpy", "PIL")
COMMAND = """
import sys
from unbleed.__main__ import main
sys.argv = ["unbleed", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    code = end.code
print("exit", code, *(name for name in {heavy} if name in sys.modules))
"""


def last_line(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["generate", "--help"], 0),
        (["bench", "run", "--help"], 0),
        (["nonsense"], 2),
        (["generate", "--nonsense"], 2),
        (["generate"], 2),
        (["generate", "a cat", "--seeds", "many"], 2),
        (["generate", "a cat", "--seed", "1", "--seeds", "1-2"], 2),
        (["generate", "a cat", "--strength", "0.5"], 2),
        (["generate", "a cat", "--out", "cat.jpg"], 2),
        (["attention", "a cat", "--out", "cat.jpg"], 2),
        (["parse", " "], 2),
    ],
)
def test_help_and_usage_errors_import_nothing_heavy(arguments: list[str], code: int) -> None:
    assert last_line(COMMAND.format(heavy=HEAVY), *arguments) == f"exit {code}"


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, None)],
    ids=["nothing set", "own count", "own policy"],
)
def test_waiting_threads_give_up_their_core_soon(
    monkeypatch: pytest.MonkeyPatch, own: dict[str, str], expected: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    code = COMMAND.format(heavy=HEAVY) + "import os\nprint(os.environ.get('GOMP_SPINCOUNT'))"
    assert last_line(code, "--version") == str(expected)
