"""Statistics over runs, against values worked out by hand, by tables, or by counting."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest

from glideslope.evaluation.comparison.statistics import (
    estimate,
    improvement,
    interquartile_mean,
    performance_profile,
)


def test_few_runs_have_a_mean_with_a_t_interval() -> None:
    found = estimate([0.80, 0.90, 0.94])
    # Mean 0.88; deviations -0.08, 0.02, 0.06: variance 0.0104 / 2; the table of t has 4.3027 for 2 degrees.
    half = 4.302653 * math.sqrt(0.0052 / 3)
    assert (found.value, found.low, found.runs) == (pytest.approx(0.88), pytest.approx(0.88 - half), 3)
    assert found.high == 1.0  # 1.059, clipped
    # 5 runs at 0.1, 0.2, … 0.5: mean 0.3, variance 0.025, t of 4 degrees 2.7764.
    found = estimate([0.1, 0.2, 0.3, 0.4, 0.5])
    assert found.high - found.value == pytest.approx(2.776445 * math.sqrt(0.025 / 5), rel=1e-6)
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_one_run_and_none_have_no_interval() -> None:
    one, none = estimate([0.9]), estimate([])
    assert (one.value, one.runs) == (0.9, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(none.value)
    assert none.runs == 0


@pytest.mark.parametrize("count", [2, 3, 9, 10, 25])
def test_equal_runs_have_an_interval_of_no_width(count: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = estimate([0.7] * count)
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.7, 0.7))


def test_runs_without_a_number_are_left_out() -> None:
    found = estimate([0.8, math.nan, 0.9])
    assert (found.value, found.runs) == (pytest.approx(0.85), 2)


def test_ten_runs_are_many_and_nine_are_few() -> None:
    scores = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert estimate(scores).value == pytest.approx(0.4)
    assert "t interval" in estimate(scores).method
    # An outlier: of 10 the lowest and the highest 2 are cut, 0.2 to 0.7 are left.
    found = estimate([*scores, 1.0])
    assert found.value == pytest.approx((0.2 + 0.3 + 0.4 + 0.5 + 0.6 + 0.7) / 6)
    assert "interquartile" in found.method
    assert 0 <= found.low < found.value < found.high <= 1
    assert estimate([*scores, 1.0]) == found  # the same numbers, the same interval


def test_the_interquartile_mean_drops_a_quarter_at_each_end_of_all_samples_together() -> None:
    one, other = np.array([0.0, 5.0, 6.0, 100.0]), np.array([1.0, 4.0, 7.0, 90.0])
    assert interquartile_mean(one, other, axis=0) == (4 + 5 + 6 + 7) / 4


def test_the_stratified_interval_is_that_of_every_resample() -> None:
    # Nine runs of one task, one of a second, two of a third.
    scores = [0.2] * 9 + [0.9, 0.4, 0.6]
    strata = ["a"] * 9 + ["b", "c", "c"]
    # In every resample nine of the 12 values are 0.2, and the 3 highest are cut.
    found = estimate(scores, strata)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.2, 0.2))
    # Unstratified, many resamples have more than 3 values above 0.2.
    assert estimate(scores).high > 0.2


def test_a_bootstrap_interval_is_near_that_of_a_resampling_written_out() -> None:
    rng = np.random.default_rng(7)
    scores = np.round(rng.beta(8, 2, size=16), 2)
    found = estimate(scores)
    middles = []
    for _ in range(20_000):
        drawn = np.sort(scores[rng.integers(0, 16, 16)])
        middles.append(drawn[4:12].mean())
    assert (found.low, found.high) == pytest.approx(np.quantile(middles, [0.025, 0.975]), abs=0.01)


@pytest.mark.parametrize("count", [3, 12])
def test_curves_are_estimated_point_by_point(count: int) -> None:
    rng = np.random.default_rng(1)
    curves = rng.uniform(0, 1, size=(count, 5))
    together = estimate(curves)
    assert together.value.shape == together.low.shape == (5,)
    for column in range(5):
        alone = estimate(curves[:, column])
        assert together.value[column] == pytest.approx(alone.value)
        assert (together.low[column], together.high[column]) == pytest.approx((alone.low, alone.high), abs=0.02)


def test_curves_with_a_stratum_of_one_run() -> None:
    curves = np.linspace(0, 1, 44).reshape(11, 4)
    found = estimate(curves, ["a"] * 10 + ["b"])
    assert found.low.shape == (4,)
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()


def test_strata_of_one_run_each_are_resampled_together() -> None:
    scores = np.linspace(0.1, 1.0, 10)
    assert estimate(scores, list("abcdefghij")) == estimate(scores)


def test_the_probability_of_improvement_counts_pairs_and_halves_ties() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.integers(80, 100, 12) / 100, rng.integers(75, 98, 10) / 100
    pairs = [1.0 if x > y else 0.5 if x == y else 0.0 for x, y in itertools.product(one, other)]
    assert 0.5 in pairs
    found, reverse = improvement([one], [other]), improvement([other], [one])
    assert found.value == pytest.approx(sum(pairs) / 120)
    assert reverse.value == pytest.approx(1 - found.value)
    assert 0 <= found.low < found.value < found.high <= 1
    # Resampled by hand.
    values = [
        np.sign(one[rng.integers(0, 12, 12)][:, None] - other[rng.integers(0, 10, 10)]).mean() / 2 + 0.5
        for _ in range(5000)
    ]
    assert (found.low, found.high) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.02)


def test_the_probability_of_improvement_of_equal_and_of_separate_groups() -> None:
    assert improvement([[0.9] * 10], [[0.9] * 10]).value == 0.5
    apart = improvement([[0.9] * 10], [[0.1] * 10])
    assert (apart.value, apart.low, apart.high) == (1.0, 1.0, 1.0)
    # Better on one task, worse on the other: the mean of the two.
    assert improvement([[0.9] * 10, [0.1] * 5], [[0.5] * 10, [0.5] * 5]).value == 0.5


def test_a_performance_profile_counts_runs_above_each_threshold() -> None:
    scores = [0.1] * 3 + [0.5] * 5 + [1.0] * 2
    found = performance_profile(scores, [0.0, 0.1, 0.3, 0.5, 0.9, 1.0], ["a"] * 10)
    assert found.value.tolist() == pytest.approx([1.0, 0.7, 0.7, 0.2, 0.2, 0.0])
    assert (found.low[0], found.high[0]) == (1.0, 1.0)
    # Resamples have a binomial number of the 7 runs above: 2.5% of them 4 or fewer, 2.8% all 10.
    assert (found.low[1], found.high[1]) == pytest.approx((0.4, 1.0), abs=0.1)
