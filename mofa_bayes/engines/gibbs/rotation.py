"""Rotations of pairs of factors under priors that are mixtures of normals, with the mixtures' scales integrated out.

Z -> Z R and W -> W R leave eta alone, and an angle is an element of a group whose Haar measure is uniform. Given local
scales the prior of loadings holds them where they are; without these it only prefers some rotations to others, so the
angle is drawn from prod p(w(phi)) p(z(phi)) with each loading's marginal prior (Liu and Sabatti 2000, Biometrika
87:353), and scales are drawn anew right after it (partially collapsed: van Dyk and Park 2008, JASA 103:790).
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mofa_bayes.engines.gibbs.above import Above, HorseshoeAbove, LaplaceAbove
from mofa_bayes.engines.gibbs.horseshoe import log_g, tabulate_log_g
from mofa_bayes.engines.gibbs.state import Point, Problem
from mofa_bayes.engines.vi.kernels import compiled
from mofa_bayes.engines.vi.packed import Array, Index

_NORMAL, _LAPLACE, _HORSESHOE = range(3)
# Pairs of factors per sweep: all of up to five factors, and as many as there are factors beyond.
_PAIRS = 10


def rotate(problem: Problem, point: Point, rng: np.random.Generator) -> Point:
    """Rotate pairs of factors; what stands above loadings has to be drawn anew before anything else is."""
    if not may_rotate(problem, point.above):
        return point
    n_factors = point.n_factors
    loadings = [point.loadings(problem.layout, view) for view in problem.view_of]
    kinds, scales, rates = zip(*(_describe(point.above[view]) for view in problem.view_of), strict=True)
    w, turn = np.ascontiguousarray(np.concatenate(loadings).T), np.eye(n_factors)
    rotate_pairs(
        rng.permutation(np.column_stack(np.triu_indices(n_factors, 1)))[: max(_PAIRS, n_factors)],
        w,
        np.cumsum([0, *(len(own) for own in loadings)]),
        np.array(kinds),
        np.stack(scales),
        np.array(rates),
        np.stack([_gram(problem, point, group) for group in range(len(problem.rows_of))]),
        point.factor_precision,
        tabulate_log_g(),
        rng,
        turn,
    )
    parts, start = list(point.parts), 0
    for numbers in problem.view_of.values():
        for number in numbers:
            own = parts[number]
            stop = start + len(own.terms)
            parts[number] = replace(own, terms=np.column_stack([w[:, start:stop].T, own.terms[:, n_factors:]]))
            start = stop
    return replace(point, factors=point.factors @ turn, parts=tuple(parts))


def may_rotate(problem: Problem, above: Mapping[str, Above]) -> bool:
    """Say whether pairs may be rotated: no loading is exactly 0 or of one sign, and some prior is a mixture.

    Where none is, `moves` mixes all factors already.
    """
    is_free = not any(len(own.log_odds) or problem.spec.loadings_of(view).positive for view, own in above.items())
    return is_free and problem.spec.n_factors > 1 and any(len(own.precision) > 1 for own in above.values())


def _describe(above: Above) -> tuple[int, Array, tuple[float, float]]:
    """Kind, precision per factor (K,), and shape and rate of the prior of Laplace's lambda, which is integrated out."""
    match above:
        case LaplaceAbove():
            return _LAPLACE, above.rate, (above.prior.shape, above.prior.rate)
        case HorseshoeAbove():
            return _HORSESHOE, above.alpha, (0.0, 0.0)
        case _:
            return _NORMAL, above.precision[0], (0.0, 0.0)


def _gram(problem: Problem, point: Point, group: int) -> Array:
    rows = [point.factors[block.rows] for block in problem.layout.blocks if block.group == group]
    z = np.concatenate(rows)
    result: Array = z.T @ z
    return result


