"""The benchmark: suites, scores, and a store that loses nothing and repeats nothing, whatever happens to its process."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unbleed import cli
from unbleed.bench import run as runner
from unbleed.bench.cases import Case, Expected
from unbleed.bench.contenders import contenders_from
from unbleed.bench.metrics.oracle import METRICS, score
from unbleed.bench.plan import Plan, canonical_json, model_fingerprint
from unbleed.bench.run import run
from unbleed.bench.store import Store
from unbleed.bench.suites import suite
from unbleed.cli import bench as bench_commands  # noqa: F401  (it adds the commands)
from unbleed.emoji import WEIGHTS
from unbleed.emoji.findings import Finding, Sighting
from unbleed.emoji.scenes import held_out_pairs
from unbleed.errors import BenchError, MethodError, ModelError, PromptError, UnbleedWarning
from unbleed.generation import Picture, Recipe, read_recipe
from unbleed.methods import METHODS
from unbleed.model_settings import method_of
from unbleed.prompt import parse

BOX = (0.1, 0.2, 0.3, 0.4)


def thing(noun: str, colour: str | None = None) -> Sighting:
    return Sighting(noun, colour, BOX, 0.9)


# ------------------------------------------------------------------------------------------------------- suites

SIZES = {
    "emoji-single": 288,
    "emoji-pairs": 276,
    "emoji-triples": 96,
    "emoji-bind": 96,
    "emoji-similar": 48,
    "emoji-validation": 96,
}


def test_suites_have_their_sizes_and_no_prompt_twice() -> None:
    assert {name: len(suite(name).cases) for name in SIZES} == SIZES
    for name in SIZES:
        prompts = [case.prompt for case in suite(name).cases]
        assert len(set(prompts)) == len(prompts)


def test_pairs_hold_every_pair_and_half_were_never_seen_together() -> None:
    cases = suite("emoji-pairs").cases
    assert len({frozenset(e.noun for e in case.entities) for case in cases}) == 276
    held_out = [case for case in cases if "held-out" in case.groups]
    assert len(held_out) == 138
    assert all(frozenset(e.noun for e in case.entities) in held_out_pairs() for case in held_out)


def test_validation_shares_neither_prompts_nor_seeds_with_the_others() -> None:
    validation = suite("emoji-validation")
    for name in SIZES:
        other = suite(name)
        if name != validation.name:
            assert not {c.prompt for c in validation.cases} & {c.prompt for c in other.cases}
            assert other.first_seed + 99 * 1000 + 1000 <= validation.first_seed


@pytest.mark.parametrize("name", SIZES)
def test_the_parser_reads_what_a_suite_expects(name: str) -> None:
    for case in suite(name).cases:
        read = [(entity.noun, tuple(entity.modifiers)) for entity in parse(case.prompt).entities]
        assert read == [(e.noun, (e.colour,) if e.colour else ()) for e in case.entities], case.prompt


def test_a_head_is_the_same_every_time_and_grows() -> None:
    short, longer = suite("emoji-pairs").head(5), suite("emoji-pairs").head(9)
    assert short == suite("emoji-pairs").head(5)
    assert set(short.cases) < set(longer.cases)
    assert suite("emoji-pairs").head(1000) == suite("emoji-pairs")
    with pytest.raises(BenchError, match="at least 1"):
        suite("emoji-pairs").head(0)
    with pytest.raises(BenchError, match="known: emoji-single"):
        suite("emoji-couples")


# ------------------------------------------------------------------------------------------------------- scores

CASE = Case("a red car and a blue bench", (Expected("car", ("red",)), Expected("bench", ("blue",))))
RIGHT = (thing("car", "red"), thing("bench", "blue"))
GOOD = {"all_correct": 1, "all_present": 1, "present": 1, "all_bound": 1, "bound": 1, "leaked": 0, "extra": 0, "blend": 0}


@pytest.mark.parametrize(
    ("finding", "changes"),
    [
        (Finding(RIGHT), {}),
        (Finding(RIGHT[:1]), {"all_correct": 0, "all_present": 0, "present": 0.5, "all_bound": 0, "bound": 0.5}),
        (Finding(), {"all_correct": 0, "all_present": 0, "present": 0, "all_bound": 0, "bound": 0}),
        (
            Finding((thing("car", "blue"), thing("bench", "red"))),  # exchanged
            {"all_correct": 0, "all_bound": 0, "bound": 0, "leaked": 1},
        ),
        (Finding((thing("car", "red"), thing("bench", "red"))), {"all_correct": 0, "all_bound": 0, "bound": 0.5, "leaked": 1}),
        (Finding((thing("car", "red"), thing("bench"))), {"all_correct": 0, "all_bound": 0, "bound": 0.5}),
        (Finding((thing("car", "red"), thing("bench", "pink"))), {"all_correct": 0, "all_bound": 0, "bound": 0.5}),
        (Finding((*RIGHT, thing("car", "red"))), {"all_correct": 0, "extra": 1}),  # one twice
        (Finding((*RIGHT, thing("cat"))), {"all_correct": 0, "extra": 1}),
        (Finding((*RIGHT, thing("bench", "red"))), {"all_correct": 0, "extra": 1, "leaked": 1}),
        (Finding(RIGHT, (BOX,)), {"all_correct": 0, "blend": 1}),
    ],
)
def test_scores_of_findings_made_by_hand(finding: Finding, changes: dict[str, float]) -> None:
    assert score(CASE, finding) == GOOD | changes
    assert list(GOOD) == [metric.name for metric in METRICS]


def test_an_animal_that_was_asked_for_plain_must_be_natural() -> None:
    case = Case("a cat and a red car", (Expected("cat"), Expected("car", ("red",))))
    assert score(case, Finding((thing("cat"), thing("car", "red")))) == GOOD
    seen = score(case, Finding((thing("cat", "red"), thing("car", "red"))))
    assert (seen["all_present"], seen["bound"], seen["leaked"]) == (1, 0.5, 1)


# --------------------------------------------------------------------------------------------------- contenders


def test_contenders_mean_what_their_labels_say(tmp_path: Path) -> None:
    (tmp_path / "unbleed.json").write_text(json.dumps({"methods": {"syngen": {"step_size": 3}}}))
    none, own, paper, best = contenders_from(["none", "syngen", " syngen@paper", "best-of-3"], str(tmp_path))
    (short,) = contenders_from(["syngen:stop=.3"], str(tmp_path))
    assert short.settings["stop"] == 0.3
    assert (own.settings["step_size"], paper.settings["step_size"]) == (3, 20)
    assert own.settings.keys() == paper.settings.keys()  # all of them are recorded
    assert (paper.label, paper.method, paper.draws) == ("syngen@paper", "syngen", 1)
    assert (best.label, best.method, best.settings, best.draws) == ("best-of-3", "none", none.settings, 3)


def test_all_stands_for_every_method_and_sums_for_themselves() -> None:
    everything = contenders_from(["all", "best-of-2"], "emoji")
    assert [c.label for c in everything] == [*METHODS, "best-of-2"]
    (both,) = contenders_from(["syngen + 0.5*overlap-iou:step_size=3"], "emoji")
    assert both.method == "syngen + 0.5*overlap-iou"
    assert both.settings["step_size"] == 3
    own = method_of("syngen", "emoji").settings()
    assert all(both.settings[name] == value for name, value in own.items() if name != "step_size")  # the leader's for the model
    assert both.settings["overlap-iou.step_size"] == method_of("overlap-iou", "emoji").settings()["step_size"]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ("none,synjen", MethodError, "did you mean syngen"),
        ("none,none", BenchError, "none named twice"),
        ("none,,syngen", BenchError, "empty place"),
        ("", BenchError, "empty place"),
        ("syngen@mine", MethodError, "expected NAME, NAME@paper or NAME:SETTING=VALUE"),
        ("best-of-1", BenchError, "expected 2 to 99"),
        ("best-of-100", BenchError, "expected 2 to 99"),
        ("best-of-4@paper", MethodError, "there is no method"),
        ("syngen:step_size", MethodError, "expected NAME=VALUE"),
        ("syngen:stepsize=3", MethodError, "did you mean step_size?"),
    ],
)
def test_labels_that_mean_nothing_are_refused(labels: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        contenders_from(labels.split(","), "emoji")


# ---------------------------------------------------------------------------------------------- plan, jobs, keys


def plan_of(labels: str = "none,syngen", limit: int = 2, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "suite": suite("emoji-pairs").head(limit),
        "seeds": 4,
        "contenders": contenders_from(labels.split(","), "emoji"),
        "model": "emoji",
        "model_fingerprint": "f" * 64,
        "steps": 2,
        "guidance_scale": 5.0,
        "dtype": "float32",
        "batch_size": 2,
        "judge": "j",
        "versions": {"torch": "2"},
        "machine": {"device": "cpu"},
    }
    return Plan(**(values | changes))


def test_a_plan_survives_json() -> None:
    plan = plan_of("none,attend-and-excite,best-of-2")
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert [job.key for job in again.jobs()] == [job.key for job in plan.jobs()]


def test_keys_do_not_depend_on_order_or_on_how_a_number_is_written() -> None:
    job = plan_of().jobs()[1]
    job = replace(job, recipe=replace(job.recipe, settings={**job.recipe.settings, "step_size": 20.0}, guidance_scale=5.0))
    backwards = dict(reversed({**job.recipe.settings, "step_size": 20}.items()))
    assert list(backwards) != list(job.recipe.settings)
    other = replace(job, recipe=replace(job.recipe, settings=backwards, guidance_scale=5), versions={"torch": "2"})
    assert other.key == job.key
    assert len(job.key) == 32
    assert canonical_json({"b": 1, "a": {"d": 2.0, "c": (0.5,)}}) == '{"a":{"c":[0.5],"d":2},"b":1}'


@pytest.mark.parametrize(
    "changes",
    [
        {"model_fingerprint": "e" * 64},
        {"steps": 3},
        {"guidance_scale": 6.0},
        {"dtype": "float16"},
        {"batch_size": 4},
        {"versions": {"torch": "3"}},
        {"machine": {"device": "cuda"}},
    ],
)
def test_keys_change_with_whatever_changes_pictures(changes: dict[str, Any]) -> None:
    assert not {job.key for job in plan_of().jobs()} & {job.key for job in plan_of(**changes).jobs()}


def test_keys_stay_when_no_picture_changes() -> None:
    keys = [job.key for job in plan_of().jobs()]
    assert [job.key for job in plan_of(judge="another").jobs()] == keys
    assert [job.key for job in plan_of(machine={"device": "cpu", "threads": 7}).jobs()] == keys
    assert [job.key for job in plan_of(model="elsewhere/emoji").jobs()] == keys


def test_a_model_of_the_hub_is_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda model, file: f"/cache/{model}/snapshots/0a1b/{file}")
    assert model_fingerprint("some/model") == "0a1b"


def test_jobs_go_prompt_by_prompt_and_are_shared() -> None:
    jobs = plan_of("none,syngen,syngen@paper,best-of-3").jobs()
    one = [(job.recipe.method, job.seeds) for job in jobs[: len(jobs) // 2]]
    assert len({job.recipe.prompt for job in jobs[: len(jobs) // 2]}) == 1
    # what the two variants of a method and the first of several draws have in common is drawn once
    syngen = ["syngen"] * (1 + (contenders_from(["syngen"], "emoji")[0].settings["step_size"] != 20))
    expected = []
    for first in (0, 2):
        expected += [("none", (first, first + 1))] + [(name, (first, first + 1)) for name in syngen]
        expected += [("none", (first + 1000 * draw, first + 1000 * draw + 1)) for draw in (1, 2)]
    assert one == expected


def test_the_last_batch_takes_what_is_left_and_seeds_begin_where_the_suite_says() -> None:
    jobs = plan_of("none", seeds=5, suite=suite("emoji-validation").head(1)).jobs()
    assert [job.seeds for job in jobs] == [(100_000, 100_001), (100_002, 100_003), (100_004,)]


def test_a_model_is_its_weights(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(WEIGHTS, model)
    assert model_fingerprint(str(model)) == model_fingerprint("emoji")
    (model / "unbleed.json").write_text("{}")
    (model / "README.md").write_text("words")
    assert model_fingerprint(str(model)) == model_fingerprint("emoji")
    weights = model / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert model_fingerprint(str(model)) != model_fingerprint("emoji")
    (model / "model_index.json").unlink()
    with pytest.raises(ModelError, match="no diffusers pipeline"):
        model_fingerprint(str(model))


# ------------------------------------------------------------------------------------------- runner with a fake model


@dataclass
class Judge:
    """Sees whatever `answer` says of a picture's first pixel; remembers how many pictures it was shown."""

    fingerprint: str = "judge-1"
    answer: Callable[[tuple[int, int, int]], Finding] = lambda pixel: Finding((thing(f"thing {pixel}"),))
    shown: int = 0

    def look(self, images: Sequence[Image.Image]) -> list[Finding]:
        self.shown += len(images)
        return [self.answer(image.getpixel((0, 0))) for image in images]  # type: ignore[arg-type]


