"""The study of causes: an AUC and intervals that can be trusted, rows that are drawn once, files that say the same."""

from __future__ import annotations

import csv
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

import unbleed
from unbleed import cli
from unbleed.bench.analysis.bootstrap import resample
from unbleed.bench.plan.jobs import Batch, JobResult
from unbleed.bench.plan.plan import Plan
from unbleed.bench.sampling import runner, workers
from unbleed.bench.storage.store import Store
from unbleed.bench.studies import missing_entities_run as causes_run
from unbleed.bench.studies.missing_entities import QUANTITIES, Study, auc, build, compare_quantities, windows
from unbleed.bench.studies.missing_entities_report import markdown, result, write
from unbleed.bench.studies.missing_entities_run import plan_study, run_study, study_rows, study_store
from unbleed.bench.suites import suite
from unbleed.cli import study  # noqa: F401  (it adds the command)
from unbleed.emoji.findings import Finding, Sighting
from unbleed.emoji.sprites import NOUNS
from unbleed.errors import BenchError
from unbleed.generation import GeneratedImage
from unbleed.heat_maps import ImageAttention
from unbleed.losses.groups import group_tokens
from unbleed.losses.overlap import intensity, overlap_of, spread
from unbleed.methods.none import NoGuidance
from unbleed.recipes import Recipe

# --------------------------------------------------------------------------------------------------- statistics


