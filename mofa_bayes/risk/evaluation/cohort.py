"""Cohort: patients with their risks and what happened to them, and its replicates."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.risk.evaluation.risks import Array, Risks
from mofa_bayes.risk.metrics import Status, binary_status, status_at

Interval = Literal["patients", "posterior", "both"]
_MAX_CELLS = 2_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Risks beside outcomes.

    Attributes
    ----------
    risks
        Of N subjects.
    time, event
        Follow-up (subject,), with the cause as event; for a binary outcome `time` is None and `event` the outcome.
    horizons
        Positions, among the times of `risks`, of those that are reported.
    is_competing
        Whether there are events of other causes than that of the risks.
    """

    risks: Risks
    time: Array | None
    event: Array
    horizons: NDArray[np.intp]
    is_competing: bool = False

    @property
    def times(self) -> Array:
        """Reported horizons; NaN for a binary outcome."""
        return self.risks.times[self.horizons]

    @property
    def is_seen(self) -> NDArray[np.bool_]:
        """Reported horizons before the longest follow-up: beyond it nothing can be checked."""
        if self.time is None:
            return np.ones(1, dtype=np.bool_)
        return np.asarray(self.times < self.time.max())

    def status(self, weights: Array | None, limit: Literal["left", "right"] = "right") -> Status:
        """Status at the reported horizons."""
        if self.time is None:
            return binary_status(self.event, weights=weights)
        return status_at(self.time, self.event, self.times, cause=self.risks.cause, weights=weights, limit=limit)

    def take(self, rows: NDArray[np.intp]) -> "Cohort":
        """Return some of the patients, by position."""
        time = None if self.time is None else self.time[rows]
        return replace(self, risks=self.risks.take(rows), time=time, event=self.event[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Replicates:
    """Risks (..., subject, time), ranks (..., subject) and case weights (..., subject) or None."""

    risk: Array
    ranks: Array
    weights: Array | None


def estimate_of(cohort: Cohort) -> Replicates:
    """Everyone once, with the mean risk."""
    mean = cohort.risks.mean()
    return Replicates(mean.risk, mean.linear_predictor, None)


def replicate(cohort: Cohort, interval: Interval, n_replicates: int, rng: np.random.Generator) -> Iterator[Replicates]:
    """Resample patients, take draws of the posterior, or both at once; in blocks that fit in memory.

    There are never more posterior draws than the risks hold.
    """
    risks, n = cohort.risks, len(cohort.event)
    if interval == "posterior":
        n_replicates = min(n_replicates, len(risks.risk))
    counts = None if interval == "posterior" else rng.multinomial(n, np.full(n, 1 / n), size=n_replicates)
    draws = None
    if interval != "patients":
        draws = np.linspace(0, len(risks.risk) - 1, n_replicates).astype(np.intp)
    mean = risks.mean()
    size = max(1, _MAX_CELLS // (n * len(risks.times)))
    for start in range(0, n_replicates, size):
        own = slice(start, start + size)
        weights = None if counts is None else counts[own].astype(np.float64)
        if draws is None:
            yield Replicates(mean.risk, mean.linear_predictor, weights)
        else:
            yield Replicates(risks.risk[draws[own]], risks.linear_predictor[draws[own]], weights)
