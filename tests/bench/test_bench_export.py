"""A run as a data set that others can load, and as a page that needs nothing."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
from PIL import Image

from helpers.fake_runs import SCORES, FakeClip, FakeOracle, plan_of, write_run
from unbleed import cli
from unbleed.bench.exchange.dataset import export
from unbleed.bench.reporting.gallery import contents, gallery
from unbleed.bench.scoring import kept_metrics
from unbleed.bench.scoring.run_folder import RunFolder, open_folder
from unbleed.cli import bench_export  # noqa: F401  (it adds the commands)
from unbleed.errors import BenchError, OutputError

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_metrics, "metric", {"oracle": FakeOracle(), "clip": FakeClip()}.__getitem__)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    write_run(tmp_path / "run", plan_of("none,syngen,best-of-2", limit=5))
    return open_folder(tmp_path / "run")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli._run(["bench", *(str(a) for a in arguments)])
        return (code, *capsys.readouterr())

    return call


# --------------------------------------------------------------------------------------------------------- export


def test_the_data_set_is_loaded_as_pictures(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    export(run, tmp_path / "set", shard_bytes=500)
    loaded = datasets.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded.features["image"], datasets.Image)
    assert len(loaded) == len(run.results.images) == 30
    for row, r in zip(loaded, run.results.images, strict=True):
        case = run.plan.suite.cases[r.case]
        assert row["image"].convert("RGB").tobytes() == Image.open(r.image).convert("RGB").tobytes()
        assert (row["prompt"], row["seed"], row["method"], row["seconds"]) == (r.prompt, r.seed, r.method, r.seconds)
        assert (row["entities"], row["groups"], row["model"]) == (list(map(str, case.entities)), list(case.groups), "emoji")
        assert {s.name: row[s.name] for s in SCORES} == r.scores
    assert json.loads(loaded[29]["settings"]) == dict(run.plan.contenders[2].settings)


def test_shards_are_of_the_size_that_was_asked_for(run: RunFolder, tmp_path: Path) -> None:
    whole = export(run, tmp_path / "one")
    assert [path.name for path in whole] == ["train-00000-of-00001.parquet", "README.md"]
    *shards, _ = export(run, tmp_path / "one", shard_bytes=sum(r.image.stat().st_size for r in run.results.images) // 4)
    assert sorted((tmp_path / "one" / "data").iterdir()) == shards  # the one shard is gone
    assert [path.name for path in shards][-1] == f"train-{len(shards) - 1:05}-of-{len(shards):05}.parquet"
    assert len(shards) in (4, 5)
    assert sum(parquet.read_metadata(path).num_rows for path in shards) == 30
    seen = parquet.read_table(shards[0]).to_pylist()[0]["image"]
    assert Image.open(io.BytesIO(seen["bytes"])).format == "PNG"
    assert seen["path"] == run.results.images[0].image.name


def test_the_card_says_what_it_is(run: RunFolder, tmp_path: Path) -> None:
    text = export(run, tmp_path / "set")[-1].read_text()
    assert text.startswith('---\npretty_name: "emoji-pairs, images by emoji"\n')
    assert "size_categories: [n<1K]" in text
    assert "path: data/train-*.parquet" in text
    assert "30 images of 5 prompts" in text
    assert all(f"| `{name}` |" in text for name in ("image", "settings", *(s.name for s in SCORES)))
    assert f"Scores of `oracle`, fingerprint {FakeOracle().fingerprint[:16]}." in text


def test_a_score_without_ground_is_null(tmp_path: Path) -> None:
    write_run(tmp_path / "run", plan_of("none", limit=30), metrics=[FakeClip()])
    shard, _ = export(open_folder(tmp_path / "run"), tmp_path / "set")
    table = parquet.read_table(shard)
    assert 0 < table["clip_min"].null_count < len(table)
    assert table["clip_full"].null_count == 0


def test_what_cannot_be_exported_is_said(run: RunFolder, tmp_path: Path) -> None:
    run.results.images[3].image.unlink()
    with pytest.raises(BenchError, match=r"\.png is missing; run the benchmark .* again"):
        export(run, tmp_path / "set")
    (tmp_path / "file").touch()
    with pytest.raises((OutputError, BenchError)):
        export(run, tmp_path / "file")


# -------------------------------------------------------------------------------------------------------- gallery


def listed(out: Path) -> dict[str, Any]:
    text = (out / "pictures.js").read_text()
    return json.loads(text.removeprefix("window.GALLERY = ").removesuffix(";\n"))


def test_the_gallery_knows_every_picture(run: RunFolder, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    gallery(run, tmp_path / "page", on_progress=lambda done, total: told.append((done, total)))
    page = listed(tmp_path / "page")
    assert len(page["pictures"]) == 30
    before = {(r.case, r.seed): r.scores["all_correct"] for r in run.results.images if r.method == "none"}
    for (method, prompt, seed, key, kind, change, words, scores), r in zip(page["pictures"], run.results.images, strict=True):
        assert page["methods"][method] == r.method
        assert page["prompts"][prompt][0] == r.prompt
        assert (seed, key) == (r.seed, r.image.stem)
        assert page["verdicts"][kind] == ("right" if r.scores["all_correct"] else "wrong")
        assert bool(words) == (kind == 1)
        assert change == r.scores["all_correct"] - before[r.case, r.seed]
        assert len(scores) == 8
        with Image.open(tmp_path / "page" / "thumbs" / key[:2] / f"{key}.webp") as thumb:
            assert thumb.format == "WEBP"
    keys = {r.image for r in run.results.images}
    assert told[-1] == (len(keys), len(keys))


def test_thumbnails_are_made_once(run: RunFolder, tmp_path: Path) -> None:
    gallery(run, tmp_path / "page")
    thumb = next((tmp_path / "page" / "thumbs").glob("*/*.webp"))
    thumb.write_bytes(b"mine")
    gallery(run, tmp_path / "page")
    assert thumb.read_bytes() == b"mine"


def test_a_gallery_of_numbers_has_thirds(tmp_path: Path) -> None:
    write_run(tmp_path / "run", plan_of("none,syngen", limit=30), metrics=[FakeClip()])
    page = contents(open_folder(tmp_path / "run"))
    assert page["verdicts"] == ["high", "middle", "low"]
    kinds = [picture[4] for picture in page["pictures"]]
    assert [kinds.count(kind) for kind in range(3)] == [40, 40, 40]
    assert page["pictures"][0][6] == page["pictures"][0][7][0]
    assert None in {picture[7][1] for picture in page["pictures"]}


def test_the_gallery_needs_no_network(run: RunFolder, tmp_path: Path) -> None:
    gallery(run, tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text()
    assert not re.search(r"https?:|@import|fetch\(|url\(", page)
    assert re.findall(r'src="([^"]*)"', page) == ["pictures.js"]
    assert "innerHTML" not in page
    assert all(f'name="{name}"' in page for name in ("method", "group", "verdict", "words"))


# --------------------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize(("name", "file"), [("export", "README.md"), ("gallery", "index.html")])
def test_from_the_command_line(command: Command, run: RunFolder, tmp_path: Path, name: str, file: str) -> None:
    code, out, _ = command(name, run.path, "--out", tmp_path / "out")
    assert (code, out) == (0, f"{tmp_path / 'out'}\n")
    code, out, _ = command(name, run.path, "--out", tmp_path / "out", "--json")
    document = json.loads(out)
    assert document["pictures"] == 30
    assert str(tmp_path / "out" / file) in document["files"]
    code, out, err = command(name, tmp_path / "nothing", "--out", tmp_path / "other")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "other").exists()
