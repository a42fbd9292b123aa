"""Moves along the likelihood's own invariance, Z~ -> Z~ E and W~ -> W~ E^-T: eta stays, scale and rotation do not.

Plain Gibbs draws Z given W and W given Z, and so hardly moves where they trade scale, rotation and level. Each move here
draws from the posterior restricted to the orbit of a group of maps, that is with the Jacobian of the map and the
group's Haar measure (Liu and Sabatti 2000, Biometrika 87:353), so the posterior stays as it is.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mofa_bayes.engines.gibbs.above import SMALLEST, Above
from mofa_bayes.engines.gibbs.kernels import draw_log_scales, shear
from mofa_bayes.engines.gibbs.state import PartPoint, Point, Problem, is_bounded
from mofa_bayes.engines.vi.packed import Array

_LARGEST_STEP = 200.0


def move(problem: Problem, point: Point, rng: np.random.Generator) -> Point:
    """Shear the known terms, and where priors admit it the other factors, into each factor; then change its scale."""
    point = _shear(problem, point, rng)
    point = _rescale(problem, point, rng, with_loadings=False, with_factors=False)
    point = _rescale(problem, point, rng, with_loadings=True, with_factors=False)
    if problem.factor_hyperprior is not None:
        point = _rescale(problem, point, rng, with_loadings=True, with_factors=True)
    return point


def may_mix(problem: Problem, above: Mapping[str, Above]) -> bool:
    """Say whether factors may be mixed: all loadings are normal of one precision per view and factor, of any sign."""
    return not any(
        len(own.log_odds) or len(own.precision) > 1 or problem.spec.loadings_of(view).positive
        for view, own in above.items()
    )


def _shear(problem: Problem, point: Point, rng: np.random.Generator) -> Point:
    n_factors, layout = point.n_factors, problem.layout
    size = n_factors + problem.n_known
    factor_grams = np.zeros((len(problem.rows_of), size, size))
    for block in layout.blocks:
        terms = np.column_stack([point.factors[block.rows], block.design])
        factor_grams[block.group] += terms.T @ terms
    loading_grams = np.stack(
        [sum(point.parts[i].terms.T @ point.parts[i].terms for i in own) for own in problem.view_of.values()]
    )
    mixes = may_mix(problem, point.above)
    precision = np.ones((len(problem.view_of), n_factors))
    if mixes:
        precision = np.concatenate([point.above[view].precision for view in problem.view_of])
    turn, back = np.empty((size, size)), np.empty((size, size))
    beta, known = point.factor_precision, problem.known_precision
    shear(factor_grams, beta, loading_grams, precision, known, mixes, rng, turn, back)
    factors = point.factors @ turn[:n_factors, :n_factors]
    for block in layout.blocks:
        factors[block.rows] += block.design @ turn[n_factors:, :n_factors]
    first = 0 if mixes else n_factors
    return replace(point, factors=factors, parts=tuple(_turn(own, back, first) for own in point.parts))


def _turn(own: PartPoint, back: Array, first: int) -> PartPoint:
    """Apply W~ -> W~ back to the terms from `first` on; those before it stay."""
    terms = own.terms.copy()
    terms[:, first:] = own.terms @ back[:, first:]
    return replace(own, terms=terms)


def _rescale(
    problem: Problem, point: Point, rng: np.random.Generator, *, with_loadings: bool, with_factors: bool
) -> Point:
    """Draw c_k for z_k -> c_k z_k, w_k -> w_k / c_k, and where asked alpha_k -> c_k^2 alpha_k, beta_k -> beta_k / c_k^2.

    t = log c^2 has log density power t - (grow e^t + shrink e^-t) / 2. z adds N/2 to power (its Jacobian) and beta z'z
    to grow; a loading that is not 0 takes 1/2 from power and adds its precision times its square to shrink. Where
    alpha ~ Gamma(a, b) follows, alpha w^2 stays, the Jacobians of w and of alpha's density cancel, and what is left is
    alpha's prior: a to power, 2 b alpha to grow; likewise for beta, with the signs turned.
    """
    n_factors = point.n_factors
    power, grow, shrink = np.zeros(n_factors), np.zeros(n_factors), np.zeros(n_factors)
    hyperprior = problem.factor_hyperprior if with_factors else None
    if hyperprior is None:
        power += len(point.factors) / 2
        for block in problem.layout.blocks:
            grow += point.factor_precision[block.group] * np.square(point.factors[block.rows]).sum(axis=0)
    else:
        power -= hyperprior.shape * len(problem.rows_of)
        shrink += 2 * hyperprior.rate * point.factor_precision.sum(axis=0)
    for view, own in point.above.items():
        if with_loadings and own.hyperprior is not None:
            power += own.hyperprior.shape
            grow += 2 * own.hyperprior.rate * own.alpha
        else:
            loadings = point.loadings(problem.layout, view)
            power -= np.count_nonzero(loadings, axis=0) / 2
            shrink += (own.precision * np.square(loadings)).sum(axis=0)
    growth = draw_log_scales(power, np.maximum(grow, SMALLEST), shrink, rng)
    growth = np.exp(np.clip(growth, -_LARGEST_STEP, _LARGEST_STEP))
    factor_precision = point.factor_precision
    if hyperprior is not None:
        # Proposed from the conditional without bounds, so inside them it is accepted and outside them it is not.
        inside = is_bounded(factor_precision / growth).all(axis=0)
        growth = np.where(inside, growth, 1.0)
        factor_precision = factor_precision / growth
    scale = np.sqrt(growth)
    above = {view: own.rescale(growth) if with_loadings else own for view, own in point.above.items()}
    inverse = np.append(1 / scale, np.ones(problem.n_known))
    parts = tuple(replace(own, terms=own.terms * inverse) for own in point.parts)
    return Point(point.factors * scale, parts, above, factor_precision)
