"""Intervals: whether they hold the truth as often as they say, and at what width."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta

from mofa_bayes.errors import DataError
from mofa_bayes.risk.metrics.checks import Array


def interval_coverage(lower: ArrayLike, upper: ArrayLike, truth: ArrayLike) -> Array:
    """Share of intervals that hold the truth, over the last axis, (...).

    Parameters
    ----------
    lower, upper, truth
        (..., case); cases whose truth is NaN are left out.
    """
    low, high, value = _read(lower, upper, truth)
    is_known = ~np.isnan(value)
    inside = ((value >= low) & (value <= high) & is_known).sum(axis=-1)
    share: Array = inside / np.where(is_known.any(axis=-1), is_known.sum(axis=-1), np.nan)
    return share


def coverage_interval(n_inside: int, n_cases: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a coverage that was seen (Clopper and Pearson 1934, Biometrika 26:404)."""
    tail = (1 - level) / 2
    lower = float(beta.ppf(tail, n_inside, n_cases - n_inside + 1)) if n_inside > 0 else 0.0
    upper = float(beta.isf(tail, n_inside + 1, n_cases - n_inside)) if n_inside < n_cases else 1.0
    return lower, upper


def interval_score(lower: ArrayLike, upper: ArrayLike, truth: ArrayLike, *, level: float) -> Array:
    """Mean width plus 2 / (1 - level) times the distance to a truth outside, (...): proper, smaller is better.

    Gneiting and Raftery 2007, JASA 102:359. Cases whose truth is NaN are left out.
    """
    low, high, value = _read(lower, upper, truth)
    missed = np.maximum(low - value, 0.0) + np.maximum(value - high, 0.0)
    scores = high - low + 2 / (1 - level) * missed
    is_known = ~np.isnan(value)
    mean: Array = np.where(is_known, scores, 0.0).sum(-1) / np.where(is_known.any(-1), is_known.sum(-1), np.nan)
    return mean


def _read(lower: ArrayLike, upper: ArrayLike, truth: ArrayLike) -> tuple[Array, Array, Array]:
    low, high, value = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (lower, upper, truth)))
    if (low > high).any():
        raise DataError("intervals", got="a lower end above the upper", expected="lower <= upper",
                        do="Swap the two.")  # fmt: skip
    return low, high, value
