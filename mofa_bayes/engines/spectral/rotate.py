"""Varimax from fourth moments: passes over K x K x K x K numbers instead of over all features."""

from collections.abc import Sequence

import numpy as np

from mofa_bayes.engines.vi.kernels import Array, n_packed, pack, pair_weights, unpack
from mofa_bayes.engines.vi.varimax import varimax

_MAX_FACTORS = 30
_MAX_ITERATIONS = 500
_TOLERANCE = 1e-10
_CHUNK = 1024


def rotate_sparsest(loadings: Sequence[Array]) -> Array:
    """Find the rotation of `varimax`, each view counting the same whatever its width.

    The criterion is a polynomial of degree 4 in the rotation, so the second and fourth moments of the loadings over
    features hold all that it needs: one pass over the features, then iterations that do not touch them. Past 30 factors
    there are more moments than a pass over the features costs, and `varimax` itself is used.

    Parameters
    ----------
    loadings
        One matrix (D_m, K) per view.

    Returns
    -------
    R (K, K), to be applied as `loadings @ R`.
    """
    n_factors = loadings[0].shape[1]
    if n_factors > _MAX_FACTORS:
        return varimax(loadings)
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
