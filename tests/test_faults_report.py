"""Statistics said plainly, hostile words in reports, missing packages, and files that are no pictures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fake_runs import FakeOracle, plan_of, results_of
from unbleed.bench.cases import Case, Expected
from unbleed.bench.comparison import Report, build
from unbleed.bench.distances import _error
from unbleed.bench.latex import latex
from unbleed.bench.markdown import markdown
from unbleed.bench.metrics.cmmd import Distance
from unbleed.bench.page import html
from unbleed.bench.report import write
from unbleed.bench.statistics import MIN_PROMPTS, bootstrap, estimate, sample
from unbleed.bench.wording import result


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
        r"syngen: \d+\.\d points fewer all-correct pictures than none \(1 prompt; intervals and tests need 10\), at ",
        result(one),
    )
    why = "Below 10 prompts no interval, p-value or mark of significance is given; this report has 1."
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
        pictures=tuple(replace(p, scores={**p.scores, "all_correct": float(p.contender == "syngen")}) for p in found.pictures),
    )
    made = build(plan, equal, metrics=(FakeOracle(),), draws=200)
    assert result(made).startswith(
        "syngen: 100.0 points more all-correct pictures than none (the same in all 12 prompts: no interval, no test), at "
    )
    assert "nor for a value that is the same in all of them" in markdown(made)
    same = replace(found, pictures=tuple(replace(p, scores={**p.scores, "all_correct": 1.0}) for p in found.pictures))
    assert result(build(plan, same, metrics=(FakeOracle(),), draws=200)).startswith(
        "No difference in all-correct pictures between none and syngen (the same in all 12 prompts: no interval, no test)"
    )


def test_S3_distances_of_few_prompts_have_no_error() -> None:
    apart = np.random.default_rng(0).random(10)
    assert _error(Distance(1.0, apart)) == Distance(1.0, apart).error > 0
    assert _error(Distance(1.0, apart[:9])) is None
    assert _error(Distance(1.0, np.ones(10))) is None


def test_S3_a_report_of_small_samples_is_written_whole(image: Path, tmp_path: Path) -> None:
    small = made("none,syngen,best-of-2", image, 4, {"none": 0.4})
    files = write(small, tmp_path)
    line = files["rows"].read_text().splitlines()[1].split(",")
    assert line[4:6] == ["", ""]  # low, high
    assert "nan" not in files["html"].read_text()
    assert "None" not in files["html"].read_text()
