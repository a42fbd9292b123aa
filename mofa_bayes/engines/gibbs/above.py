"""What stands above the loadings of a view, prior by prior: its conditional draw, and what it gives each loading."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.special import logit

from mofa_bayes.engines.gibbs.horseshoe import draw_globals, draw_locals, tabulate_log_g
from mofa_bayes.engines.gibbs.walk import HIGH_ALPHA, LOW_ALPHA
from mofa_bayes.engines.vi.packed import Array, Index
from mofa_bayes.spec import ARD, Gamma, Horseshoe, Laplace, Normal, Prior, SpikeSlab

_NOTHING = np.empty(0)


class Above(Protocol):
    """One point of what stands above the loadings of one view, which are normal (or half-normal) given it."""

    @property
    def precision(self) -> Array:
        """Prior precision of each loading (given that it is not 0), (D or 1, K)."""
        ...

    @property
    def log_odds(self) -> Array:
        """Logit theta (K,); empty for priors that are not sparse."""
        ...

    @property
    def hyperprior(self) -> Gamma | None:
        """Prior of alpha, the precision per factor that scales all others, None where there is none."""
        ...

    @property
    def alpha(self) -> Array:
        """Alpha (K,), empty where there is none."""
        ...

    def redraw(self, loadings: Array, rng: np.random.Generator) -> "Above":
        """Draw it anew given the loadings (D, K)."""
        ...

    def follow(self, alpha: Array) -> "Above":
        """Take another alpha (K,), where there is one."""
        ...

    def record(self) -> Mapping[str, Array]:
        """Name what a posterior keeps, each (K,)."""
        ...


@dataclass(frozen=True, slots=True)
class ArdAbove:
    """alpha_k ~ Gamma, w ~ N(0, 1 / alpha_k)."""

    hyperprior: Gamma
    alpha: Array

    @property
    def precision(self) -> Array:
        """See `Above`."""
        return self.alpha[None]

    @property
    def log_odds(self) -> Array:
        """See `Above`."""
        return _NOTHING

    def redraw(self, loadings: Array, rng: np.random.Generator) -> "ArdAbove":
        """See `Above`: alpha ~ Gamma(a + D / 2, b + sum w^2 / 2)."""
        return replace(
            self, alpha=draw_precisions(self.hyperprior, len(loadings), np.square(loadings).sum(axis=0), rng)
        )

    def follow(self, alpha: Array) -> "ArdAbove":
        """See `Above`."""
        return replace(self, alpha=alpha)

    def record(self) -> Mapping[str, Array]:
        """See `Above`."""
        return {"ard": self.alpha}


@dataclass(frozen=True, slots=True)
class SpikeSlabAbove:
    """alpha as under ARD for loadings that are not 0, and theta_k ~ Beta."""

    prior: SpikeSlab
    alpha: Array
    theta: Array

    @property
    def hyperprior(self) -> Gamma:
        """See `Above`."""
        return self.prior.precision

    @property
    def precision(self) -> Array:
        """See `Above`."""
        return self.alpha[None]

    @property
    def log_odds(self) -> Array:
        """See `Above`."""
        result: Array = logit(self.theta)
        return result

    def redraw(self, loadings: Array, rng: np.random.Generator) -> "SpikeSlabAbove":
        """See `Above`: slabs of loadings that are 0 are integrated out, so only the others count for alpha."""
        count = np.count_nonzero(loadings, axis=0)
        alpha = draw_precisions(self.hyperprior, count, np.square(loadings).sum(axis=0), rng)
        theta = rng.beta(self.prior.inclusion_a + count, self.prior.inclusion_b + len(loadings) - count)
        return replace(self, alpha=alpha, theta=np.clip(theta, LOW_ALPHA, 1 - 1e-16))

    def follow(self, alpha: Array) -> "SpikeSlabAbove":
        """See `Above`."""
        return replace(self, alpha=alpha)

    def record(self) -> Mapping[str, Array]:
        """See `Above`."""
        return {"ard": self.alpha, "inclusion": self.theta}


@dataclass(frozen=True, slots=True)
class NormalAbove:
    """Nothing is learned: one precision for all K factors."""

    value: float
    n_factors: int

    @property
    def hyperprior(self) -> None:
        """See `Above`."""
        return

    @property
    def alpha(self) -> Array:
        """See `Above`."""
        return _NOTHING

    @property
    def precision(self) -> Array:
        """See `Above`."""
        return np.full((1, self.n_factors), self.value)

    @property
    def log_odds(self) -> Array:
        """See `Above`."""
        return _NOTHING

    def redraw(self, loadings: Array, rng: np.random.Generator) -> "NormalAbove":  # noqa: ARG002
        """See `Above`."""
        return self

    def follow(self, alpha: Array) -> "NormalAbove":  # noqa: ARG002
        """See `Above`."""
        return self

    def record(self) -> Mapping[str, Array]:
        """See `Above`."""
        return {"ard": np.full(self.n_factors, self.value)}


@dataclass(frozen=True, slots=True)
class LaplaceAbove:
    """w ~ Laplace(lambda_k) as N(0, 1 / p), 1 / p ~ Exponential(lambda_k^2 / 2) (Park and Casella 2008, JASA 103:681).

    The same mixture of half-normals is the exponential, so loadings that may not be negative need nothing else.
    """

    prior: Gamma
    rate: Array
    precision: Array

    @property
    def hyperprior(self) -> None:
        """See `Above`; lambda does not scale precisions in a conjugate way."""
        return

    @property
    def alpha(self) -> Array:
        """See `Above`."""
        return _NOTHING

    @property
    def log_odds(self) -> Array:
        """See `Above`."""
        return _NOTHING

    def redraw(self, loadings: Array, rng: np.random.Generator) -> "LaplaceAbove":
        """See `Above`: lambda with p integrated out, then p inverse Gaussian given lambda."""
        size = np.abs(loadings)
        rate = rng.gamma(self.prior.shape + len(size), 1.0, size.shape[1]) / (self.prior.rate + size.sum(axis=0))
        rate = np.clip(rate, 1e-100, 1e100)
        mean = np.minimum(rate / np.maximum(size, 1e-200), 1e15)
        return replace(self, rate=rate, precision=np.clip(rng.wald(mean, rate**2), 1e-50, 1e50))

    def follow(self, alpha: Array) -> "LaplaceAbove":  # noqa: ARG002
        """See `Above`."""
        return self

    def record(self) -> Mapping[str, Array]:
        """See `Above`: the precision of a normal of the same variance."""
        return {"ard": self.rate**2 / 2}


@dataclass(frozen=True, slots=True)
class HorseshoeAbove:
    """w ~ N(0, l^2 / alpha_k), l half-Cauchy. `local` is 1 / l^2 (D, K)."""

    hyperprior: Gamma
    alpha: Array
    local: Array

    @property
    def precision(self) -> Array:
        """See `Above`."""
        return self.alpha * self.local

    @property
    def log_odds(self) -> Array:
        """See `Above`."""
        return _NOTHING

    def redraw(self, loadings: Array, rng: np.random.Generator) -> "HorseshoeAbove":
        """See `Above`: alpha with l integrated out, then l given alpha."""
        square, alpha = np.square(loadings), self.alpha.copy()
        prior, local = self.hyperprior, np.empty_like(square)
        draw_globals(np.ascontiguousarray(square.T), alpha, prior.shape, prior.rate, tabulate_log_g(), rng)
        draw_locals(square, alpha, rng, local)
        return replace(self, alpha=alpha, local=local)

    def follow(self, alpha: Array) -> "HorseshoeAbove":
        """See `Above`."""
        return replace(self, alpha=alpha)

    def record(self) -> Mapping[str, Array]:
        """See `Above`."""
        return {"ard": self.alpha}


def first_above(prior: Prior, n_features: int, n_factors: int) -> Above:
    """Give a point to start from: unit precisions, even inclusion."""
    ones, table = np.ones(n_factors), np.ones((n_features, n_factors))
    match prior:
        case ARD():
            return ArdAbove(prior.precision, ones)
        case SpikeSlab():
            return SpikeSlabAbove(prior, ones, ones / 2)
        case Normal():
            return NormalAbove(prior.scale**-2, n_factors)
        case Laplace():
            return LaplaceAbove(prior.rate, ones, table)
        case Horseshoe():
            return HorseshoeAbove(prior.precision, ones, table)


def draw_precisions(prior: Gamma, count: Array | Index | int, square: Array, rng: np.random.Generator) -> Array:
    """Draw precisions of normal numbers, Gamma(shape + count / 2, rate + square / 2), clipped."""
    shape = np.broadcast_to(prior.shape + np.asarray(count) / 2, square.shape)
    return _clip(rng.gamma(shape) / (prior.rate + square / 2))


def _clip(values: Array) -> Array:
    return np.clip(values, LOW_ALPHA, HIGH_ALPHA)
