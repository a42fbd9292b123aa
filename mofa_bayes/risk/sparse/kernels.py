"""One sweep of coordinate ascent over spike-and-slab coefficients: arrays only."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]


@njit(cache=True, fastmath={"reassoc", "contract"})
def sweep(
    x: Array,
    w: Array,
    target: Array,
    log_odds: float,
    slab: float,
    inclusion: Array,
    location: Array,
    variance: Array,
    fitted: Array,
) -> float:  # pragma: no cover
    """Update q(b_j) = inclusion N(location, variance) + (1 - inclusion) at zero for each feature in turn, in place.

    Carbonetto and Stephens 2012 (Bayesian Anal 7:73, equations 8 to 11), with weights.

    Parameters
    ----------
    x
        Features, one per row, (D, N).
    w, target
        Weights and pseudo-observations of the subjects, (N,): log p(y_n | eta) is -w_n (target_n - eta)^2 / 2 up to a
        constant.
    log_odds, slab
        Prior log odds that a coefficient is not zero, and its variance then.
    inclusion, location, variance
        q, each (D,).
    fitted
        E[eta], (N,).

    Returns
    -------
    Largest change of a coefficient's mean.
    """
    largest = 0.0
    n_features, n_subjects = x.shape
    for j in range(n_features):
        before = inclusion[j] * location[j]
        square, product = 0.0, 0.0
        for n in range(n_subjects):
            weighted = w[n] * x[j, n]
            square += weighted * x[j, n]
            product += weighted * (target[n] - fitted[n])
        variance[j] = 1.0 / (square + 1.0 / slab)
        location[j] = variance[j] * (product + square * before)
        evidence = log_odds + 0.5 * (np.log(variance[j] / slab) + location[j] ** 2 / variance[j])
        inclusion[j] = 1.0 / (1.0 + np.exp(-min(max(evidence, -500.0), 500.0)))
        change = inclusion[j] * location[j] - before
        if change != 0.0:
            for n in range(n_subjects):
                fitted[n] += change * x[j, n]
        largest = max(largest, abs(change))
    return largest
