"""Who goes first: Harrell's and Uno's C, for one risk or thousands of draws of it."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mofa_bayes.risk.metrics.censoring import Steps, ipcw
from mofa_bayes.risk.metrics.checks import Array, Codes, divide, read_follow_up, read_values, read_weights


def harrell_c(risk: ArrayLike, time: ArrayLike, event: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    """Share of comparable pairs in which the higher risk has its event first; ties of risk count one half.

    A pair is comparable when the earlier time is an event; who is censored at the time of an event outlives it, and two
    events at the same time are not compared (Harrell et al. 1996, Stat Med 15:361).

    Parameters
    ----------
    risk
        Any number that grows with the risk, (..., subject).
    time, event
        (subject,).
    weights
        Case weights (..., subject), for instance counts of bootstrap samples; they broadcast against `risk`.

    Returns
    -------
    (...); NaN where no pair is comparable.
    """
    times, codes = read_follow_up(time, event)
    values, cases = read_values("risk", risk, len(times)), read_weights(weights, len(times))
    return _concordance(values, times, codes, cases, cases)


def uno_c(
    risk: ArrayLike,
    time: ArrayLike,
    event: ArrayLike,
    *,
    tau: float | None = None,
    censoring: Steps | None = None,
    weights: ArrayLike | None = None,
) -> Array:
    """Harrell's C with pairs weighted by 1 / G(time)^2, so that it does not depend on the censoring.

    Uno et al. 2011, Stat Med 30:1105.

    Parameters
    ----------
    risk, time, event, weights
        As in `harrell_c`.
    tau
        Only events before this time count; all when left out, and then late events with few at risk weigh much.
    censoring
        G of another cohort, usually the training set; that of these subjects when left out.
    """
    times, codes = read_follow_up(time, event)
    values, cases = read_values("risk", risk, len(times)), read_weights(weights, len(times))
    inverse = ipcw(times, codes, censoring=censoring, weights=cases)
    is_counted = np.ones(len(times), dtype=np.bool_) if tau is None else times < tau
    return _concordance(values, times, codes, cases * inverse**2 * is_counted, cases)


def _concordance(risk: Array, time: Array, event: Codes, event_weight: Array, pair_weight: Array) -> Array:
    from mofa_bayes.risk.metrics.kernels import count_pairs

    shape = np.broadcast_shapes(risk.shape[:-1], event_weight.shape[:-1], pair_weight.shape[:-1])
    latest_first = np.argsort(-time, kind="stable")
    _, starts = np.unique(-time[latest_first], return_index=True)
    rows = [_rows(values, shape)[:, latest_first] for values in (risk, event_weight, pair_weight)]
    sums = count_pairs(
        _dense_ranks(rows[0]), rows[1], rows[2], event[latest_first] > 0, np.append(starts, len(time)).astype(np.int64)
    )
    return divide(sums[:, 0], sums[:, 1]).reshape(shape)


def _rows(values: Array, shape: tuple[int, ...]) -> Array:
    """Flatten leading axes to one; what is the same for every replicate stays one row."""
    if values.ndim > 1 and values.shape[:-1] != shape:
        values = np.broadcast_to(values, (*shape, values.shape[-1]))
    return values.reshape(-1, values.shape[-1])


def _dense_ranks(values: Array) -> NDArray[np.int64]:
    """Rank the distinct values of each row from 0."""
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    ranks = np.zeros(values.shape, dtype=np.int64)
    steps = np.zeros(values.shape, dtype=np.int64)
    steps[:, 1:] = np.cumsum(ordered[:, 1:] > ordered[:, :-1], axis=-1)
    np.put_along_axis(ranks, order, steps, axis=-1)
    return ranks