@compiled
def rotate_pairs(
    pairs: Index,
    w: Array,
    starts: Index,
    kinds: Index,
    scales: Array,
    rates: Array,
    factor_grams: Array,
    beta: Array,
    table: Array,
    rng: np.random.Generator,
    turn: Array,
) -> None:  # pragma: no cover
    """Rotate pairs of factors one after the other.

    Parameters
    ----------
    pairs
        (P, 2).
    w
        Loadings of all views (K, D); rotated.
    starts, kinds
        First loading of each view, and their end (V + 1,); kind of each view's prior (V,).
    scales, rates
        Precisions of loadings (V, K); shape and rate of the prior of Laplace's lambda (V, 2).
    factor_grams, beta
        Z'Z per group (G, K, K), which is rotated, and precisions of factors (G, K).
    table
        Of `tabulate_log_g`.
    turn
        Multiplied by the rotation (K, K).
    """
    own = np.empty((kinds.shape[0], 2))
    for p in range(pairs.shape[0]):
        j, k = pairs[p]
        own[:, 0], own[:, 1] = scales[:, j], scales[:, k]
        normal = np.zeros(3)
        for g in range(beta.shape[0]):
            gram = factor_grams[g]
            _add_squares(gram[j, j], gram[j, k], gram[k, k], beta[g, j], beta[g, k], normal)
        for v in range(kinds.shape[0]):
            if kinds[v] == _NORMAL:
                x, y = w[j, starts[v] : starts[v + 1]], w[k, starts[v] : starts[v + 1]]
                _add_squares((x * x).sum(), (x * y).sum(), (y * y).sum(), own[v, 0], own[v, 1], normal)
        angle = _draw_angle(w[j], w[k], starts, kinds, own, rates, normal, table, rng)
        c, s = math.cos(angle), math.sin(angle)
        _rotate(w[j], w[k], c, s)
        _rotate(turn[:, j], turn[:, k], c, s)
        for g in range(beta.shape[0]):
            _rotate(factor_grams[g, :, j], factor_grams[g, :, k], c, s)
            _rotate(factor_grams[g, j], factor_grams[g, k], c, s)


@compiled
def _draw_angle(
    x: Array,
    y: Array,
    starts: Index,
    kinds: Index,
    scales: Array,
    rates: Array,
    normal: Array,
    table: Array,
    rng: np.random.Generator,
) -> float:  # pragma: no cover
    """Draw the angle by which a pair is rotated by one slice on the circle; parameters as in `_log_density`.

    The slice starts as the whole circle and shrinks towards angle 0 (Neal 2003, Ann Stat 31:705, section 5.1; on the
    circle Murray, Adams and MacKay 2010, AISTATS): there is no width to choose. Half a circle is the whole, since
    turning both factors by pi changes their signs alone.
    """
    level = _log_density(0.0, x, y, starts, kinds, scales, rates, normal, table) - rng.standard_exponential()
    low = -math.pi * rng.random()
    high = low + math.pi
    while True:
        angle = low + (high - low) * rng.random()
        if _log_density(angle, x, y, starts, kinds, scales, rates, normal, table) >= level:
            return angle
        if angle < 0.0:
            low = angle
        else:
            high = angle


@compiled
def _log_density(
    angle: float,
    x: Array,
    y: Array,
    starts: Index,
    kinds: Index,
    scales: Array,
    rates: Array,
    normal: Array,
    table: Array,
) -> float:  # pragma: no cover
    """Log density, up to a constant, of the angle by which a pair is rotated.

    Parameters
    ----------
    x, y
        The pair's loadings (D,) at angle 0; at others they are cos x + sin y and cos y - sin x.
    starts, kinds, rates, table
        As in `rotate_pairs`.
    scales
        The pair's (V, 2).
    normal
        Of `_add_squares`, for all that is normal.
    """
    c, s = math.cos(angle), math.sin(angle)
    total = -0.5 * (normal[0] * c * c + normal[1] * s * s + normal[2] * c * s)
    for v in range(kinds.shape[0]):
        start, stop = starts[v], starts[v + 1]
        if kinds[v] == _LAPLACE:
            # lambda ~ Gamma(a, b) integrated out leaves (b + sum |w|)^-(a + D).
            first, second = rates[v, 1], rates[v, 1]
            for d in range(start, stop):
                first += abs(c * x[d] + s * y[d])
                second += abs(c * y[d] - s * x[d])
            total -= (rates[v, 0] + stop - start) * (math.log(first) + math.log(second))
        elif kinds[v] == _HORSESHOE:
            for d in range(start, stop):
                a, b = c * x[d] + s * y[d], c * y[d] - s * x[d]
                total += log_g(0.5 * scales[v, 0] * a * a, table) + log_g(0.5 * scales[v, 1] * b * b, table)
    return float(total)


@compiled
def _add_squares(xx: float, xy: float, yy: float, first: float, second: float, out: Array) -> None:  # pragma: no cover
    """Add first |x(phi)|^2 + second |y(phi)|^2 to coefficients of cos^2, sin^2 and cos sin (3,)."""
    out[0] += first * xx + second * yy
    out[1] += first * yy + second * xx
    out[2] += 2.0 * (first - second) * xy


@compiled
def _rotate(x: Array, y: Array, c: float, s: float) -> None:  # pragma: no cover
    for i in range(x.shape[0]):
        x[i], y[i] = c * x[i] + s * y[i], c * y[i] - s * x[i]
