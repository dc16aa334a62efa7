"""Statistics said plainly, hostile words in reports, missing packages, and files that are no pictures."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from helpers.fake_runs import FakeOracle, plan_of, results_of
from unbleed import cli
from unbleed.bench.analysis.bootstrap import MIN_PROMPTS, bootstrap, estimate, sample
from unbleed.bench.analysis.distances import standard_error
from unbleed.bench.analysis.summary import Report, build
from unbleed.bench.exchange.imported import import_images
from unbleed.bench.extras import extra, install_command
from unbleed.bench.metrics.cmmd import Distance
from unbleed.bench.plan.cases import Case, Expected
from unbleed.bench.reporting import writer as report
from unbleed.bench.reporting.html import html
from unbleed.bench.reporting.latex import latex
from unbleed.bench.reporting.markdown import markdown
from unbleed.bench.reporting.plots import difference_plots, group_plot, time_plot
from unbleed.bench.reporting.text import result
from unbleed.bench.reporting.writer import write
from unbleed.bench.sampling.runner import run
from unbleed.bench.storage.images import read_image, thumbnail
from unbleed.cli import bench, bench_import, bench_report, draw, study  # noqa: F401  (they add the commands)
from unbleed.errors import BenchError, OutputError
from unbleed.files import open_image
from unbleed.recipes import read_recipe


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    Image.new("RGB", (16, 16), "teal").save(path)
    return path


def made(labels: str, image: Path, limit: int, skills: dict[str, float], **options: Any) -> Report:
    plan = plan_of(labels, limit=limit, **options)
    return build(plan, results_of(plan, image, skills), metrics=(FakeOracle(),), draws=200)


# ---------------------------------------------------------------------------------------------- S3: statistics


def coverage(prompts: int) -> float:
    """Return how often the percentile interval of a difference, of one seed per prompt, holds the truth."""
    rng, hits = np.random.default_rng(0), []
    for _ in range(300):
        chance = 0.25 + 0.5 * rng.random((prompts, 1))
        drawn = np.stack([rng.random((prompts, 1)) < chance, rng.random((prompts, 1)) < chance + 0.15])
        low, high = np.quantile(sample(drawn[:, None].astype(float), draws=300).drawn[:, 1, 1, 0], [0.025, 0.975])
        hits.append(low <= 0.15 <= high)
    return float(np.mean(hits))


def test_S3_the_threshold_is_where_intervals_begin_to_hold() -> None:
    assert coverage(2) < 0.6
    assert coverage(5) < 0.85
    assert coverage(MIN_PROMPTS) > 0.85


def test_S3_fewer_than_ten_prompts_have_neither_interval_nor_p() -> None:
    values = np.random.default_rng(0).integers(2, size=(3, 1, 10, 2)).astype(float)
    nine, ten = bootstrap(values[:, :, :9], draws=200), bootstrap(values, draws=200)
    for name in ("low", "high", "difference_low", "difference_high", "p", "p_holm"):
        assert np.isnan(getattr(nine, name)).all()
        assert not np.isnan(getattr(ten, name)[1:]).any()
    assert nine.mean == pytest.approx(values[:, :, :9].mean(axis=(2, 3)))
    assert nine.difference[1] == pytest.approx(nine.mean[1] - nine.mean[0])


def test_S3_a_score_that_few_prompts_have_counts_those_alone() -> None:
    values = np.random.default_rng(1).random((2, 2, 30, 2))
    values[:, 1, 9:] = np.nan
    found = bootstrap(values, draws=200)
    assert np.isnan(found.low).tolist() == [[False, True], [False, True]]


def test_S3_equal_draws_are_recognised() -> None:
    values = np.ones((3, 1, 40, 2)) * np.array([0.0, 0.7, 1.0])[:, None, None, None]
    values[1, 0, 3, 0] = 0.2  # the second method differs from prompt to prompt
    found = bootstrap(values, draws=200)
    assert np.isnan(found.low[:, 0]).tolist() == [True, False, True]
    assert np.isnan(found.p[:, 0]).tolist() == [True, False, True]
    assert found.p_holm[1, 0] == found.p[1, 0]  # one test, so nothing to adjust


def test_S3_a_mean_over_groups_is_as_sure_as_its_smallest_group() -> None:
    large, small = np.random.default_rng(2).random((2, 2, 1, 40, 2))[0], np.random.default_rng(3).random((2, 1, 9, 2))
    assert np.isnan(estimate((sample(large, draws=200) + sample(small, draws=200, seed=1)) / 2).low).all()


def test_S3_a_report_of_one_prompt_claims_nothing(image: Path) -> None:
    """It once said "100.0 points fewer ... (95 % interval 100.0 to 100.0)", with a star."""
    one = made("none,syngen", image, 1, {"none": 1.0, "syngen": 0.0}, name="emoji-bind")
    assert all(row.low is row.high is row.p is row.p_holm is None and not row.significant for row in one.rows)
    assert re.match(
        r"syngen: \d+\.\d points fewer all-correct images than none \(1 prompt; intervals and tests need 10\), at ",
        result(one),
    )
    why = "With fewer than 10 prompts there are no intervals, p-values or marks; this report has 1."
    for text in (markdown(one), html(one)):
        assert why in text
        assert "✱ " not in text
        assert "95 % percentile" not in text
        assert not re.search(r"\d to [−+]?\d", text.partition("<h2")[0].partition("## How")[0])
        assert "1 prompts" not in text
    table = latex(one)
    assert "scriptsize" not in table
    assert r"$^{\ast}$" not in table
    assert "1 prompt; intervals and tests need 10" in table


def test_S3_a_small_group_has_no_intervals_where_the_report_has(image: Path) -> None:
    cases = tuple(Case(f"a cat, number {n}", (Expected("cat"),), ("rare" if n < 3 else "often",)) for n in range(30))
    groups = made("none,syngen", image, 1, {"none": 0.4}, cases=cases)
    assert next(row for row in groups.subsets["often"] if row.metric == "all_correct").low is not None
    assert all(row.low is row.p is None for row in groups.subsets["rare"])
    assert all(row.low is None for row in groups.overall)
    text = markdown(groups)
    rare = text[text.index("## rare (3 prompts)") :].partition("\n## ")[0].partition("\n## ")[0]
    assert "Percent (3 prompts; intervals and tests need 10)." in rare
    assert " to " not in rare.partition("Differences to none")[0].replace("intervals", "")


def test_S3_the_same_in_every_prompt_is_said(image: Path) -> None:
    plan = plan_of("none,syngen", limit=12)
    found = results_of(plan, image)
    equal = replace(
        found,
        images=tuple(replace(p, scores={**p.scores, "all_correct": float(p.method == "syngen")}) for p in found.images),
    )
    made = build(plan, equal, metrics=(FakeOracle(),), draws=200)
    assert result(made).startswith(
        "syngen: 100.0 points more all-correct images than none "
        "(the same in all 12 prompts, so there is no interval and no test), at "
    )
    assert "nor for a value that is the same in all of them" in markdown(made)
    same = replace(found, images=tuple(replace(p, scores={**p.scores, "all_correct": 1.0}) for p in found.images))
    assert result(build(plan, same, metrics=(FakeOracle(),), draws=200)).startswith(
        "No difference in all-correct images between none and syngen (the same in all 12 prompts, so there is no interval"
    )


def test_S3_distances_of_few_prompts_have_no_error() -> None:
    apart = np.random.default_rng(0).random(10)
    assert standard_error(Distance(1.0, apart)) == Distance(1.0, apart).error > 0
    assert standard_error(Distance(1.0, apart[:9])) is None
    assert standard_error(Distance(1.0, np.ones(10))) is None


def test_S3_a_report_of_small_samples_is_written_whole(image: Path, tmp_path: Path) -> None:
    small = made("none,syngen,best-of-2", image, 4, {"none": 0.4})
    files = write(small, tmp_path)
    line = files["rows"].read_text().splitlines()[1].split(",")
    assert line[4:6] == ["", ""]  # low, high
    assert "nan" not in files["html"].read_text()
    assert "None" not in files["html"].read_text()


# ------------------------------------------------------------------------------------- B16: words that are markup elsewhere

HOSTILE = ("$$", r"m $\x$", "font-family:x", '#fe0100 id="axes_1"', "<metadata>", "=1+1", "a\x0bb\nc", "🐱 貓", "y" * 300)


@pytest.fixture(scope="module")
def hostile(image: Path) -> Report:
    cases = tuple(
        Case(prompt, (Expected("cat"),), (group,))
        for prompt, group in zip(("=1+1", "+2", "-3", "@x", "\tx", "|`x`|", "[a](b)", "*x*", "_x_"), HOSTILE, strict=True)
    )
    plan = plan_of("none,syngen", limit=1, cases=cases)
    names = {"none": HOSTILE[1], "syngen": HOSTILE[2]}
    plan = replace(plan, contenders=tuple(replace(c, label=names[c.label]) for c in plan.contenders))
    found = results_of(plan, image, {HOSTILE[1]: 0.3})
    return build(plan, found, metrics=(FakeOracle(),), baseline=HOSTILE[1], draws=100)


def parsed(plot: Any) -> ElementTree.Element:
    return ElementTree.fromstring(str(plot).replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))


def test_B16_plots_show_every_name_as_it_is_written(hostile: Report) -> None:
    plots = [plot for plot in (time_plot(hostile), group_plot(hostile), *difference_plots(hostile)) if plot is not None]
    assert len(plots) == 3
    words = [node.text for plot in plots for node in parsed(plot).iter() if node.text]
    for name in HOSTILE[:6] + HOSTILE[7:8]:
        shown = f"{name} (1)"
        assert any(shown in word or name == HOSTILE[1] for word in words), name
    assert "a b c (1)" in words
    assert any(word.endswith("…") and len(word) < 40 for word in words)
    assert r"points more than m $\x$" in words
    for plot in plots:
        assert not re.search(r"<[^>]*(?:#fe0[0-9a-f]{3}|font-family)[^>]*>", str(plot))


def test_B16_cells_are_no_formulas(hostile: Report, tmp_path: Path) -> None:
    files = write(hostile, tmp_path)
    prompts = [row["prompt"] for row in csv.DictReader(files["pictures"].read_text().splitlines(keepends=True))]
    assert {"'=1+1", "'+2", "'-3", "'@x", "'\tx", "*x*"} <= set(prompts)
    for kind in ("pictures", "rows", "failures"):
        for row in csv.reader(files[kind].read_text().splitlines(keepends=True)):
            assert not [cell for cell in row if re.match(r"[=+@\t\r]|-(?!\d+(\.\d+)?(e-?\d+)?$)", cell)]
    groups = {row["group"] for row in csv.DictReader(files["rows"].read_text().splitlines(keepends=True))}
    assert "'=1+1" in groups


def test_B16_markdown_finds_no_markup_in_names(hostile: Report) -> None:
    text = markdown(hostile)
    assert r"## \$\$ (1 prompt)" in text
    assert r"## \<metadata> (1 prompt)" in text
    assert r"| m \$\\x\$ |" in text
    assert "## a b c (1 prompt)" in text
    tables = [line.replace(r"\|", "") for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 1


# --------------------------------------------------------------------------------------- I11: packages that are missing


def test_I11_packages_are_named_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`unbleed[bench]` is on no index, and `.[bench]` needs a checkout."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BenchError) as error:
        extra("pyarrow")
    assert re.fullmatch(
        r'this needs pyarrow, which is not installed: pip install "jinja2>=\S+" "matplotlib>=\S+" "pyarrow>=\S+"',
        str(error.value),
    )
    assert re.fullmatch(r'pip install "ray>=[\d.]+"', install_command("ray"))
    source = Path(report.__file__).parent.parent
    assert not [file for file in source.rglob("*.py") if 'install "unbleed[' in file.read_text(encoding="utf-8")]


def test_I11_pyarrow_is_asked_for_before_the_first_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Untouched:
        def run(self, jobs: Any) -> Any:
            raise AssertionError("a picture was drawn")

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BenchError, match="this needs pyarrow"):
        run(tmp_path / "run", plan_of("none", limit=1), make=Untouched)
    assert not (tmp_path / "run").exists()


def test_I11_a_metric_without_its_model_is_named_before_the_first_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*names: str, **options: Any) -> str:
        raise OSError("the hub cannot be reached")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    out = tmp_path / "run"
    arguments = ["bench", "run", "emoji-pairs", "--limit", "1", "--model", "null", "--out", str(out)]
    code = cli._run([*arguments, "--metrics", "clip:model=nobody/nothing"])
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert '"nobody/nothing" cannot be loaded' in err
    assert not out.exists()


# ------------------------------------------------------------------------- B17: a long --out, and files that are programs


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "a cat", "--method", "none", "--steps", "1", "--out", "LONG"],
        ["generate", "a cat", "--method", "none", "--steps", "1", "--out", "LONG.png"],
        ["generate", "a cat", "--model", "LONG"],
        ["bench", "run", "emoji-pairs", "--model", "null", "--limit", "1", "--out", "LONG"],
        ["bench", "run", "emoji-pairs", "--model", "LONG", "--limit", "1"],
        ["bench", "report", "LONG"],
        ["bench", "import", "TABLE", "--out", "LONG"],
        ["study", "causes", "--limit", "1", "--out", "LONG"],
    ],
    ids=" ".join,
)
def test_B17_a_name_of_300_letters_is_one_line(
    arguments: list[str], tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(f"file,prompt\n{image},a cat\n")
    long = str(tmp_path / ("x" * 300))
    code = cli._run([one.replace("LONG", long).replace("TABLE", str(tmp_path / "table.csv")) for one in arguments])
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert long in err
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_B17_no_program_is_started_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*command: Any, **options: Any) -> Any:
        raise AssertionError(f"{command} was started")

    for name in ("run", "call", "check_call", "Popen"):
        monkeypatch.setattr(subprocess, name, started)
    monkeypatch.setattr(shutil, "which", started)
    eps = tmp_path / "picture.png"  # whatever it is called
    Image.new("RGB", (8, 8), "teal").save(eps, "EPS")
    (tmp_path / "table.csv").write_text("file,prompt\npicture.png,a cat\n")
    with pytest.raises(BenchError, match=r"picture\.png is not a readable image \(none of PNG, JPEG, WEBP, AVIF, GIF, "):
        import_images(tmp_path / "table.csv", tmp_path / "run")
    for read in (open_image, read_image, read_recipe, lambda path: thumbnail(path, 8)):
        with pytest.raises((BenchError, OutputError, UnidentifiedImageError)):
            read(eps)
    for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        path = tmp_path / f"picture.{name.lower()}"
        Image.new("RGB", (8, 8), "teal").save(path, name)
        with open_image(path) as opened:
            assert opened.format == name
