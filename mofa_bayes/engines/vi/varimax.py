"""Varimax: the orthogonal rotation that makes loadings large or small, over several views at once."""

from collections.abc import Sequence

import numpy as np

from mofa_bayes.engines.vi.packed import Array, n_packed, pack, pair_weights, unpack

_MAX_FACTORS = 30
_MAX_ITERATIONS = 500
_TOLERANCE = 1e-8
_CHUNK = 1024


def varimax(loadings: Sequence[Array]) -> Array:
    """Find the rotation R (K, K) that maximises the variance of squared loadings, summed over factors and views.

    Each view counts the same whatever its width: its rows are weighted by 1 / D_m. Iterated singular value
    decompositions of the gradient (Kaiser 1958, Psychometrika 23:187; Horst 1965, chapter 18).

    The criterion is a polynomial of degree 4 in the rotation, so the second and fourth moments of the loadings over
    features hold all that it needs: one pass over the features, then iterations that do not touch them.

    Parameters
    ----------
    loadings
        One matrix (D_m, K) per view.

    Returns
    -------
    R, to be applied as `loadings @ R`.
    """
    n_factors = loadings[0].shape[1]
    if n_factors > _MAX_FACTORS:
        return _rotate_directly(loadings)
    second, fourth = _moments(loadings)
    weights = pair_weights(n_factors)
    rotation = np.eye(n_factors)
    before = 0.0
    for _ in range(_MAX_ITERATIONS):
        columns = rotation.T
        # Per column r: sum_d w_d (l_d'r)^2 l_d l_d', whose product with r is the slope of the fourth moment.
        slopes = unpack((pack(columns[:, :, None] * columns[:, None, :]) * weights) @ fourth, n_factors)
        along = second @ rotation
        gradient = np.einsum("kij,kj->ik", slopes, columns) - along * np.sum(rotation * along, axis=0)
        left, values, right = np.linalg.svd(gradient)
        rotation = left @ right
        if values.sum() <= before * (1 + _TOLERANCE):
            break
        before = values.sum()
    return rotation


def _moments(loadings: Sequence[Array]) -> tuple[Array, Array]:
    """Weighted moments: second (K, K), and fourth between packed products (P, P)."""
    n_factors = loadings[0].shape[1]
    second = np.zeros((n_factors, n_factors))
    fourth = np.zeros((n_packed(n_factors), n_packed(n_factors)))
    for own in loadings:
        weight = 1 / (len(own) * len(loadings))
        second += weight * (own.T @ own)
        for start in range(0, len(own), _CHUNK):
            chunk = own[start : start + _CHUNK]
            pairs = pack(chunk[:, :, None] * chunk[:, None, :])
            fourth += weight * (pairs.T @ pairs)
    return second, fourth


def _rotate_directly(loadings: Sequence[Array]) -> Array:
    """Pass over all features in every iteration: for many factors, whose moments would cost more."""
    stacked = np.concatenate(loadings)
    weights = np.concatenate([np.full((len(own), 1), 1 / max(len(own), 1)) for own in loadings])
    weights /= weights.sum()
    rotation = np.eye(stacked.shape[1])
    before = 0.0
    for _ in range(_MAX_ITERATIONS):
        turned = stacked @ rotation
        square = turned * turned
        slope = square * turned - turned * np.sum(weights * square, axis=0)
        left, values, right = np.linalg.svd(stacked.T @ (weights * slope))
        rotation = left @ right
        if values.sum() <= before * (1 + _TOLERANCE):
            break
        before = values.sum()
    return rotation
