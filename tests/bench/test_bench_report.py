"""The report of a benchmark: a bootstrap that can be trusted, and files that say the same."""

from __future__ import annotations

import csv
import html
import json
import random
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.fake_runs import SCORES, FakeClip, FakeOracle, finding_of, plan_of, results_of, write_run
from unbleed import cli
from unbleed.bench.analysis.bootstrap import affordable, arrange, bootstrap, estimate, holm, resample, sample
from unbleed.bench.analysis.changes import changes
from unbleed.bench.analysis.summary import Report, build
from unbleed.bench.metrics.oracle import faults, score
from unbleed.bench.plan.cases import Case, Expected
from unbleed.bench.reporting import html as page
from unbleed.bench.reporting.captions import caption
from unbleed.bench.reporting.html import choose_sheets
from unbleed.bench.reporting.latex import escaped, latex
from unbleed.bench.reporting.markdown import markdown
from unbleed.bench.reporting.number_format import interval, number, percent, points, signed, with_interval
from unbleed.bench.reporting.plots import styles
from unbleed.bench.reporting.text import TO_SCORE, fixed_and_broken, result
from unbleed.bench.reporting.writer import write
from unbleed.bench.scoring import kept_metrics, run_folder
from unbleed.bench.storage.store import Store
from unbleed.bench.suites import suite
from unbleed.cli import bench_report  # noqa: F401  (it adds the command)
from unbleed.emoji.findings import Finding, Sighting
from unbleed.errors import BenchError

# --------------------------------------------------------------------------------------------------- statistics


def binary(seed: int, *shape: int, chance: float = 0.6) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) < chance).astype(float)


