"""Moves along the likelihood's own invariance, Z~ -> Z~ E and W~ -> W~ E^-T: eta stays, scale and rotation do not.

Plain Gibbs draws Z given W and W given Z, and so hardly moves where they trade scale, rotation and level. Each move
here draws from the posterior restricted to the orbit of a group of maps, that is with the Jacobian of the map and the
group's Haar measure (Liu and Sabatti 2000, Biometrika 87:353), so the posterior stays as it is. All of them need only
sums of K x K numbers, so many are made before Z and W are touched. Where priors are dense of one precision per view and
factor, all factors are mixed; under all others only scales, and levels against intercepts, keep the prior's form.
Rotations that only keep the marginal prior's, with local scales integrated out, are in `rotation`.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mofa_bayes.engines.gibbs.above import Above
from mofa_bayes.engines.gibbs.state import PartPoint, Point, Problem
from mofa_bayes.engines.gibbs.walk import walk
from mofa_bayes.engines.vi.packed import Array
from mofa_bayes.spec import Gamma

# Rounds of moves per sweep where factors are mixed, for as many features as subjects; more features make each round's
# steps smaller. With 200 subjects, five factors and 3 x 100 dense features the worst entry of W W' had .08, .25 and .49
# effective draws per draw after 1, 3 and 8 rounds. Under other priors a second round brings nothing.
_ROUNDS, _MOST_ROUNDS = 5, 40


def move(problem: Problem, point: Point, rng: np.random.Generator) -> Point:
    """Walk along the orbit, with the precisions of loadings and factors, and bring factors and loadings there."""
    n_factors, views = point.n_factors, list(problem.view_of)
    mixes = may_mix(problem, point.above)
    alpha = np.stack([_scale_of(point.above[view], n_factors) for view in views])
    squares, counts = (np.empty_like(alpha) for _ in range(2))
    for v, view in enumerate(views):
        loadings = point.loadings(problem.layout, view)
        squares[v] = (point.above[view].precision / alpha[v] * np.square(loadings)).sum(axis=0)
        counts[v] = np.count_nonzero(loadings, axis=0)
    beta = point.factor_precision.copy()
    size = n_factors + problem.n_known
    turn, back = np.empty((size, size)), np.empty((size, size))
    walk(
        _count_rounds(problem) if mixes else 1,
        _factor_grams(problem, point),
        beta,
        np.stack([sum(_gram(point.parts[i].terms) for i in own) for own in problem.view_of.values()]),
        alpha,
        squares,
        counts,
        problem.rows_of,
        np.array([_as_pair(point.above[view].hyperprior) for view in views]),
        np.array(_as_pair(problem.factor_hyperprior)),
        problem.known_precision,
        mixes,
        rng,
        turn,
        back,
    )
    factors = point.factors @ turn[:n_factors, :n_factors]
    for block in problem.layout.blocks:
        factors[block.rows] += block.design @ turn[n_factors:, :n_factors]
    parts = tuple(_turn(own, back, n_factors, mixes) for own in point.parts)
    above = {view: point.above[view].follow(own) for view, own in zip(views, alpha, strict=True)}
    return Point(factors, parts, above, beta)


def may_mix(problem: Problem, above: Mapping[str, Above]) -> bool:
    """Say whether factors may be mixed: all loadings are normal of one precision per view and factor, of any sign."""
    return not any(
        len(own.log_odds) or len(own.precision) > 1 or problem.spec.loadings_of(view).positive
        for view, own in above.items()
    )


def _count_rounds(problem: Problem) -> int:
    n_features = sum(part.n_features for part in problem.layout.parts)
    return min(max(-(-_ROUNDS * n_features // len(problem.layout.subjects)), _ROUNDS), _MOST_ROUNDS)


def _scale_of(above: Above, n_factors: int) -> Array:
    """Alpha, or for mixtures without one 1; a fixed precision per factor is one that has no prior."""
    if len(above.alpha):
        return above.alpha
    return above.precision[0] if len(above.precision) == 1 else np.ones(n_factors)


def _as_pair(prior: Gamma | None) -> tuple[float, float]:
    return (0.0, 0.0) if prior is None else (prior.shape, prior.rate)


def _factor_grams(problem: Problem, point: Point) -> Array:
    size = point.n_factors + problem.n_known
    grams = np.zeros((len(problem.rows_of), size, size))
    for block in problem.layout.blocks:
        grams[block.group] += _gram(np.column_stack([point.factors[block.rows], block.design]))
    return grams


def _gram(terms: Array) -> Array:
    result: Array = terms.T @ terms
    return result


def _turn(own: PartPoint, back: Array, n_factors: int, mixes: bool) -> PartPoint:
    """Apply W~ -> W~ back; where factors are not mixed their loadings only change scale, and zeros stay zeros."""
    terms = own.terms @ back
    if not mixes:
        terms[:, :n_factors] = own.terms[:, :n_factors] * np.diag(back)[:n_factors]
    return replace(own, terms=terms)
