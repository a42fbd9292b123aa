"""Is acting on the risk worth it: net benefit at each threshold, also under censoring and competing risks."""

import numpy as np
from numpy.typing import ArrayLike

from mofa_bayes.errors import DataError
from mofa_bayes.risk.metrics.censoring import incidence
from mofa_bayes.risk.metrics.checks import (
    Array,
    divide,
    read_follow_up,
    read_horizons,
    read_values,
    read_weights,
)
from mofa_bayes.risk.metrics.status import binary_status


def net_benefit(
    risk: ArrayLike, outcome: ArrayLike, thresholds: ArrayLike, *, weights: ArrayLike | None = None
) -> Array:
    """Net benefit of treating whose risk of a binary outcome reaches a threshold, (..., threshold).

    True positives less false positives at the threshold's odds, per patient (Vickers and Elkin 2006, Med Decis Making
    26:565). Treating all is `risk = 1` for everyone, or `net_benefit_of_all`; treating none has net benefit 0.

    Parameters
    ----------
    risk
        Probabilities (..., subject).
    outcome
        0 or 1, (subject,).
    thresholds
        Probabilities above 0 and below 1, (threshold,).
    weights
        Case weights (..., subject).
    """
    status = binary_status(outcome, weights=weights)
    values = read_values("risk", risk, len(status.event), is_probability=True)
    cuts, worth = _read_thresholds(thresholds), []
    for cut in cuts:
        treated = status.case_weight * (values >= cut)
        gains = status.event[:, 0] - (1 - status.event[:, 0]) * cut / (1 - cut)
        worth.append(divide((treated * gains).sum(-1), status.case_weight.sum(-1)))
    return np.stack(worth, axis=-1)


def net_benefit_at(
    risk: ArrayLike,
    time: ArrayLike,
    event: ArrayLike,
    times: ArrayLike,
    thresholds: ArrayLike,
    *,
    cause: int = 1,
    weights: ArrayLike | None = None,
) -> Array:
    """Net benefit at horizons of treating whose risk reaches a threshold, (..., time, threshold).

    Among the treated the incidence of the event by the horizon is Aalen-Johansen's, which without competing risks is
    1 - Kaplan-Meier (Vickers et al. 2008, BMC Med Inform Decis Mak 8:53).

    Parameters
    ----------
    risk
        Probability of the event by each horizon, (..., subject, time).
    time, event
        (subject,); `event` is 0 where censored, else the cause.
    times
        Horizons (time,).
    thresholds
        Probabilities above 0 and below 1, (threshold,).
    cause
        Which event the risk is of. An event of another cause is not it: who dies of something else was treated in vain.
    weights
        Case weights (..., subject).
    """
    seen, codes = read_follow_up(time, event, n_causes=None)
    horizons, cuts = read_horizons(times), _read_thresholds(thresholds)
    cases = read_weights(weights, len(seen))
    values = read_values("risk", risk, len(seen), axis=-2, is_probability=True)
    if values.shape[-1] not in (1, len(horizons)):
        raise DataError("risk", got=f"{values.shape[-1]} columns", expected=f"{len(horizons)}, one per horizon",
                        do="Predict at the same horizons.")  # fmt: skip
    total, columns = cases.sum(axis=-1), []
    for t, horizon in enumerate(horizons):
        own, worth = values[..., min(t, values.shape[-1] - 1)], []
        for cut in cuts:
            is_treated = own >= cut
            if not is_treated.any():
                worth.append(np.zeros(np.broadcast_shapes(total.shape, own.shape[:-1])))
                continue
            treated = cases * is_treated
            happens = incidence(seen, codes, treated, cause).at([horizon])[..., 0]
            worth.append(divide(treated.sum(-1), total) * _per_treated(happens, cut))
        columns.append(np.stack(worth, axis=-1))
    return np.stack(columns, axis=-2)


def net_benefit_of_all(incidence: ArrayLike, thresholds: ArrayLike) -> Array:
    """Net benefit of treating everyone, (..., threshold), from the incidence (...) of the event."""
    happens = np.asarray(incidence, dtype=np.float64)
    return np.stack([_per_treated(happens, cut) for cut in _read_thresholds(thresholds)], axis=-1)


def probability_useful(model: ArrayLike, treat_all: ArrayLike) -> Array:
    """Share of replicates (first axis) in which the model has more net benefit than treating all and treating none."""
    own, everyone = np.asarray(model, dtype=np.float64), np.asarray(treat_all, dtype=np.float64)
    useful: Array = (own > np.maximum(everyone, 0.0)).mean(axis=0)
    return useful


def _per_treated(incidence: Array, threshold: float) -> Array:
    return incidence - (1 - incidence) * threshold / (1 - threshold)


def _read_thresholds(thresholds: ArrayLike) -> Array:
    cuts = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if cuts.ndim != 1 or not cuts.size or not ((cuts > 0) & (cuts < 1)).all():
        raise DataError("thresholds", got="other values", expected="probabilities above 0 and below 1",
                        do="Write for instance np.linspace(0.05, 0.5, 10).")  # fmt: skip
    return cuts
