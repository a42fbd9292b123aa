"""How much wider intervals must be, because the factors were estimated and not given."""

import numpy as np

from mofa_bayes.engines.vi.packed import Array

_MAX_FEATURES = 1500
_TILE = 256


def inflation(loadings: Array, variance: Array, rng: np.random.Generator) -> float:
    """Factor rho by which the posterior standard deviations of a view's loadings are multiplied.

    With l_j the loadings and s_j^2 the noise variances, the interval of an entry l_j'l_k of the view's covariance is
    too narrow by

        B_jk = sqrt(1 + (|l_j|^2 |l_k|^2 + (l_j'l_k)^2) / (s_j^2 |l_k|^2 + s_k^2 |l_j|^2)),
        B_jj = sqrt(1 + |l_j|^2 / (2 s_j^2)),

    because the factors' own sample covariance is not I; rho is the mean of B over all pairs (Chattopadhyay, Zhang and
    Dunson 2024, arXiv 2404.03805; Mauri and Dunson 2025, arXiv 2509.02772). Of a view with more than 1,500 features,
    1,500 drawn at random stand for all.

    Parameters
    ----------
    loadings
        Posterior means (D, K).
    variance
        Noise variances (D,).
    rng
        Draws features.
    """
    if len(loadings) > _MAX_FEATURES:
        chosen = np.sort(rng.choice(len(loadings), _MAX_FEATURES, replace=False))
        loadings, variance = loadings[chosen], variance[chosen]
    total = sum(
        float(pairwise_inflation(loadings, variance, slice(start, start + _TILE)).sum())
        for start in range(0, len(loadings), _TILE)
    )
    return total / len(loadings) ** 2


def pairwise_inflation(loadings: Array, variance: Array, rows: slice) -> Array:
    """B of some features with all, (rows, D). A pair without loadings needs no correction and has B = 1.

    The first formula gives the second for j = k: 2 |l|^4 / (2 s^2 |l|^2) is halved there, because an entry of the
    diagonal moves twice as far with l_j.
    """
    norms = np.square(loadings).sum(axis=1)
    products = loadings[rows] @ loadings.T
    extra = norms[rows, None] * norms + products**2
    own = variance[rows, None] * norms + variance * norms[rows, None]
    own[np.arange(len(own)), np.arange(len(loadings))[rows]] *= 2
    result: Array = np.sqrt(1 + np.divide(extra, own, out=np.zeros_like(extra), where=own > 0))
    return result
