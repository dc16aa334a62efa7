"""The runner: keys that change with the pictures, a store that loses nothing and repeats nothing, whatever happens."""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image

from unbleed import cli, files
from unbleed.bench.metrics import Metric, Score
from unbleed.bench.metrics.oracle import SCORES, score
from unbleed.bench.plan.cases import Case, Expected, Suite
from unbleed.bench.plan.environment import model_fingerprint
from unbleed.bench.plan.jobs import Job, canonical_json
from unbleed.bench.plan.plan import Plan
from unbleed.bench.plan.variants import variants_from
from unbleed.bench.sampling import runner
from unbleed.bench.sampling import workers as painting
from unbleed.bench.sampling.runner import Progress, RunSummary, plan_for, run
from unbleed.bench.sampling.workers import JobResult, NullWorker, PipelineWorker
from unbleed.bench.scoring import results
from unbleed.bench.scoring.results import ImageRow
from unbleed.bench.scoring.scorer import run_metric
from unbleed.bench.storage.images import read_image
from unbleed.bench.storage.store import Store
from unbleed.bench.suites import suite
from unbleed.cli import bench as bench_commands  # noqa: F401  (it adds the commands)
from unbleed.emoji import WEIGHTS
from unbleed.emoji.findings import Finding, Sighting
from unbleed.errors import BenchError, ModelError, OutputError, PrecisionError, PromptError, UnbleedWarning
from unbleed.generation import GeneratedImage
from unbleed.recipes import Recipe, as_png, read_recipe

BOX = (0.1, 0.2, 0.3, 0.4)


def thing(noun: str, colour: str | None = None) -> Sighting:
    return Sighting(noun, colour, BOX, 0.9)


# ---------------------------------------------------------------------------------------------- plan, jobs, keys


def plan_of(labels: str = "none,syngen", limit: int = 2, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "suite": suite("emoji-pairs").head(limit),
        "seeds": 4,
        "contenders": variants_from(labels.split(","), "emoji"),
        "model": "emoji",
        "model_fingerprint": "f" * 64,
        "steps": 2,
        "guidance_scale": 5.0,
        "dtype": "float32",
        "batch_size": 2,
        "versions": {"torch": "2"},
        "machine": {"device": "cpu", "threads": 1},
    }
    return Plan(**(values | changes))


def keys_of(plan: Plan) -> list[str]:
    return [job.key for job in plan.jobs()]


def test_a_plan_survives_json() -> None:
    cases = (Case("a\nb", (Expected("cat", ("red",)),), ("g",), {"questions": [{"id": 1}]}),)
    for plan in (plan_of("none,attend-and-excite,best-of-2"), plan_of(suite=Suite("own", "", cases))):
        again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
        assert again == plan
        assert keys_of(again) == keys_of(plan)


def test_keys_do_not_depend_on_order_or_on_how_a_number_is_written() -> None:
    setup = plan_of().setups["syngen"]
    setup = replace(setup, settings={**setup.settings, "step_size": 20.0})
    backwards = dict(reversed({**setup.settings, "step_size": 20}.items()))
    assert list(backwards) != list(setup.settings)
    assert replace(setup, settings=backwards, guidance_scale=5).job("a", 1).key == setup.job("a", 1).key
    assert len(setup.job("a", 1).key) == 32
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
    assert not set(keys_of(plan_of())) & set(keys_of(plan_of(**changes)))


def test_keys_stay_when_no_picture_changes() -> None:
    keys = keys_of(plan_of())
    assert keys_of(plan_of(machine={"device": "cpu", "threads": 7})) == keys
    assert keys_of(plan_of(model="elsewhere/emoji")) == keys
    assert set(keys) < set(keys_of(plan_of(limit=3)))
    assert set(keys) < set(keys_of(plan_of(seeds=5)))
    assert set(keys) < set(keys_of(plan_of("syngen,none,best-of-2,conform")))


def test_keys_of_runs_from_before_a_setting_existed_are_the_same() -> None:
    setup = plan_of().setups["syngen"]
    before = {name: value for name, value in setup.settings.items() if name != "update"}
    assert setup.settings["update"] == "latents"
    assert replace(setup, settings=before).digest == setup.digest
    assert replace(setup, settings={**before, "update": "velocity"}).digest != setup.digest


