"""Spike-and-slab regression by coordinate ascent: which of ten thousand features predict, and what they predict."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, xlogy

from mofa_bayes.risk.response import Array
from mofa_bayes.risk.sparse.likelihoods import Likelihood

_EXPECTED_ACTIVE = (1, 3, 10, 30, 100, 300, 1000, 3000)
_SLAB_SHAPE = 2.0
"""Shape of the inverse gamma prior of the slab variance: worth four coefficients."""
_PREDICTOR_VARIANCE = 1.0
"""Prior variance of the whole predictor: hazards that differ 2.7-fold per sd, as strong as omics scores get."""
_MAX_SLAB = 1.0
_DAMPING = 0.7
_MAX_PASSES = 200
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class SparseFit:
    """q of the coefficients, mixed over G prior shares of active features.

    Attributes
    ----------
    n_active, weight
        Expected number of active features a priori, and its posterior weight, (G,).
    bound
        Evidence lower bound of each, (G,).
    inclusion, mean, variance
        q(b_j not 0), E[b_j] and Var[b_j] under each, (G, D).
    """

    n_active: Array
    weight: Array
    bound: Array
    inclusion: Array
    mean: Array
    variance: Array

    @property
    def inclusion_probability(self) -> Array:
        """Posterior probability that each coefficient is not zero, (D,)."""
        probability: Array = self.weight @ self.inclusion
        return probability

    @property
    def coefficients(self) -> Array:
        """Posterior mean of each coefficient, (D,)."""
        mean: Array = self.weight @ self.mean
        return mean

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance of the predictor x b of subjects (N, D), each (N,)."""
        means, variances = x @ self.mean.T, np.square(x) @ self.variance.T
        mean = means @ self.weight
        return mean, (variances + np.square(means)) @ self.weight - np.square(mean)


def fit_sparse(x: Array, likelihood: Likelihood) -> SparseFit:
    """Regress an outcome on features: b_j = 0 or N(0, slab), the share of the latter integrated out on a grid.

    The expected log density is replaced by the quadratic that has its first and second derivative at the present q,
    and coordinate ascent run on that, in turns (conjugate-computation variational inference, Khan and Lin 2017,
    AISTATS; for Cox models Komodromos et al. 2022, Bioinformatics 38:3918); updates and the grid over prior shares are
    those of Carbonetto and Stephens 2012 (Bayesian Anal 7:73). Features that correlate share a predictor but not a
    coefficient: q picks among them, and means of the predictor are better than inclusion probabilities.

    Parameters
    ----------
    x
        Standardised features (N, D).
    likelihood
        Of the N outcomes; see `likelihood_of`.
    """
    columns = np.ascontiguousarray(x.T, dtype=np.float64)
    n_features = len(columns)
    grid = np.array([count for count in _EXPECTED_ACTIVE if count <= max(n_features / 2, 1)], dtype=np.float64)
    found = [_climb(columns, likelihood, count) for count in grid]
    bound = np.array([own.bound for own in found])
    weight = np.exp(bound - bound.max())
    inclusion = np.stack([own.inclusion for own in found])
    mean = np.stack([own.inclusion * own.location for own in found])
    second = np.stack([own.inclusion * (own.location**2 + own.variance) for own in found])
    return SparseFit(grid, weight / weight.sum(), bound, inclusion, mean, np.maximum(second - mean**2, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class _Climbed:
    bound: float
    inclusion: Array
    location: Array
    variance: Array


def _climb(x: Array, likelihood: Likelihood, n_active: float) -> _Climbed:
    """Coordinate ascent at one prior share of active features."""
    from mofa_bayes.risk.sparse.kernels import sweep

    n_features, n_subjects = x.shape
    share = n_active / n_features
    prior_slab = min(_PREDICTOR_VARIANCE / n_active, _MAX_SLAB)
    slab = prior_slab
    inclusion, location, variance = (np.zeros(n_features) for _ in range(3))
    mean, spread = np.zeros(n_subjects), np.zeros(n_subjects)
    square = np.square(x)
    natural: tuple[Array, Array] | None = None
    for _ in range(_MAX_PASSES):
        likelihood = likelihood.update(mean, spread)
        now = likelihood.expand(mean, spread)
        # natural parameters of the pseudo-observations move part of the way, which keeps e^eta from overshooting
        new = now.weight * now.target, now.weight
        natural = new if natural is None else (_mix(natural[0], new[0]), _mix(natural[1], new[1]))
        log_odds = float(np.log(share) - np.log1p(-share))
        largest = sweep(x, natural[1], natural[0] / natural[1], log_odds, slab, inclusion, location, variance, mean)
        own = inclusion * location
        spread = (inclusion * (location**2 + variance) - own**2) @ square
        total = float(inclusion @ (location**2 + variance))
        slab = (total + 2 * _SLAB_SHAPE * prior_slab) / (float(inclusion.sum()) + 2 * _SLAB_SHAPE)
        if largest < _TOLERANCE:
            break
    bound = likelihood.expect(mean, spread) - _divergence(inclusion, location, variance, share, slab)
    return _Climbed(bound + _slab_density(slab, prior_slab), inclusion, location, variance)


def _mix(before: Array, after: Array) -> Array:
    mixed: Array = (1 - _DAMPING) * before + _DAMPING * after
    return mixed


def _divergence(inclusion: Array, location: Array, variance: Array, share: float, slab: float) -> float:
    """KL(q || prior), summed over coefficients."""
    chosen = xlogy(inclusion, inclusion / share) + xlogy(1 - inclusion, (1 - inclusion) / (1 - share))
    moved = 1 + np.log(variance / slab) - (variance + location**2) / slab
    return float((chosen - inclusion * moved / 2).sum())


def _slab_density(slab: float, center: float) -> float:
    """Log density of log(slab) under an inverse gamma prior around `center`."""
    rate = _SLAB_SHAPE * center
    return float(_SLAB_SHAPE * np.log(rate) - gammaln(_SLAB_SHAPE) - _SLAB_SHAPE * np.log(slab) - rate / slab)
