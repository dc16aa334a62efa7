"""Pictures from elsewhere: a table becomes a run, which is scored, killed, scored on, measured and reported like any other."""

from __future__ import annotations

import csv
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from transformers import CLIPTokenizer

from helpers import tiny_metrics
from helpers.fake_runs import FakeOracle, plan_of, write_run
from unbleed import cli
from unbleed.bench.analysis.two_runs import compare, open_both
from unbleed.bench.exchange.imported import import_images
from unbleed.bench.metrics import metric, metric_names
from unbleed.bench.plan.plan import Plan
from unbleed.bench.plan.variants import variants_from
from unbleed.bench.sampling.runner import plan_for
from unbleed.bench.scoring import kept_metrics, run_folder
from unbleed.bench.scoring import scorer as judging
from unbleed.bench.scoring.metric_config import FILE_NAME
from unbleed.bench.scoring.scorer import run_metric
from unbleed.bench.storage.images import read_image
from unbleed.bench.storage.store import Store
from unbleed.bench.suites import suite
from unbleed.cli import (  # noqa: F401  (they add the commands)
    bench_distance,
    bench_export,
    bench_import,
    bench_report,
)
from unbleed.errors import BenchError

PROMPTS = ("a red cat and a blue bench", "a dog", "a bird on a car")
METHODS = ("theirs", "ours")
Row = Mapping[str, Any]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: CLIPTokenizer) -> Path:
    return tiny_metrics.clip(tmp_path_factory.mktemp("clip"), tokenizer)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli._run(["bench", *(str(a) for a in arguments)])
        return (code, *capsys.readouterr())

    return call


def draw(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((56, 40), Image.Resampling.NEAREST).save(path)


def write_table(path: Path, rows: Sequence[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(folder: Path, prompts: Sequence[str] = PROMPTS, seeds: Sequence[int] = (3, 8)) -> list[dict[str, Any]]:
    """Draw pictures of two methods, PNG and JPEG, and return the rows that name them."""
    rows = []
    for number, (prompt, method, seed) in enumerate((p, m, s) for p in prompts for m in METHODS for s in seeds):
        name = f"pictures/{number}.{'jpg' if number % 2 else 'png'}"
        draw(folder / name, number)
        entities = "red cat; blue bench" if "bench" in prompt else ""
        rows.append({"file": name, "prompt": prompt, "method": method, "seed": seed, "entities": entities, "group": ""})
    return rows


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "shop" / "pairs.csv", rows_of(tmp_path / "shop"))


# ----------------------------------------------------------------------------------------------------------- import


def test_a_table_becomes_a_run(command: Any, table: Path, out: Path) -> None:
    code, text, err = command("import", table, "--out", out, "--json")
    assert (code, err) == (0, "")
    assert json.loads(text) == {
        "out": str(out),
        "suite": "pairs",
        "prompts": 3,
        "methods": list(METHODS),
        "pictures": 12,
        "imported": 12,
    }
    store = Store(out)
    plan = store.plan()
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert (plan.model, plan.seeds, [str(e) for e in plan.suite.cases[0].entities]) == (
        "imported",
        2,
        ["red cat", "blue bench"],
    )
    found = run_folder.open_folder(out).results.images
    assert [(r.prompt, r.method, r.seed, r.seconds) for r in found] == [
        (prompt, method, seed, None) for prompt in PROMPTS for method in METHODS for seed in (3, 8)
    ]
    for number, row in enumerate(found):
        name = f"{number}.{'jpg' if number % 2 else 'png'}"
        with Image.open(table.parent / "pictures" / name) as given, Image.open(row.image) as kept:
            assert kept.format == "PNG"
            assert np.array_equal(np.asarray(given.convert("RGB")), np.asarray(kept.convert("RGB")))
    first = table.parent / "pictures" / "0.png"
    assert found[0].image.read_bytes() == first.read_bytes()  # a PNG keeps what it says of itself


def test_what_is_there_is_not_imported_again_and_a_changed_picture_is(table: Path, out: Path) -> None:
    assert import_images(table, out).new == 12
    files = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.name != ".lock"}
    assert import_images(table, out).new == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.name != ".lock"} == files
    before = [row.image for row in run_folder.open_folder(out).results.images]
    draw(table.parent / "pictures" / "0.png", 99)
    assert import_images(table, out).new == 1
    after = [row.image for row in run_folder.open_folder(out).results.images]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, *[True] * 11]
    assert read_image(after[0]).tobytes() == read_image(table.parent / "pictures" / "0.png").tobytes()
    after[1].unlink()
    assert import_images(table, out).new == 1


