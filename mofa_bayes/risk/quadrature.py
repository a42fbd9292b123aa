"""Quadrature: a standard normal as a few weighted points, for averages, and as equally likely points, for quantiles."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]
_GOLDEN = (np.sqrt(5) - 1) / 2


def hermite_nodes(n_nodes: int) -> tuple[Array, Array]:
    """Return nodes x_q and log weights of Gauss-Hermite quadrature: E[f(x)] = sum_q w_q f(x_q) for x ~ N(0, 1).

    Returns
    -------
    Two arrays of shape (n_nodes,), exact for polynomials of degree up to 2 n_nodes - 1. A single node is x = 0.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    return nodes, np.log(weights) - np.log(weights.sum())


def stratified_nodes(n_draws: int, n_nodes: int) -> Array:
    """Return equally likely points of N(0, 1): one in each of n_nodes strata of equal probability, for each draw.

    The place within the stratum moves with the draw (a golden-ratio sequence), so that points pooled over draws fill
    the line evenly. Weighted Hermite nodes would not do: their outer ones are most of a standard deviation apart, and a
    97.5 % quantile would fall on whichever is next.

    Returns
    -------
    Shape (n_draws, n_nodes).
    """
    shift = np.mod(0.5 + _GOLDEN * np.arange(n_draws), 1.0)
    shift = np.clip(shift, 1e-6, 1 - 1e-6)
    points: Array = ndtri((np.arange(n_nodes)[None, :] + shift[:, None]) / n_nodes)
    return points


def root_of(covariance: Array) -> Array:
    """Return R with R'R = V for each V of shape (..., K, K); V may be singular or zero.

    |R b|^2 is b'Vb and, unlike b'Vb itself, cannot fall below zero by rounding.
    """
    values, vectors = np.linalg.eigh(covariance)
    root: Array = np.sqrt(np.maximum(values, 0.0))[..., :, None] * np.swapaxes(vectors, -1, -2)
    return root