def test_a_model_of_the_hub_is_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda model, file: f"/cache/{model}/snapshots/0a1b/{file}")
    assert model_fingerprint("some/model") == "0a1b"


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
    with pytest.raises(ModelError, match="not a diffusers pipeline"):
        model_fingerprint(str(model))


def test_batches_go_prompt_by_prompt_and_share_what_contenders_have_in_common() -> None:
    plan = plan_of("none,syngen:step_size=1,syngen:step_size=2:stop=1,best-of-3", batch_size=3)
    batches = list(plan.batches())
    assert all(len({job.setup.digest for job in batch}) == 1 for batch in batches)
    jobs = [job for batch in batches for job in batch]
    assert len({job.key for job in jobs}) == len(jobs) == 2 * (3 * 4 + 4 + 4)  # none is the first of best-of-3
    assert sorted(job.seed for job in jobs if job.setup.method == "none")[::2] == [
        draw * 1000 + seed for draw in range(3) for seed in range(4)
    ]
    prompts = [case.prompt for case in plan.suite.cases]
    firsts = [prompts.index(batch[0].prompt) for batch in batches]
    assert firsts == sorted(firsts)
    guided = [batch for batch in batches if batch[0].setup.settings.get("step_size") == 1]
    assert [[(prompts.index(job.prompt), job.seed) for job in batch] for batch in guided] == [
        [(0, 0), (0, 1), (0, 2)],
        [(0, 3), (1, 0), (1, 1)],
        [(1, 2), (1, 3)],
    ]


def test_seeds_begin_where_the_suite_says_and_a_prompt_said_twice_is_drawn_once() -> None:
    case = suite("emoji-validation").cases[0]
    plan = plan_of("none", suite=Suite("twice", "", (case, case), first_seed=100_000))
    assert [job.seed for job in plan.jobs()] == [100_000, 100_001, 100_002, 100_003]


# ------------------------------------------------------------------------------------------- runner with a fake model


@dataclass
class Eyes(Metric):
    """A metric whose output is `answer` for an image's first pixel; counts the images it was run on."""

    fingerprint: str = "eyes-1"
    answer: Callable[[tuple[int, int, int]], Finding] = lambda pixel: Finding((thing(f"thing {pixel}"),))
    shown: int = 0

    name = "oracle"
    scores = SCORES

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        self.shown += len(images)
        return [self.answer(image.getpixel((0, 0))).to_json() for image in images]  # type: ignore[arg-type]

    def score(self, case: Case, output: Any) -> dict[str, float]:
        return score(case, Finding.from_json(output))