def test_method_and_seed_may_be_left_out(tmp_path: Path, out: Path) -> None:
    for number in range(4):
        draw(tmp_path / f"{number}.webp", number)
    rows = [{"file": f"{number}.webp", "prompt": PROMPTS[number // 2]} for number in range(4)]
    plan = import_images(write_table(tmp_path / "sheet.csv", rows), out).plan
    assert [contender.label for contender in plan.contenders] == ["sheet"]
    assert [row.seed for row in run_folder.open_folder(out).results.images] == [0, 1, 0, 1]


def test_a_run_in_the_same_folder_takes_nothing_from_an_import(table: Path, out: Path) -> None:
    import_images(table, out)
    drawn = plan_for(Store(out), suite("emoji-pairs").head(1), variants_from(["none"], "emoji"), model="emoji", seeds=1)
    assert (drawn.batch_size, drawn.imported) == (8, {})


def test_pictures_are_upright(tmp_path: Path, out: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera that was held upright
    Image.new("RGB", (20, 10), (200, 0, 0)).save(tmp_path / "0.jpg", exif=exif)
    import_images(write_table(tmp_path / "t.csv", [{"file": "0.jpg", "prompt": "a dog"}]), out)
    [row] = run_folder.open_folder(out).results.images
    assert read_image(row.image).size == (10, 20)


def without(column: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != column} for row in rows]


def changed(rows: Sequence[Row], at: int, **values: Any) -> list[dict[str, Any]]:
    return [{**row, **(values if number == at else {})} for number, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: without("file", rows), "line 1: columns prompt, method, seed, entities, group; expected file and prompt"),
        (lambda rows: [{**row, "colour": "red"} for row in rows], "optionally method, seed, entities and group"),
        (lambda rows: changed(rows, 1, file="pictures/none.png"), "line 3: {shop}/pictures/none.png does not exist; paths are"),
        (lambda rows: [{**row, "file": f"{n}.png"} for n, row in enumerate(rows)], "nor do the files of 11 more rows"),
        (lambda rows: changed(rows, 4, file="pairs.csv"), "{shop}/pairs.csv is not a readable image"),
        (lambda rows: changed(rows, 4, file="torn.jpg"), "{shop}/torn.jpg is not a readable image"),
        (lambda rows: changed(rows, 1, seed=3), 'line 3: seed 3 of "a red cat and a blue bench" by theirs is also in line 2'),
        (lambda rows: changed(rows, 1, file="pictures/0.png"), "line 3: pictures/0.png of"),
        (lambda rows: changed(rows, 1, seed="3.0"), 'line 3: seed "3.0"; expected a whole number from 0'),
        (lambda rows: changed(rows, 1, file=" "), "line 3: the file is empty"),
        (lambda rows: changed(rows, 1, method=""), "line 3: the method is empty"),
        (lambda rows: changed(rows, 1, prompt=""), "line 3: prompt"),
        (lambda rows: changed(rows, 1, entities="cat; dog"), "line 3:"),
        (lambda rows: rows[:-1], 'no image with seed 8 of "a bird on a car" by ours; expected the same seeds'),
        (lambda rows: without("seed", rows[:-3]), 'no image number 2 of "a bird on a car" by theirs, and 2 more are missing'),
        (
            lambda rows: changed(rows, 1, seed=9),
            'no image with seed 8 of "a red cat and a blue bench" by theirs, and 5 more',
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(
    command: Any, tmp_path: Path, out: Path, change: Callable[[list[dict[str, Any]]], list[Row]], message: str
) -> None:
    shop = tmp_path / "shop"
    rows = rows_of(shop)
    whole = (shop / "pictures" / "1.jpg").read_bytes()
    (shop / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    code, text, err = command("import", write_table(shop / "pairs.csv", change(rows)), "--out", out)
    assert (code, text, err.count("\n")) == (2, "", 1)
    assert message.format(shop=shop) in err
    assert not (out / "run.json").exists()


def test_no_table_and_an_empty_one_are_one_line(command: Any, tmp_path: Path, out: Path) -> None:
    (tmp_path / "empty.csv").write_text("file,prompt\n")
    for name, message in (("none.csv", "cannot be read"), ("empty.csv", "has no rows")):
        code, _, err = command("import", tmp_path / name, "--out", out)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err


def test_a_table_that_is_wrong_leaves_the_run_that_was_there(table: Path, out: Path) -> None:
    import_images(table, out)
    (table.parent / "pictures" / "5.jpg").write_text("no picture")
    with pytest.raises(BenchError, match="not a readable image"):
        import_images(table, out)
    assert len(run_folder.open_folder(out).results.images) == 12


# ------------------------------------------------------------------------------------------- scored, killed, scored on


def look_slowly(out: Path, model: Path) -> None:
    judging.BATCH = 1

    def read_slowly(path: Path, sha256: str | None) -> Image.Image:
        time.sleep(0.3)
        return read_image(path, sha256)

    judging.read_image = read_slowly
    run_metric(Store(out), Store(out).plan(), metric("clip", model=str(model)))


def journal_of(out: Path) -> int:
    return sum(journal.read_bytes().count(b"\n") for journal in out.glob("metrics/*/journal.jsonl"))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.slow
def test_from_a_table_to_a_report_through_a_kill(
    command: Any, table: Path, out: Path, tmp_path: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "BATCH", 1)  # a batch changes last bits
    for folder in (out, tmp_path / "whole"):
        assert command("import", table, "--out", folder)[0] == 0
    label = f"clip:model={clip_folder}"
    process = multiprocessing.get_context("spawn").Process(target=look_slowly, args=(out, clip_folder))
    process.start()
    while process.is_alive() and journal_of(out) < 3:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -9
    seen = journal_of(out)
    assert 3 <= seen < 12
    code, _, err = command("report", out)
    assert code == 2
    assert f"{12 - seen} images of {out} are not imported and scored yet; finish them with the same unbleed bench import" in err

    code, text, err = command("score", out, "--metrics", label, "--json")
    assert (code, json.loads(text), err) == (0, {"out": str(out), "judged": {label: 12 - seen}}, "")
    assert command("score", tmp_path / "whole", "--metrics", label)[0] == 0
    fingerprint = metric("clip", model=clip_folder).fingerprint
    kept, whole = (Store(folder).outputs("clip", fingerprint).read("seen") for folder in (out, tmp_path / "whole"))
    assert kept == whole

    code, text, err = command("report", out, "--draws", 100, "--json")
    document = json.loads(text)
    assert (code, err) == (0, "")
    assert {row["metric"] for row in document["rows"]} == {"clip_full", "clip_min"}
    assert {row["seconds_per_picture"] for row in document["rows"]} == {None}
    assert (document["run"]["model"], document["run"]["steps"], document["run"]["machine"]) == ("imported", None, None)
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    assert page.count("<svg") == 1  # the differences; nothing over the time
    assert "times the seconds" not in page
    for words in ("The time per image of theirs, ours is unknown", "It is not known how they were sampled"):
        assert words in page
        assert words in text
    assert "nan" not in (out / "rows.csv").read_text() + (out / "pictures.csv").read_text() + (out / "report.tex").read_text()


def test_the_pictures_are_exported_and_looked_through(command: Any, table: Path, out: Path, tmp_path: Path) -> None:
    import_images(table, out)
    assert command("report", out)[0] == 0  # no metric, and no time: pictures alone
    assert command("export", out, "--out", tmp_path / "set")[0] == 0
    [shard] = (tmp_path / "set" / "data").iterdir()
    rows = parquet.read_table(shard).to_pylist()
    assert [row["seconds"] for row in rows] == [None] * 12
    assert "it is not known how they were sampled" in (tmp_path / "set" / "README.md").read_text()
    assert command("gallery", out, "--out", tmp_path / "gallery")[0] == 0
    assert "pairs, imported" in (tmp_path / "gallery" / "index.html").read_text()


def test_imported_pictures_are_compared_with_drawn_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_metrics, "metric", lambda name: FakeOracle())
    plan = plan_of("none,syngen", limit=3)
    write_run(tmp_path / "drawn", plan)
    prompts = [case.prompt for case in plan.suite.cases]
    entities = {case.prompt: "; ".join(map(str, case.entities)) for case in plan.suite.cases}
    rows = [{**row, "entities": entities[row["prompt"]]} for row in rows_of(tmp_path, prompts, seeds=(0, 1))]
    write_run(tmp_path / "brought", import_images(write_table(tmp_path / "t.csv", rows), tmp_path / "brought").plan)
    made = compare(*open_both(tmp_path / "drawn", tmp_path / "brought"), draws=100)
    assert [c.label for c in made.contenders] == ["drawn:none", "drawn:syngen", "brought:theirs", "brought:ours"]
    assert (made.run.prompts, made.run.seeds) == (3, 2)
    assert "It is not known how imported images were sampled" in made.run.cautions[-1]
    assert made.costs[0].seconds_per_picture == 1.5


# ------------------------------------------------------------------------------------------------- metrics and settings


def test_reports_make_a_metric_with_the_settings_with_which_it_looked(
    command: Any, table: Path, out: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_images(table, out)
    plain, strict = f"clip:model={clip_folder}", f"clip:model={clip_folder}:strict=true:device=cpu"
    code, text, _ = command("score", out, "--metrics", f"{plain},{strict}", "--json")
    assert (code, json.loads(text)["judged"]) == (0, {plain: 12, strict: 12})
    kept = [json.loads(file.read_text()) for file in out.glob(f"metrics/clip-*/{FILE_NAME}")]
    assert sorted((one["settings"] for one in kept), key=len) == [
        {"model": str(clip_folder)},
        {"model": str(clip_folder), "strict": True},
    ]
    assert {one["fingerprint"] for one in kept} == {
        metric("clip", model=str(clip_folder), strict=strict).fingerprint for strict in (False, True)
    }
    monkeypatch.chdir(clip_folder.parent)
    assert (
        run_folder.open_folder(out, [f"clip:model={clip_folder.name}:strict=true"]).metrics
        == run_folder.open_folder(out, [strict]).metrics
    )
    opened = run_folder.open_folder(out, [strict])
    assert (opened.metrics[0].metric, opened.cautions) == (metric("clip", model=str(clip_folder), strict=True), ())
    both = run_folder.open_folder(out)
    assert "2 versions of clip were run on these images; the figures are those of the latest" in both.cautions[0]
    code, _, err = command("report", out, "--metrics", "clip:dtype=float16")
    assert (code, err.count("\n")) == (2, 1)
    assert f'"clip:dtype=float16" has not been run on the images of {out}; there is ' in err
    assert plain in err
    assert f"{plain}:strict=true" in err


def test_a_definition_that_is_damaged_is_one_line(command: Any, table: Path, out: Path, clip_folder: Path) -> None:
    import_images(table, out)
    command("score", out, "--metrics", f"clip:model={clip_folder}")
    [file] = out.glob(f"metrics/clip-*/{FILE_NAME}")
    file.write_text("{")
    code, _, err = command("report", out)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{file} cannot be understood" in err
    assert command("score", out, "--metrics", f"clip:model={clip_folder}")[0] == 0  # which mends it
    assert command("report", out, "--draws", 100)[0] == 0
    file.unlink()
    assert command("report", out, "--draws", 100)[0] == 0  # a folder from before there were any


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("klip", 'there is no metric "klip"; did you mean "clip"?'),
        ("clip:strict", '"strict" in "clip:strict" is not a setting; expected NAME:SETTING=VALUE'),
        ("clip:strict=", "is not a setting"),
        ("clip:size=3", 'metric "clip" has no setting "size"; it has model, revision, device, dtype, strict'),
        ("clip:strict=yes", 'metric "clip" cannot take strict=yes; expected true or false'),
        ("clip,clip", "clip named twice"),
        ("clip,,cmmd", "has an empty name"),
        ("clip:model=7", '"7" cannot be loaded'),
    ],
)
def test_labels_that_mean_nothing_are_one_line(
    command: Any, table: Path, out: Path, label: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    import_images(table, out)
    code, _, err = command("score", out, "--metrics", label)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


def test_metrics_are_listed(command: Any) -> None:
    code, text, err = command("metrics", "--json")
    listed = json.loads(text)["metrics"]
    assert (code, err, [one["name"] for one in listed]) == (0, "", metric_names())
    clip = next(one for one in listed if one["name"] == "clip")
    assert (clip["model"], clip["licence"]) == ("openai/clip-vit-base-patch16", "MIT")
    assert clip["settings"]["strict"] is False
    code, text, _ = command("metrics")
    assert code == 0
    assert "openai/clip-vit-large-patch14-336 (MIT)" in text


# ------------------------------------------------------------------------------------------------------------ distance


def test_distances_from_a_reference(command: Any, table: Path, out: Path, tmp_path: Path, clip_folder: Path) -> None:
    import_images(table, out)
    for number in range(5):
        draw(tmp_path / "reference" / "deep" / f"{number}.png", 100 + number)
    arguments = ["distance", out, "--reference", tmp_path / "reference"]
    code, text, err = command(*arguments)
    assert (code, text, err.count("\n")) == (2, "", 1)
    assert '"cmmd" has not been run on the images' in err
    assert command("score", out, "--metrics", f"cmmd:model={clip_folder}")[0] == 0
    code, text, err = command(*arguments, "--json")
    document = json.loads(text)
    assert (code, err) == (0, "")
    assert (document["baseline"], document["prompts"], document["reference"]) == ("theirs", 3, 5)
    theirs, ours = document["rows"]
    assert (theirs["difference"], ours["pictures"]) == (None, 6)
    assert ours["difference"] == pytest.approx(ours["distance"] - theirs["distance"])
    assert ours["error"] is theirs["error"] is ours["difference_error"] is None  # three prompts are too few
    assert document["cautions"] == ["With fewer than 10 prompts there are no intervals, p-values or marks; this report has 3."]
    code, text, _ = command(*arguments)
    assert code == 0
    assert "CMMD" in text
    assert "±" not in text
    command("report", out)
    assert "unbleed bench distance measures the distance" in (out / "report.md").read_text()
    (tmp_path / "reference" / "no.png").write_text("no picture")
    code, _, err = command(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert "no.png is not a readable image" in err


def test_a_distance_is_of_one_model(
    command: Any, table: Path, out: Path, tmp_path: Path, clip_folder: Path, tokenizer: CLIPTokenizer
) -> None:
    import_images(table, out)
    model = tiny_metrics.clip(tmp_path / "model", tokenizer)
    command("score", out, "--metrics", f"cmmd:model={model}")
    (model / "more.json").write_text("{}")
    code, _, err = command("distance", out, "--reference", table.parent)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{model} has changed since cmmd was run" in err
    code, _, err = command("distance", out, "--reference", table.parent, "--metric", "clip")
    assert code == 2
    assert '"clip" does not measure a distance' in err
