"""q of everything that is not a row: loadings, intercepts, noise, precisions, inclusion; and the bound."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import betaln, digamma, gammaln

from mofa_bayes.engines.vi.kernels import (
    Array,
    Index,
    diagonal_of,
    pack,
    second_moments,
    second_moments_diagonal,
    sweep_dense,
    sweep_spike_slab,
)
from mofa_bayes.engines.vi.layout import Layout, Part
from mofa_bayes.engines.vi.rows import PartGlobals, PartSums, Sums
from mofa_bayes.spec import ARD, FactorModel, Gamma, Prior, SpikeSlab

_LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, slots=True)
class PartState:
    """q of one part.

    Attributes
    ----------
    mean
        E[w~], loadings and (last) intercept, (D, J).
    spread
        Var[w~] (D, J) under a sparse prior, packed covariance (D, P) under a dense one.
    slab_mean, slab_variance, inclusion
        Moments of w given s = 1, and q(s = 1), each (D, K). Dense: inclusion is 1 and the moments repeat the mean's.
    noise_shape, noise_rate
        q(tau_d) = Gamma, (D,); empty for bernoulli parts.
    """

    mean: Array
    spread: Array
    slab_mean: Array
    slab_variance: Array
    inclusion: Array
    noise_shape: Array
    noise_rate: Array

    @property
    def is_sparse(self) -> bool:
        """Whether the loadings' factors are independent, with variances in `spread`."""
        return self.spread.shape == self.mean.shape

    @property
    def tau(self) -> Array:
        """E[tau_d] (D,); 1 for bernoulli parts."""
        return self.noise_shape / self.noise_rate if len(self.noise_shape) else np.ones(len(self.mean))

    def pairs(self, features: Index | slice = slice(None)) -> Array:
        """Packed E[w~ w~'] of some features, (., P)."""
        moments = second_moments_diagonal if self.is_sparse else second_moments
        result: Array = moments(self.mean[features], self.spread[features])
        return result

    def pairs_total(self, weights: Array) -> Array:
        """sum_d weights_d E[w~_d w~_d'], packed (P,), without a D x P table."""
        own = weights @ self.spread
        spread = pack(np.diag(own)) if self.is_sparse else own
        result: Array = pack((self.mean * weights[:, None]).T @ self.mean) + spread
        return result

    def summarise(self, part: Part) -> PartGlobals:
        """Reduce to what rows need to know."""
        if part.likelihood == "bernoulli":
            return PartGlobals(self.mean, np.empty(0), self.pairs())
        tau = self.tau
        scattered = self.pairs(part.scattered) * tau[part.scattered, None]
        return PartGlobals(self.mean * tau[:, None], self.pairs_total(tau), scattered)


@dataclass(frozen=True, slots=True)
class ViewState:
    """q of a view's precisions alpha_k = Gamma(shape, rate) and inclusion probabilities theta_k = Beta, each (K,)."""

    ard_shape: Array
    ard_rate: Array
    theta_a: Array = field(default_factory=lambda: np.empty(0))
    theta_b: Array = field(default_factory=lambda: np.empty(0))

    @property
    def alpha(self) -> Array:
        """E[alpha_k]."""
        return self.ard_shape / self.ard_rate

    @property
    def log_alpha(self) -> Array:
        """E[log alpha_k]."""
        result: Array = digamma(self.ard_shape) - np.log(self.ard_rate)
        return result

    @property
    def log_odds(self) -> Array:
        """E[logit theta_k]."""
        result: Array = digamma(self.theta_a) - digamma(self.theta_b)
        return result


@dataclass(frozen=True, slots=True)
class Globals:
    """q of all globals: one state per part and per view."""

    parts: tuple[PartState, ...]
    views: Mapping[str, ViewState]

    @property
    def n_factors(self) -> int:
        """Number of factors."""
        return int(self.parts[0].mean.shape[1]) - 1

    def summarise(self, layout: Layout) -> dict[int, PartGlobals]:
        """Reduce to what rows need to know."""
        return {number: state.summarise(layout.parts[number]) for number, state in enumerate(self.parts)}


def priors_of(spec: FactorModel, layout: Layout, *, dense: bool) -> dict[str, Prior]:
    """Prior of each view; with `dense`, sparse priors are replaced by ARD with the same precision prior."""
    priors = {view: spec.loadings_of(view) for view in layout.views}
    return {view: ARD(precision=prior.precision) if dense else prior for view, prior in priors.items()}


def first_globals(layout: Layout, priors: Mapping[str, Prior], n_factors: int) -> Globals:
    """Globals before anything is known: loadings 0, unit ARD, noise as large as each feature's own variance."""
    parts = []
    for part in layout.parts:
        shape = np.maximum(part.n_observed, 1.0) if part.likelihood == "gaussian" else np.empty(0)
        rate = np.maximum(part.sum_squares, 1e-12 * shape) if len(shape) else shape
        dense = isinstance(priors[part.view], ARD)
        parts.append(_empty_part(part.n_features, n_factors, shape, rate, dense=dense))
    ones = np.ones(n_factors)
    views = {
        view: ViewState(ones, ones, *(() if isinstance(prior, ARD) else (ones, ones))) for view, prior in priors.items()
    }
    return Globals(tuple(parts), views)