@dataclass
class Worker:
    """Stands for the pipeline: a plain picture whose colour is draw, seed and method. Fails where it is told to."""

    drawn: list[Job] = field(default_factory=list)
    fail: Callable[[Job, int], BaseException | None] = lambda job, drawn: None

    def run(self, jobs: Sequence[Job]) -> list[JobResult]:
        found = []
        for job in jobs:
            error = self.fail(job, len(self.drawn))
            if isinstance(error, Exception):
                found.append(painting.failure(job, error))
                continue
            if error is not None:
                raise error
            self.drawn.append(job)
            image = Image.new("RGB", (8, 8), (job.seed // 1000, job.seed % 1000, len(job.setup.method)))
            found.append(JobResult(job, as_png(image, job.recipe), 1.5, len(jobs), "float32"))
        return found


@pytest.fixture
def worker() -> Worker:
    return Worker()


def bench(out: Path, worker: Any, labels: str = "none,syngen", *, limit: int = 2, **options: Any) -> RunSummary:
    plan_options = {"model": "emoji", "seeds": 3, "steps": 2}
    run_options = {name: options.pop(name) for name in ("on_progress", "retry_failed", "executor") if name in options}
    cases = options.pop("suite", suite("emoji-pairs").head(limit))
    plan = plan_for(Store(out), cases, variants_from(labels.split(","), "emoji"), **(plan_options | options))
    return run(out, plan, make=lambda: worker, **run_options)


def rows_of(out: Path) -> dict[str, tuple[Any, ...]]:
    """Return the rows of the pictures without what differs from run to run."""
    return Store(out).pictures.read("setup", "method", "prompt", "seed", "together", "dtype", "error")


def found(out: Path, eyes: Eyes, **options: Any) -> Sequence[ImageRow]:
    store = Store(out)
    run_metric(store, store.plan(), eyes)
    return results.results(store, store.plan(), [eyes], **options).images


def test_a_run_keeps_pictures_rows_and_plan(worker: Worker, out: Path) -> None:
    told: list[Progress] = []
    outcome = bench(out, worker, batch_size=4, on_progress=lambda p: told.append(Progress(dict(p.done), {}, dict(p.total))))
    assert (outcome.pictures, outcome.sampled, outcome.failed) == (12, 12, 0)
    assert [sum(progress.done.values()) for progress in told] == [0, 4, 8, 10, 12]
    assert told[-1].done == told[-1].total == {"none": 6, "syngen": 6}
    store = Store(out)
    plan = store.plan()
    assert (plan.suite.name, plan.seeds, plan.batch_size) == ("emoji-pairs", 3, 4)
    setups = json.loads((out / "setups.json").read_text())
    assert sorted(setup["method"] for setup in setups.values()) == ["none", "syngen"]
    assert {row[0] for row in rows_of(out).values()} == setups.keys()
    rows = found(out, Eyes())
    labels = ["none"] * 3 + ["syngen"] * 3
    assert [(r.case, r.method, r.seed) for r in rows] == [
        (case, label, seed) for case in (0, 1) for label, seed in zip(labels, [0, 1, 2] * 2, strict=True)
    ]
    for row in rows:
        recipe = read_recipe(row.image)
        assert (recipe.prompt, recipe.seed, recipe.method) == (row.prompt, row.seed, row.method)
        assert row.scores == score(plan.suite.cases[row.case], Finding.from_json(row.outputs["oracle"]))
        assert row.seconds == 1.5


def test_nothing_is_done_twice_and_what_is_added_is_all_that_is_done(worker: Worker, out: Path) -> None:
    def done(labels: str, **options: Any) -> tuple[int, int]:
        return bench(out, worker, labels, **options).sampled, run_metric(Store(out), Store(out).plan(), Eyes()).scored

    assert done("none", seeds=2, batch_size=2) == (4, 4)
    assert done("none", seeds=2) == (0, 0)
    assert done("none,syngen", seeds=2) == (4, 4)
    assert done("none,syngen", seeds=4) == (8, 8)  # in batches as large as before
    assert done("none,syngen,best-of-3", seeds=4) == (16, 16)
    assert done("none", seeds=4, limit=3) == (4, 4)
    assert done("none,best-of-2", seeds=2) == (0, 0)
    assert done("none", seeds=2, batch_size=1) == (4, 4)  # another batch, another picture
    assert len({job.key for job in worker.drawn}) == len(worker.drawn) == len(rows_of(out)) == 40


def test_another_metric_looks_at_the_same_pictures(worker: Worker, out: Path) -> None:
    bench(out, worker)
    first, second = Eyes(), Eyes("eyes-2", lambda pixel: Finding())
    assert {row.outputs["oracle"]["things"] == [] for row in found(out, first)} == {False}
    assert {row.outputs["oracle"]["things"] == [] for row in found(out, second)} == {True}
    assert (first.shown, second.shown) == (12, 12)
    found(out, first)
    assert first.shown == 12
    assert len(worker.drawn) == 12


def test_other_expectations_of_a_picture_are_another_question(worker: Worker, out: Path) -> None:
    cases, eyes = suite("emoji-pairs").head(2).cases, Eyes()
    bench(out, worker, "none", suite=Suite("a", "", cases))
    found(out, eyes)
    bench(out, worker, "none", suite=Suite("b", "", tuple(replace(case, groups=("other",)) for case in cases)))
    found(out, eyes)
    assert (len(worker.drawn), eyes.shown) == (6, 6)
    bench(out, worker, "none", suite=Suite("c", "", tuple(replace(case, annotations={"a": 1}) for case in cases)))
    found(out, eyes)
    assert (len(worker.drawn), eyes.shown) == (6, 12)


def test_pictures_that_are_gone_are_drawn_again_and_damaged_ones_named(worker: Worker, out: Path) -> None:
    bench(out, worker)
    rows = found(out, Eyes())
    rows[0].image.unlink()
    with pytest.raises(BenchError, match=r"1 images of .* are not sampled and scored yet"):
        found(out, Eyes())
    with pytest.warns(UnbleedWarning, match=r"1 images of .* are missing"):
        assert bench(out, worker).sampled == 1
    assert len(found(out, Eyes())) == 12
    rows[1].image.write_bytes(b"no picture")
    with pytest.raises(BenchError, match=r"\.png is not the image of its row: .* again to make it anew"):
        found(out, Eyes("eyes-3"))


def test_what_was_half_written_is_cleared_away(worker: Worker, out: Path) -> None:
    bench(out, worker)
    read = next(out.glob("images/*/*.png"))
    left = read.with_name(".unbleed-0a.tmp")
    left.write_bytes(b"half")
    bench(out, worker)
    assert not left.exists()


def test_a_second_writer_is_refused_at_once(worker: Worker, out: Path) -> None:
    bench(out, worker)
    with Store(out).writing(), pytest.raises(BenchError, match="another process is writing"):
        bench(out, worker)
    assert bench(out, worker).sampled == 0


def test_best_of_n_keeps_the_best_and_pays_for_all(worker: Worker, out: Path) -> None:
    case = suite("emoji-pairs").head(1).cases[0]
    right = tuple(thing(e.noun, e.colour) for e in case.entities)
    # seed 0: the third is best; seed 1: all are equal, the first is kept; seed 2: the second has less that is too much
    quality = {(0, 0): right[:1], (1, 0): (), (2, 0): right, (0, 2): (*right, thing("bell")), (1, 2): right}
    eyes = Eyes(answer=lambda pixel: Finding(quality.get(pixel[:2], right[:1])))
    outcome = bench(out, worker, "none,best-of-3", limit=1)
    assert (outcome.pictures, outcome.sampled) == (9, 9)  # the first of the three is the unguided picture
    rows = {(row.method, row.seed): row for row in found(out, eyes)}
    kept = [read_recipe(rows["best-of-3", seed].image).seed for seed in range(3)]
    assert kept == [2000, 1, 1002]
    assert [rows["best-of-3", seed].seconds for seed in range(3)] == [4.5] * 3
    assert [rows["none", seed].seconds for seed in range(3)] == [1.5] * 3
    assert rows["best-of-3", 0].scores["all_correct"] == 1


def test_an_incomplete_run_says_what_is_missing(worker: Worker, out: Path) -> None:
    worker.fail = lambda job, drawn: KeyboardInterrupt() if drawn == 10 else None
    with pytest.raises(KeyboardInterrupt):
        bench(out, worker, limit=3, seeds=2, batch_size=1)
    with pytest.raises(BenchError, match=r"2 images of .* are not sampled and scored yet"):
        found(out, Eyes())
    assert {row.case for row in found(out, Eyes(), allow_partial=True)} == {0, 1}
    worker.fail = lambda job, drawn: None
    assert bench(out, worker, limit=3, seeds=2).sampled == 2
    assert len(found(out, Eyes())) == 12


def test_two_metrics_may_not_give_one_score(worker: Worker, out: Path) -> None:
    bench(out, worker)
    store, eyes = Store(out), Eyes()
    with pytest.raises(BenchError, match="two metrics give all_bound"):
        results.results(store, store.plan(), [eyes, eyes])


def test_failures_are_kept_with_their_reason_and_tried_again_when_told(worker: Worker, out: Path) -> None:
    bad = suite("emoji-pairs").head(3).cases[1].prompt
    worker.fail = lambda job, drawn: PromptError("no such words") if (job.prompt, job.setup.method) == (bad, "syngen") else None
    with pytest.raises(BenchError, match=f'1 of 3 prompts failed: "{bad}" .syngen: no such words.'):
        bench(out, worker, limit=3)
    failed = Store(out).state()[1]
    assert len(failed) == 3
    assert all(reason.startswith("no such words\n") and "PromptError" in reason for reason in failed.values())
    assert {row.case for row in found(out, Eyes(), allow_partial=True)} == {0, 2}
    with pytest.raises(BenchError, match="of which 3 failed"):
        found(out, Eyes())
    worker.fail = lambda job, drawn: None
    before = len(worker.drawn)
    with pytest.raises(BenchError, match="--retry-failed"):
        bench(out, worker, limit=3)  # not by itself: it would fail again
    assert len(worker.drawn) == before
    assert bench(out, worker, limit=3, retry_failed=True).sampled == 3
    assert len(found(out, Eyes())) == 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "expected 1 to 1000"),
        ({"seeds": 1001}, "expected 1 to 1000"),
        ({"batch_size": 0}, "at least 1"),
        ({"threads": 0}, "at least 1"),
        ({"model": "no/such-model"}, "cannot be loaded"),
    ],
)
def test_bad_numbers_leave_nothing_behind(
    worker: Worker, out: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises((BenchError, PromptError, ModelError), match=message):
        bench(out, worker, **options)
    assert not out.exists()


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no run\.json"):
        Store(tmp_path).plan()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(BenchError, match="cannot be understood"):
        Store(tmp_path).plan()


def test_a_full_disk_keeps_what_was_drawn(worker: Worker, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = files.atomic_file, []

    @contextmanager
    def full(path: Path, remedy: str) -> Iterator[BinaryIO]:
        written.append(path)
        with write(path, remedy) as file:
            yield file
            if len(written) == 10:  # eight pictures of two batches, after the plan and its setups
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "atomic_file", full)
    with pytest.raises(OutputError, match="No space left on device; make room"):
        bench(out, worker, batch_size=4)
    monkeypatch.undo()
    assert len(rows_of(out)) == 4
    assert bench(out, worker, batch_size=4).sampled == 8
    assert len(found(out, Eyes())) == 12
    assert not list(out.glob("images/*/.*"))


def test_strange_prompts_are_drawn_and_kept(worker: Worker, out: Path) -> None:
    prompts = ["a cat\nand a dog", "a dog " * 1700, 'a "quoted" \\ cat', "a caf\u00e9 \u2028 and a cat"]
    bench(out, worker, "none", suite=Suite("own", "", tuple(Case(p, (Expected("cat"),)) for p in prompts)), seeds=1)
    assert [row.prompt for row in found(out, Eyes())] == prompts
    assert [read_recipe(row.image).prompt for row in found(out, Eyes())] == prompts


# ------------------------------------------------------------------------------------------ painters that meet trouble


@dataclass
class Trouble:
    """Stands for `generation.draw`: raises what `fail` says of a batch."""

    fail: Callable[[Sequence[Recipe], Any], Exception | None]
    sizes: list[int] = field(default_factory=list)

    def draw(self, pipe: Any, recipes: Sequence[Recipe]) -> list[GeneratedImage]:
        self.sizes.append(len(recipes))
        if error := self.fail(recipes, pipe):
            raise error
        image = Image.new("RGB", (8, 8))
        return [GeneratedImage(image, replace(r, dtype=pipe.dtype), (), 1.0, None) for r in recipes]  # type: ignore[arg-type]


@dataclass
class Pipe:
    dtype: str = "float16"
    most: int = 8  # pictures that fit into memory

    def __call__(self, prompt: str, num_images_per_prompt: int, **_: Any) -> None:
        if num_images_per_prompt > self.most:
            raise torch.OutOfMemoryError

    def to(self, dtype: torch.dtype) -> None:
        self.dtype = str(dtype).removeprefix("torch.")


def painted_by(monkeypatch: pytest.MonkeyPatch, fail: Callable[..., Exception | None], dtype: str = "float16") -> Any:
    trouble = Trouble(fail)
    monkeypatch.setattr(painting, "draw", trouble.draw)
    monkeypatch.setattr(painting, "load_pipeline", lambda _, dtype, __: Pipe(dtype))
    plan = plan_of("none", seeds=8, limit=1, batch_size=8, dtype=dtype)
    worker = PipelineWorker("emoji", dtype, "cpu", 8, pipe=Pipe(dtype))
    (batch,) = plan.batches()
    return worker, batch, trouble


def test_a_batch_that_is_too_large_is_halved_and_so_are_those_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, batch, trouble = painted_by(monkeypatch, lambda recipes, _: MemoryError() if len(recipes) > 2 else None)
    painted = worker.run(batch)
    assert [one.job for one in painted] == list(batch)
    assert [one.together for one in painted] == [2] * 8
    assert trouble.sizes == [8, 4, 2, 2, 4, 2, 2]
    worker.run(batch)
    assert trouble.sizes[7:] == [2, 2, 2, 2]


@pytest.mark.parametrize("most", [0, 1, 3])
def test_a_warm_up_that_is_too_large_is_halved_too(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    worker, batch, trouble = painted_by(monkeypatch, lambda *_: None)
    monkeypatch.setattr(painting, "load_pipeline", lambda _, dtype, __: Pipe(dtype, most))
    worker.pipe = None
    assert [one.error for one in worker.run(batch)] == [None] * 8
    assert set(trouble.sizes) == {2 if most == 3 else 1}


def test_a_float32_that_does_not_fit_costs_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Pipe, dtype: torch.dtype) -> None:
        self.dtype = "half of it"
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Pipe, "to", full)
    worker, batch, _ = painted_by(
        monkeypatch, lambda recipes, _: PrecisionError("no") if any(r.seed == 0 for r in recipes) else None
    )
    first, *others = worker.run(batch)
    assert (first.error or "").splitlines()[0] == "no room"
    assert [one.error for one in others] == [None] * 7
    assert worker.pipe.dtype == "float16"


