"""Functions that numpy lacks and the families need, for numpy arrays and PyTensor variables alike."""

from importlib import import_module
from types import ModuleType

import numpy as np
from scipy import special

from mofa_bayes.risk.response import Tensor

_LOG_2 = float(np.log(2.0))
_SQRT_2 = float(np.sqrt(2.0))


def softplus(xp: ModuleType, x: Tensor) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def log_sigmoid(xp: ModuleType, x: Tensor) -> Tensor:
    """log(1 / (1 + exp(-x)))."""
    return xp.minimum(x, 0.0) - xp.log1p(xp.exp(-xp.abs(x)))


def log_normal_cdf(xp: ModuleType, x: Tensor) -> Tensor:
    """Log of the standard normal distribution function, accurate in both tails.

    Below -1 by the scaled complementary error function, whose factor exp(-x^2 / 2) is taken out; each branch sees only
    numbers that it can take, so that no gradient is lost to an infinity of the other.
    """
    if xp is np:
        return special.log_ndtr(x)
    low, high = xp.minimum(x, -1.0), xp.maximum(x, -1.0)
    far = xp.log(xp.erfcx(-low / _SQRT_2) / 2.0) - low**2 / 2.0
    return xp.where(x < -1.0, far, xp.log1p(-xp.erfc(high / _SQRT_2) / 2.0))


def log_gamma(xp: ModuleType, x: Tensor) -> Tensor:
    """Log of the gamma function."""
    return special.gammaln(x) if xp is np else import_module("pytensor.tensor").gammaln(x)


def log_normal(xp: ModuleType, residual: Tensor, variance: Tensor) -> Tensor:
    """Log density of N(0, variance) at a residual."""
    return -0.5 * (xp.log(2.0 * np.pi * variance) + residual**2 / variance)


def log_sum_exp(xp: ModuleType, x: Tensor) -> Tensor:
    """log(sum(exp(x))) over the last axis."""
    return special.logsumexp(x, axis=-1) if xp is np else xp.logsumexp(x, axis=-1)


def log_one_minus_exp(xp: ModuleType, x: Tensor) -> Tensor:
    """log(1 - exp(-x)) for x > 0, by the form that loses no digits (Maechler 2012, cutting at log 2).

    Each branch sees only numbers that it can take, so that no gradient is lost to an infinity of the other.
    """
    near, far = xp.minimum(x, _LOG_2), xp.maximum(x, _LOG_2)
    return xp.where(x < _LOG_2, xp.log(-xp.expm1(-near)), xp.log1p(-xp.exp(-far)))