def quantile(values: list[float], share: float) -> float:
    """Interpolate between the two nearest of the sorted values."""
    values, place = sorted(values), share * (len(values) - 1)
    low = int(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def test_the_bootstrap_is_that_of_plain_loops() -> None:
    values, draws = binary(0, 3, 2, 10, 4), 199
    found = bootstrap(values, baseline=1, draws=draws, seed=3)
    taken = np.concatenate(list(resample(10, 4, draws, seed=3)))
    for metric in range(2):
        p_values = {}
        for contender in range(3):
            means, differences = [], []
            for weights in taken:
                pictures = [(p, s) for p in range(10) for s in range(4) for _ in range(weights[p, s])]
                assert len(pictures) == 40
                mine = sum(values[contender, metric, p, s] for p, s in pictures) / 40
                theirs = sum(values[1, metric, p, s] for p, s in pictures) / 40
                means.append(mine)
                differences.append(round(mine - theirs, 9))
            at = contender, metric
            assert found.mean[at] == pytest.approx(values[at].sum() / 40)
            assert (found.low[at], found.high[at]) == pytest.approx((quantile(means, 0.025), quantile(means, 0.975)))
            if contender == 1:
                assert all(np.isnan(a[at]) for a in (found.difference, found.difference_low, found.p, found.p_holm))
                continue
            assert found.difference[at] == pytest.approx(values[at].mean() - values[1, metric].mean())
            interval = found.difference_low[at], found.difference_high[at]
            assert interval == pytest.approx((quantile(differences, 0.025), quantile(differences, 0.975)), abs=1e-9)
            tail = min(sum(d <= 0 for d in differences), sum(d >= 0 for d in differences))
            p_values[contender] = min(1.0, 2 * (tail + 1) / (draws + 1))
            assert found.p[at] == pytest.approx(p_values[contender])
        first, second = sorted(p_values, key=lambda c: p_values[c])
        assert found.p_holm[first, metric] == pytest.approx(min(1, 2 * p_values[first]))
        assert found.p_holm[second, metric] == pytest.approx(max(min(1, 2 * p_values[first]), p_values[second]))


def test_draws_take_prompts_then_seeds_within_them() -> None:
    values = binary(1, 8, 3) + np.arange(8)[:, None] % 2  # prompts that differ
    weights = np.concatenate(list(resample(8, 3, 4000)))
    assert (weights.sum(axis=(1, 2)) == 24).all()
    assert (weights.sum(axis=2) % 3 == 0).all()  # a prompt is taken as a whole, so many times
    fast = (weights * values).sum(axis=(1, 2)) / 24
    rng = np.random.default_rng(9)
    plain = [np.mean([values[p, rng.integers(3, size=3)].mean() for p in rng.integers(8, size=8)]) for _ in range(4000)]
    assert fast.mean() == pytest.approx(np.mean(plain), abs=0.02)
    assert fast.std() == pytest.approx(np.std(plain), rel=0.06)


@pytest.mark.parametrize(("effect", "spread"), [(0.15, 0.3), (0.0, 0.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(effect: float, spread: float) -> None:
    rng = np.random.default_rng(5)
    hits = []
    for _ in range(150):
        chance = 0.4 + spread * (rng.random((40, 1)) - 0.5)
        drawn = np.stack([rng.random((40, 3)) < chance, rng.random((40, 3)) < chance + effect])
        found = bootstrap(drawn[:, None].astype(float), draws=300)
        hits.append(found.difference_low[1, 0] <= effect <= found.difference_high[1, 0])
    assert 0.91 <= np.mean(hits) <= 1.0  # with three seeds a little too often


def test_equal_methods_differ_by_exactly_nothing() -> None:
    values = np.random.default_rng(0).integers(0, 4, (1, 5, 30, 4)) / 3  # thirds, whose sums round
    equal = sample(np.repeat(values, 3, axis=0), draws=500)
    assert (equal.drawn[:, 1] == 0).all()
    found = estimate(equal)
    assert (found.difference[1:] == 0).all()
    for array in (found.difference_low, found.difference_high, found.p, found.p_holm):  # every draw is the same
        assert np.isnan(array).all()


def test_thirds_that_cancel_count_for_both_sides() -> None:
    values = np.array([[[[1 / 3, 1.0], [2 / 3, 0.0]]], [[[1.0, 1 / 3], [0.0, 2 / 3]]]])
    assert bootstrap(np.tile(values, (1, 1, 5, 1)), draws=2000).p[1, 0] == 1


def test_pairing_narrows_the_difference() -> None:
    prompts = np.random.default_rng(2).random((60, 1))
    apart = 0.1 + 0.001 * (np.arange(60)[:, None] % 2)
    values = np.stack([np.repeat(prompts, 2, axis=1), np.repeat(prompts + apart, 2, axis=1)])[:, None]
    found = bootstrap(values, draws=500)
    assert found.difference_high[1, 0] - found.difference_low[1, 0] < 0.001
    assert found.high[1, 0] - found.low[1, 0] > 0.1


def test_a_subset_is_the_bootstrap_of_its_prompts() -> None:
    values, mask = binary(4, 2, 3, 10, 2), np.arange(10) % 3 == 0
    mine, other = bootstrap(values, prompts=mask, draws=200), bootstrap(values[:, :, mask], draws=200)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(vars(mine).values(), vars(other).values(), strict=True))


def test_prompts_without_ground_are_left_out_of_one_score_alone() -> None:
    values = binary(7, 2, 2, 10, 2)
    values[:, 1, :4] = np.nan
    found = bootstrap(values, draws=200)
    for metric, own in ((0, values[:, :1]), (1, values[:, 1:, 4:])):
        alone = bootstrap(own, draws=200)
        pairs = zip(vars(found).values(), vars(alone).values(), strict=True)
        assert all(np.array_equal(a[:, metric], b[:, 0], equal_nan=True) for a, b in pairs)
    values[:, 1] = np.nan
    assert all(np.isnan(array[:, 1]).all() for array in vars(bootstrap(values, draws=200)).values())


def test_the_mean_over_groups_is_a_stratified_bootstrap() -> None:
    groups = [binary(1, 2, 1, 40, 2, chance=0.2), binary(2, 2, 1, 10, 2, chance=0.9)]
    drawn = [sample(values, draws=4000, seed=number) for number, values in enumerate(groups)]
    found = estimate((drawn[0] + drawn[1]) / 2)
    assert found.mean[0, 0] == pytest.approx(np.mean([values[0].mean() for values in groups]))
    half_widths = [(one.high - one.low)[0, 0] / 2 for one in map(estimate, drawn)]
    assert (found.high - found.low)[0, 0] / 2 == pytest.approx(np.hypot(*half_widths) / 2, rel=0.12)


def test_draws_are_fewer_for_very_many_pictures() -> None:
    assert affordable(10_000, 4 * 276 * 3, 64) == 10_000
    assert 1000 < affordable(10_000, 25_000 * 20, 64) < 10_000
    assert affordable(10_000, 10**9, 64) == 1000
    assert affordable(100, 10**9, 64) == 100


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.5])) == pytest.approx([1.0, 1.0])