def test_one_bad_picture_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(recipes: Sequence[Recipe], _: Any) -> Exception | None:
        return PromptError("too strange") if any(recipe.seed == 5 for recipe in recipes) else None

    worker, batch, trouble = painted_by(monkeypatch, fail)
    painted = worker.run(batch)
    assert [one.error is None for one in painted] == [seed != 5 for seed in range(8)]
    assert (painted[5].png, painted[5].error.splitlines()[0]) == (None, "too strange")
    assert "Traceback" in painted[5].error
    worker.run(batch[:4])
    assert trouble.sizes[-1] == 4  # it was not for want of memory


def test_no_numbers_in_half_precision_are_drawn_once_more_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(recipes: Sequence[Recipe], pipe: Pipe) -> Exception | None:
        broken = any(recipe.seed == 3 for recipe in recipes) and pipe.dtype == "float16"
        return PrecisionError("no numbers") if broken else None

    worker, batch, _ = painted_by(monkeypatch, fail)
    painted = worker.run(batch)
    assert [one.dtype for one in painted] == ["float16"] * 3 + ["float32"] + ["float16"] * 4
    assert worker.pipe.dtype == "float16"  # another one: weights that were kept in float32 on purpose are not rounded
    worker, batch, _ = painted_by(monkeypatch, lambda recipes, _: PrecisionError("no numbers"))
    assert [one.error.splitlines()[0] for one in worker.run(batch[:1])] == ["no numbers"]
    assert worker.pipe.dtype == "float16"