@dataclass
class Painter:
    """Stands for the pipeline: a plain picture whose colour is draw, seed and method. Fails where it is told to."""

    seeds: list[int] = field(default_factory=list)
    fail: Callable[[Recipe, int], BaseException | None] = lambda recipe, drawn: None

    def generate(self, pipe: object, recipe: Recipe, seeds: Sequence[int], *, batch_size: int) -> Iterator[Picture]:
        assert len(seeds) == batch_size
        for seed in seeds:
            if error := self.fail(recipe, len(self.seeds)):
                raise error
            self.seeds.append(seed)
            image = Image.new("RGB", (8, 8), (seed // 1000, seed % 1000, len(recipe.method)))
            yield Picture(image, replace(recipe, seed=seed), (), 1.5, None)  # type: ignore[arg-type]


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Painter:
    painter = Painter()
    monkeypatch.setattr(runner, "generate", painter.generate)
    monkeypatch.setattr(runner, "warm_pipeline", lambda plan: "a pipeline")
    return painter


def bench(out: Path, labels: str = "none,syngen", *, limit: int = 2, judge: Judge | None = None, **options: Any) -> Any:
    cases = suite("emoji-pairs").head(limit)
    options = {"model": "emoji", "seeds": 3, "steps": 2} | options
    return run(out, cases, contenders_from(labels.split(","), "emoji"), judge=judge or Judge(), **options)


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Return the rows without their seconds, in a fixed order."""
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    return sorted(({k: v for k, v in row.items() if k != "seconds"} for row in rows), key=lambda row: str(row))


def test_a_run_keeps_pictures_rows_and_plan(painter: Painter, out: Path) -> None:
    told: list[tuple[int, int]] = []
    outcome = bench(out, report=lambda done, total: told.append((done, total)))
    assert (outcome.pictures, outcome.drawn, outcome.judged) == (12, 12, 12)
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    store = Store(out)
    plan = store.plan()
    assert (plan.suite.name, plan.seeds, plan.batch_size, plan.judge) == ("emoji-pairs", 3, 3, "judge-1")
    rows = store.pictures(plan)
    labels = ["none"] * 3 + ["syngen"] * 3
    assert [(r.case, r.contender, r.seed) for r in rows] == [
        (case, label, seed) for case in (0, 1) for label, seed in zip(labels, [0, 1, 2] * 2, strict=True)
    ]
    for row in rows:
        recipe = read_recipe(row.image)
        assert (recipe.prompt, recipe.seed, recipe.method) == (row.prompt, row.seed, row.contender)
        assert row.scores == score(plan.suite.cases[row.case], row.finding)
        about = json.loads((row.image.parent / "job.json").read_text())
        assert about["key"] == row.image.parent.name
        assert about["seconds"] == [1.5] * 3


def test_nothing_is_done_twice_and_what_is_added_is_all_that_is_done(painter: Painter, out: Path) -> None:
    def done(labels: str, **options: Any) -> tuple[int, int]:
        outcome = bench(out, labels, **options)
        return outcome.drawn, outcome.judged

    assert done("none", seeds=2) == (4, 4)
    assert done("none", seeds=2) == (0, 0)
    assert done("none,syngen", seeds=2) == (4, 4)
    assert done("none,syngen", seeds=4) == (8, 8)  # in the batches of before
    assert done("none,syngen,best-of-3", seeds=4) == (16, 16)
    assert done("none", seeds=4, limit=3) == (4, 4)
    assert done("none,best-of-2", seeds=2) == (0, 0)
    assert done("none", seeds=2, batch_size=1) == (4, 4)  # another batch, another picture
    rows = rows_of(out)
    assert len({(row["job"], row["seed"]) for row in rows}) == len(rows) == len(painter.seeds)


def test_pictures_without_rows_are_judged_and_not_drawn(painter: Painter, out: Path) -> None:
    bench(out)
    before = rows_of(out)
    (out / "rows.jsonl").unlink()
    outcome = bench(out)
    assert (outcome.drawn, outcome.judged) == (0, 12)
    assert rows_of(out) == before


def test_another_judge_sees_the_same_pictures(painter: Painter, out: Path) -> None:
    bench(out)
    outcome = bench(out, judge=Judge("judge-2", lambda pixel: Finding()))
    assert (outcome.drawn, outcome.judged) == (0, 12)
    store = Store(out)
    assert {row.finding for row in store.pictures(store.plan())} == {Finding()}
    assert Finding() not in {row.finding for row in store.pictures(replace(store.plan(), judge="judge-1"))}


@pytest.mark.parametrize("torn", [1, 30, 10_000])
def test_a_torn_last_line_is_cut_off_and_judged_again(painter: Painter, out: Path, torn: int) -> None:
    bench(out)
    before = rows_of(out)
    text = (out / "rows.jsonl").read_bytes()
    length = len(text.splitlines()[-1])
    (out / "rows.jsonl").write_bytes(text[: -min(torn, length)])
    assert len(Store(out).missing(Store(out).plan())) == 1  # reading takes no harm
    with pytest.warns(UnbleedWarning, match="torn"):
        outcome = bench(out)
    assert (outcome.drawn, outcome.judged) == (0, 1)
    assert rows_of(out) == before


def test_a_line_that_is_no_row_is_named(painter: Painter, out: Path) -> None:
    bench(out)
    lines = (out / "rows.jsonl").read_text().splitlines()
    (out / "rows.jsonl").write_text("\n".join([lines[0], "{", *lines[2:]]) + "\n")
    with pytest.raises(BenchError, match="line 2 of"):
        Store(out)


def test_leftovers_are_cleared_and_damage_is_named(painter: Painter, out: Path) -> None:
    bench(out)
    store = Store(out)
    place = store.pictures(store.plan())[0].image.parent
    half = place.with_name(f".{place.name}.tmp")
    place.rename(half)  # as if the process had been killed before the renaming
    (out / "rows.jsonl").unlink()
    assert bench(out).drawn == 3
    assert not half.exists()
    (out / "rows.jsonl").unlink()
    (place / "1.png").unlink()
    with pytest.raises(BenchError, match="remove that folder"):
        bench(out)


def test_a_second_writer_is_refused_at_once(painter: Painter, out: Path) -> None:
    bench(out)
    with Store(out).writing(), pytest.raises(BenchError, match="another process is writing"):
        bench(out)
    assert bench(out).drawn == 0


def test_best_of_n_keeps_the_best_and_pays_for_all(painter: Painter, out: Path) -> None:
    case = suite("emoji-pairs").head(1).cases[0]
    right = tuple(thing(e.noun, e.colour) for e in case.entities)
    # seed 0: the third is best; seed 1: all are equal, the first is kept; seed 2: the second has less that is too much
    quality = {(0, 0): right[:1], (1, 0): (), (2, 0): right, (0, 2): (*right, thing("bell")), (1, 2): right}
    judge = Judge(answer=lambda pixel: Finding(quality.get(pixel[:2], right[:1])))
    outcome = bench(out, "none,best-of-3", limit=1, judge=judge)
    assert (outcome.pictures, outcome.drawn) == (9, 9)  # the first of the three is the unguided picture
    store = Store(out)
    rows = {(row.contender, row.seed): row for row in store.pictures(store.plan())}
    kept = [int(rows["best-of-3", seed].image.stem) for seed in range(3)]
    assert kept == [2000, 1, 1002]
    assert [rows["best-of-3", seed].seconds for seed in range(3)] == [4.5] * 3
    assert [rows["none", seed].seconds for seed in range(3)] == [1.5] * 3
    assert rows["best-of-3", 0].scores["all_correct"] == 1
    assert rows["best-of-3", 0].finding.things == right


def test_an_incomplete_run_says_what_is_missing(painter: Painter, out: Path) -> None:
    painter.fail = lambda recipe, drawn: KeyboardInterrupt() if drawn == 10 else None
    with pytest.raises(KeyboardInterrupt):
        bench(out, limit=3, seeds=2, batch_size=1)
    store = Store(out)
    with pytest.raises(BenchError, match="2 of 12 jobs"):
        store.pictures(store.plan())
    assert len(store.missing(store.plan())) == 2
    assert {row.case for row in store.pictures(store.plan(), allow_partial=True)} == {0, 1}
    painter.fail = lambda recipe, drawn: None
    assert bench(out, limit=3, seeds=2).drawn == 2
    assert len(Store(out).pictures(store.plan())) == 12


def test_one_bad_prompt_does_not_cost_the_others(painter: Painter, out: Path) -> None:
    bad = suite("emoji-pairs").head(3).cases[1].prompt
    painter.fail = lambda recipe, drawn: (
        PromptError("no such words") if (recipe.prompt, recipe.method) == (bad, "syngen") else None
    )
    with pytest.raises(BenchError, match=f'1 of 3 prompts could not be drawn: "{bad}" .syngen: no such words.'):
        bench(out, limit=3)
    store = Store(out)
    assert {row.case for row in store.pictures(store.plan(), allow_partial=True)} == {0, 2}
    assert len(rows_of(out)) == 15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "expected 1 to 1000"),
        ({"seeds": 1001}, "expected 1 to 1000"),
        ({"batch_size": 0}, "at least 1"),
        ({"steps": 0}, "expected 1 to 1000"),
        ({"model": "no/such-model"}, "cannot be loaded"),
    ],
)
def test_bad_numbers_leave_nothing_behind(
    out: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises((BenchError, PromptError, ModelError), match=message):
        bench(out, **options)
    assert not out.exists()


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no run\.json"):
        Store(tmp_path).plan()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(BenchError, match="cannot be understood"):
        Store(tmp_path).plan()


# ----------------------------------------------------------------------------------- the embedded model, killed


@dataclass
class PixelJudge:
    """Sees the mean of a picture's pixels, so that rows are equal only where pictures are."""

    fingerprint: str = "pixels"

    def look(self, images: Sequence[Image.Image]) -> list[Finding]:
        return [Finding((Sighting("mean", None, BOX, float(np.asarray(image).mean())),)) for image in images]


def draw_for_real(out: Path) -> None:
    bench(out, "none,syngen,best-of-2", limit=2, judge=PixelJudge(), seeds=2, batch_size=1)  # type: ignore[arg-type]


def lines_of(out: Path) -> int:
    rows = out / "rows.jsonl"
    return rows.read_bytes().count(b"\n") if rows.exists() else 0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_rows(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")  # it imports torch once, and every process begins with that
    processes.set_forkserver_preload(["unbleed.bench.run", "unbleed.api", "transformers", "diffusers"])
    undisturbed = processes.Process(target=draw_for_real, args=(tmp_path / "whole",))
    undisturbed.start()
    undisturbed.join()
    assert undisturbed.exitcode == 0
    whole = rows_of(tmp_path / "whole")
    assert len(whole) == 12

    out, moments = tmp_path / "killed", random.Random(0)
    for rows in (0, 3, 8):
        process = processes.Process(target=draw_for_real, args=(out,))
        process.start()
        while process.is_alive() and lines_of(out) < rows:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.join()
        assert process.exitcode == -9
    last = processes.Process(target=draw_for_real, args=(out,))
    last.start()
    last.join()
    assert last.exitcode == 0
    assert rows_of(out) == whole
    assert len(Store(out).pictures(Store(out).plan())) == 12
    assert not list(out.glob("images/*/.*"))


# ------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line with a judge that sees nothing; return exit code, stdout and stderr."""
    oracle = SimpleNamespace(Oracle=SimpleNamespace(load=lambda: Judge(answer=lambda pixel: Finding())))
    monkeypatch.setitem(sys.modules, "unbleed.emoji.oracle", oracle)  # type: ignore[arg-type]

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli._run(["bench", *(str(a) for a in arguments)])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


def test_the_suites_are_listed(command: Any) -> None:
    code, out, _ = command("suites", "--json")
    assert code == 0
    assert SIZES.items() <= {s["name"]: s["prompts"] for s in json.loads(out)["suites"]}.items()
    assert "emoji-bind" in command("suites")[1]


def test_a_run_from_the_command_line(command: Any, painter: Painter, out: Path) -> None:
    arguments = ["run", "emoji-bind", "--methods", "none,syngen", "--seeds", 2, "--limit", 2, "--steps", 2, "--out", out]
    code, text, err = command(*arguments, "--json")
    document = json.loads(text)
    assert (code, err) == (0, "")
    assert document.pop("seconds") >= 0
    assert document == {"out": str(out), "suite": "emoji-bind", "pictures": 8, "drawn": 8, "judged": 8}
    assert command(*arguments) == (0, f"{out}\n", "")
    assert len(painter.seeds) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["emoji-couples"], "known: emoji-single"),
        (["emoji-pairs", "--methods", "synjen"], "did you mean syngen"),
        (["emoji-pairs", "--limit", "0"], "expected at least 1"),
        (["emoji-pairs", "--seeds", "0"], "expected 1 to 1000"),
        (["emoji-pairs", "--batch-size", "0"], "expected at least 1"),
        (["emoji-pairs", "--guidance-scale", "nan"], "guidance scale"),
        (["emoji-pairs", "--model", "{tmp}"], "no diffusers pipeline"),
        (["emoji-pairs", "--out", "{tmp}/file"], "cannot be written to"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "file").write_text("no folder")
    code, out, err = command("run", "--out", tmp_path / "out", *(a.format(tmp=tmp_path) for a in arguments))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
