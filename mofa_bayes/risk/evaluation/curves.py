"""Curves as tables: calibration and decision with bands, and the distribution of risk by outcome."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mofa_bayes.risk.evaluation.cohort import Cohort, Replicates, estimate_of
from mofa_bayes.risk.evaluation.risks import Array
from mofa_bayes.risk.metrics import (
    aalen_johansen,
    calibration_curve,
    net_benefit,
    net_benefit_at,
    net_benefit_of_all,
)

THRESHOLDS = np.arange(1, 100) / 100
N_POINTS = 50
N_BINS = 20


def find_quantiles(replicates: Array, level: float) -> tuple[Array, Array]:
    """Equal-tailed interval over the first axis, leaving NaN out; NaN where nothing is left."""
    flat = replicates.reshape(len(replicates), -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    tails = [(1 - level) / 2, (1 + level) / 2]
    for column in range(flat.shape[1]):
        known = flat[~np.isnan(flat[:, column]), column]
        if len(known):
            # an interpolated quantile next to minus infinity would be NaN
            ends[:, column] = np.quantile(known, tails, method="linear" if np.isfinite(known).all() else "lower")
    lower, upper = ends.reshape(2, *replicates.shape[1:])
    return lower, upper


class CalibrationCurve:
    """Smoothed observed risk at predicted risks between the 2 and 98 % quantiles of the cohort's."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort
        risk = estimate_of(cohort).risk[:, cohort.horizons]
        ends = np.quantile(risk, [0.02, 0.98], axis=0)
        self.predicted = np.linspace(ends[0], ends[1], N_POINTS).T

    def compute(self, own: Replicates) -> Array:
        """Observed risk, (..., time, point)."""
        status = self.cohort.status(own.weights, "left")
        observed = calibration_curve(own.risk[..., self.cohort.horizons], status, self.predicted)
        return np.where(self.cohort.is_seen[:, None], observed, np.nan)

    def tabulate(self, estimate: Array, replicates: Array, level: float) -> pd.DataFrame:
        """One row for each time and predicted risk."""
        lower, upper = find_quantiles(replicates, level)
        columns = {"predicted": self.predicted, "observed": estimate, "lower": lower, "upper": upper}
        return _stack(self.cohort.times, columns).assign(level=level)


class DecisionCurve:
    """Net benefit of the model and of treating all, at thresholds from 1 to 99 %."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort

    def compute(self, own: Replicates) -> Array:
        """Net benefit of the model and of treating all, (..., 2, time, threshold)."""
        cohort, risk = self.cohort, own.risk[..., self.cohort.horizons]
        if cohort.time is None:
            model = net_benefit(risk[..., 0], cohort.event, THRESHOLDS, weights=own.weights)[..., None, :]
            everyone = net_benefit(np.ones(len(cohort.event)), cohort.event, THRESHOLDS, weights=own.weights)
            everyone = everyone[..., None, :]
        else:
            follow_up = (cohort.time, cohort.event)
            cause = cohort.risks.cause
            model = net_benefit_at(risk, *follow_up, cohort.times, THRESHOLDS, cause=cause, weights=own.weights)
            incidence = aalen_johansen(*follow_up, cause=cause, weights=own.weights).at(cohort.times)
            everyone = net_benefit_of_all(incidence, THRESHOLDS)
        shape = np.broadcast_shapes(model.shape, everyone.shape)
        both = np.stack([np.broadcast_to(model, shape), np.broadcast_to(everyone, shape)], axis=-3)
        return np.where(cohort.is_seen[:, None], both, np.nan)

    def tabulate(self, estimate: Array, replicates: Array, level: float) -> pd.DataFrame:
        """One row for each time and threshold; `gain` is over the better of treating all and treating none."""
        gain, gains = _gain(estimate), _gain(replicates)
        lower, upper = find_quantiles(replicates[:, 0], level)
        gain_lower, gain_upper = find_quantiles(gains, level)
        useful = np.where(np.isnan(gain), np.nan, (gains > 0).mean(axis=0))
        columns = {
            "threshold": np.broadcast_to(THRESHOLDS, gain.shape),
            "net_benefit": estimate[0],
            "lower": lower,
            "upper": upper,
            "treat_all": estimate[1],
            "gain": gain,
            "gain_lower": gain_lower,
            "gain_upper": gain_upper,
            "probability_useful": useful,
        }
        return _stack(self.cohort.times, columns).assign(level=level)


def tabulate_distribution(cohort: Cohort) -> pd.DataFrame:
    """Distribution of risk among those with and without the event by each horizon, weighted for censoring.

    Columns `time, event, lower, upper, share`: shares of the bins of each outcome sum to 1.
    """
    risk, status = estimate_of(cohort).risk[:, cohort.horizons], cohort.status(None, "left")
    edges = np.linspace(0, 1, N_BINS + 1)
    rows = []
    for t, time in enumerate(cohort.times):
        for event in (0, 1):
            weight = status.weight[:, t] * (status.event[:, t] == event)
            mass = np.histogram(risk[:, t], edges, weights=weight)[0]
            share = mass / mass.sum() if mass.sum() > 0 and cohort.is_seen[t] else np.full(N_BINS, np.nan)
            rows.append(
                pd.DataFrame({"time": time, "event": event, "lower": edges[:-1], "upper": edges[1:], "share": share})
            )
    return pd.concat(rows, ignore_index=True)


def _gain(worth: Array) -> Array:
    gain: Array = worth[..., 0, :, :] - np.maximum(worth[..., 1, :, :], 0.0)
    return gain


def _stack(times: Sequence[float] | Array, columns: dict[str, Array]) -> pd.DataFrame:
    """Tables (time, row) below each other."""
    n_rows = next(iter(columns.values())).shape[1]
    return pd.DataFrame(
        {"time": np.repeat(times, n_rows), **{name: np.ravel(values) for name, values in columns.items()}}
    )