def test_the_null_model_draws_grey() -> None:
    (batch, *_) = plan_of("none").batches()
    painted = NullWorker().run(batch)
    with Image.open(io.BytesIO(painted[0].png or b"")) as image:
        assert (image.size, image.getpixel((3, 3))) == ((64, 64), (128, 128, 128))
    assert [one.job for one in painted] == list(batch)


# ----------------------------------------------------------------------------------- the embedded model, killed


@dataclass
class Mean(Metric):
    """A metric whose output is the mean of an image's pixels, so that rows are equal only if images are."""

    name = "mean"
    fingerprint = "pixels"
    scores = (Score("mean", "mean", "of all pixels", fraction=False),)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        return [{"mean": float(np.asarray(image).mean())} for image in images]

    def score(self, case: Case, output: Any) -> dict[str, float]:
        return dict(output)


def draw_for_real(out: Path) -> None:
    plan = plan_for(
        Store(out),
        suite("emoji-pairs").head(2),
        variants_from(["none", "syngen", "best-of-2"], "emoji"),
        model="emoji",
        seeds=2,
        steps=2,
        batch_size=2,
        threads=1,
    )
    run(out, plan)
    run_metric(Store(out), plan, Mean())


def seen_of(out: Path) -> dict[str, tuple[Any, ...]]:
    return Store(out).outputs("mean", "pixels").read("seen")


