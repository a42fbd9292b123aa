"""q of what stands above the factors: a precision, or a share of subjects who have the factor, per group and factor."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.special import digamma

from mofa_bayes.engines.vi.packed import Array, Index
from mofa_bayes.engines.vi.priors import ArdState, beta_kl, gamma_kl
from mofa_bayes.engines.vi.rows import RowPrior
from mofa_bayes.spec import ARDFactors, FactorPrior, SpikeSlabFactors, StandardFactors


class FactorState(Protocol):
    """q above the factors."""

    def prior_of(self, group: int) -> RowPrior:
        """Prior of the factors of a group's rows."""
        ...

    def update(self, square: Array, active: Array, count: Array) -> tuple["FactorState", float]:
        """Update from sums over the rows of each group: E[z^2] and q(s = 1), both (G, K), and their number (G,).

        Returns
        -------
        The new state, and E[log p(z, s)] plus active (log 2 pi) / 2, less the KL of what stands above.
        """
        ...

    def keep(self, factors: Index) -> "FactorState":
        """Keep some factors, in the order given."""
        ...


@dataclass(frozen=True, slots=True)
class Standard:
    """Nothing is learned: z ~ N(0, 1)."""

    n_factors: int

    def prior_of(self, group: int) -> RowPrior:  # noqa: ARG002
        """See `FactorState`."""
        return RowPrior(np.ones(self.n_factors), np.empty(0))

    def update(self, square: Array, active: Array, count: Array) -> tuple["Standard", float]:  # noqa: ARG002
        """See `FactorState`."""
        return self, float(-square.sum() / 2)

    def keep(self, factors: Index) -> "Standard":
        """See `FactorState`."""
        return Standard(len(factors))


@dataclass(frozen=True, slots=True)
class GroupArd:
    """beta ~ Gamma(shape, rate), both (G, K)."""

    ard: ArdState

    def prior_of(self, group: int) -> RowPrior:
        """See `FactorState`."""
        return RowPrior(self.ard.alpha[group], np.empty(0))

    def update(self, square: Array, active: Array, count: Array) -> tuple["GroupArd", float]:  # noqa: ARG002
        """See `FactorState`."""
        prior = self.ard.prior
        shape = prior.shape + np.repeat(count[:, None], square.shape[1], axis=1) / 2
        rate = prior.rate + square / 2
        log_precision = digamma(shape) - np.log(rate)
        bound = (count[:, None] * log_precision - shape / rate * square).sum() / 2
        return GroupArd(ArdState(prior, shape, rate)), float(bound - gamma_kl(shape, rate, prior).sum())

    def keep(self, factors: Index) -> "GroupArd":
        """See `FactorState`."""
        return GroupArd(replace(self.ard, shape=self.ard.shape[:, factors], rate=self.ard.rate[:, factors]))


@dataclass(frozen=True, slots=True)
class Sparse:
    """theta ~ Beta(a, b), both (G, K)."""

    prior: SpikeSlabFactors
    a: Array
    b: Array

    def prior_of(self, group: int) -> RowPrior:
        """See `FactorState`."""
        log_odds: Array = digamma(self.a[group]) - digamma(self.b[group])
        return RowPrior(np.ones(self.a.shape[1]), log_odds)

    def update(self, square: Array, active: Array, count: Array) -> tuple["Sparse", float]:
        """See `FactorState`."""
        rest = count[:, None] - active
        a, b = self.prior.inclusion_a + active, self.prior.inclusion_b + rest
        total = digamma(a + b)
        bound = (active * (digamma(a) - total) + rest * (digamma(b) - total) - square / 2).sum()
        bound -= beta_kl(a, b, self.prior.inclusion_a, self.prior.inclusion_b).sum()
        return replace(self, a=a, b=b), float(bound)

    def keep(self, factors: Index) -> "Sparse":
        """See `FactorState`."""
        return replace(self, a=self.a[:, factors], b=self.b[:, factors])


def first_factor_state(prior: FactorPrior, n_groups: int, n_factors: int) -> FactorState:
    """State before anything is known: unit precisions, even inclusion."""
    ones = np.ones((n_groups, n_factors))
    match prior:
        case StandardFactors():
            return Standard(n_factors)
        case ARDFactors():
            return GroupArd(ArdState(prior.precision, ones, ones))
        case SpikeSlabFactors():
            return Sparse(prior, ones, ones)
