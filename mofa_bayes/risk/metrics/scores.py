"""Proper scores: how far a predicted distribution is from what happened; smaller is better, but for log scores."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy

from mofa_bayes.errors import DataError
from mofa_bayes.risk.metrics.checks import Array, divide, read_follow_up, read_horizons, read_values, read_weights
from mofa_bayes.risk.metrics.status import Status, read_risk


def brier_score(risk: ArrayLike, status: Status) -> Array:
    """Mean squared distance of the risk from what happened by each horizon, (..., time).

    Under censoring the weighted score of Graf et al. 1999, Stat Med 18:2529.

    Parameters
    ----------
    risk
        Probability of the event by the horizon, (..., subject, time).
    status
        From `binary_status` or `status_at`.
    """
    loss = status.weight * (read_risk(risk, status) - status.event) ** 2
    return divide(loss.sum(axis=-2), status.total)


def brier_gain(risk: ArrayLike, status: Status) -> Array:
    """Share of the Brier score of the mean incidence that the risk takes away, (..., time): 1 - BS / BS_mean.

    1 is perfect, 0 no better than one risk for all, below 0 worse (index of prediction accuracy: Kattan and Gerds 2018,
    Diagn Progn Res 2:7).
    """
    incidence = divide((status.weight * status.event).sum(axis=-2), status.weight.sum(axis=-2))
    by_mean = divide((status.weight * (incidence[..., None, :] - status.event) ** 2).sum(axis=-2), status.total)
    return 1 - divide(brier_score(risk, status), by_mean)


def log_score(risk: ArrayLike, status: Status) -> Array:
    """Mean log probability of what happened by each horizon, (..., time), weighted as the Brier score.

    Minus infinity when something happened that had probability 0.
    """
    values = read_risk(risk, status)
    happened = xlogy(status.weight * status.event, values) + xlogy(status.weight * (1 - status.event), 1 - values)
    return divide(happened.sum(axis=-2), status.total)


def integrate(values: ArrayLike, times: ArrayLike) -> Array:
    """Average a score (..., time) over the span of its horizons by the trapezoidal rule, (...).

    Of Brier scores it is the integrated Brier score.

    Raises
    ------
    DataError
        Fewer than two horizons.
    """
    horizons, heights = read_horizons(times), np.asarray(values, dtype=np.float64)
    if len(horizons) < 2 or heights.shape[-1:] != horizons.shape:
        raise DataError("scores to integrate", got=f"shape {heights.shape} at {len(horizons)} horizons",
                        expected="at least two horizons, last axis", do="Score at more times.")  # fmt: skip
    average: Array = np.trapezoid(heights, horizons, axis=-1) / (horizons[-1] - horizons[0])
    return average


def survival_at_own_time(survival: ArrayLike, times: ArrayLike, time: ArrayLike) -> Array:
    """Read each subject's survival curve at its own time, linear between horizons and from S(0) = 1.

    Parameters
    ----------
    survival
        P(T > t), (..., subject, time).
    times
        Horizons (time,).
    time
        (subject,); times after the last horizon are taken there.
    """
    curve, grid = _curve(survival, times, len(np.asarray(time)))
    place, share = _locate(grid, np.asarray(time, dtype=np.float64))
    return _between(_pick(curve, place), _pick(curve, place + 1), share)


def density_score(
    survival: ArrayLike, times: ArrayLike, time: ArrayLike, event: ArrayLike, *, weights: ArrayLike | None = None
) -> Array:
    """Mean log score for right-censored times, (...): log density of an event, log survival of the censored.

    Of the distribution whose survival is linear between the horizons; follow-up ends at the last. It is the log
    likelihood per patient, and proper. Density is per unit of time.

    Parameters
    ----------
    survival
        P(T > t), (..., subject, time).
    times
        Horizons (time,): the finer, the better.
    time, event, weights
        (subject,), and case weights (..., subject).
    """
    seen, is_event, cases = _read(time, event, weights, times)
    curve, grid = _curve(survival, times, len(seen))
    place, share = _locate(grid, seen)
    start, end = _pick(curve, place), _pick(curve, place + 1)
    width = np.diff(grid)[place]
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(is_event, (start - end) / width, _between(start, end, share)))
    return divide(np.where(cases > 0, cases * logs, 0.0).sum(-1), cases.sum(-1))


def survival_crps(
    survival: ArrayLike, times: ArrayLike, time: ArrayLike, event: ArrayLike, *, weights: ArrayLike | None = None
) -> Array:
    """Continuous ranked probability score for right-censored times, in units of time, (...).

    The integral of (1 - S)^2 up to the time, and for an event that of S^2 from there to the last horizon (Avati et al.
    2019, UAI), where follow-up ends. Parameters as in `density_score`.
    """
    seen, is_event, cases = _read(time, event, weights, times)
    curve, grid = _curve(survival, times, len(seen))
    place, share = _locate(grid, seen)
    start, end, width = _pick(curve, place), _pick(curve, place + 1), np.diff(grid)[place]
    own = _between(start, end, share)
    fallen = _pick(_cumulated(1 - curve, grid), place) + _square_area(1 - start, 1 - own) * share * width
    until = _pick(_cumulated(curve, grid), place) + _square_area(start, own) * share * width
    standing = _cumulated(curve, grid)[..., -1] - until
    return divide((cases * (fallen + is_event * standing)).sum(-1), cases.sum(-1))


def _read(time: ArrayLike, event: ArrayLike, weights: ArrayLike | None, times: ArrayLike) -> tuple[Array, Array, Array]:
    """Read follow-up until the last horizon, and case weights."""
    seen, codes = read_follow_up(time, event)
    last = read_horizons(times)[-1]
    is_event = (codes > 0) & (seen <= last)
    return np.minimum(seen, last), is_event.astype(np.float64), read_weights(weights, len(seen))


def _curve(survival: ArrayLike, times: ArrayLike, n_subjects: int) -> tuple[Array, Array]:
    """Put S(0) = 1 in front: curves (..., subject, 1 + time) and grid (1 + time,)."""
    values = read_values("survival", survival, n_subjects, axis=-2, is_probability=True)
    horizons = read_horizons(times)
    if values.shape[-1] != len(horizons) or (np.diff(values, axis=-1, prepend=1.0) > 1e-9).any():
        raise DataError("survival", got=f"{values.shape[-1]} columns, or curves that rise",
                        expected=f"{len(horizons)} columns, never rising", do="Pass 1 - risk.")  # fmt: skip
    curve = np.concatenate([np.ones((*values.shape[:-1], 1)), values], axis=-1)
    return np.minimum.accumulate(curve, axis=-1), np.append(0.0, horizons)


def _locate(grid: Array, time: Array) -> tuple[np.ndarray, Array]:
    """Interval (start, end] that holds each time, and how far into it the time lies."""
    place = np.clip(np.searchsorted(grid, time, side="left") - 1, 0, len(grid) - 2)
    share: Array = np.clip((time - grid[place]) / (grid[place + 1] - grid[place]), 0.0, 1.0)
    return place, share


def _pick(values: Array, place: np.ndarray) -> Array:
    """Value of each subject at its own place: (..., subject, k) to (..., subject)."""
    picked: Array = values[..., np.arange(len(place)), place]
    return picked


def _between(start: Array, end: Array, share: Array) -> Array:
    return start + share * (end - start)


def _square_area(start: Array, end: Array) -> Array:
    """Mean of the square of a straight line."""
    return (start * start + start * end + end * end) / 3


def _cumulated(values: Array, grid: Array) -> Array:
    """Integral of the square of piecewise linear curves up to each grid point, same shape."""
    pieces = _square_area(values[..., :-1], values[..., 1:]) * np.diff(grid)
    sums: Array = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(pieces, axis=-1)], axis=-1)
    return sums
