"""Parameter expansion: move along z -> z A^-T, w -> w A, which leaves the likelihood as it is, to a higher bound.

Coordinate ascent trades scale and rotation between factors and loadings in small steps; these moves take them at once
(Virtanen, Klami, Khan and Kaski 2012, AISTATS, section 3.3; Qi and Jaakkola 2007, NIPS). A rotation mixes loadings and
so keeps only ARD's form; a scale per factor keeps that of every prior whose precision is learned.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from mofa_bayes.engines.vi.factor_priors import GroupArd, Standard
from mofa_bayes.engines.vi.globals import Globals
from mofa_bayes.engines.vi.layout import Layout
from mofa_bayes.engines.vi.packed import Array, diagonal_of, unpack
from mofa_bayes.engines.vi.priors import ArdState, scale_weights
from mofa_bayes.engines.vi.rows import Sums
from mofa_bayes.spec import ARD, Prior


def best_scale(globals_: Globals, sums: Sums) -> Array | None:
    """Scale c_k for z_k -> c_k z_k, w_k -> w_k / c_k, alpha_k -> c_k^2 alpha_k that raises the bound most.

    The bound changes by (n + 2 sum_m a0) log c - (c^2 - 1) (sum_n E[z_k^2] + 2 sum_m b0 E[alpha_mk]) / 2, n being the
    number of rows or, where factors are sparse, sum_n q(s_nk = 1): the entropy and the prior of w cancel, whatever the
    inclusion.

    Returns
    -------
    c (K,), or None where a prior does not follow a change of scale.
    """
    weights = scale_weights(list(globals_.views.values()))
    if weights is None or isinstance(globals_.factors, GroupArd):
        return None
    square = sum((own[diagonal_of(globals_.n_factors)] for own in sums.factors.values()), np.zeros(globals_.n_factors))
    active = sum(sums.active.values(), np.zeros(globals_.n_factors))
    result: Array = np.sqrt((active + weights[0]) / (square + weights[1]))
    return result


def can_rotate(priors: Mapping[str, Prior], globals_: Globals) -> bool:
    """Whether rotations keep the form of every prior."""
    return isinstance(globals_.factors, Standard) and all(
        isinstance(own, ARD) and not own.positive for own in priors.values()
    )


def best_rotation(layout: Layout, globals_: Globals, sums: Sums) -> Array | None:
    """Find the invertible A (K, K) for z -> z A^-T, w -> w A that raises the bound of a dense model most.

    With E = sum_n E[z z'], S_m = sum_d E[w w'] of view m and alpha at its optimum, the bound depends on A through
    J(A) = -tr(A^-1 E A^-T)/2 + (D - N) log|det A| - sum_m (a0 + D_m/2) sum_k log(b0 + [A'S_m A]_kk / 2).

    Returns
    -------
    A, or None when no A is better than the identity.
    """
    size = globals_.n_factors
    n_terms = size + layout.n_known
    energy = unpack(sum(sums.factors.values(), np.zeros(size * (size + 1) // 2)), size)
    views = []
    for view, above in globals_.views.items():
        own = [(p, s) for p, s in zip(layout.parts, globals_.parts, strict=True) if p.view == view]
        second = sum(
            (unpack(s.pairs_total(np.ones(p.n_features)), n_terms) for p, s in own), np.zeros((n_terms, n_terms))
        )
        prior = above.prior if isinstance(above, ArdState) else ARD().precision
        half = sum(p.n_features for p, _ in own) / 2
        views.append((prior.shape + half, prior.rate, second[:size, :size]))
    excess = sum(part.n_features for part in layout.parts) - len(layout.subjects)

    def negative(flat: Array) -> tuple[float, Array]:
        a = flat.reshape(size, size)
        sign, log_determinant = np.linalg.slogdet(a)
        if sign <= 0:
            return np.inf, np.zeros_like(flat)
        inverse = np.linalg.inv(a)
        turned = inverse @ energy @ inverse.T
        value = -np.trace(turned) / 2 + excess * log_determinant
        slope = inverse.T @ turned + excess * inverse.T
        for shape, rate, second in views:
            product = second @ a
            scale = rate + np.einsum("ik,ik->k", a, product) / 2
            value -= shape * np.log(scale).sum()
            slope -= shape * product / scale
        return -float(value), -slope.ravel()

    identity = np.eye(size).ravel()
    found = minimize(negative, identity, jac=True, method="L-BFGS-B", options={"maxiter": 50})
    return found.x.reshape(size, size) if found.fun < negative(identity)[0] else None


def rotate(layout: Layout, globals_: Globals, turn: Array) -> Globals:
    """Apply w -> w A to a dense model, and set each alpha to its optimum."""
    parts = tuple(state.rotate(turn) for state in globals_.parts)
    square = {view: np.zeros(globals_.n_factors) for view in globals_.views}
    for part, state in zip(layout.parts, parts, strict=True):
        square[part.view] += (state.slab_mean**2 + state.slab_variance).sum(axis=0)
    views = {
        view: replace(own, rate=own.prior.rate + square[view] / 2) if isinstance(own, ArdState) else own
        for view, own in globals_.views.items()
    }
    return replace(globals_, parts=parts, views=views)