def pairs_won(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Return the AUC as it is defined: over every pair of a positive and a negative picture."""
    of = {kind: [s for s, p in zip(scores, positive, strict=True) if p == kind] for kind in (True, False)}
    pairs = list(itertools.product(of[True], of[False]))
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("heights", [1, 2, 4, 1000])  # of few heights most are tied
def test_the_auc_is_the_share_of_pairs_won(heights: int) -> None:
    rng = np.random.default_rng(heights)
    for _ in range(20):
        scores, positive = rng.integers(heights, size=23) / heights, rng.permutation([True] * 6 + [False] * 17)
        weights = rng.integers(4, size=(3, 5, 23))
        weights[..., [positive.argmax(), (~positive).argmax()]] += 1  # some of both
        assert float(auc(scores, positive)) == pytest.approx(pairs_won(scores.tolist(), positive.tolist()))
        found = auc(scores, positive, weights)
        assert found.shape == (3, 5)
        for at in np.ndindex(3, 5):
            counted = np.repeat(np.arange(23), weights[at])  # a picture of weight n stands n times
            assert found[at] == pytest.approx(pairs_won(scores[counted].tolist(), positive[counted].tolist()))


def test_the_auc_of_what_tells_all_or_nothing() -> None:
    positive = np.array([True, False, True, False])
    assert auc(np.array([3.0, 1.0, 2.0, 0.0]), positive) == 1
    assert auc(-np.array([3.0, 1.0, 2.0, 0.0]), positive) == 0
    assert auc(np.full(4, 7.0), positive) == 0.5


def made(prompts: int = 7, seeds: int = 3, steps: int = 5, effect: Sequence[float] = (0, 0, 0), seed: int = 0) -> Any:
    """Return values (quantity, step, prompt, seed), coarse so that some are tied, and which pictures miss an entity."""
    rng = np.random.default_rng(seed)
    missing = rng.random((prompts, seeds)) < 0.4
    values = rng.normal(size=(3, steps, prompts, seeds)) + missing * np.array(effect, dtype=float)[:, None, None, None]
    return values.round(1), missing


def test_intervals_are_those_of_plain_loops() -> None:
    values, missing = made(12)
    rows, differences = compare_quantities(values, missing, draws=150, seed=4)
    found = {(row.quantity, row.step): row for row in rows}
    taken = np.concatenate(list(resample(12, 3, 150, seed=4)))
    drawn: dict[tuple[str, int | str], list[float]] = {}
    columns: dict[int | str, list[int]] = {step: [step] for step in range(5)}
    columns |= {"mean": [0, 1, 2, 3, 4], "first third": [0, 1], "middle third": [2, 3], "last third": [4]}
    assert list(found) == [(q.name, step) for q in QUANTITIES for step in columns]
    for (quantity, (name, *_)), (step, within) in itertools.product(enumerate(QUANTITIES), columns.items()):
        sign = -1 if name == "intensity" else 1
        scores = sign * values[quantity, within].mean(axis=0)
        row = found[name, step]
        assert row.auc == pytest.approx(pairs_won(scores.ravel().tolist(), missing.ravel().tolist()))
        assert row.share == (step / 5 if isinstance(step, int) else None)
        for weights in taken:
            pictures = [(p, s) for p in range(12) for s in range(3) for _ in range(weights[p, s])]
            lost = [bool(missing[at]) for at in pictures]
            if any(lost) and not all(lost):
                drawn.setdefault((name, step), []).append(pairs_won([scores[at] for at in pictures], lost))
        assert (row.low, row.high) == pytest.approx(tuple(np.quantile(drawn[name, step], [0.025, 0.975])))
    assert {(d.quantity, d.other) for d in differences} == {
        ("overlap", "intensity"),
        ("overlap", "spread"),
        ("spread", "intensity"),
    }
    for d in differences:
        apart = np.subtract(drawn[d.quantity, d.step], drawn[d.other, d.step])
        assert d.difference == pytest.approx(found[d.quantity, d.step].auc - found[d.other, d.step].auc)
        assert (d.low, d.high) == pytest.approx(tuple(np.quantile(apart, [0.025, 0.975])))


def test_draws_without_both_kinds_are_passed_over() -> None:
    values, missing = np.random.default_rng(0).random((3, 3, 10, 10)), np.arange(10)[:, None].repeat(10, axis=1) == 3
    rows, differences = compare_quantities(
        values, missing, draws=100
    )  # a third of the draws take nothing of the only prompt that misses
    assert all(0 < row.low < row.auc < row.high < 1 for row in rows)
    assert all(-1 < d.low < d.difference < d.high < 1 for d in differences)


@pytest.mark.parametrize(("every", "word"), [(True, "all"), (False, "none")])
def test_pictures_of_one_kind_tell_nothing(every: bool, word: str) -> None:
    values, missing = made()
    with pytest.raises(BenchError, match=f"^{word} of the 21 images miss an entity, .*use more prompts"):
        compare_quantities(values, np.full_like(missing, every))


def test_thirds_cover_the_run_once() -> None:
    for steps in range(3, 40):
        mean, *thirds = windows(steps).values()
        assert [step for third in thirds for step in third] == mean == list(range(steps))
        assert all(thirds)


# -------------------------------------------------------------------------------------------------------- words


def plan_of(prompts: int) -> Plan:
    return Plan(
        suite=suite("emoji-pairs").head(prompts),
        seeds=3,
        contenders=(),
        model="emoji",
        model_fingerprint="f" * 64,
        steps=6,
        guidance_scale=3.0,
        dtype="float32",
        batch_size=3,
        versions={"torch": "2"},
        machine={"processor": "a small one", "device": "cpu"},
    )


def made_causes(effect: Sequence[float], prompts: int = 40) -> Study:
    """Return a study in which `effect` is by how much intensity, spread and overlap are higher where an entity is missing."""
    values, missing = made(prompts, steps=6, effect=effect)
    plan = plan_of(prompts)
    rows = [
        [
            {
                **{q.name: values[n, :, p, s].tolist() for n, q in enumerate(QUANTITIES)},
                "grid": [8, 8],
                "finding": (Finding() if missing[p, s] else EVERYTHING).to_json(),
            }
            for s in range(3)
        ]
        for p in range(prompts)
    ]
    return build(plan, rows, draws=200, date="2026-01-02")


EVERYTHING = Finding(tuple(Sighting(noun, None, (0.1, 0.2, 0.3, 0.4), 0.9) for noun in NOUNS))


def test_the_result_says_what_the_data_say() -> None:
    number = r"\d\.\d\d \((?:95 % interval )?\d\.\d\d to \d\.\d\d\)"
    best = result(made_causes((-0.4, 0, 1)))
    assert re.fullmatch(
        "Overlap predicts a missing entity best: the AUC of the mean over all steps is "
        f"{number} for overlap, {number} for intensity and {number} for spread.",
        best,
    )
    assert result(made_causes((-2, 0, 0.2))).startswith("Intensity predicts a missing entity best")  # by having less
    two = result(made_causes((0, 1, 1)))
    assert re.match(
        "(Overlap|Spread) predicts .* than chance, but not significantly better than (spread|overlap): the AUC", two
    )
    wide = made_causes((-2, 0, 0.2))  # the highest by chance, with an interval that chance lies in, is not named first
    rows = [replace(row, auc=0.99, low=0.4) if row.quantity == "spread" else row for row in wide.rows]
    assert result(replace(wide, rows=tuple(rows))).startswith("Intensity predicts")
    turned = result(made_causes((2, 0, 0)))
    assert turned.startswith("No quantity predicts a missing entity significantly better than chance: the AUC ")
    assert turned.endswith(" Intensity is significantly below 0.5, against its hypothesis.")


def test_few_pictures_are_warned_of() -> None:
    assert "may be too narrow" not in markdown(made_causes((0, 0, 1)))
    few = markdown(made_causes((0, 0, 1), prompts=10))
    assert "fewer than 20 prompts may be too narrow; this report has 10." in few
    assert "if fewer than 20 images miss an entity; here" in few
    none = markdown(made_causes((0, 0, 1), prompts=9))
    assert "With fewer than 10 prompts there are no intervals, p-values or marks; this report has 9." in none
    assert not re.search(r"\d to \d\.", none.partition("## How")[0])


def test_the_files_agree(tmp_path: Path) -> None:
    causes = made_causes((0, 0.5, 1))
    files = write(causes, tmp_path)
    assert [path.name for path in files.values()] == ["causes.md", "causes.csv", "causes.svg"]
    table = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert list(table[0]) == ["quantity", "step", "share of the run", "auc", "low", "high"]
    assert len(table) == len(causes.rows) == 3 * (6 + 4)
    text = files["md"].read_text()
    for line, row in zip(table, causes.rows, strict=True):
        assert (line["quantity"], line["step"], float(line["auc"])) == (row.quantity, str(row.step), row.auc)
        assert line["share of the run"] == ("" if row.share is None else str(row.share))
        if row.share is None:
            assert f" {row.auc:.2f} ({row.low:.2f} to {row.high:.2f}) |" in text
    assert result(causes) in text
    assert "prompts: 40 of 40" in text
    assert "first third 0 to 1, middle third 2 to 3, last third 4 to 5" in text


def test_the_plot_stands_alone(tmp_path: Path) -> None:
    text = write(made_causes((0, 0, 1)), tmp_path)["svg"].read_text()
    words = [node.text for node in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert {"low intensity", "high spread", "high overlap", "denoising step (0 is noise)"} <= set(words)
    assert 'fill="#fff"' in text
    assert not re.search(r"#fe0|var\(|currentColor|url\((?!#)", text)
    assert not re.findall(r'href="[^#]', text)


# --------------------------------------------------------------------------------- drawing, with a fake model


@dataclass
class Judge:
    """Output everything in one picture and nothing in the next, and so on."""

    fingerprint: str = "judge-1"
    answers: Iterator[Finding] = field(default_factory=lambda: itertools.cycle([EVERYTHING, Finding()]))

    def look(self, images: Sequence[Image.Image]) -> list[Finding]:
        return [next(self.answers) for _ in images]


@dataclass
class Worker:
    """Stands for the pipeline: maps that follow from the seed. Is stopped when it has drawn `patience` pictures."""

    patience: float = float("inf")
    drawn: list[tuple[str, int]] = field(default_factory=list)
    recipes: list[Recipe] = field(default_factory=list)
    broken: bool = False

    def draw(self, pipe: object, recipes: Sequence[Recipe], *, record_maps: bool) -> list[GeneratedImage]:
        assert record_maps
        self.recipes.append(recipes[0])
        entities = (((2,), ()), ((5,), ()))
        tokens = SimpleNamespace(
            pieces=("",) * 8, entities=entities, own=tuple(range(1, 7)), end=7, padded_with_end=True, chunks=1
        )
        pictures = []
        for recipe in recipes:
            if len(self.drawn) == self.patience:
                raise KeyboardInterrupt
            self.drawn.append((recipe.prompt, recipe.seed))
            maps = torch.rand(4, 8, 4, 4, generator=torch.Generator().manual_seed(recipe.seed))
            maps = maps * torch.nan if self.broken else maps
            attention = ImageAttention(tokens, tuple(maps), (0, 1, 2, 3), ("layer",))  # type: ignore[arg-type]
            pictures.append(GeneratedImage(Image.new("RGB", (8, 8)), recipe, (), 1.0, tokens, attention))  # type: ignore[arg-type]
        return pictures


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    worker = Worker()
    monkeypatch.setattr(causes_run, "draw", worker.draw)
    monkeypatch.setattr(workers, "load_pipeline", lambda *_: "a pipeline")
    monkeypatch.setattr(workers, "warm_up", lambda pipe, _: pipe)
    monkeypatch.setattr(runner, "BATCH_SIZE", 2)
    return worker


def drawn_rows(
    out: Path,
    *,
    limit: int = 3,
    judge: Judge | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,
) -> list[list[dict[str, Any]]]:
    options = {"model": "emoji", "seeds": 2, "steps": 4} | options
    plan = plan_study(out, suite("emoji-pairs").head(limit), **options)
    return run_study(out, plan, detector=judge or Judge(), on_progress=on_progress)


def test_a_study_that_was_stopped_draws_nothing_twice(worker: Worker, out: Path) -> None:
    told: list[tuple[int, int]] = []
    worker.patience = 5
    with pytest.raises(KeyboardInterrupt):
        drawn_rows(out)
    assert len(study_rows(out).read()) == 4  # the fifth had no batch to come with
    worker.patience = float("inf")
    del worker.drawn[4:]
    rows = drawn_rows(out, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 6), (6, 6)]
    prompts = [case.prompt for case in suite("emoji-pairs").head(3).cases]
    assert worker.drawn == [(prompt, seed) for prompt in prompts for seed in (0, 1)]
    assert list(study_rows(out).read("prompt", "seed").values()) == worker.drawn
    assert [[len(row["overlap"]) for row in of] for of in rows] == [[4, 4]] * 3
    assert drawn_rows(out) == rows
    drawn_rows(out, limit=4, seeds=4)  # more seeds, in the batches of before, and another prompt
    assert len(worker.drawn) == len(set(worker.drawn)) == 16


@pytest.mark.parametrize(
    "changes", [{"resolution": 8}, {"steps": 5}, {"guidance_scale": 4.0}, {"judge": Judge("judge-2")}], ids=" ".join
)
def test_whatever_changes_a_row_asks_for_another(worker: Worker, out: Path, changes: dict[str, Any]) -> None:
    drawn_rows(out, limit=1)
    drawn_rows(out, limit=1, **changes)
    assert len(worker.drawn) == 4
    drawn_rows(out, limit=1)
    assert len(worker.drawn) == 4  # those of before are still there
    resolutions = [recipe.settings["resolution"] for recipe in worker.recipes]
    assert resolutions == [16, changes.get("resolution", 16)]


def test_a_study_leaves_a_benchmark_alone(worker: Worker, out: Path) -> None:
    drawn_rows(out)
    assert not (out / "run.json").exists()
    assert not (out / "pictures").exists()
    with pytest.raises(BenchError, match=r"no run\.json"):
        Store(out).plan()
    assert study_store(out).plan().suite.name == "emoji-pairs"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 2}, "a run of 2 steps has no thirds to compare; use 3 steps or more"),
        ({"seeds": 0}, "expected 1 to 1000"),
    ],
)
def test_what_cannot_be_studied_leaves_nothing_behind(worker: Worker, out: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        drawn_rows(out, **options)
    assert not out.exists()


def test_a_single_entity_overlaps_with_nothing(worker: Worker, out: Path) -> None:
    with pytest.raises(BenchError, match=r'emoji-single has "a .*" with fewer than two entities'):
        plan_study(out, suite("emoji-single"), model="emoji", seeds=1)
    assert not out.exists()


def test_maps_that_are_no_numbers_are_not_kept(worker: Worker, out: Path) -> None:
    worker.broken = True
    with pytest.raises(BenchError, match="contain NaN or inf"):
        drawn_rows(out)
    assert study_rows(out).read() == {}


def test_a_study_runs_on_any_executor_and_names_what_failed(worker: Worker, out: Path) -> None:
    plan = plan_study(out, suite("emoji-pairs").head(2), model="emoji", seeds=2, steps=4)

    def executor(make: Callable[[], Any], batches: Iterable[Batch]) -> Iterator[list[JobResult]]:
        """Run the last batch first; the rows must not depend on the order."""
        made = make()
        for batch in reversed(list(batches)):
            yield made.run(batch)

    rows = run_study(out, plan, detector=Judge(answers=itertools.repeat(EVERYTHING)), executor=executor)
    assert worker.drawn[0][0] == plan.suite.cases[1].prompt
    assert rows == run_study(out / "serial", plan, detector=Judge(answers=itertools.repeat(EVERYTHING)))

    def failing(make: Callable[[], Any], batches: Iterable[Batch]) -> Iterator[list[JobResult]]:
        yield [JobResult(job, None, error="no room\n\ntraceback") for job in next(iter(batches))]

    with pytest.raises(BenchError, match=r"^no room$"):
        run_study(out / "failing", plan, detector=Judge(), executor=failing)
    assert study_rows(out / "failing").read() == {}


# ------------------------------------------------------------------------------------------- the embedded model


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line with the judge that is given; return exit code, stdout and stderr."""

    def call(judge: Judge, *arguments: object) -> tuple[int, str, str]:
        oracle = SimpleNamespace(Oracle=SimpleNamespace(load=lambda: judge))
        monkeypatch.setitem(sys.modules, "unbleed.emoji.oracle", oracle)  # type: ignore[arg-type]
        code = cli._run(["study", "causes", *(str(a) for a in arguments)])
        return (code, *capsys.readouterr())

    return call


@pytest.mark.slow
def test_a_study_of_the_embedded_model(command: Any, out: Path, emoji_pipe: Any) -> None:
    arguments = ["--limit", 3, "--seeds", 1, "--steps", 4, "--guidance-scale", 3, "--resolution", 16, "--out", out]
    code, text, err = command(Judge(), *arguments, "--json")
    document = json.loads(text)
    assert (code, err) == (0, "")
    assert list(document) == ["rows", "differences", "pictures", "missing", "files"]
    assert (document["pictures"], document["missing"]) == (3, pytest.approx(1 / 3))
    assert document["files"] == {kind: str(out / f"causes.{kind}") for kind in ("md", "csv", "svg")}
    assert {(row["low"], row["high"]) for row in document["rows"]} == {(None, None)}  # of three prompts

    case = suite("emoji-pairs").head(3).cases[1]  # the one that misses an entity
    with unbleed.guide(emoji_pipe, NoGuidance(resolution=16), record_maps=True) as run:
        emoji_pipe(case.prompt, num_inference_steps=4, guidance_scale=3.0, generator=[torch.Generator("cpu").manual_seed(0)])
    groups = group_tokens([run.tokens[0]])
    lines = {prompt: json.loads(measured) for prompt, measured in study_rows(out).read("prompt", "measured").values()}
    for name, function in {"intensity": intensity, "spread": spread, "overlap": overlap_of}.items():
        by_step = [function(step.maps, groups).item() for step in run.maps]
        assert lines[case.prompt][name] == pytest.approx(by_step, rel=1e-5)
        found = {row["step"]: row["auc"] for row in document["rows"] if row["quantity"] == name}
        sign = -1 if name == "intensity" else 1
        mean = {prompt: sign * np.mean(row[name]) for prompt, row in lines.items()}
        others = [mean[case.prompt] > value for prompt, value in mean.items() if prompt != case.prompt]
        assert found["mean"] == np.mean(others)

    before = (out / "causes.csv").read_text(), study_rows(out).read("measured")
    code, text, err = command(Judge(), *arguments)  # nothing is left to draw
    assert (code, text.split(), err) == (0, list(document["files"].values()), "")
    assert ((out / "causes.csv").read_text(), study_rows(out).read("measured")) == before


def test_pictures_of_one_kind_are_one_line(worker: Worker, command: Any, out: Path) -> None:
    blind = Judge(answers=itertools.repeat(Finding()))
    code, text, err = command(blind, "--limit", 2, "--seeds", 1, "--steps", 4, "--out", out)
    assert (code, text, err.count("\n")) == (2, "", 1)
    assert "all of the 2 images miss an entity" in err
    assert len(study_rows(out).read()) == 2  # more may be added


def test_a_missing_extra_is_named_before_the_work(
    worker: Worker, command: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = command(Judge(), "--out", out)
    assert code == 2
    assert 'needs matplotlib, which is not installed: pip install "jinja2>=' in err
    assert not worker.drawn


def test_a_level_that_the_model_has_not_is_named(command: Any, out: Path) -> None:
    code, _, err = command(Judge(), "--limit", 1, "--steps", 4, "--resolution", 7, "--out", out)
    assert (code, err.count("\n")) == (2, 1)
    assert "no text attention at 7x7" in err