def pixels_of(out: Path) -> dict[str, bytes]:
    return {path.stem: read_image(path).tobytes() for path in out.glob("images/*/*.png")}


def count_of(out: Path) -> int:
    journal = out / "pictures" / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_rows(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")  # it imports torch once, and every process begins with that
    processes.set_forkserver_preload(
        ["unbleed.bench.sampling.runner", "unbleed.api", "transformers", "diffusers", "pyarrow.parquet"]
    )
    undisturbed = processes.Process(target=draw_for_real, args=(tmp_path / "whole",))
    undisturbed.start()
    undisturbed.join()
    assert undisturbed.exitcode == 0
    whole = rows_of(tmp_path / "whole")
    assert len(whole) == len(seen_of(tmp_path / "whole")) == 12

    out, moments = tmp_path / "killed", random.Random(0)
    for rows in (0, 3, 7):
        process = processes.Process(target=draw_for_real, args=(out,))
        process.start()
        while process.is_alive() and count_of(out) < rows:
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
    assert seen_of(out) == seen_of(tmp_path / "whole")
    assert pixels_of(out) == pixels_of(tmp_path / "whole")
    assert not list(out.glob("images/*/.*"))


# ------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], worker: Worker
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line with a worker that draws plain colours and an oracle that sees nothing."""
    monkeypatch.setattr(runner, "worker_for", lambda *_: worker)
    blind = Eyes(answer=lambda pixel: Finding())
    monkeypatch.setattr("unbleed.bench.metrics.metric", lambda name: blind)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli._run(["bench", *(str(a) for a in arguments)])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


def test_a_run_from_the_command_line(command: Any, worker: Worker, out: Path) -> None:
    arguments = ["run", "emoji-bind", "--methods", "none,syngen", "--seeds", 2, "--limit", 2, "--steps", 2, "--out", out]
    code, text, err = command(*arguments, "--json")
    document = json.loads(text)
    assert (code, err) == (0, "")
    assert document.pop("seconds") >= 0
    assert document == {"out": str(out), "suite": "emoji-bind", "pictures": 8, "drawn": 8, "judged": {"oracle": 8}}
    assert command(*arguments) == (0, f"{out}\n", "")
    assert len(worker.drawn) == 8
    code, text, err = command("score", out, "--metrics", "oracle", "--json")
    assert (code, json.loads(text), err) == (0, {"out": str(out), "judged": {"oracle": 0}}, "")


def test_no_metric_looks_where_none_can(command: Any, tmp_path: Path, out: Path) -> None:
    prompts = tmp_path / "mine.txt"
    prompts.write_text("a zebra on a boat\n")
    code, text, _ = command("run", prompts, "--methods", "none", "--seeds", 1, "--steps", 2, "--out", out, "--json")
    assert (code, json.loads(text)["judged"]) == (0, {})
    code, text, _ = command("run", "emoji-bind", "--metrics", "none", "--limit", 1, "--steps", 2, "--out", out, "--json")
    assert (code, json.loads(text)["judged"]) == (0, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["emoji-couples"], "emoji-couples"),
        (["emoji-pairs", "--methods", "synjen"], "did you mean syngen"),
        (["emoji-pairs", "--limit", "0"], "expected at least 1"),
        (["emoji-pairs", "--seeds", "0"], "expected 1 to 1000"),
        (["emoji-pairs", "--batch-size", "0"], "expected at least 1"),
        (["emoji-pairs", "--threads", "0"], "expected at least 1"),
        (["emoji-pairs", "--guidance-scale", "nan"], "guidance scale"),
        (["emoji-pairs", "--steps", "0"], "expected 1 to 1000"),
        (["emoji-pairs", "--model", "{tmp}"], "not a diffusers pipeline"),
        (["emoji-pairs", "--out", "{tmp}/file"], "cannot be written to"),
        (["emoji-pairs", "--executor", "ray", "--workers", "0"], "expected at least 1"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "file").write_text("no folder")
    code, out, err = command("run", "--out", tmp_path / "out", *(a.format(tmp=tmp_path) for a in arguments))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(command: Any, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    code, _, err = command("run", "emoji-bind", "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be written to" in err
