"""The interval of a success rate: by hand, by its definition, and by its closed form."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glideslope.curriculum.wilson import wilson_interval

Z = 1.959963984540054


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n) with z² = 3.841459
        (85, 100, 0.767165, 0.906940),
        (95, 100, 0.888249, 0.978456),
        (1, 2, 0.094531, 0.905469),
        (17, 20, 0.639582, 0.947631),
        (0, 20, 0.0, 0.161125),  # z² / (n + z²)
        (20, 20, 0.838875, 1.0),  # n / (n + z²)
        (0, 1, 0.0, 0.793450),
        (1, 1, 0.206550, 1.0),
    ],
)
def test_wilson_interval_by_hand(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-6)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_by_its_definition(counts: tuple[int, int]) -> None:
    """At its bounds p the share seen is z standard errors away: |k/n − p| = z √(p(1−p)/n)."""
    successes, trials = counts
    low, high = wilson_interval(successes, trials)
    share = successes / trials
    assert 0.0 <= low <= share <= high <= 1.0
    assert (low == 0.0) == (successes == 0)
    assert (high == 1.0) == (successes == trials)
    for bound, extreme in ((low, successes == 0), (high, successes == trials)):
        if not extreme:
            assert abs(share - bound) == pytest.approx(Z * np.sqrt(bound * (1 - bound) / trials), rel=1e-6)
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1.0 - high, 1.0 - low), abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5), (0, -1)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="need 0 <= successes <= trials"):
        wilson_interval(successes, trials)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_by_its_closed_form(counts: tuple[int, int]) -> None:
    """Wilson (1927): (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)."""
    successes, trials = counts
    share, shrink = successes / trials, 1.0 + Z * Z / trials
    centre = (share + Z * Z / (2 * trials)) / shrink
    half = Z * sqrt(share * (1.0 - share) / trials + Z * Z / (4 * trials * trials)) / shrink
    assert wilson_interval(successes, trials) == pytest.approx((centre - half, centre + half), abs=1e-12)
