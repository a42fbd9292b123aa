"""The panel of metrics: which ones an outcome has, computed for any number of replicates at once."""

from collections.abc import Iterator

import numpy as np

from mofa_bayes.risk.evaluation.cohort import Cohort, Replicates
from mofa_bayes.risk.evaluation.risks import Array
from mofa_bayes.risk.metrics import (
    auc,
    brier_gain,
    brier_score,
    calibration_index,
    calibration_intercept,
    calibration_slope,
    d_calibration,
    density_score,
    harrell_c,
    integrate,
    log_score,
    mean_auc,
    observed_expected,
    status_at,
    survival_at_own_time,
    survival_crps,
    uno_c,
)

_FINE_GRID = 10
"""Horizons that make a survival curve: with fewer, what needs the whole distribution is left out."""

Panel = dict[tuple[str, float], Array]
"""(metric, time) to values (...); time is NaN where a metric has none."""


def compute_panel(cohort: Cohort, replicates: Replicates) -> Panel:
    """Compute every metric of the cohort's outcome."""
    panel: Panel = {}
    if cohort.time is not None:
        panel.update(rank_panel(cohort, replicates))
    for name, values in _by_horizon(cohort, replicates):
        known = np.where(cohort.is_seen, values, np.nan)
        panel.update({(name, float(time)): known[..., t] for t, time in enumerate(cohort.times)})
    if cohort.time is not None:
        panel.update({(name, np.nan): values for name, values in _over_time(cohort, replicates)})
    return panel


def rank_panel(cohort: Cohort, own: Replicates) -> Panel:
    """Compute what ranks patients by their predictor."""
    assert cohort.time is not None
    if cohort.is_competing:
        # who had another event never has this one and outlives everyone (Wolbers et al. 2009, Epidemiology 20:555)
        is_own = cohort.event == cohort.risks.cause
        time = np.where((cohort.event > 0) & ~is_own, cohort.time.max() + 1, cohort.time)
        return {("harrell_c", np.nan): harrell_c(own.ranks, time, is_own, weights=own.weights)}
    tau = float(cohort.times[-1])
    return {
        ("harrell_c", np.nan): harrell_c(own.ranks, cohort.time, cohort.event, weights=own.weights),
        ("uno_c", tau): uno_c(own.ranks, cohort.time, cohort.event, tau=tau, weights=own.weights),
    }


def _by_horizon(cohort: Cohort, own: Replicates) -> Iterator[tuple[str, Array]]:
    """Each (..., time). Scores weigh events as scikit-survival does, calibration so that incidences are exact."""
    risk, status = own.risk[..., cohort.horizons], cohort.status(own.weights)
    exact = cohort.status(own.weights, "left")
    yield "auc", auc(risk, status)
    yield "brier_score", brier_score(risk, status)
    yield "brier_gain", brier_gain(risk, status)
    yield "log_score", log_score(risk, status)
    yield "observed_expected", observed_expected(risk, exact)
    yield "calibration_intercept", calibration_intercept(risk, exact)
    yield "calibration_slope", calibration_slope(risk, exact)
    index = calibration_index(risk, exact)
    yield "ici", index.ici
    yield "e50", index.e50
    yield "e90", index.e90


def _over_time(cohort: Cohort, own: Replicates) -> Iterator[tuple[str, Array]]:
    """Each (...). Only horizons within follow-up count."""
    assert cohort.time is not None
    times, event = cohort.risks.times, cohort.event
    seen = np.flatnonzero(times < cohort.time.max())
    grid, risk = times[seen], own.risk[..., seen]
    if len(grid) >= 2:
        status = status_at(cohort.time, event, grid, cause=cohort.risks.cause, weights=own.weights)
        yield "integrated_brier", integrate(brier_score(risk, status), grid)
    if cohort.is_competing:  # the rest asks for the survival of the patient, which the risk of one cause is not
        return
    if len(grid) >= 2:
        yield "mean_auc", mean_auc(auc(risk, status), cohort.time, event, grid, weights=own.weights)
    if len(grid) >= _FINE_GRID:
        follow_up = (1 - risk, grid, cohort.time, event)
        yield "density_score", density_score(*follow_up, weights=own.weights)
        yield "crps", survival_crps(*follow_up, weights=own.weights)
        if own.weights is None:  # a test of repeated patients would find them too alike
            at_own = survival_at_own_time(1 - risk, grid, cohort.time)
            is_event = event * (cohort.time <= grid[-1])
            yield "d_calibration_p", d_calibration(at_own, is_event).p_value
