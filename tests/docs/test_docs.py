"""The notebooks of the tutorial and the code of the guides run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from unbleed.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^(<!-- not run: [\w ]+ -->\n)?```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def notebooks() -> Any:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "tools/notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page registers is forgotten after its test."""
    for name, value in vars(METHODS).items():
        if isinstance(value, dict):
            monkeypatch.setattr(METHODS, name, dict(value))


@pytest.mark.slow
@pytest.mark.usefixtures("folder", "registry")
@pytest.mark.parametrize("path", sorted((ROOT / "docs/tutorial").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_and_keeps_small_outputs(path: Path) -> None:
    cells = notebooks().run(path)["cells"]
    assert sum(cell["cell_type"] == "code" for cell in cells) > 5
    assert path.stat().st_size < 300_000


@pytest.mark.slow
@pytest.mark.usefixtures("folder", "registry")
@pytest.mark.parametrize(
    "page",
    ["get-started.md", "guides/pipeline.md", "guides/memory.md", "own-methods.md", "heat-maps.md", "regions.md", "families.md"],
)
def test_the_code_of_a_guide_runs(page: str) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    blocks = [code for skipped, code in BLOCK.findall((ROOT / "docs" / page).read_text()) if not skipped]
    assert blocks
    for number, code in enumerate(blocks, 1):
        exec(compile(code, f"{page}, block {number}", "exec"), names)


def test_scripts_that_pages_and_docstrings_name_are_there() -> None:
    folders = ("docs", "src", "benchmarks", "experiments", "tools")
    texts = [path for folder in folders for kind in ("*.md", "*.py", "*.sh") for path in (ROOT / folder).rglob(kind)]
    named = {
        script: path
        for path in [*ROOT.glob("*.md"), ROOT / "Makefile", *texts]
        for script in re.findall(
            r"python3? ((?:docs|benchmarks|experiments|tools)/[\w/]+\.py)", path.read_text(encoding="utf-8")
        )
    }
    assert len(named) > 10
    assert {script: str(path) for script, path in named.items() if not (ROOT / script).is_file()} == {}