def test_records_are_arranged_and_gaps_are_named() -> None:
    records = [(c, p, s, [p + s / 10, 0.0]) for c, p, s in product("ab", (7, 3), (1, 0))]
    assert arrange(records, ["b", "a"])[0, 0].tolist() == [[3.0, 3.1], [7.0, 7.1]]
    with pytest.raises(BenchError, match=r"prompt 3 has seeds \[0\] by a and \[0, 1\] by b"):
        arrange([r for r in records if r[:3] != ("a", 3, 1)], ["b", "a"])
    with pytest.raises(BenchError, match="equally many for every prompt"):
        arrange([r for r in records if r[1:3] != (7, 1)], ["b", "a"])
    with pytest.raises(BenchError, match="there are no images"):
        arrange([], ["b", "a"])


# ------------------------------------------------------------------------------------------------------ a fake run

CLIP = (FakeClip(),)
BOTH = (FakeOracle(), FakeClip())


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    Image.new("RGB", (16, 16), "teal").save(path)
    return path


@pytest.fixture(scope="module")
def built(image: Path) -> Report:
    plan = plan_of("syngen,none,best-of-2", limit=30)
    return build(plan, results_of(plan, image, {"none": 0.5}), metrics=(FakeOracle(),), draws=300, date="2026-01-02")


