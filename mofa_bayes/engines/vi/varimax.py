"""Varimax: the orthogonal rotation that makes loadings large or small, over several views at once."""

from collections.abc import Sequence

import numpy as np

from mofa_bayes.engines.vi.kernels import Array

_MAX_ITERATIONS = 500
_TOLERANCE = 1e-6


def varimax(loadings: Sequence[Array]) -> Array:
    """Find the rotation R (K, K) that maximises the variance of squared loadings, summed over factors and views.

    Each view counts the same whatever its width: its rows are weighted by 1 / D_m. Iterated singular value
    decompositions of the gradient (Kaiser 1958, Psychometrika 23:187; Horst 1965, chapter 18).

    Parameters
    ----------
    loadings
        One matrix (D_m, K) per view.

    Returns
    -------
    R, to be applied as `loadings @ R`.
    """
    stacked = np.concatenate(loadings)
    weights = np.concatenate([np.full((len(own), 1), 1 / max(len(own), 1)) for own in loadings])
    weights /= weights.sum()
    rotation = np.eye(stacked.shape[1])
    before = 0.0
    for _ in range(_MAX_ITERATIONS):
        turned = stacked @ rotation
        slope = turned**3 - turned * np.sum(weights * turned**2, axis=0)
        left, values, right = np.linalg.svd(stacked.T @ (weights * slope))
        rotation = left @ right
        if values.sum() <= before * (1 + _TOLERANCE):
            break
        before = values.sum()
    return rotation
