"""Models side by side on the same patients: a few metrics of each, with intervals, and differences to one of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mofa_bayes.risk.evaluation.cohort import Replicates, estimate_of, replicate
from mofa_bayes.risk.evaluation.curves import find_quantiles
from mofa_bayes.risk.evaluation.evaluation import Resampling
from mofa_bayes.risk.metrics import auc, brier_score, d_calibration, integrate, status_at, survival_at_own_time
from mofa_bayes.risk.response import Array
from mofa_bayes.validation.pooling import Repeat, rank_within_folds
from mofa_bayes.validation.validated import CrossValidation

IS_HIGHER_BETTER = {
    "c": True, "auc": True, "integrated_brier": False, "brier_score": False, "log_density": True,
}  # fmt: skip
Scores = dict[str, Array]


def tabulate_pairs(models: Mapping[str, CrossValidation], reference: str, how: Resampling) -> pd.DataFrame:
    """Tabulate metrics of each model and their differences to those of `reference`.

    All models are resampled alike, so that a difference has the interval of paired patients; a difference above 0 is
    for the model, also where a smaller metric is better. `c` is Harrell's, computed within folds and averaged;
    `integrated_brier` averages the Brier score over the horizons; `log_density` is the mean log predictive density of
    what happened; `d_calibration_p` has no interval, and none of a difference.

    Returns
    -------
    Columns `model, metric, estimate, lower, upper, level, difference, difference_lower, difference_upper`.
    """
    estimates = {name: _score(own, None) for name, own in models.items()}
    replicates = {name: _replicate(own, how) for name, own in models.items()}
    rows = []
    for name, own in estimates.items():
        for metric, value in own.items():
            drawn = replicates[name].get(metric)
            if drawn is None:
                rows.append((name, metric, float(value), *[np.nan] * 2, how.level, *[np.nan] * 3))
                continue
            sign = 1.0 if IS_HIGHER_BETTER[metric] else -1.0
            apart = sign * (drawn - replicates[reference][metric])
            difference = sign * float(value - estimates[reference][metric])
            ends = (*find_quantiles(drawn, how.level), *find_quantiles(apart, how.level))
            lower, upper, below, above = (float(end) for end in ends)
            rows.append((name, metric, float(value), lower, upper, how.level, difference, below, above))
    columns = ["model", "metric", "estimate", "lower", "upper", "level"]
    return pd.DataFrame(rows, columns=[*columns, "difference", "difference_lower", "difference_upper"])


def _replicate(own: CrossValidation, how: Resampling) -> Scores:
    streams = [
        replicate(each.cohort, "patients", how.n_replicates, np.random.default_rng(how.seed)) for each in own.repeats
    ]
    blocks = [_score(own, together) for together in zip(*streams, strict=True)]
    return {metric: np.concatenate([np.atleast_1d(block[metric]) for block in blocks]) for metric in blocks[0]}


def _score(own: CrossValidation, replicates: Sequence[Replicates] | None) -> Scores:
    """Average each metric over repeats: of everyone, or of replicates of the patients."""
    chosen = [estimate_of(each.cohort) for each in own.repeats] if replicates is None else replicates
    found = [_score_repeat(each, part) for each, part in zip(own.repeats, chosen, strict=True)]
    scores = {metric: np.mean([each[metric] for each in found], axis=0) for metric in found[0]}
    by_subject = own.log_scores.mean(axis=0)
    weights = chosen[0].weights
    scores["log_density"] = np.asarray((np.ones(len(by_subject)) if weights is None else weights) @ by_subject)
    scores["log_density"] /= len(by_subject)
    return scores


def _score_repeat(own: Repeat, replicates: Replicates) -> Scores:
    cohort, weights = own.cohort, replicates.weights
    if cohort.time is None:
        status = cohort.status(weights)
        return {
            "auc": auc(replicates.risk, status)[..., 0],
            "brier_score": brier_score(replicates.risk, status)[..., 0],
        }
    times = cohort.risks.times
    status = status_at(cohort.time, cohort.event, times, cause=cohort.risks.cause, weights=weights)
    scores = {
        "c": rank_within_folds(own, replicates)["harrell_c", np.nan],
        "integrated_brier": integrate(brier_score(replicates.risk, status), times),
    }
    if weights is None and not cohort.is_competing:
        at_own = survival_at_own_time(1 - replicates.risk, times, cohort.time)
        scores["d_calibration_p"] = d_calibration(at_own, cohort.event * (cohort.time <= times[-1])).p_value
    return scores
