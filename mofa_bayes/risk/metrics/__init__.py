"""Metrics of risks, as functions of arrays.

Axes: draws of the model or resamples of patients come first, then subject, then time. Whatever a metric averages over
patients takes case weights (..., subject), so that a thousand bootstrap samples are one call with a thousand rows of
counts, and a thousand posterior draws one call with a thousand risks.

    status = status_at(time, event, [12, 36])      who had the event by then, weighted for censoring
    auc(risk, status), brier_score(risk, status), calibration_slope(risk, status)
"""

from mofa_bayes.risk.metrics.calibration import (
    CalibrationIndex,
    calibration_curve,
    calibration_index,
    calibration_intercept,
    calibration_slope,
    observed_expected,
)
from mofa_bayes.risk.metrics.censoring import Steps, aalen_johansen, censoring_distribution, ipcw, kaplan_meier
from mofa_bayes.risk.metrics.concordance import harrell_c, uno_c
from mofa_bayes.risk.metrics.coverage import coverage_interval, interval_coverage, interval_score
from mofa_bayes.risk.metrics.d_calibration import DCalibration, d_calibration
from mofa_bayes.risk.metrics.decision import net_benefit, net_benefit_at, net_benefit_of_all, probability_useful
from mofa_bayes.risk.metrics.discrimination import auc, mean_auc
from mofa_bayes.risk.metrics.scores import (
    brier_gain,
    brier_score,
    density_score,
    integrate,
    log_score,
    survival_at_own_time,
    survival_crps,
)
from mofa_bayes.risk.metrics.status import Status, binary_status, status_at

__all__ = [
    "CalibrationIndex",
    "DCalibration",
    "Status",
    "Steps",
    "aalen_johansen",
    "auc",
    "binary_status",
    "brier_gain",
    "brier_score",
    "calibration_curve",
    "calibration_index",
    "calibration_intercept",
    "calibration_slope",
    "censoring_distribution",
    "coverage_interval",
    "d_calibration",
    "density_score",
    "harrell_c",
    "integrate",
    "interval_coverage",
    "interval_score",
    "ipcw",
    "kaplan_meier",
    "log_score",
    "mean_auc",
    "net_benefit",
    "net_benefit_at",
    "net_benefit_of_all",
    "observed_expected",
    "probability_useful",
    "status_at",
    "survival_at_own_time",
    "survival_crps",
    "uno_c",
]