def _empty_part(n_features: int, n_factors: int, shape: Array, rate: Array, *, dense: bool) -> PartState:
    n_terms = n_factors + 1
    width = n_terms * (n_terms + 1) // 2 if dense else n_terms
    mean, spread = np.zeros((n_features, n_terms)), np.zeros((n_features, width))
    nothing, everything = np.zeros((n_features, n_factors)), np.ones((n_features, n_factors))
    return PartState(mean, spread, nothing, nothing, everything, shape, rate)


def sparsify(globals_: Globals, layout: Layout, priors: Mapping[str, Prior]) -> Globals:
    """Start a sparse model from a dense one: the same means, everything included, inclusion probabilities even."""
    parts = []
    for part, state in zip(layout.parts, globals_.parts, strict=True):
        if isinstance(priors[part.view], SpikeSlab) and not state.is_sparse:
            n_terms = state.mean.shape[1]
            diagonal = diagonal_of(n_terms)
            state = replace(state, spread=np.ascontiguousarray(state.spread[:, diagonal]))
        parts.append(state)
    ones = np.ones(globals_.n_factors)
    views = {
        view: replace(own, theta_a=ones, theta_b=ones) if isinstance(priors[view], SpikeSlab) else own
        for view, own in globals_.views.items()
    }
    return Globals(tuple(parts), views)


def update_globals(
    layout: Layout, spec: FactorModel, priors: Mapping[str, Prior], globals_: Globals, sums: Sums
) -> tuple[Globals, float]:
    """One coordinate-ascent pass over the globals given the rows' sums; returns them with the bound they reach."""
    intercept_precision = spec.intercept_scale**-2
    bound = -sums.kl
    parts: list[PartState] = []
    collected = {view: np.zeros((4, globals_.n_factors + 1)) for view in layout.views}
    for number, (part, state) in enumerate(zip(layout.parts, globals_.parts, strict=True)):
        view = globals_.views[part.view]
        updated, gained = _update_part(
            part,
            state,
            view,
            priors[part.view],
            sums.parts[number],
            intercept_precision,
            collected[part.view],
            spec.noise,
        )
        parts.append(updated)
        bound += gained
    views = {}
    for name in globals_.views:
        views[name], gained = _update_view(priors[name], collected[name], _n_features(layout, name))
        bound += gained
    return Globals(tuple(parts), views), float(bound)


def _n_features(layout: Layout, view: str) -> int:
    return sum(part.n_features for part in layout.parts if part.view == view)


def _update_part(
    part: Part,
    state: PartState,
    view: ViewState,
    prior: Prior,
    sums: PartSums,
    intercept_precision: float,
    collected: Array,
    noise: Gamma,
) -> tuple[PartState, float]:
    """Update loadings and intercepts, then noise; return the part's share of the bound, loadings' prior excepted."""
    quadratic = np.empty(part.n_features)
    data = (sums.cross, sums.grams, part.gram_of, state.tau)
    mean, spread = state.mean.copy(), state.spread.copy()
    if isinstance(prior, ARD):
        sweep_dense(*data, view.alpha, intercept_precision, mean, spread, quadratic, collected)
        n_factors = mean.shape[1] - 1
        variance = spread[:, diagonal_of(n_factors)]
        state = replace(state, mean=mean, spread=spread, slab_mean=mean[:, :n_factors], slab_variance=variance)
    else:
        slab = state.slab_mean.copy(), state.slab_variance.copy(), state.inclusion.copy()
        moments = (view.alpha, view.log_alpha, view.log_odds)
        sweep_spike_slab(*data, *moments, intercept_precision, mean, *slab, spread, quadratic, collected)
        state = PartState(mean, spread, *slab, state.noise_shape, state.noise_rate)
    if part.likelihood == "bernoulli":
        return state, sums.constant - quadratic.sum() / 2
    residual = np.maximum(part.sum_squares + quadratic, 0.0)
    shape, rate = noise.shape + part.n_observed / 2, noise.rate + residual / 2
    state = replace(state, noise_shape=shape, noise_rate=rate)
    log_tau = digamma(shape) - np.log(rate)
    likelihood = part.n_observed * (log_tau - _LOG_2PI) - shape / rate * residual
    return state, float(likelihood.sum() / 2 - gamma_kl(shape, rate, noise).sum())


def _update_view(prior: Prior, collected: Array, n_features: int) -> tuple[ViewState, float]:
    """Update alpha and theta; return E[log p(w, s)] + entropy of (w, s) - KL of alpha and theta."""
    active, square = collected[0, :-1], collected[1, :-1]
    updated = ViewState(prior.precision.shape + active / 2, prior.precision.rate + square / 2)
    bound = collected[2].sum() + (active * updated.log_alpha - updated.alpha * square).sum() / 2
    bound -= gamma_kl(updated.ard_shape, updated.ard_rate, prior.precision).sum()
    if isinstance(prior, ARD):
        return updated, float(bound)
    a, b = prior.inclusion_a + active, prior.inclusion_b + n_features - active
    total = digamma(a + b)
    bound += (active * (digamma(a) - total) + (n_features - active) * (digamma(b) - total)).sum()
    bound -= beta_kl(a, b, prior.inclusion_a, prior.inclusion_b).sum()
    return replace(updated, theta_a=a, theta_b=b), float(bound)


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
