"""What an observed success rate says about the true one."""

from __future__ import annotations

from math import sqrt

Z_95 = 1.959963984540054  # standard deviations either side of the mean that hold 95% of a normal distribution


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a success probability (Wilson 1927), 95% by default.

    Raises:
        ValueError: there are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"need 0 <= successes <= trials and trials >= 1, got {successes} of {trials}")
    share = successes / trials
    shrink = 1.0 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrink
    half = z * sqrt(share * (1.0 - share) / trials + z * z / (4 * trials * trials)) / shrink
    # At 0 and n of n the bound is exactly 0 or 1; rounding must not pass it.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == trials else centre + half)
