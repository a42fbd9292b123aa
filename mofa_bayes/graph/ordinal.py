"""Ordered categories: y = l where a standard-normal error takes eta between two cut points."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

if TYPE_CHECKING:
    from pytensor.tensor.variable import TensorVariable

Array = NDArray[np.float64]

_EDGE = 1e3
"""Stands for the infinite limits of the first and the last level: an infinite one has no gradient."""


def find_cuts(values: NDArray[np.floating]) -> tuple[Array, Array]:
    """Find the cut points of columns (N, D), apart from their scale: `inner` and `edge`, each (D, L + 1).

    Limits of level l are scale * inner + edge at l and l + 1. `inner` holds the standard-normal quantiles of the
    cumulative frequencies, half a count added to each level, 0 at the ends, where `edge` is far out.
    """
    largest = np.nanmax(values, axis=0).astype(np.intp)
    level = np.arange(int(largest.max()) + 1)[:, None]
    counts = np.where(level <= largest, (values[None] == level[:, None]).sum(axis=1) + 0.5, 0.0)
    shares = np.cumsum(counts, axis=0) / counts.sum(axis=0)
    inner, edge = np.zeros((len(largest), len(level) + 1)), np.zeros((len(largest), len(level) + 1))
    is_inner = (level < largest).T
    inner[:, 1:][is_inner] = ndtri(shares).T[is_inner]
    edge[:, 0] = -_EDGE
    edge[:, 1:][~is_inner] = _EDGE
    return inner, edge


def log_mass(low: "TensorVariable[Any, Any]", high: "TensorVariable[Any, Any]") -> "TensorVariable[Any, Any]":
    """Return log(Phi(high) - Phi(low)), where it does not cancel, finite in both tails with its gradient."""
    import pytensor.tensor as pt

    flip = low > 0
    upper, lower = _log_ndtr(pt.switch(flip, -low, high)), _log_ndtr(pt.switch(flip, -high, low))
    mass: TensorVariable[Any, Any] = upper + pt.log1mexp(lower - upper)
    return mass


def _log_ndtr(z: "TensorVariable[Any, Any]") -> "TensorVariable[Any, Any]":
    """Return log Phi(z); each branch sees arguments of its own side only, because a gradient passes through both."""
    import pytensor.tensor as pt

    low, high = pt.minimum(z, -1.0), pt.maximum(z, -1.0)
    left = pt.log(pt.erfcx(-low / np.sqrt(2.0)) / 2) - low**2 / 2
    chosen: TensorVariable[Any, Any] = pt.switch(z < -1, left, pt.log1p(-pt.erfc(high / np.sqrt(2.0)) / 2))
    return chosen


def draw_levels(
    eta: Array, limits: Array, rng: np.random.Generator | None = None, size: tuple[int, ...] | None = None
) -> NDArray[np.int64]:
    """Draw levels given eta (cells,) and limits (cells, L + 1), for predictive draws of the graph."""
    rng = np.random.default_rng(rng)
    error = rng.standard_normal(eta.shape if size is None else size)
    levels: NDArray[np.int64] = (eta[..., None] + error[..., None] > limits[..., 1:]).sum(axis=-1)
    return levels
