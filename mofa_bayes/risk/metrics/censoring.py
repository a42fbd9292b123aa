"""Who is still seen: Kaplan-Meier, Aalen-Johansen and the chance of not being censored, as step functions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mofa_bayes.risk.metrics.checks import Array, Codes, read_follow_up, read_weights


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """A right-continuous step function of time.

    Attributes
    ----------
    times
        Where it may step, increasing, (step,).
    values
        Its value from that time on, (..., step); leading axes are replicates.
    start
        Its value before the first.
    """

    times: Array
    values: Array
    start: float

    def at(self, times: ArrayLike, *, before: bool = False) -> Array:
        """Value at `times` (time,), or just before them, shape (..., time)."""
        place = np.searchsorted(self.times, np.asarray(times, dtype=np.float64), side="left" if before else "right")
        first = np.full((*self.values.shape[:-1], 1), self.start)
        values: Array = np.concatenate([first, self.values], axis=-1)[..., place]
        return values


def kaplan_meier(time: ArrayLike, event: ArrayLike, *, weights: ArrayLike | None = None) -> Steps:
    """Estimate P(T > t) from right-censored times.

    Parameters
    ----------
    time, event
        (subject,); an event is 1, censoring 0, and an event comes before a censoring at the same time.
    weights
        Case weights (..., subject), for instance the counts of bootstrap samples; each replicate has its own curve.
    """
    times, codes = read_follow_up(time, event)
    counts = _Counts.count(times, codes, read_weights(weights, len(times)))
    return Steps(counts.times, _product(counts.events(1), counts.at_risk), 1.0)


def censoring_distribution(time: ArrayLike, event: ArrayLike, *, weights: ArrayLike | None = None) -> Steps:
    """Estimate G(t) = P(C > t), the chance of being seen beyond t, by Kaplan-Meier with the roles exchanged.

    Whoever has any event at t is no longer at risk of being censored at t.
    """
    times, codes = read_follow_up(time, event, n_causes=None)
    counts = _Counts.count(times, codes, read_weights(weights, len(times)))
    return Steps(counts.times, _product(counts.events(0), counts.at_risk - counts.any_event), 1.0)


def aalen_johansen(time: ArrayLike, event: ArrayLike, *, cause: int = 1, weights: ArrayLike | None = None) -> Steps:
    """Estimate the cumulative incidence P(T <= t, cause), where other causes end the chance of this one.

    The sum over event times of S(t-) d_cause(t) / n(t), with S the Kaplan-Meier curve of any event (Aalen and Johansen
    1978, Scand J Stat 5:141). With a single cause it is 1 - Kaplan-Meier.

    Parameters
    ----------
    time, event, weights
        As in `kaplan_meier`; `event` is 0 where censored, else the cause.
    cause
        Which incidence.
    """
    times, codes = read_follow_up(time, event, n_causes=None)
    return incidence(times, codes, read_weights(weights, len(times)), cause)


def incidence(time: Array, event: Codes, weights: Array, cause: int) -> Steps:
    """Aalen-Johansen on arrays that were checked."""
    counts = _Counts.count(time, event, weights)
    survival = _product(counts.any_event, counts.at_risk)
    before = np.concatenate([np.ones((*survival.shape[:-1], 1)), survival[..., :-1]], axis=-1)
    return Steps(counts.times, np.cumsum(before * _rate(counts.events(cause), counts.at_risk), axis=-1), 0.0)


def ipcw(
    time: ArrayLike, event: ArrayLike, *, censoring: Steps | None = None, weights: ArrayLike | None = None
) -> Array:
    """Weigh who had an event by 1 / G(time): they also stand for those like them who were censored before.

    Parameters
    ----------
    time, event
        (subject,).
    censoring
        G of another cohort, usually the training set; that of these subjects when left out.
    weights
        Case weights (..., subject) with which G is estimated.

    Returns
    -------
    (..., subject), 0 for the censored and where G is estimated as 0.
    """
    times, codes = read_follow_up(time, event, n_causes=None)
    known = censoring_distribution(times, codes, weights=weights) if censoring is None else censoring
    return inverse(known.at(times)) * (codes > 0)


def inverse(probability: Array) -> Array:
    """1 / p, and 0 where p is 0: whom nobody could have seen stands for nobody."""
    is_seen = probability > 0
    result: Array = is_seen / np.where(is_seen, probability, 1.0)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """Weighted counts at each distinct time: `at_risk` and events of any cause are (..., step)."""

    times: Array
    at_risk: Array
    any_event: Array
    _codes: Codes
    _weights: Array
    _starts: Codes

    @classmethod
    def count(cls, time: Array, event: Codes, weights: Array) -> "_Counts":
        order = np.argsort(time, kind="stable")
        times, starts = np.unique(time[order], return_index=True)
        codes, own = event[order], weights[..., order]
        here = np.add.reduceat(own, starts, axis=-1)
        at_risk = np.cumsum(here[..., ::-1], axis=-1)[..., ::-1]
        any_event = np.add.reduceat(own * (codes > 0), starts, axis=-1)
        return cls(times, at_risk, any_event, codes, own, starts)

    def events(self, cause: int) -> Array:
        counts: Array = np.add.reduceat(self._weights * (self._codes == cause), self._starts, axis=-1)
        return counts


def _rate(events: Array, at_risk: Array) -> Array:
    rate: Array = events / np.where(at_risk > 0, at_risk, 1.0)
    return rate


def _product(events: Array, at_risk: Array) -> Array:
    # rounding of fractional weights may bring a last factor below 0
    survival: Array = np.cumprod(np.maximum(1 - _rate(events, at_risk), 0.0), axis=-1)
    return survival
