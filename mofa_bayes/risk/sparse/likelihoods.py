"""What an outcome says of a predictor known as a Gaussian: expected log density, and the quadratic that touches it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from mofa_bayes.errors import FitError
from mofa_bayes.risk.response import Array

_N_INTERVALS = 10
_PRIOR_EVENTS = 0.5
_MAX_LOG = 30.0
_MIN_WEIGHT = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Quadratic:
    """E[log p(y_n | eta)] near eta ~ N(m, v): weights w and pseudo-observations (N,) of -w (target - eta)^2 / 2."""

    weight: Array
    target: Array


class Likelihood(Protocol):
    """p(y | eta) with a baseline of its own."""

    def update(self, mean: Array, variance: Array) -> Self:
        """Set the baseline where the expected log density is highest, for eta ~ N(mean, variance)."""
        ...

    def expand(self, mean: Array, variance: Array) -> Quadratic:
        """Expand the expected log density to second order in the moments of eta."""
        ...

    def expect(self, mean: Array, variance: Array) -> float:
        """Return the expected log density, summed over subjects."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PiecewiseExponential:
    """A hazard that is constant within intervals: log p = event (log h + eta) - H0 e^eta.

    Under eta ~ N(m, v), E[e^eta] = e^(m + v/2) exactly, and derivatives of the expectation in m and v give the
    pseudo-observation and its weight (Opper and Archambeau 2009, Neural Comput 21:786; Khan and Lin 2017, AISTATS).

    Attributes
    ----------
    event, position, exposure
        Of each subject: 1 or 0, the interval in which follow-up ended, and time at risk in each, (N, J).
    hazard
        (J,).
    """

    event: Array
    position: np.ndarray
    exposure: Array
    hazard: Array

    @classmethod
    def of(cls, time: Array, event: Array) -> "PiecewiseExponential":
        """Cut time at quantiles of the events."""
        inner = np.linspace(0, 1, _N_INTERVALS + 1)[1:-1]
        cuts = np.unique(np.quantile(time[event > 0], inner, method="inverted_cdf"))
        cuts = cuts[cuts < time[event > 0].max()]
        starts, ends = np.append(0.0, cuts), np.append(cuts, np.inf)
        exposure = np.clip(time[:, None], starts, ends) - starts
        position = np.searchsorted(cuts, time, side="left")
        hazard = np.full(len(starts), event.sum() / time.sum())
        return cls(event.astype(np.float64), position, exposure, hazard)

    def update(self, mean: Array, variance: Array) -> "PiecewiseExponential":
        """Events over expected exposure, with half an event at the crude rate added to each interval."""
        relative = np.exp(np.minimum(mean + variance / 2, _MAX_LOG))
        crude = self.event.sum() / (relative @ self.exposure).sum()
        events = np.bincount(self.position, weights=self.event, minlength=len(self.hazard))
        hazard = (events + _PRIOR_EVENTS) / (relative @ self.exposure + _PRIOR_EVENTS / crude)
        return PiecewiseExponential(self.event, self.position, self.exposure, hazard)

    def expand(self, mean: Array, variance: Array) -> Quadratic:
        """See `Likelihood`."""
        expected = self._expected_events(mean, variance)
        weight = np.maximum(expected, _MIN_WEIGHT)
        return Quadratic(weight, mean + (self.event - expected) / weight)

    def expect(self, mean: Array, variance: Array) -> float:
        """See `Likelihood`."""
        log_hazard = np.log(self.hazard)[self.position]
        return float((self.event * (log_hazard + mean) - self._expected_events(mean, variance)).sum())

    def _expected_events(self, mean: Array, variance: Array) -> Array:
        expected: Array = (self.exposure @ self.hazard) * np.exp(np.minimum(mean + variance / 2, _MAX_LOG))
        return expected


@dataclass(frozen=True, slots=True, eq=False)
class Bernoulli:
    """A binary outcome with log odds intercept + eta, by the bound of Jaakkola and Jordan (2000, Stat Comput 10:25).

    Attributes
    ----------
    outcome
        1 or 0, (N,).
    intercept
        Log odds at eta = 0.
    """

    outcome: Array
    intercept: float

    @classmethod
    def of(cls, outcome: Array) -> "Bernoulli":
        """Start at the crude log odds."""
        share = outcome.mean()
        return cls(outcome.astype(np.float64), float(np.log(share / (1 - share))))

    def update(self, mean: Array, variance: Array) -> "Bernoulli":
        """Set the intercept where the bound is highest."""
        weight = self._weight(mean, variance)
        return Bernoulli(self.outcome, float((self.outcome - 0.5 - weight * mean).sum() / weight.sum()))

    def expand(self, mean: Array, variance: Array) -> Quadratic:
        """See `Likelihood`."""
        weight = self._weight(mean, variance)
        return Quadratic(weight, (self.outcome - 0.5) / weight - self.intercept)

    def expect(self, mean: Array, variance: Array) -> float:
        """Return the bound at its best point."""
        xi = np.sqrt((mean + self.intercept) ** 2 + variance)
        return float(((self.outcome - 0.5) * (mean + self.intercept) - np.logaddexp(xi / 2, -xi / 2)).sum())

    def _weight(self, mean: Array, variance: Array) -> Array:
        xi = np.maximum(np.sqrt((mean + self.intercept) ** 2 + variance), 1e-6)
        weight: Array = np.tanh(xi / 2) / (2 * xi)
        return weight


def likelihood_of(observed: Mapping[str, Array]) -> Likelihood:
    """Choose the likelihood of what an outcome's `read` returned.

    Raises
    ------
    FitError
        It is neither a right-censored time nor a binary outcome.
    """
    names = set(observed)
    if {"time", "event"} <= names and np.isin(observed["event"], (0, 1)).all():
        return PiecewiseExponential.of(observed["time"], observed["event"])
    if "outcome" in names and np.isin(observed["outcome"], (0, 1)).all():
        return Bernoulli.of(observed["outcome"])
    raise FitError(
        "outcome of a sparse risk model",
        got=f"one that is read as {', '.join(sorted(names))}",
        expected="a right-censored time, or 0 and 1",
        do="Leave out the strategy 'early'.",
    )
