"""Statistics of paired comparisons, against libraries and slow transcriptions, and on people whose preferences are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from helpers.rating_people import People, coverage
from unbleed.rating.statistics import clustered, krippendorff_alpha, sign_test, strengths, student_quantile, win_rate_interval


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (0, 1), (5, 5), (9, 1), (3, 17), (400, 600), (2000, 1900)])
def test_the_sign_test_is_scipys(wins: int, losses: int) -> None:
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 4, 9.3, 40, 700, 4999, 6000, 1e6])
@pytest.mark.parametrize("chance", [0.975, 0.9, 0.25])
def test_students_quantile_is_scipys(freedom: float, chance: float) -> None:
    assert student_quantile(chance, freedom) == pytest.approx(
        stats.t.ppf(chance, freedom), rel=1e-3 if freedom > 5000 else 2e-5
    )


def test_alpha_is_that_of_the_library() -> None:
    import krippendorff

    rng = np.random.default_rng(0)
    for agreement in (0.0, 0.5, 0.9):
        truth = rng.integers(3, size=30)
        table = np.where(rng.random((5, 30)) < agreement, truth, rng.integers(3, size=(5, 30))).astype(float)
        table[rng.random(table.shape) < 0.3] = np.nan  # pairs that a rater did not see
        units = [[str(int(value)) for value in column if not np.isnan(value)] for column in table.T]
        expected = krippendorff.alpha(reliability_data=table, level_of_measurement="nominal")
        assert krippendorff_alpha(units) == pytest.approx(expected, abs=1e-12)


def test_alpha_is_not_known_where_nothing_varies_or_nobody_shares_a_pair() -> None:
    assert math.isnan(krippendorff_alpha([["a", "a"], ["a", "a"]]))
    assert math.isnan(krippendorff_alpha([["a"], ["b"]]))


def played(seed: int, methods: int = 4, games: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    both = np.array([rng.choice(methods, 2, replace=False) for _ in range(games)])
    chance = 1 / (1 + np.exp(-(both[:, 0] - both[:, 1]) * 0.5))
    values = np.where(rng.random(games) < 0.2, 0.5, (rng.random(games) < chance).astype(float))
    return values, both[:, 0], both[:, 1]


@pytest.mark.parametrize("seed", range(3))
def test_strengths_are_the_maximum_of_the_likelihood_as_scipy_finds_it(seed: int) -> None:
    values, first, second = played(seed)

    def minus_log_likelihood(free: np.ndarray) -> float:
        strength = np.append(free, 0.0)
        odds = strength[first] - strength[second]
        return float(np.sum(np.logaddexp(0, odds) - values * odds))

    best = np.append(optimize.minimize(minus_log_likelihood, np.zeros(3), method="BFGS", options={"gtol": 1e-8}).x, 0.0)
    found, influence = strengths(values, first, second, 4)
    assert found == pytest.approx(best - best.mean(), abs=1e-5)
    assert found.sum() == pytest.approx(0, abs=1e-12)
    assert influence.sum(axis=0) == pytest.approx(np.zeros(4), abs=1e-9)


def test_the_influence_of_an_answer_is_what_it_moves_the_strengths_by() -> None:
    values, first, second = played(5, games=400)
    found, influence = strengths(values, first, second, 4)
    for left_out in (0, 17, 123):
        rest = np.arange(400) != left_out
        without, _ = strengths(values[rest], first[rest], second[rest], 4)
        assert found - without == pytest.approx(influence[left_out], rel=0.05, abs=2e-4)
        assert np.abs(influence[left_out]).max() > 1e-3


def test_two_methods_have_the_strengths_of_their_win_rate() -> None:
    values = np.array([1.0] * 60 + [0.5] * 20 + [0.0] * 20)
    ids = np.arange(100)
    found, influence = strengths(values, np.zeros(100, int), np.ones(100, int), 2)
    assert found[0] - found[1] == pytest.approx(math.log(0.7 / 0.3))
    variance, _ = clustered(influence[:, 0] - influence[:, 1], ids, np.zeros(100, int))
    half = student_quantile(0.975, 99) * math.sqrt(variance)
    low, high = win_rate_interval(values, ids, np.zeros(100, int))
    assert math.log(high / (1 - high)) - math.log(low / (1 - low)) == pytest.approx(2 * half)


def test_a_method_that_won_everything_has_no_strength() -> None:
    first, second = np.array([0, 0, 1, 1]), np.array([1, 2, 2, 2])
    found, influence = strengths(np.array([1.0, 1.0, 1.0, 0.0]), first, second, 3)
    assert np.isnan(found).all()
    assert np.isnan(influence).all()


def test_variances_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(1)
    prompts, raters = rng.integers(15, size=200), rng.integers(6, size=200)
    influence = rng.normal(size=200) + 0.5 * rng.normal(size=15)[prompts] + 0.5 * rng.normal(size=6)[raters]

    def plain(keys: list) -> tuple[float, int]:
        groups = sorted(set(keys))
        total = sum(sum(value for value, key in zip(influence, keys, strict=True) if key == group) ** 2 for group in groups)
        return len(groups) / (len(groups) - 1) * total, len(groups) - 1

    (vp, dp), (vr, dr), (vb, db) = plain(list(prompts)), plain(list(raters)), plain(list(zip(prompts, raters, strict=True)))
    total = vp + vr - vb
    assert total > max(vp, vr)
    assert clustered(influence, prompts, raters) == pytest.approx((total, total**2 / (vp**2 / dp + vr**2 / dr + vb**2 / db)))
    assert clustered(influence, prompts, raters * 0) == pytest.approx((vp, dp))


def test_a_full_design_has_the_mean_squares_of_an_analysis_of_variance() -> None:
    table = np.random.default_rng(2).normal(size=(12, 7)) + np.arange(12)[:, None] + 2 * np.arange(7)
    prompts, raters = (axis.ravel() for axis in np.indices(table.shape))
    rows, columns, mean = table.mean(1), table.mean(0), table.mean()
    by_rows = 7 * ((rows - mean) ** 2).sum() / 11
    by_columns = 12 * ((columns - mean) ** 2).sum() / 6
    whole = ((table - mean) ** 2).sum() / 83
    variance, _ = clustered((table - mean).ravel() / table.size, prompts, raters)
    assert variance == pytest.approx((by_rows + by_columns - whole) / table.size)


def test_equal_answers_have_no_interval() -> None:
    ids = np.arange(20)
    assert all(map(math.isnan, win_rate_interval(np.ones(20), ids, ids * 0)))
    assert all(map(math.isnan, win_rate_interval(np.full(20, 0.5), ids, ids * 0)))
    low, high = win_rate_interval(np.array([1.0] * 19 + [0.0]), ids, ids * 0)
    assert 0.5 < low < 0.95 < high < 1


def test_intervals_hold_the_truth_of_simulated_studies() -> None:
    """The whole of it is `python benchmarks/rating.py coverage`."""
    assert 0.9 <= coverage(People(), prompts=20, raters=6, studies=100) <= 0.99


def test_intervals_that_take_answers_for_independent_would_be_too_narrow() -> None:
    """So that the test above tells something."""
    from helpers.rating_people import made_up_study, rated
    from unbleed.rating.summary import VALUES, build

    people, study, held = People(prompt_sd=1.0, rater_sd=0.6), made_up_study(20), 0
    for number in range(60):
        values = np.array([VALUES[one.outcome] for one in build(study, rated(study, people, 6, number)).answers])
        low, high = win_rate_interval(values, np.arange(len(values)), np.zeros(len(values), int))
        held += low <= people.win_rate() <= high
    assert held / 60 < 0.85
