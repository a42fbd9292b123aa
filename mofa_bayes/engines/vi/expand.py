"""Parameter expansion: move along z -> z A^-T, w -> w A, which leaves the likelihood as it is, to a higher bound.

Coordinate ascent trades scale and rotation between factors and loadings in small steps; these moves take them at once
(Virtanen, Klami, Khan and Kaski 2012, AISTATS, section 3.3; Qi and Jaakkola 2007, NIPS). A rotation mixes loadings and
so keeps only dense priors' form; a scale per factor keeps every prior's.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from mofa_bayes.engines.vi.globals import Globals, PartState, ViewState
from mofa_bayes.engines.vi.kernels import Array, diagonal_of, pack, unpack
from mofa_bayes.engines.vi.layout import Layout
from mofa_bayes.spec import ARD, Prior


def best_scale(globals_: Globals, priors: Mapping[str, Prior], factors: Array, n_rows: int) -> Array:
    """Scale c_k for z_k -> c_k z_k, w_k -> w_k / c_k, alpha_k -> c_k^2 alpha_k that raises the bound most.

    The bound changes by (N + 2 sum_m a0) log c - (c^2 - 1) (sum_n E[z_k^2] + 2 sum_m b0 E[alpha_mk]) / 2: the entropy
    and the prior of w cancel, whatever the inclusion.

    Parameters
    ----------
    factors
        Packed sum_n E[z z'].
    n_rows
        Number of subjects.
    """
    n_factors = globals_.n_factors
    square = factors[diagonal_of(n_factors)]
    shape = sum(2 * priors[view].precision.shape for view in globals_.views)
    rate = sum(
        (2 * priors[view].precision.rate * own.alpha for view, own in globals_.views.items()), np.zeros(n_factors)
    )
    result: Array = np.sqrt((n_rows + shape) / (square + rate))
    return result


def rescale(globals_: Globals, scale: Array) -> Globals:
    """Apply w_k -> w_k / scale_k and alpha_k -> scale_k^2 alpha_k."""
    inverse = np.append(1 / scale, 1.0)
    parts = []
    for state in globals_.parts:
        spread = inverse**2 if state.is_sparse else pack(np.outer(inverse, inverse))
        parts.append(
            replace(
                state,
                mean=state.mean * inverse,
                spread=state.spread * spread,
                slab_mean=state.slab_mean / scale,
                slab_variance=state.slab_variance / scale**2,
            )
        )
    views = {view: replace(own, ard_rate=own.ard_rate / scale**2) for view, own in globals_.views.items()}
    return Globals(tuple(parts), views)


def best_rotation(
    layout: Layout, globals_: Globals, priors: Mapping[str, Prior], factors: Array, n_rows: int
) -> Array | None:
    """Find the invertible A (K, K) for z -> z A^-T, w -> w A that raises the bound of a dense model most.

    With E = sum_n E[z z'], S_m = sum_d E[w w'] of view m and alpha at its optimum, the bound depends on A through
    J(A) = -tr(A^-1 E A^-T)/2 + (D - N) log|det A| - sum_m (a0 + D_m/2) sum_k log(b0 + [A'S_m A]_kk / 2).

    Returns
    -------
    A, or None when no A is better than the identity.
    """
    size = globals_.n_factors
    energy = unpack(factors, size)
    views = []
    for view in globals_.views:
        own = [(p, s) for p, s in zip(layout.parts, globals_.parts, strict=True) if p.view == view]
        second = sum(
            (unpack(s.pairs_total(np.ones(p.n_features)), size + 1) for p, s in own), np.zeros((size + 1,) * 2)
        )
        half = sum(p.n_features for p, _ in own) / 2
        views.append((priors[view].precision.shape + half, priors[view].precision.rate, second[:size, :size]))
    excess = sum(part.n_features for part in layout.parts) - n_rows

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


def rotate(layout: Layout, globals_: Globals, priors: Mapping[str, Prior], turn: Array) -> Globals:
    """Apply w -> w A to a dense model, and set each alpha to its optimum."""
    size = globals_.n_factors
    full = np.eye(size + 1)
    full[:size, :size] = turn
    parts: list[PartState] = []
    second = {view: np.zeros(size) for view in globals_.views}
    for part, state in zip(layout.parts, globals_.parts, strict=True):
        mean = state.mean @ full
        spread = pack(full.T @ unpack(state.spread, size + 1) @ full)
        variance = spread[:, diagonal_of(size)]
        second[part.view] += (mean[:, :size] ** 2 + variance).sum(axis=0)
        parts.append(replace(state, mean=mean, spread=spread, slab_mean=mean[:, :size], slab_variance=variance))
    views = {
        view: ViewState(own.ard_shape, priors[view].precision.rate + second[view] / 2)
        for view, own in globals_.views.items()
    }
    return Globals(tuple(parts), views)


def is_dense(priors: Mapping[str, Prior]) -> bool:
    """Whether rotations keep every view's prior."""
    return all(isinstance(prior, ARD) for prior in priors.values())
