"""Small weighted logistic regressions, a whole stack at once, and the splines that make them flexible."""

import numpy as np
from scipy.special import expit

from mofa_bayes.risk.metrics.checks import Array

_RIDGE = 1e-11
"""Prior precision of a coefficient per patient: too weak to be seen, strong enough to hold a separated fit."""
_LARGEST_STEP = 3.0


def fit_logistic(design: Array, event: Array, weight: Array, offset: Array) -> Array:
    """Maximise the weighted likelihood by Newton's method.

    Parameters
    ----------
    design
        (..., n, p), columns of about unit size.
    event
        (n,), 0 or 1.
    weight, offset
        (..., n).

    Returns
    -------
    Coefficients (..., p).
    """
    shape = np.broadcast_shapes(design.shape[:-2], weight.shape[:-1], offset.shape[:-1])
    n_terms = design.shape[-1]
    coefficients = np.zeros((*shape, n_terms))
    ridge = _RIDGE * np.maximum(weight.sum(axis=-1), 1e-300)[..., None, None] * np.eye(n_terms)
    transposed = np.swapaxes(design, -1, -2)
    for _ in range(60):
        mean = expit((design @ coefficients[..., None])[..., 0] + offset)
        residual = (weight * (event - mean))[..., None]
        slope = (transposed @ residual)[..., 0] - (ridge @ coefficients[..., None])[..., 0]
        curvature = transposed @ ((weight * mean * (1 - mean))[..., None] * design) + ridge
        step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        size = np.abs(step).max(axis=-1, keepdims=True)
        coefficients += step * np.minimum(1.0, _LARGEST_STEP / np.maximum(size, 1e-300))
        if (size < 1e-10).all():
            break
    return coefficients


def place_knots(values: Array, n_knots: int) -> Array:
    """Place knots at quantiles of `values`, the outer two at 5 and 95 %; fewer when these are not distinct."""
    return np.unique(np.quantile(values, np.linspace(0.05, 0.95, n_knots)))


def spline_basis(values: Array, knots: Array) -> Array:
    """Restricted cubic splines, linear beyond the outer knots, (..., max(len(knots) - 1, 1)).

    The truncated power form of Harrell 2015, Regression Modeling Strategies, section 2.4.5, about the middle of the
    knots and in units of their span.
    """
    if len(knots) < 3:
        return (values - knots.mean())[..., None]
    span = knots[-1] - knots[0]
    x, t = (values - (knots[0] + knots[-1]) / 2) / span, (knots - (knots[0] + knots[-1]) / 2) / span

    def cubic(knot: float) -> Array:
        above: Array = np.maximum(x - knot, 0.0) ** 3
        return above

    last = t[-1] - t[-2]
    bends = [
        cubic(t[j]) - cubic(t[-2]) * (t[-1] - t[j]) / last + cubic(t[-1]) * (t[-2] - t[j]) / last
        for j in range(len(t) - 2)
    ]
    return np.stack([x, *bends], axis=-1)
