"""q of what stands above a view's loadings, prior by prior: what it gives each loading, what it adds to the bound."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.special import betaln, digamma, gammaln

from mofa_bayes.engines.vi.packed import Array, Index
from mofa_bayes.spec import ARD, Gamma, Horseshoe, Laplace, Normal, Prior, SpikeSlab


class ViewState(Protocol):
    """q above the loadings of one view.

    Attributes
    ----------
    precision, log_precision
        E[precision] and E[log precision] of each loading, (D or 1, K).
    log_odds
        E[logit theta] (K,), empty for priors that are not sparse.
    """

    @property
    def precision(self) -> Array:
        """See the class."""
        ...

    @property
    def log_precision(self) -> Array:
        """See the class."""
        ...

    @property
    def log_odds(self) -> Array:
        """See the class."""
        ...

    def update(self, square: Array, active: Array) -> tuple["ViewState", float]:
        """Update from E[w^2] and q(s = 1), both (D, K).

        Returns
        -------
        The new state, and E[log p(w, s)] plus active (log 2 pi) / 2, less the KL of what stands above.
        """
        ...

    def rescale(self, scale: Array) -> "ViewState":
        """Follow w_k -> w_k / scale_k."""
        ...

    def keep(self, factors: Index) -> "ViewState":
        """Keep some factors, in the order given."""
        ...

    def draw_ard(self, n_draws: int, rng: np.random.Generator) -> Array:
        """Draw the precision per factor (n_draws, K), for priors that have one."""
        ...


@dataclass(frozen=True, slots=True)
class ArdState:
    """alpha_k ~ Gamma(shape, rate), each (K,)."""

    prior: Gamma
    shape: Array
    rate: Array

    @property
    def alpha(self) -> Array:
        """E[alpha]."""
        return self.shape / self.rate

    @property
    def precision(self) -> Array:
        """See `ViewState`."""
        return self.alpha[None]

    @property
    def log_precision(self) -> Array:
        """See `ViewState`."""
        result: Array = (digamma(self.shape) - np.log(self.rate))[None]
        return result

    @property
    def log_odds(self) -> Array:
        """See `ViewState`."""
        return np.empty(0)

    def update(self, square: Array, active: Array) -> tuple["ArdState", float]:
        """See `ViewState`."""
        count, total = active.sum(axis=0), square.sum(axis=0)
        updated = replace(self, shape=self.prior.shape + count / 2, rate=self.prior.rate + total / 2)
        bound = (count * updated.log_precision[0] - updated.alpha * total).sum() / 2
        return updated, float(bound - gamma_kl(updated.shape, updated.rate, self.prior).sum())

    def rescale(self, scale: Array) -> "ArdState":
        """See `ViewState`."""
        return replace(self, rate=self.rate / scale**2)

    def keep(self, factors: Index) -> "ArdState":
        """See `ViewState`."""
        return replace(self, shape=self.shape[factors], rate=self.rate[factors])

    def draw_ard(self, n_draws: int, rng: np.random.Generator) -> Array:
        """See `ViewState`."""
        return rng.gamma(self.shape, 1.0, (n_draws, len(self.shape))) / self.rate


@dataclass(frozen=True, slots=True)
class SpikeSlabState:
    """alpha as under ARD, and theta_k ~ Beta(a, b), each (K,)."""

    prior: SpikeSlab
    ard: ArdState
    a: Array
    b: Array

    @property
    def precision(self) -> Array:
        """See `ViewState`."""
        return self.ard.precision

    @property
    def log_precision(self) -> Array:
        """See `ViewState`."""
        return self.ard.log_precision

    @property
    def log_odds(self) -> Array:
        """See `ViewState`."""
        result: Array = digamma(self.a) - digamma(self.b)
        return result

    def update(self, square: Array, active: Array) -> tuple["SpikeSlabState", float]:
        """See `ViewState`."""
        ard, bound = self.ard.update(square, active)
        count = active.sum(axis=0)
        rest = len(active) - count
        a, b = self.prior.inclusion_a + count, self.prior.inclusion_b + rest
        total = digamma(a + b)
        bound += float((count * (digamma(a) - total) + rest * (digamma(b) - total)).sum())
        bound -= float(beta_kl(a, b, self.prior.inclusion_a, self.prior.inclusion_b).sum())
        return replace(self, ard=ard, a=a, b=b), bound

    def rescale(self, scale: Array) -> "SpikeSlabState":
        """See `ViewState`."""
        return replace(self, ard=self.ard.rescale(scale))

    def keep(self, factors: Index) -> "SpikeSlabState":
        """See `ViewState`."""
        return replace(self, ard=self.ard.keep(factors), a=self.a[factors], b=self.b[factors])

    def draw_ard(self, n_draws: int, rng: np.random.Generator) -> Array:
        """See `ViewState`."""
        return self.ard.draw_ard(n_draws, rng)


@dataclass(frozen=True, slots=True)
class NormalState:
    """Nothing is learned: one precision for all K factors."""

    value: float
    n_factors: int

    @property
    def precision(self) -> Array:
        """See `ViewState`."""
        return np.full((1, self.n_factors), self.value)

    @property
    def log_precision(self) -> Array:
        """See `ViewState`."""
        return np.full((1, self.n_factors), np.log(self.value))

    @property
    def log_odds(self) -> Array:
        """See `ViewState`."""
        return np.empty(0)

    def update(self, square: Array, active: Array) -> tuple["NormalState", float]:
        """See `ViewState`."""
        return self, float(active.sum() * np.log(self.value) - self.value * square.sum()) / 2

    def rescale(self, scale: Array) -> "NormalState":  # noqa: ARG002
        """See `ViewState`; the prior stays, which is why such views are not rescaled."""
        return self

    def keep(self, factors: Index) -> "NormalState":
        """See `ViewState`."""
        return replace(self, n_factors=len(factors))

    def draw_ard(self, n_draws: int, rng: np.random.Generator) -> Array:  # noqa: ARG002
        """See `ViewState`."""
        return np.full((n_draws, self.n_factors), self.value)


@dataclass(frozen=True, slots=True)
class LaplaceState:
    """lambda_k ~ Gamma(shape, rate), each (K,), and the point xi (D, K) where each loading's bound touches.

    log Laplace(w) = log(lambda / 2) - lambda |w| >= log(lambda / 2) - lambda (w^2 / xi + xi) / 2, best at
    xi = sqrt(E[w^2]): a normal of precision lambda / xi (the variational form of Girolami 2001, Neural Comput 13:2517).
    """

    prior: Gamma
    shape: Array
    rate: Array
    xi: Array

    @property
    def precision(self) -> Array:
        """See `ViewState`."""
        return self.shape / self.rate / np.maximum(self.xi, _SMALLEST)

    @property
    def log_precision(self) -> Array:
        """See `ViewState`; only sparse priors ask."""
        return np.zeros_like(self.xi)

    @property
    def log_odds(self) -> Array:
        """See `ViewState`."""
        return np.empty(0)

    def update(self, square: Array, active: Array) -> tuple["LaplaceState", float]:  # noqa: ARG002
        """See `ViewState`."""
        xi = np.sqrt(square)
        total = xi.sum(axis=0)
        shape, rate = self.prior.shape + len(square) * np.ones_like(total), self.prior.rate + total
        log_rate = digamma(shape) - np.log(rate)
        # The entropy of w was counted without its log 2 pi / 2, which this prior's density does not have to cancel it.
        bound = len(square) * (log_rate - np.log(2) + _LOG_2PI / 2).sum() - (shape / rate * total).sum()
        bound -= gamma_kl(shape, rate, self.prior).sum()
        return replace(self, shape=shape, rate=rate, xi=xi), float(bound)

    def rescale(self, scale: Array) -> "LaplaceState":
        """See `ViewState`."""
        return replace(self, rate=self.rate / scale, xi=self.xi / scale)

    def keep(self, factors: Index) -> "LaplaceState":
        """See `ViewState`."""
        return replace(self, shape=self.shape[factors], rate=self.rate[factors], xi=self.xi[:, factors])

    def draw_ard(self, n_draws: int, rng: np.random.Generator) -> Array:
        """Draw lambda^2 / 2, the precision of a normal of the same variance."""
        rate = rng.gamma(self.shape, 1.0, (n_draws, len(self.shape))) / self.rate
        return rate**2 / 2


@dataclass(frozen=True, slots=True)
class HorseshoeState:
    """alpha as under ARD; 1 / l^2 ~ Gamma(1, local_rate) and 1 / nu ~ Gamma(1, mixing_rate), each (D, K).

    A half-Cauchy l is l^2 | nu ~ InvGamma(1/2, 1/nu), nu ~ InvGamma(1/2, 1) (Makalic and Schmidt 2016, SPL 23:179).
    """

    ard: ArdState
    local_rate: Array
    mixing_rate: Array

    @property
    def precision(self) -> Array:
        """See `ViewState`."""
        return self.ard.alpha / self.local_rate

    @property
    def log_precision(self) -> Array:
        """See `ViewState`; only sparse priors ask."""
        return np.zeros_like(self.local_rate)

    @property
    def log_odds(self) -> Array:
        """See `ViewState`."""
        return np.empty(0)

    def update(self, square: Array, active: Array) -> tuple["HorseshoeState", float]:
        """See `ViewState`: 1 / l^2, then 1 / nu, then alpha."""
        local_rate = 1 / self.mixing_rate + self.ard.alpha * square / 2
        mixing_rate = 1 + 1 / local_rate
        ard, bound = self.ard.update(square / local_rate, active)
        log_local, log_mixing = digamma(1.0) - np.log(local_rate), digamma(1.0) - np.log(mixing_rate)
        bound += float(log_local.sum() / 2)
        bound += float(np.sum(log_mixing / 2 - gammaln(0.5) - log_local / 2 - 1 / (mixing_rate * local_rate)))
        bound += float(np.sum(-gammaln(0.5) - log_mixing / 2 - 1 / mixing_rate))
        bound += float(np.sum(1 - np.log(local_rate)) + np.sum(1 - np.log(mixing_rate)))
        return replace(self, ard=ard, local_rate=local_rate, mixing_rate=mixing_rate), bound

    def rescale(self, scale: Array) -> "HorseshoeState":
        """See `ViewState`."""
        return replace(self, ard=self.ard.rescale(scale))

    def keep(self, factors: Index) -> "HorseshoeState":
        """See `ViewState`."""
        return replace(
            self,
            ard=self.ard.keep(factors),
            local_rate=self.local_rate[:, factors],
            mixing_rate=self.mixing_rate[:, factors],
        )

    def draw_ard(self, n_draws: int, rng: np.random.Generator) -> Array:
        """See `ViewState`."""
        return self.ard.draw_ard(n_draws, rng)


_SMALLEST = 1e-8
_LOG_2PI = float(np.log(2 * np.pi))


def first_state(prior: Prior, n_features: int, n_factors: int) -> ViewState:
    """State of a view before anything is known: unit precisions, even inclusion."""
    ones, table = np.ones(n_factors), np.ones((n_features, n_factors))
    match prior:
        case ARD():
            return ArdState(prior.precision, ones, ones)
        case SpikeSlab():
            return SpikeSlabState(prior, ArdState(prior.precision, ones, ones), ones, ones)
        case Normal():
            return NormalState(prior.scale**-2, n_factors)
        case Laplace():
            return LaplaceState(prior.rate, ones, ones, table)
        case Horseshoe():
            return HorseshoeState(ArdState(prior.precision, ones, ones), table, table)


def follow_dense(prior: Prior, dense: ViewState, square: Array) -> ViewState:
    """State of a view under its own prior, starting from a dense fit with these E[w^2] (D, K)."""
    state = first_state(prior, *square.shape)
    if isinstance(state, SpikeSlabState) and isinstance(dense, ArdState):
        return replace(state, ard=replace(dense, prior=state.prior.precision))
    return state.update(square, np.ones_like(square))[0]


def scale_weights(states: Sequence[ViewState]) -> tuple[float, Array] | None:
    """Say what the priors gain by z_k -> c_k z_k, w_k -> w_k / c_k: shape log c - rate (c^2 - 1) / 2.

    Returns
    -------
    shape and rate (K,), or None where a prior does not follow a change of scale in this form.
    """
    shape, rate = 0.0, np.zeros(1)
    for state in states:
        match state:
            case ArdState() | SpikeSlabState() | HorseshoeState():
                ard = state if isinstance(state, ArdState) else state.ard
                shape += 2 * ard.prior.shape
                rate = rate + 2 * ard.prior.rate * ard.alpha
            case _:
                return None
    return shape, rate


def gamma_kl(shape: Array, rate: Array, prior: Gamma) -> Array:
    """KL(Gamma(shape, rate) | prior), elementwise."""
    a, b = prior.shape, prior.rate
    result: Array = (
        (shape - a) * digamma(shape)
        - gammaln(shape)
        + gammaln(a)
        + a * (np.log(rate) - np.log(b))
        + shape * (b / rate - 1)
    )
    return result


def beta_kl(a: Array, b: Array, prior_a: float, prior_b: float) -> Array:
    """KL(Beta(a, b) | Beta(prior_a, prior_b)), elementwise."""
    result: Array = (
        betaln(prior_a, prior_b)
        - betaln(a, b)
        + (a - prior_a) * digamma(a)
        + (b - prior_b) * digamma(b)
        + (prior_a - a + prior_b - b) * digamma(a + b)
    )
    return result