@pytest.fixture(scope="module")
def files(built: Report, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {kind: path.read_text() for kind, path in write(built, tmp_path_factory.mktemp("report")).items()}


# ----------------------------------------------------------------------------------------------------------- words


def test_a_picture_without_faults_is_all_correct_and_no_other() -> None:
    rng = random.Random(0)
    for case in suite("emoji-triples").cases + suite("emoji-similar").cases:
        seen = finding_of(case, 0.9, rng)
        assert (not faults(case, seen)) == (score(case, seen)["all_correct"] == 1)


def test_faults_are_named_shortly() -> None:
    case = Case("", (Expected("cat"), Expected("car", ("red",)), Expected("bench", ("blue",))))
    things = [("cat", "blue"), ("car", None), ("dog", None), ("dog", None), ("cat", None)]
    seen = Finding(tuple(Sighting(noun, colour, (0, 0, 1, 1), 1) for noun, colour in things), ((0, 0, 1, 1),))
    assert faults(case, seen) == ["car not red", "no bench", "extra cat", "2 extra dog", "blend"]
    assert faults(case, Finding(seen.things[:1]))[0] == "cat is blue"


def test_numbers_are_said_with_one_decimal() -> None:
    assert (percent(0.4321), points(0.123), points(-0.02), points(0.0004), points(-0.0004)) == (
        "43.2",
        "+12.3",
        "−2.0",
        "0.0",
        "0.0",
    )


def made(labels: str, image: Path, **skills: float) -> Report:
    plan = plan_of(labels, limit=40)
    return build(plan, results_of(plan, image, {k.replace("_", "-"): v for k, v in skills.items()}), draws=400)


def test_the_result_says_what_the_data_say(image: Path) -> None:
    more = made("none,syngen", image, none=0.3, syngen=0.95)
    row = next(r for r in more.rows if r.method == "syngen" and r.metric == "all_correct")
    assert row.difference is not None
    assert row.difference_low is not None
    assert row.difference_high is not None
    ratio = row.seconds_per_picture / more.rows[0].seconds_per_picture
    assert result(more) == (
        f"syngen: {percent(row.difference)} points more all-correct images than none "
        f"(95 % interval {interval(row.difference_low, row.difference_high)}, p = 0.005), at {ratio:.1f} times the time."
    )
    assert " points fewer all-correct images" in result(made("none,syngen", image, none=0.95, syngen=0.3))
    assert re.match(
        r"No significant difference in all-correct images between none and syngen: [−+]?\d+\.\d points "
        r"\(95 % interval [−+]\d+\.\d to [−+]\d+\.\d, p = 0\.\d{3}\), at ",
        result(made("none,syngen", image)),
    )
    assert re.match(
        r"\d+\.\d % of the images by none are all-correct \(95 % interval \d+\.\d to \d+\.\d\)\.$",
        result(made("none", image)),
    )
    # best-of-2 is best here, but its images are selected by the same scores
    three = made("none,syngen,best-of-2", image, none=0.3, syngen=0.7, best_of_2=1.0)
    assert result(three).startswith("syngen: ")
    assert ", p = 0.010, Holm-adjusted for 2 comparisons)" in result(three)
    assert "is optimistic" in markdown(three)


def test_exchanges_add_up_to_the_difference(built: Report, files: dict[str, str]) -> None:
    texts = fixed_and_broken(built)
    assert [text.split()[0] for text in texts] == ["syngen", "best-of-2"]
    for text in texts:
        broken, right, fixed, wrong = map(int, re.findall(r"\b\d+\b", text.split(" breaks ")[1]))
        row = next(r for r in built.rows if r.method == text.split()[0] and r.metric == "all_correct")
        assert right + wrong == row.pictures == 60
        assert row.difference == pytest.approx((fixed - broken) / row.pictures)
        assert text in files["md"]
        assert html.escape(text) in files["html"]
    assert fixed_and_broken(replace(built, run=replace(built.run, contenders=built.contenders[1:2]))) == []


# ----------------------------------------------------------------------------------------------------------- files


def test_rows_say_what_was_agreed(built: Report) -> None:
    document = json.loads(json.dumps(built.to_json(), allow_nan=False))
    assert len(document["rows"]) == 3 * len(SCORES)
    names = "method metric mean low high difference difference_low difference_high p p_holm pictures"
    assert list(document["rows"][0]) == [*names.split(), "seconds_per_picture", "relative_seconds"]
    for row in [*document["rows"], *document["subsets"]["held-out"]]:
        assert (row["difference"] is None) == (row["method"] == "none")
        assert (row["difference_low"] is None) == (row["p"] is None) == (row["p_holm"] is None)
        if row["low"] is not None:
            assert row["low"] - 1e-9 <= row["mean"] <= row["high"] + 1e-9
    sizes = document["run"]["groups"]
    assert sizes["seen"] + sizes["held-out"] == sizes["animals"] + sizes["objects"] + sizes["animal and object"] == 30
    assert document["subsets"]["seen"][0]["pictures"] == 2 * sizes["seen"]


def test_the_files_agree(built: Report, files: dict[str, str]) -> None:
    table = {(r["group"], r["method"], r["metric"]): r for r in csv.DictReader(files["rows"].splitlines())}
    pictures = list(csv.DictReader(files["pictures"].splitlines()))
    assert len(pictures) == built.run.pictures == 30 * 2 * 3
    page = [
        re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", row)))
        for row in re.findall(r"(?s)<tr.*?</tr>", files["html"])
    ]
    for group, rows in {"all": built.rows, **built.subsets}.items():
        for row in rows:
            line = table[group, row.method, row.metric]
            assert float(line["mean"]) == row.mean
            assert line["p"] == ("" if row.p is None else str(row.p))
            cells = [with_interval(row.mean, row.low, row.high)]
            seen = [f"{percent(row.mean)} {interval(row.low, row.high)}"]
            if row.difference is not None:
                ends = interval(row.difference_low, row.difference_high, points)
                cells.append(
                    with_interval(row.difference, row.difference_low, row.difference_high, points) + " ✱" * row.significant
                )
                seen += [points(row.difference), ends]
            assert all(f"| {cell} |" in files["md"] for cell in cells)
            assert any(row.method in text and all(words in text for words in seen) for text in page)
    for row in built.rows:
        own = [p for p in pictures if p["method"] == row.method]
        assert np.mean([float(p[row.metric]) for p in own]) == pytest.approx(row.mean)
        assert np.mean([float(p["seconds"]) for p in own]) == pytest.approx(row.seconds_per_picture, abs=1e-4)
    assert html.escape(result(built)).replace(" %", "\u00a0%") in files["html"]
    assert result(built) in files["md"]


def test_the_page_needs_nothing_but_itself(files: dict[str, str]) -> None:
    page = files["html"]
    assert "http:" not in page
    assert "https:" not in page
    assert "<script" not in page
    assert all(target.startswith(("data:image/webp;base64,", "#")) for target in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert not re.findall(r"@import|url\((?!#)", page)
    assert page.count("<svg") == 3
    assert page.count('role="img"') == 3
    names = re.findall(r'\sid="([^"]*)"', page)
    assert len(set(names)) == len(names)
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", page))
    assert "seconds per image</text>" in re.sub(r"\s+<", "<", page)


def test_words_of_others_are_escaped(image: Path, tmp_path: Path) -> None:
    plan = plan_of("none,syngen", cases=(Case("a <b>cat</b> & a dog", (Expected("cat"),), ("<i>",)),))
    text = page.html(build(plan, results_of(plan, image), draws=100))
    assert "<b>cat" not in text
    assert "a &lt;b&gt;cat&lt;/b&gt; &amp; a dog" in text
    assert "<i>" not in text
    assert "this report has 1." in text


def test_sheets_are_chosen_by_lot_and_by_disagreement(built: Report) -> None:
    chosen = choose_sheets(built)
    by_lot, disputed = chosen.values()
    assert chosen == choose_sheets(built)
    assert (len(by_lot), len(disputed)) == (12, 12)
    assert not set(by_lot) & set(disputed)

    def share(case: int) -> float:
        seen = [{r.scores["all_correct"] for r in built.images if (r.case, r.seed) == (case, seed)} for seed in (0, 1)]
        return np.mean([len(s) > 1 for s in seen]).item()

    others = set(range(30)) - set(by_lot) - set(disputed)
    assert min(map(share, disputed)) >= max(map(share, others))


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_named(name: str, built: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BenchError, match=rf'needs {name}, .* pip install .*"{name}>='):
        write(built, tmp_path)
    assert not list(tmp_path.iterdir())


def test_more_methods_than_colours_are_told_apart(image: Path) -> None:
    plan = plan_of(",".join(["none", *(f"best-of-{n}" for n in range(2, 20))]), limit=1)
    found = styles(build(plan, results_of(plan, image), draws=100))
    assert len(set(found.values())) == 19


# ---------------------------------------------------------------------------------------------------- other metrics


def test_scores_that_are_no_shares_are_numbers(image: Path, tmp_path: Path) -> None:
    plan = plan_of("none,syngen", limit=30)
    made = build(plan, results_of(plan, image, {"syngen": 0.9, "none": 0.2}, CLIP), metrics=CLIP, draws=300)
    row = next(r for r in made.rows if r.method == "syngen" and r.metric == "clip_full")
    assert None not in (row.difference, row.difference_low, row.difference_high)
    ends = interval(row.difference_low, row.difference_high, number)
    assert result(made).startswith(
        f'syngen: "CLIP, full prompt" {number(row.difference or 0)} higher than none (95 % interval {ends}, p = 0.007), at '
    )
    assert fixed_and_broken(made) == []
    text = markdown(made)
    assert "Means, with 95 % intervals." in text
    assert "points" not in text
    ends = interval(row.difference_low, row.difference_high, signed)
    assert f"| {signed(row.difference or 0)} ({ends}) ✱ |" in text
    files = {kind: path.read_text() for kind, path in write(made, tmp_path).items()}
    picture = made.images[0]
    assert f"<figcaption>{number(picture.scores['clip_full'])}</figcaption>" in files["html"]
    assert "CLIP, full prompt is given below each image." in files["html"]
    assert "✓" not in files["html"]


def test_a_score_without_ground_in_some_prompts_says_so(image: Path) -> None:
    plan = plan_of("none,syngen", limit=30)
    results = results_of(plan, image, {}, CLIP)
    made = build(plan, results, metrics=CLIP, draws=100)
    row = next(r for r in made.rows if r.metric == "clip_min")
    values = [r.scores["clip_min"] for r in results.images if r.method == "none" and "clip_min" in r.scores]
    assert 0 < len(values) == row.pictures < 60
    assert row.mean == pytest.approx(np.mean(values))
    assert f"is undefined for some prompts: its mean is over {len(values)} of 60 images." in markdown(made)
    assert {r.metric for r in made.subsets["animals"]} == {"clip_full"}
    assert "clip_min" not in [r.metric for r in made.subsets["animals"]]


def test_many_scores_have_a_table_for_each_metric(image: Path, tmp_path: Path) -> None:
    plan = plan_of("none,syngen", limit=8)
    made = build(plan, results_of(plan, image, {}, BOTH), metrics=BOTH, draws=100)
    assert [(table.metric, len(table.scores)) for table in made.tables] == [("oracle", 8), ("clip", 2)]
    assert "### clip" in markdown(made)
    text = write(made, tmp_path)["html"].read_text()
    assert text.count('<h3 class="title">clip</h3>') >= 1
    assert text.count("Differences to none</h3>") == 2
    assert latex(made).count(r"\begin{tabular}") == 2


def test_the_mean_over_groups_stands_where_groups_part_the_prompts(image: Path, built: Report) -> None:
    plan = plan_of("none,syngen", limit=160, name="emoji-single")
    made = build(plan, results_of(plan, image, {"none": 0.3}), metrics=(FakeOracle(),), draws=200)
    assert set(made.subsets) == {"natural", "coloured"}
    for row in made.overall:
        means = [r.mean for rows in made.subsets.values() for r in rows if (r.method, r.metric) == (row.method, row.metric)]
        assert row.mean == pytest.approx(np.mean(means))
        assert row.low is None or row.low <= row.mean <= row.high
    assert made.overall[0].low is not None
    assert "| syngen, mean over groups |" in markdown(made)
    assert built.overall == ()
    assert "mean over groups" not in markdown(built)


def test_the_most_lost_and_won_are_to_be_looked_at(built: Report, files: dict[str, str]) -> None:
    found = changes(built)
    assert list(found) == ["syngen", "best-of-2"]
    for method, of in found.items():
        for kind, gain in ((of.lost, -1), (of.won, 1)):
            assert all(c.gain == gain and c.before.method == "none" and c.after.method == method for c in kind)
            first = [c.before.case for c in kind]
            assert len(set(first[: len(set(first))])) == len(set(first))  # every prompt once before one comes twice
    lines = list(csv.DictReader(files["failures"].splitlines()))
    assert len(lines) == sum(len(of.lost) + len(of.won) for of in found.values())
    for line in lines:
        assert (line["change"], line["before"], line["after"]) in (("lost", "1.0", "0.0"), ("won", "0.0", "1.0"))
        assert "right" in (line["saw_before"], line["saw_after"])
    assert files["html"].count('<li class="sheet">') == sum(min(6, len(of)) for c in found.values() for of in (c.lost, c.won))


def test_the_page_stays_small_with_many_methods(image: Path) -> None:
    plan = plan_of(",".join(["none", *(f"best-of-{n}" for n in range(2, 26))]), limit=24, seeds=4)
    made = build(plan, results_of(plan, image), draws=100)
    cases = [case for of in choose_sheets(made).values() for case in of]
    assert 4 <= len(cases) < 24
    assert page.html(made).count("<img") <= 2 * page.MAX_IMAGES + 200


def test_latex_is_escaped_and_whole(image: Path) -> None:
    assert escaped(r"a_b & 50 % {x} #1 $2 ~ ^ \ <p> − ×") == (
        r"a\_b \& 50 \% \{x\} \#1 \$2 \textasciitilde{} \textasciicircum{} \textbackslash{} \textless{}p\textgreater{} "
        r"$-$ $\times$"
    )
    plan = plan_of("none,syngen:step_size=5,best-of-2", limit=30)
    made = build(plan, results_of(plan, image, {"none": 0.2}), metrics=(FakeOracle(),), draws=200)
    text = latex(made)
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + 2 * 3
    assert {line.replace(r"\&", "").count("&") for line in lines} == {9}
    assert r"\begin{tabular}{lccccccccr}" in text
    assert r"syngen:step\_size=5" in text
    assert r"$^{\ast}$" in body
    assert text.count("{") == text.count("}")
    assert not re.search(r"(?<!\\)[%#_]", "\n".join(text.splitlines()[1:]).replace("\\label{tab:emoji-pairs}", ""))


def test_captions_say_what_the_score_is() -> None:
    row = results_of(plan_of("none", limit=1), Path("x.png")).images[0]
    wrong = replace(row, scores={"all_correct": 0.0, "clip_full": 0.31}, faults={"all_correct": ["no cat"]})
    assert caption(wrong, SCORES[0], verdict=True) == (False, "no cat")
    assert caption(wrong, FakeClip.scores[0], verdict=False) == (None, "0.310")
    assert caption(wrong, FakeClip.scores[1], verdict=False) == (None, "")
    assert caption(wrong, None, verdict=False) == (None, "")
    other = replace(SCORES[0], name="correct")
    assert caption(replace(wrong, scores={"correct": 1.0}), other, verdict=True) == (True, "")


# ---------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run of two methods on disk whose last prompt was not drawn yet."""
    monkeypatch.setattr(kept_metrics, "metric", {"oracle": FakeOracle(), "clip": FakeClip()}.__getitem__)
    plan = plan_of("none,syngen", limit=3)
    write_run(tmp_path, plan, skip=lambda prompt, seed: prompt == plan.suite.cases[-1].prompt)
    return tmp_path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli._run(["bench", "report", *(str(a) for a in arguments)])
        return (code, *capsys.readouterr())

    return call


def test_a_report_from_the_command_line(command: Any, folder: Path) -> None:
    code, out, err = command(folder)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "4 images of" in err
    assert "--partial" in err
    code, out, err = command(folder, "--partial", "--draws", 100)
    names = ["report.html", "report.md", "report.tex", "rows.csv", "pictures.csv", "failures.csv"]
    assert (code, out.split(), err) == (0, [str(folder / name) for name in names], "")
    code, out, err = command(folder, "--partial", "--draws", 100, "--json")
    document = json.loads(out)
    assert list(document) == ["rows", "subsets", "mean_over_groups", "costs", "run", "files"]
    assert document["run"]["prompts_left_out"] == 1
    assert document["run"]["draws"] == 100
    assert document["run"]["metrics"] == {"oracle": FakeOracle().fingerprint[:16]}
    assert document["files"]["html"] == str(folder / "report.html")
    assert "1 of 3 prompts are left out" in (folder / "report.html").read_text()


def test_a_report_compares_with_the_baseline_that_is_named(command: Any, folder: Path) -> None:
    first = json.loads(command(folder, "--partial", "--draws", 100, "--json")[1])
    other = next(row["method"] for row in first["rows"] if row["method"] != first["run"]["baseline"])
    turned = json.loads(command(folder, "--partial", "--draws", 100, "--baseline", other, "--json")[1])
    assert turned["run"]["baseline"] == other
    difference = {row["method"]: row["difference"] for row in first["rows"] if row["metric"] == "all_correct"}[other]
    back = {row["method"]: row["difference"] for row in turned["rows"] if row["metric"] == "all_correct"}
    assert back[first["run"]["baseline"]] == pytest.approx(-difference)
    assert back[other] is None
    code, out, err = command(folder, "--partial", "--baseline", "nobody")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "has no method nobody; --baseline is one of " in err


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: None])
def test_a_folder_without_a_run_is_one_line(command: Any, tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "nothing")
    code, out, err = command(tmp_path / "nothing")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "expected a folder written by unbleed bench run" in err


