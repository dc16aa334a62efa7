"""Two runs side by side: the pictures that both have, each with the name of its run."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from helpers.fake_runs import FakeClip, FakeOracle, plan_of, write_run
from unbleed import cli
from unbleed.bench.analysis.ranks import rank_agreement, spearman
from unbleed.bench.analysis.two_runs import compare, names_of, open_both
from unbleed.bench.scoring import kept_metrics
from unbleed.cli import bench_report  # noqa: F401  (it adds the command)
from unbleed.errors import BenchError

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_metrics, "metric", {"oracle": FakeOracle(), "clip": FakeClip()}.__getitem__)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Return two runs of 8 and of 6 prompts, 2 and 3 seeds; the second of more steps, and of more skill."""
    write_run(tmp_path / "old", plan_of("none,syngen", limit=8), skill=0.3)
    write_run(tmp_path / "new", replace(plan_of("syngen", limit=6, seeds=3), steps=9), skill=0.95)
    return tmp_path / "old", tmp_path / "new"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli._run(["bench", "compare", *(str(a) for a in arguments)])
        return (code, *capsys.readouterr())

    return call


def test_what_both_have_is_compared_picture_by_picture(runs: tuple[Path, Path]) -> None:
    both = open_both(*runs)
    made = compare(*both, draws=200)
    assert [c.label for c in made.contenders] == ["old:none", "old:syngen", "new:syngen"]
    assert made.baseline == "old:none"
    assert (made.run.prompts, made.run.seeds, made.run.pictures) == (6, 2, 6 * 2 * 3)
    assert {r.seed for r in made.images} == {0, 1}
    for r in made.images:
        assert made.cases[r.case].prompt == r.prompt
    for row in made.rows:
        folder, _, label = row.method.partition(":")
        values = [
            r.scores[row.metric]
            for r in both[folder == "new"].results.images
            if r.method == label and (r.prompt, r.seed) in {(p.prompt, p.seed) for p in made.images}
        ]
        assert row.mean == pytest.approx(np.mean(values))


def test_what_only_one_has_and_how_they_differ_is_said(runs: tuple[Path, Path]) -> None:
    first, second, third, *_ = compare(*open_both(*runs), draws=100).run.cautions
    assert first.startswith('Left out because only old has them: 2 prompts ("')
    assert second == "Left out because only new has them: 1 seed (2)."
    assert third == "The runs also differ in steps; the differences may be due to that."


def test_a_comparison_from_the_command_line(command: Command, runs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, text, err = command(*runs, "--out", out, "--draws", 100)
    assert (code, err) == (0, "")
    assert {Path(line).name for line in text.split()} == {path.name for path in out.glob("[a-z]*")}
    page = (out / "report.html").read_text()
    assert "<h1>old and new: emoji-pairs</h1>" in page
    assert "old: sampling" in page
    assert "2 steps" in page
    assert "9 steps" in page
    assert {r["method"] for r in csv.DictReader((out / "rows.csv").read_text().splitlines())} == {
        "old:none",
        "old:syngen",
        "new:syngen",
    }
    code, text, _ = command(*runs, "--out", out, "--draws", 100, "--json")
    assert (code, json.loads(text)["run"]["baseline"]) == (0, "old:none")


def test_nothing_in_common_is_one_line(command: Command, runs: tuple[Path, Path], tmp_path: Path) -> None:
    write_run(tmp_path / "triples", plan_of("none", limit=2, name="emoji-triples"))
    validation = plan_of("none", limit=8)
    write_run(tmp_path / "later", replace(validation, suite=replace(validation.suite, first_seed=50)))
    for other, what in (("triples", "prompt"), ("later", "seed")):
        code, out, err = command(runs[0], tmp_path / other, "--out", tmp_path / "out")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"no {what} in common" in err
    code, _, err = command(runs[0], runs[0], "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "are the same folder; name two" in err
    assert not (tmp_path / "out").exists()


def test_metrics_are_those_of_both_in_one_version(tmp_path: Path) -> None:
    plan = plan_of("none", limit=4)
    write_run(tmp_path / "a", plan, metrics=[FakeOracle(), FakeClip()])
    write_run(tmp_path / "b", plan, metrics=[FakeOracle("0b" * 16), FakeClip()])
    one, two = open_both(tmp_path / "a", tmp_path / "b")
    assert [m.name for m in (*one.metrics, *two.metrics)] == ["clip", "clip"]
    with pytest.raises(BenchError, match="no version of oracle in common; run it on both"):
        open_both(tmp_path / "a", tmp_path / "b", ["oracle"])


def test_folders_of_one_name_are_told_apart() -> None:
    assert names_of([Path("/x/a/pairs"), Path("/x/b/pairs")]) == ["a/pairs", "b/pairs"]
    assert names_of([Path("/x/a"), Path("/x/b")]) == ["a", "b"]


def test_how_alike_two_runs_rank_their_methods(command: Command, tmp_path: Path) -> None:
    methods = "none,syngen,conform,ela,predicated"
    for name, skill in (("a", 0.5), ("b", 0.6)):
        write_run(tmp_path / name, plan_of(methods, limit=12), skill=skill)
    code, text, _ = command(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out", "--draws", 200, "--json")
    found = json.loads(text)
    agreement = found["run"]["agreement"]
    means = {row["method"]: row["mean"] for row in found["rows"] if row["metric"] == agreement["score"]}
    two = [[means[f"{run}:{method}"] for method in methods.split(",")] for run in "ab"]
    assert (code, agreement["methods"]) == (0, methods.split(","))
    assert agreement["correlation"] == pytest.approx(spearmanr(*two)[0])
    assert agreement["low"] <= agreement["correlation"] + 0.2
    assert -1 <= agreement["low"] <= agreement["high"] <= 1
    sentence = f"a Spearman correlation of {agreement['correlation']:.2f}"
    assert sentence in (tmp_path / "out/report.html").read_text()
    assert sentence in (tmp_path / "out/report.md").read_text()


def test_a_run_ranks_like_itself_and_unlike_its_reverse() -> None:
    rng = np.random.default_rng(0)
    scores = np.linspace(0, 1, 6)[:, None, None] + 0.01 * rng.random((6, 20, 2))
    same = rank_agreement("score", list("abcdef"), scores, scores, 100)
    reverse = rank_agreement("score", list("abcdef"), scores, -scores, 100)
    assert same is not None
    assert reverse is not None
    assert (same.correlation, same.low, same.high) == pytest.approx((1, 1, 1))
    assert (reverse.correlation, reverse.low, reverse.high) == pytest.approx((-1, -1, -1))
    assert rank_agreement("score", list("abcdef"), scores, np.ones_like(scores), 100) is None


def test_ranks_of_draws_with_ties_equal_scipys() -> None:
    draws = np.random.default_rng(1).integers(0, 5, (2, 50, 8)).astype(float)
    expected = [spearmanr(one, two)[0] for one, two in zip(*draws, strict=True)]
    np.testing.assert_allclose(spearman(*draws), expected, atol=1e-12)
