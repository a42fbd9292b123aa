"""Event or not by a horizon, and how much each patient's answer counts: what most metrics are averages over."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mofa_bayes.errors import DataError
from mofa_bayes.risk.metrics.censoring import Steps, censoring_distribution, inverse
from mofa_bayes.risk.metrics.checks import Array, read_follow_up, read_horizons, read_values, read_weights


@dataclass(frozen=True, slots=True, eq=False)
class Status:
    """Outcome at T horizons of N subjects; a binary outcome has one.

    Attributes
    ----------
    event
        1 where the event happened by the horizon, else 0, (subject, time).
    weight
        Case weight times the inverse of the chance that this answer was seen; 0 where censoring hides it.
        (..., subject, time).
    case_weight
        Case weights alone, (..., subject).
    """

    event: Array
    weight: Array
    case_weight: Array

    @property
    def total(self) -> Array:
        """Sum of the case weights, (..., 1)."""
        total: Array = self.case_weight.sum(axis=-1, keepdims=True)
        return total


def binary_status(outcome: ArrayLike, *, weights: ArrayLike | None = None) -> Status:
    """Status of a binary outcome of 0 and 1, (subject,): everyone's answer is known.

    Raises
    ------
    DataError
        Another value.
    """
    values = np.asarray(outcome)
    if values.ndim != 1 or not np.isin(values, (0, 1)).all():
        raise DataError("outcome", got=f"an array of shape {values.shape} with other values than 0 and 1"[:80],
                        expected="0 or 1 for each subject", do="Recode the column.")  # fmt: skip
    cases = read_weights(weights, len(values))
    return Status(values.astype(np.float64)[:, None], cases[..., None], cases)


def status_at(
    time: ArrayLike,
    event: ArrayLike,
    times: ArrayLike,
    *,
    cause: int = 1,
    censoring: Steps | None = None,
    weights: ArrayLike | None = None,
    limit: Literal["right", "left"] = "right",
) -> Status:
    """Status by each horizon, weighted by the inverse probability of not being censored.

    Who had an event by t counts 1 / G(time), who is seen beyond t counts 1 / G(t), who was censored before counts 0
    (Graf et al. 1999, Stat Med 18:2529). An event of another cause by t is a known answer: not this event.

    Parameters
    ----------
    time, event
        (subject,); `event` is 0 where censored, else the cause.
    times
        Horizons (time,).
    cause
        Which event.
    censoring
        G of another cohort, usually the training set; that of these subjects when left out.
    weights
        Case weights (..., subject).
    limit
        Whether G of an event is taken at its time (`right`, as scikit-survival does) or just before it (`left`). They
        differ where events and censorings share a time, as when follow-up is counted in months: then only `left` makes
        the weighted share of events equal Aalen-Johansen's incidence.
    """
    seen, codes = read_follow_up(time, event, n_causes=None)
    horizons = read_horizons(times)
    cases = read_weights(weights, len(seen))
    known = censoring_distribution(seen, codes, weights=cases) if censoring is None else censoring
    at_event = inverse(known.at(seen, before=limit == "left"))[..., None]
    at_horizon = inverse(known.at(horizons))[..., None, :]
    is_past = seen[:, None] <= horizons
    weight = np.where(is_past, at_event * (codes > 0)[:, None], at_horizon)
    return Status((is_past & (codes == cause)[:, None]).astype(np.float64), cases[..., None] * weight, cases)


def read_risk(risk: ArrayLike, status: Status, *, is_probability: bool = True) -> Array:
    """Return risks (..., subject, time); the last axis fits the horizons of `status`, or is 1 and serves them all."""
    read = read_values("risk", risk, len(status.event), axis=-2, is_probability=is_probability)
    if read.shape[-1] not in (1, status.event.shape[1]):
        raise DataError("risk", got=f"{read.shape[-1]} columns", expected=f"{status.event.shape[1]}, one per horizon",
                        do="Predict at the same horizons.")  # fmt: skip
    return read