def test_the_first_metric_ranks(command: Any, folder: Path) -> None:
    plan = plan_of("none,syngen", limit=2)
    write_run(folder, plan, metrics=BOTH)
    rows = json.loads(command(folder, "--json", "--draws", 100)[1])["rows"]
    assert rows[0]["metric"] == "all_correct"
    code, out, _ = command(folder, "--json", "--draws", 100, "--metrics", "clip, oracle")
    assert (code, json.loads(out)["rows"][0]["metric"]) == (0, "clip_full")
    assert list(json.loads(out)["run"]["metrics"]) == ["clip", "oracle"]
    code, _, err = command(folder, "--metrics", "dsg")
    assert (code, err.count("\n")) == (2, 1)
    assert '"dsg" has not been run' in err
    assert "clip, oracle" in err


def test_of_several_versions_of_a_metric_that_of_today_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(folder, plan_of("none", limit=2), metrics=[FakeOracle(), FakeOracle("0b" * 16)])
    opened = run_folder.open_folder(folder)
    assert (opened.metrics[0].fingerprint, opened.cautions) == (FakeOracle().fingerprint[:16], ())
    monkeypatch.setattr(kept_metrics, "metric", lambda name: FakeOracle("0d" * 16))
    opened = run_folder.open_folder(folder)
    store = Store(folder)
    assert opened.metrics[0].fingerprint == kept_metrics.kept_fingerprints(store, store.plan())["oracle"][0]
    assert "2 versions of oracle were run on these images" in opened.cautions[0]


