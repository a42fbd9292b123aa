"""Do risks keep their word: in the large, in slope, and as a smooth curve with its distance from the diagonal."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from mofa_bayes.risk.metrics.checks import Array, divide
from mofa_bayes.risk.metrics.logistic import fit_logistic, place_knots, spline_basis
from mofa_bayes.risk.metrics.status import Status, read_risk

_SMALLEST = 1e-8
"""Risks are held this far from 0 and 1, where log odds end."""


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationIndex:
    """Absolute distance of the smoothed observed risk from the predicted, over patients, each (..., time).

    Attributes
    ----------
    ici, e50, e90
        Mean, median and 90 % quantile (Austin et al. 2020, Stat Med 39:2714).
    """

    ici: Array
    e50: Array
    e90: Array


def observed_expected(risk: ArrayLike, status: Status) -> Array:
    """Ratio of the observed incidence to the mean predicted risk, (..., time): above 1, risks are too low.

    With `status_at(..., limit="left")` the observed one is Aalen-Johansen's (without competing risks, Kaplan-Meier's).
    """
    observed = (status.weight * status.event).sum(axis=-2)
    return divide(observed, (status.case_weight[..., None] * read_risk(risk, status)).sum(axis=-2))


def calibration_intercept(risk: ArrayLike, status: Status) -> Array:
    """Calibration in the large: log odds by which observed exceed predicted risks, (..., time); 0 is right.

    The intercept of a logistic regression of the status with the log odds of the risk as offset, weighted by `status`.
    NaN where all or none had the event.
    """
    columns = []
    for log_odds, event, weight in _by_time(risk, status):
        ones = np.ones((*log_odds.shape, 1))
        columns.append(np.where(_has_both(event, weight), fit_logistic(ones, event, weight, log_odds)[..., 0], np.nan))
    return np.stack(columns, axis=-1)


def calibration_slope(risk: ArrayLike, status: Status) -> Array:
    """Slope of the status on the log odds of the risk, (..., time): 1 is right, below 1 risks are too extreme.

    A logistic regression with intercept, weighted by `status` (Cox 1958; Van Calster et al. 2016, J Clin Epidemiol
    74:167). NaN where all or none had the event, or where all risks are the same.
    """
    columns = []
    for log_odds, event, weight in _by_time(risk, status):
        centred = log_odds - log_odds.mean(axis=-1, keepdims=True)
        scale = centred.std(axis=-1, keepdims=True)
        varies = scale > 1e-9
        design = np.stack([np.ones_like(centred), centred / np.where(varies, scale, 1.0)], axis=-1)
        slope = fit_logistic(design, event, weight, np.zeros_like(weight))[..., 1]
        is_known = _has_both(event, weight) & varies[..., 0]
        columns.append(np.where(is_known, slope / np.where(varies, scale, 1.0)[..., 0], np.nan))
    return np.stack(columns, axis=-1)


def calibration_curve(risk: ArrayLike, status: Status, predicted: ArrayLike, *, n_knots: int = 4) -> Array:
    """Observed risk among patients of a predicted risk, smoothed, (..., time, point).

    The smoother is a logistic regression on restricted cubic splines of the log odds of the risk, weighted by `status`;
    knots lie at quantiles of the risk averaged over replicates.

    Parameters
    ----------
    risk, status
        As in `brier_score`.
    predicted
        Predicted risks at which to read the curve, (point,) or (time, point).
    n_knots
        Knots of the splines; 4 let the curve bend twice, which needs about 20 events.
    """
    n_times = status.event.shape[1]
    points = _log_odds(np.broadcast_to(np.asarray(predicted, dtype=np.float64), (n_times, np.shape(predicted)[-1])))
    curves = [_Smoother.fit(*column, n_knots).at(points[t]) for t, column in enumerate(_by_time(risk, status))]
    return np.stack(curves, axis=-2)


def calibration_index(risk: ArrayLike, status: Status, *, n_knots: int = 4) -> CalibrationIndex:
    """Distance of `calibration_curve` from the diagonal, at the patients' own risks.

    It is above 0 even for perfect risks, since the curve is estimated.
    """
    ici, e50, e90 = [], [], []
    for log_odds, event, weight in _by_time(risk, status):
        gaps = np.abs(_Smoother.fit(log_odds, event, weight, n_knots).at(log_odds) - expit(log_odds))
        ici.append(divide((status.case_weight * gaps).sum(-1), status.case_weight.sum(-1)))
        e50.append(weighted_quantile(gaps, status.case_weight, 0.5))
        e90.append(weighted_quantile(gaps, status.case_weight, 0.9))
    return CalibrationIndex(np.stack(ici, axis=-1), np.stack(e50, axis=-1), np.stack(e90, axis=-1))


def weighted_quantile(values: Array, weights: Array, probability: float) -> Array:
    """Smallest of `values` (..., n) below or at which lies at least that share of the weight, (...)."""
    shape = np.broadcast_shapes(values.shape, weights.shape)
    order = np.argsort(np.broadcast_to(values, shape), axis=-1)
    ordered = np.take_along_axis(np.broadcast_to(values, shape), order, axis=-1)
    sums = np.cumsum(np.take_along_axis(np.broadcast_to(weights, shape), order, axis=-1), axis=-1)
    place = (sums < probability * sums[..., -1:] * (1 - 1e-12)).sum(axis=-1, keepdims=True)
    quantile: Array = np.take_along_axis(ordered, np.minimum(place, shape[-1] - 1), axis=-1)[..., 0]
    return quantile


@dataclass(frozen=True, slots=True, eq=False)
class _Smoother:
    knots: Array
    coefficients: Array

    @classmethod
    def fit(cls, log_odds: Array, event: Array, weight: Array, n_knots: int) -> "_Smoother":
        knots = place_knots(log_odds.reshape(-1, log_odds.shape[-1]).mean(axis=0), n_knots)
        return cls(knots, fit_logistic(_design(log_odds, knots), event, weight, np.zeros_like(weight)))

    def at(self, log_odds: Array) -> Array:
        observed: Array = expit((_design(log_odds, self.knots) @ self.coefficients[..., None])[..., 0])
        return observed


def _design(log_odds: Array, knots: Array) -> Array:
    basis = spline_basis(log_odds, knots)
    return np.concatenate([np.ones((*basis.shape[:-1], 1)), basis], axis=-1)


def _by_time(risk: ArrayLike, status: Status) -> list[tuple[Array, Array, Array]]:
    """Log odds (..., subject), event (subject,) and weight (..., subject) at each horizon."""
    values = _log_odds(read_risk(risk, status))
    return [
        (values[..., min(t, values.shape[-1] - 1)], status.event[:, t], status.weight[..., t])
        for t in range(status.event.shape[1])
    ]


def _log_odds(risk: Array) -> Array:
    values: Array = logit(np.clip(risk, _SMALLEST, 1 - _SMALLEST))
    return values


def _has_both(event: Array, weight: Array) -> np.ndarray:
    """Whether some had the event and some had not."""
    return np.asarray(((weight * event).sum(-1) > 0) & ((weight * (1 - event)).sum(-1) > 0))
