"""A benchmark folder in the third tab: pages, filters, and a picture's recipe. No path comes from the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.fake_runs import plan_of, write_run
from unbleed.errors import BenchError, StudioError
from unbleed.studio.run_table import ROWS, RunTable, Wanted, open_run_table, read_wanted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six prompts, two seeds and three methods, scored by a made-up oracle."""
    folder = tmp_path_factory.mktemp("run")
    plan = plan_of("none,syngen,attend-and-excite:step_size=3")
    store = write_run(folder, plan)
    for case in plan.suite.cases:
        for variant in plan.contenders:
            for jobs in plan.jobs_of(case, variant):
                Image.new("RGB", (32, 32), (10 * jobs[0].seed % 255, 90, 90)).save(store.image(jobs[0].key))
    return folder


@pytest.fixture(scope="module")
def run_table(folder: Path) -> RunTable:
    return open_run_table(folder)


def test_every_prompt_and_seed_is_on_one_of_the_pages(run_table: RunTable) -> None:
    first, second = (run_table.view(Wanted(page=page)) for page in (0, 1))
    assert (first["count"], first["total"], first["pages"]) == (12, 12, 2)
    assert [len(first["rows"]), len(second["rows"])] == [ROWS, 12 - ROWS]
    assert first["methods"] == ["none", "syngen", "attend-and-excite:step_size=3"]
    assert [row["index"] for row in (*first["rows"], *second["rows"])] == list(range(12))
    assert all(cell["picture"].startswith("data:image/webp;base64,") for row in first["rows"] for cell in row["cells"])
    assert run_table.view(Wanted(page=99))["wanted"]["page"] == 1


def test_means_are_those_of_the_scores(run_table: RunTable) -> None:
    assert run_table.primary is not None
    images = [row for row in run_table.run.results.images if row.method == "syngen"]
    mean = sum(row.scores[run_table.primary.name] for row in images) / len(images)
    shown = run_table.means()[1]
    assert shown.split()[0] == f"{100 * mean:.1f}".rstrip("0").rstrip(".") or f"{100 * mean:.1f}" in shown


def test_won_and_lost_are_told_from_the_unguided_picture(run_table: RunTable) -> None:
    assert run_table.primary is not None
    name = run_table.primary.name
    won = [any(one.scores[name] > row[0].scores[name] for one in row) for row in run_table.rows]
    lost = [any(one.scores[name] < row[0].scores[name] for one in row) for row in run_table.rows]
    counts = {kind: run_table.view(Wanted(kind=kind))["count"] for kind in ("all", "won", "lost", "differ")}
    both = [a or b for a, b in zip(won, lost, strict=True)]
    assert counts == {"all": 12, "won": sum(won), "lost": sum(lost), "differ": sum(both)}


def test_prompts_are_searched(run_table: RunTable) -> None:
    word = run_table.rows[0][0].prompt.split()[-1]
    found = run_table.view(Wanted(text=word.upper()))
    assert 0 < found["count"] == sum(word in row[0].prompt for row in run_table.rows)
    assert run_table.view(Wanted(text="<script>"))["rows"] == []
    assert run_table.view(Wanted(group="no such group"))["count"] == 0


def test_a_picture_has_its_recipe(run_table: RunTable) -> None:
    image, values = run_table.picture(3, 2)
    assert (image.method, values["method"], values["seed"]) == (
        "attend-and-excite:step_size=3",
        "attend-and-excite",
        image.seed,
    )
    assert values["settings"]["step_size"] == 3
    for index, method in ((-1, 0), (12, 0), (0, 3), (0, -1)):
        with pytest.raises(StudioError, match="there is no picture"):
            run_table.picture(index, method)


def test_a_damaged_picture_is_told_where_it_would_be(run_table: RunTable) -> None:
    path = run_table.rows[0][1].image
    kept = path.read_bytes()
    path.write_bytes(b"no picture")
    cells = run_table.view(Wanted())["rows"][0]["cells"]
    path.unlink()
    assert cells[1] == run_table.view(Wanted())["rows"][0]["cells"][1]
    assert cells[1] == {"picture": "", "right": None, "words": "its file is missing or damaged"}
    path.write_bytes(kept)


@pytest.mark.parametrize(
    "value",
    [{"page": "1"}, {"kind": "../.."}, {"text": 5}, {"path": "/etc"}, {"text": "x" * 201}, [], "all"],
)
def test_what_no_page_asks(value: Any) -> None:
    with pytest.raises(StudioError):
        read_wanted(value)


def test_a_folder_without_a_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchError) as error:
        open_run_table(tmp_path)
    assert "\n" not in str(error.value)
