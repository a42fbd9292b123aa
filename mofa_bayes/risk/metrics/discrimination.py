"""Cases above controls: the area under the ROC curve, for a binary outcome and by a horizon."""

import numpy as np
from numpy.typing import ArrayLike

from mofa_bayes.errors import DataError
from mofa_bayes.risk.metrics.censoring import kaplan_meier
from mofa_bayes.risk.metrics.checks import Array, divide, read_horizons
from mofa_bayes.risk.metrics.status import Status, read_risk


def auc(risk: ArrayLike, status: Status) -> Array:
    """Probability that a case has a higher risk than a control; ties of risk count one half.

    With `status_at` it is the cumulative/dynamic AUC: cases had the event by t, controls had not (Uno et al. 2007, JASA
    102:527; with competing risks, controls are those free of this event: Blanche et al. 2013, Stat Med 32:5381).

    Parameters
    ----------
    risk
        Any number that grows with the risk, (..., subject, time); one column serves all horizons.
    status
        From `binary_status` or `status_at`.

    Returns
    -------
    (..., time); NaN where there are no cases or no controls.
    """
    values = read_risk(risk, status, is_probability=False)
    columns = []
    for t in range(status.event.shape[1]):
        weight, event = status.weight[..., t], status.event[:, t]
        own = values[..., min(t, values.shape[-1] - 1)]
        cases, controls = weight * event, weight * (1 - event)
        below = _weight_below(own, controls)
        columns.append(divide((cases * below).sum(-1), cases.sum(-1) * controls.sum(-1)))
    return np.stack(columns, axis=-1)


def mean_auc(
    values: ArrayLike, time: ArrayLike, event: ArrayLike, times: ArrayLike, *, weights: ArrayLike | None = None
) -> Array:
    """Average AUCs over horizons, each weighted by the fall of the Kaplan-Meier curve since the horizon before.

    Parameters
    ----------
    values
        AUCs from `auc`, (..., time).
    time, event, weights
        (subject,), and case weights (..., subject).
    times
        Horizons of the AUCs.
    """
    horizons, areas = read_horizons(times), np.asarray(values, dtype=np.float64)
    if areas.shape[-1:] != horizons.shape:
        raise DataError("AUCs", got=f"an array of shape {areas.shape}", expected=f"{len(horizons)} horizons last",
                        do="Pass what `auc` returned for these horizons.")  # fmt: skip
    survival = kaplan_meier(time, event, weights=weights).at(horizons)
    falls = -np.diff(survival, axis=-1, prepend=1.0)
    weighed = np.where(falls > 0, areas * falls, 0.0)  # before the first event there is no AUC, and no weight
    return divide(weighed.sum(-1), 1 - survival[..., -1])


def _weight_below(values: Array, weights: Array) -> Array:
    """For each subject the weight of those with a lower value and half of those with the same, (..., subject)."""
    shape = np.broadcast_shapes(values.shape, weights.shape)
    order = np.broadcast_to(np.argsort(values, axis=-1), shape)
    ordered = np.take_along_axis(np.broadcast_to(values, shape), order, axis=-1)
    sums = np.cumsum(np.take_along_axis(np.broadcast_to(weights, shape), order, axis=-1), axis=-1)
    n = shape[-1]
    is_first = np.ones(shape, dtype=np.bool_)
    is_first[..., 1:] = ordered[..., 1:] > ordered[..., :-1]
    is_last = np.ones(shape, dtype=np.bool_)
    is_last[..., :-1] = is_first[..., 1:]
    first = np.maximum.accumulate(np.where(is_first, np.arange(n), 0), axis=-1)
    last = np.minimum.accumulate(np.where(is_last, np.arange(n), n - 1)[..., ::-1], axis=-1)[..., ::-1]
    padded = np.concatenate([np.zeros((*shape[:-1], 1)), sums], axis=-1)
    middle = 0.5 * (np.take_along_axis(padded, first, axis=-1) + np.take_along_axis(padded, last + 1, axis=-1))
    below = np.empty(shape)
    np.put_along_axis(below, order, middle, axis=-1)
    return below
