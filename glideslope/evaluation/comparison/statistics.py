"""Statistics over runs. The unit is the run, never the episode: episodes of one policy are not independent of it.

Below `MANY` runs: the mean with a 95% t interval; a percentile bootstrap of so few covers too little. From `MANY`
runs on, as Agarwal et al. (2021) recommend: the interquartile mean with a 95% stratified bootstrap interval, the
performance profile, and the probability of improvement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

MANY = 10
CONFIDENCE = 0.95
_RESAMPLES = 5000
_BATCH = 250  # resamples held in memory at once
_SEED = 0  # the same numbers give the same interval

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure of a group of runs."""

    value: Any  # the mean or the interquartile mean; NaN without a run
    low: Any  # lower end of the 95% interval over runs; NaN below two runs
    high: Any  # upper end
    runs: int  # number of runs behind it
    method: str  # what was computed, for people


def estimate(samples: ArrayLike, strata: Sequence[object] | None = None) -> Estimate:
    """Estimate a share of successes over runs.

    Args:
        samples: (n,) or (n, T) shares in [0, 1], one row a run. Rows with a NaN are left out.
        strata: (n,) what each row belongs to, such as its task; the bootstrap resamples within each.

    Returns:
        Floats for (n,), arrays of shape (T,) for (n, T). Bounds are clipped to [0, 1].
    """
    values = np.asarray(samples, dtype=np.float64)
    known = ~np.isnan(values).any(axis=tuple(range(1, values.ndim)))
    values = values[known]
    count = len(values)
    if count == 0:
        return _estimate(np.full(np.shape(samples)[1:], np.nan), np.nan, np.nan, 0, "no run")
    if count < MANY:
        mean = values.mean(axis=0)
        if count == 1:
            return _estimate(mean, np.nan, np.nan, 1, "one run")
        half = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * values.std(axis=0, ddof=1) / np.sqrt(count)
        return _estimate(mean, mean - half, mean + half, count, "mean, t interval")
    labels = [str(label) for label, kept in zip(strata or (), np.ravel(known), strict=bool(strata)) if kept]
    groups = _split(values, labels) if labels else [values]
    low, high = _bootstrap(groups, interquartile_mean)
    method = "interquartile mean, bootstrap interval"
    return _estimate(interquartile_mean(*groups, axis=0), low, high, count, method)


def interquartile_mean(*samples: Array, axis: int) -> Array:
    """Return the mean of the middle half of all samples together."""
    return np.asarray(stats.trim_mean(np.concatenate(samples, axis=axis), 0.25, axis=axis))


def performance_profile(samples: ArrayLike, thresholds: ArrayLike, strata: Sequence[object]) -> Estimate:
    """Return the share of runs whose score is above each of (T,) thresholds, with its 95% bootstrap band, (T,) each.

    The (n,) samples have no NaN; `strata` is as in `estimate`.
    """
    above = np.asarray(samples, dtype=np.float64)[:, None] > np.asarray(thresholds, dtype=np.float64)
    groups = _split(above.astype(np.float64), list(map(str, strata)))

    def share(*parts: Array, axis: int) -> Array:
        return np.asarray(np.concatenate(parts, axis=axis).mean(axis=axis))

    low, high = _bootstrap(groups, share)
    return _estimate(share(*groups, axis=0), low, high, len(above), "share of runs, bootstrap band")


def improvement(better: Sequence[ArrayLike], worse: Sequence[ArrayLike]) -> Estimate:
    """Return the probability that a run of one group scores higher than a run of another.

    It is the Mann-Whitney statistic over the number of pairs, ties counted half, averaged over strata. Each group's
    scores come as one array for each stratum, in the same order of strata.
    """
    flat = [np.asarray(sample, dtype=np.float64) for pair in zip(better, worse, strict=True) for sample in pair]

    def probability(*parts: Array, axis: int) -> Array:
        return np.mean([_superiority(x, y, axis) for x, y in zip(parts[::2], parts[1::2], strict=True)], axis=0)

    low, high = _bootstrap(flat, probability)
    runs = sum(map(len, flat))
    return _estimate(probability(*flat, axis=0), low, high, runs, "probability of improvement")


def _superiority(x: Array, y: Array, axis: int) -> Array:
    n, m = x.shape[axis], y.shape[axis]
    ranks = np.moveaxis(stats.rankdata(np.concatenate((x, y), axis=axis), axis=axis), axis, 0)
    return (ranks[:n].sum(axis=0) - n * (n + 1) / 2) / (n * m)


def _split(values: Array, labels: Sequence[str]) -> list[Array]:
    """Return the rows of each stratum; all as one where no stratum has two, which could not be resampled."""
    groups = [values[np.array(labels) == label] for label in sorted(set(labels))]
    return groups if any(len(group) > 1 for group in groups) else [values]


def _bootstrap(samples: Sequence[Array], statistic: Callable[..., Array]) -> tuple[Array, Array]:
    """Return the 95% percentile interval of a statistic of independent samples, (n_i,) or (n_i, T) each.

    A sample of one row can't be resampled: it enters every resample as it is.
    """
    resampled = [sample for sample in samples if len(sample) > 1]
    if not resampled:
        return np.asarray(np.nan), np.asarray(np.nan)

    def of_all(*drawn: Array, axis: int) -> Array:
        # SciPy hands the rows over along the last axis, resamples before it.
        rows, parts = iter(drawn), []
        shape = drawn[0].shape[:-1]
        for sample in samples:
            if len(sample) > 1:
                parts.append(next(rows))
            else:
                one = np.moveaxis(sample, 0, -1)
                one = one.reshape((*one.shape[:-1], *[1] * (len(shape) - one.ndim + 1), 1))
                parts.append(np.broadcast_to(one, (*shape, 1)))
        return statistic(*parts, axis=axis)

    interval = stats.bootstrap(
        resampled,
        of_all,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        vectorized=True,
        axis=0,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return np.asarray(interval.low), np.asarray(interval.high)


def _estimate(value: Any, low: Any, high: Any, runs: int, method: str) -> Estimate:
    """Return floats where there is one value, arrays of one shape else; bounds inside [0, 1]."""
    value = np.asarray(value, dtype=np.float64)
    low, high = (np.clip(np.broadcast_to(bound, value.shape), 0.0, 1.0) for bound in (low, high))
    if value.ndim == 0:
        return Estimate(float(value), float(low), float(high), runs, method)
    return Estimate(value, low, high, runs, method)
