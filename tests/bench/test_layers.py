"""The import direction inside the benchmark, and from it to the engine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "import_levels.py"


@pytest.fixture(scope="module")
def levels() -> ModuleType:
    spec = importlib.util.spec_from_file_location("import_levels", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_imports_downwards_only(levels: ModuleType) -> None:
    found = levels.imports()
    assert len([name for name in found if name.startswith("unbleed.bench.")]) > 60
    assert levels.upward(found) == []
    assert levels.circles(found) == []


def test_the_engine_does_not_import_the_benchmark(levels: ModuleType) -> None:
    assert levels.from_engine(levels.imports()) == []


def package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "unbleed" / name
        for parent in (path.parent, *path.parent.parents):
            if parent == folder:
                break
            parent.mkdir(parents=True, exist_ok=True)
            (parent / "__init__.py").touch()
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bench/plan/jobs.py", "from ..storage.store import Store", "unbleed.bench.storage.store (level 2)"),
        ("bench/plan/jobs.py", "from ..storage import store", "unbleed.bench.storage.store (level 2)"),
        ("bench/plan/jobs.py", "import unbleed.bench.storage.store", "unbleed.bench.storage.store (level 2)"),
        ("bench/plan/jobs.py", "def f():\n    from ..storage.store import Store", "unbleed.bench.storage.store (level 2)"),
        ("bench/metrics/clip.py", "from ..storage.store import Store", "unbleed.bench.storage.store (level 2)"),
        ("bench/helpers/any.py", "", "unbleed.bench.helpers has no level"),
    ],
)
def test_an_upward_import_is_found(levels: ModuleType, tmp_path: Path, name: str, text: str, message: str) -> None:
    source = package(tmp_path, {"bench/storage/store.py": "from ..plan import cases", "bench/plan/cases.py": "", name: text})
    wrong = levels.upward(levels.imports(source))
    assert wrong
    assert all(message in line for line in wrong)


def test_a_circle_is_found(levels: ModuleType, tmp_path: Path) -> None:
    files = {"bench/plan/a.py": "from .b import x", "bench/plan/b.py": "from . import c", "bench/plan/c.py": "from .a import y"}
    found = levels.imports(package(tmp_path, files))
    [circle] = levels.circles(found)
    assert circle.count(" imports ") == 3
    assert levels.upward(found) == []


def test_an_import_by_the_engine_is_found(levels: ModuleType, tmp_path: Path) -> None:
    files = {"bench/api.py": "", "loading.py": "from .bench.api import run_suite", "cli/bench.py": "from ..bench import api"}
    found = levels.imports(package(tmp_path, files))
    assert levels.from_engine(found) == ["unbleed.loading imports unbleed.bench.api"]
