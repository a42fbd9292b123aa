"""Ordered categories 0 .. L-1: y = l where a standard-normal error takes eta between two cut points."""

import numpy as np
from scipy.special import log_ndtr

from mofa_bayes.engines.vi.families.base import Array, Local, Plain, Values

_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


class Ordinal(Plain):
    """Ordered probit by its latent Gaussian (Albert and Chib 1993, JASA 88:669): weight 1, kappa = E[y* | y, eta].

    Cut points are s times the standard-normal quantiles of the cumulative frequencies: what they are when eta and the
    error are normal with total variance s^2. s, one per column, maximises the bound.
    """

    has_nuisance = True

    def start_nuisance(self, mean: Array, variance: Array) -> Array:  # noqa: ARG002
        """See `Family`."""
        return np.full_like(mean, 1.2)

    def local(self, values: Values, eta: Array, second: Array, tau: Array, nuisance: Array) -> Local:  # noqa: ARG002
        """See `Family`."""
        low, high = _limits(values, nuisance)
        mass = log_mass(low - eta, high - eta)
        shift = np.exp(-((low - eta) ** 2) / 2 - _LOG_SQRT_2PI - mass)
        shift -= np.exp(-((high - eta) ** 2) / 2 - _LOG_SQRT_2PI - mass)
        kappa = values.observed * (eta + shift)
        constant = np.sum(values.observed * (mass + eta**2 / 2) - kappa * eta, axis=1)
        return Local(kappa, None, constant, np.empty(0))

    def objective(self, values: Values, eta: Array, second: Array, nuisance: Array) -> Array:  # noqa: ARG002
        """See `Family`."""
        low, high = _limits(values, nuisance)
        return values.observed * log_mass(low - eta, high - eta)


def _limits(values: Values, scale: Array) -> tuple[Array, Array]:
    column = np.arange(values.y.shape[1])
    level = values.y.astype(np.intp)
    cuts = values.levels * scale[:, None]
    return cuts[column, level], cuts[column, level + 1]


def log_mass(low: Array, high: Array) -> Array:
    """log(Phi(high) - Phi(low)), on the side where it does not cancel."""
    flip = low > 0
    a, b = np.where(flip, -high, low), np.where(flip, -low, high)
    upper, lower = log_ndtr(b), log_ndtr(a)
    result: Array = upper + np.log(-np.expm1(np.minimum(lower - upper, -1e-15)))
    return result
