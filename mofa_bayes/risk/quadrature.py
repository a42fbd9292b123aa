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


def product_nodes(n_nodes: int, n_dims: int) -> tuple[Array, Array]:
    """Return points and log weights of the product of Gauss-Hermite rules, for x ~ N(0, I) in a few dimensions.

    In each of two dimensions stand 3/5 of `n_nodes`, in each of three 2/5: 144 and 512 points for 20. Where predictors
    have sd 1 and correlation 0.5, the log likelihood of two competing risks then errs by 0.0002 nats a patient on
    average and by 0.004 at most of 300, that of three by 0.001 and 0.06.

    Returns
    -------
    Shapes (point, n_dims) and (point,).
    """
    each = n_nodes if n_nodes == 1 or n_dims == 1 else max(2, round(n_nodes * {2: 0.6, 3: 0.4}[n_dims]))
    nodes, log_weights = hermite_nodes(each)
    grid = np.stack(np.meshgrid(*[nodes] * n_dims, indexing="ij"), axis=-1).reshape(-1, n_dims)
    weights = np.stack(np.meshgrid(*[log_weights] * n_dims, indexing="ij"), axis=-1).reshape(-1, n_dims)
    return grid, weights.sum(axis=1)


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


def spread_nodes(n_draws: int, n_nodes: int, n_dims: int) -> Array:
    """Return equally likely points of N(0, I) in a few dimensions, for each draw others.

    The draws share one Halton sequence, so that points pooled over draws fill the space evenly, and each draw's own
    nearly do.

    Returns
    -------
    Shape (n_draws, n_nodes, n_dims).
    """
    from scipy.stats.qmc import Halton

    sequence = Halton(n_dims, scramble=False)
    sequence.fast_forward(1)  # its first point is the corner
    points: Array = ndtri(sequence.random(n_draws * n_nodes)).reshape(n_draws, n_nodes, n_dims)
    return points


def root_of(covariance: Array) -> Array:
    """Return R with R'R = V for each V of shape (..., K, K); V may be singular or zero.

    |R b|^2 is b'Vb and, unlike b'Vb itself, cannot fall below zero by rounding.
    """
    values, vectors = np.linalg.eigh(covariance)
    root: Array = np.sqrt(np.maximum(values, 0.0))[..., :, None] * np.swapaxes(vectors, -1, -2)
    return root