def test_metrics_stand_by_rank_then_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(FakeClip):
        rank = 2

    monkeypatch.setattr(kept_metrics, "metric", {"oracle": FakeOracle(), "clip": FakeClip(), "a": Late(), "b": FakeClip()}.get)
    assert kept_metrics.by_rank(["a", "clip", "b", "oracle"]) == ["oracle", "b", "clip", "a"]
    assert FakeClip().explain(Case("a cat"), {"value": 0.1}) == []  # the default


def test_a_metric_that_saw_other_pictures_of_the_folder_does_not_count(folder: Path) -> None:
    write_run(folder, plan_of("none", limit=2, name="emoji-triples"), metrics=[FakeClip()])
    write_run(folder, plan_of("none", limit=2))
    assert [metric.name for metric in run_folder.open_folder(folder).metrics] == ["oracle"]


def test_pictures_that_no_metric_saw_are_reported(command: Any, folder: Path) -> None:
    write_run(folder / "unseen", plan_of("none,syngen", limit=4), metrics=())
    code, _, err = command(folder / "unseen")
    assert (code, err) == (0, "")
    for name in ("report.html", "report.md"):
        text = (folder / "unseen" / name).read_text()
        assert "No metric has been run on these images" in text
        assert TO_SCORE in text
        assert "1.50" in text
        assert "multiple of the time of none" in text or name == "report.md"
        assert "bootstrap" not in text
    assert (folder / "unseen" / "report.html").read_text().count("<img") == 16
