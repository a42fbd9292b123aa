"""p(y | eta) of each likelihood: log density, its slope and curvature in eta, expectation, and draws from it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaln, ndtr

from mofa_bayes.engines.vi.families.ordinal import log_mass
from mofa_bayes.graph.likelihoods import DEGREES

Array = NDArray[np.float64]

_LOG_SQRT_2PI = float(0.5 * np.log(2 * np.pi))
_LARGEST = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """What a likelihood needs beside eta: precision, own parameter and log exposure, and cut points (D, L + 1).

    The first three broadcast against (N, D). `code` numbers the variables of categorical columns, (D,).
    """

    precision: Array
    nuisance: Array
    log_exposure: Array
    limits: Array
    code: NDArray[np.intp]


Density = Callable[[Array, Array, Own], tuple[Array, Array, Array]]


def log_density(likelihood: str, y: Array, eta: Array, own: Own) -> tuple[Array, Array, Array]:
    """Log density of y (N, D) given eta, its slope, and minus its second derivative, (N, D) each.

    Of student_t the curvature is the expected one, (nu + 1) / (nu + 3) tau, which cannot be negative; of categorical
    columns it is p, the diagonal of diag(p) - pp'.
    """
    return _DENSITIES[likelihood](y, eta, own)


def expect_values(likelihood: str, eta: Array, own: Own) -> Array:
    """E[y | eta], of eta's shape; not of categorical columns, whose levels are predicted together."""
    match likelihood:
        case "bernoulli":
            return np.asarray(expit(eta))
        case "poisson":
            return np.asarray(np.exp(own.log_exposure) * np.logaddexp(0.0, eta))
        case "negative_binomial":
            return np.asarray(np.exp(np.minimum(eta + own.log_exposure, _LARGEST)))
        case "ordinal":
            # The sum over levels of P(y > l).
            return np.asarray(ndtr(eta[:, :, None] - _upper_limits(own)).sum(axis=2))
    return eta


def draw_values(likelihood: str, eta: Array, own: Own, rng: np.random.Generator) -> Array:
    """Draw y given eta, of eta's shape."""
    match likelihood:
        case "gaussian":
            return np.asarray(eta + rng.standard_normal(eta.shape) / np.sqrt(own.precision))
        case "student_t":
            return np.asarray(eta + rng.standard_t(DEGREES, eta.shape) / np.sqrt(own.precision))
        case "bernoulli":
            return np.asarray(rng.random(eta.shape) < expect_values(likelihood, eta, own), dtype=np.float64)
        case "poisson":
            return np.asarray(rng.poisson(expect_values(likelihood, eta, own)), dtype=np.float64)
        case "negative_binomial":
            r = np.broadcast_to(own.nuisance, eta.shape)
            return np.asarray(rng.poisson(rng.gamma(r) / r * expect_values(likelihood, eta, own)), dtype=np.float64)
        case "categorical":
            ranked = eta + rng.gumbel(size=eta.shape)
            return np.asarray(ranked == _by_variable(ranked, own.code, np.maximum.reduceat), dtype=np.float64)
    latent = eta + rng.standard_normal(eta.shape)
    return np.asarray((latent[:, :, None] > _upper_limits(own)).sum(axis=2), dtype=np.float64)


def _upper_limits(own: Own) -> Array:
    """Upper limits of the levels of ordinal columns, (D, L); those that a column does not have are never passed."""
    return np.where(np.isnan(own.limits), np.inf, own.limits)[:, 1:]


def _gaussian(y: Array, eta: Array, own: Own) -> tuple[Array, Array, Array]:
    residual, tau = y - eta, own.precision
    value = np.log(tau) / 2 - _LOG_SQRT_2PI - tau * residual**2 / 2
    return value, tau * residual, np.broadcast_to(tau, eta.shape)


def _student_t(y: Array, eta: Array, own: Own) -> tuple[Array, Array, Array]:
    nu, tau = DEGREES, own.precision
    residual = y - eta
    square = tau * residual**2
    constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) + np.log(tau / (nu * np.pi)) / 2
    value = constant - (nu + 1) / 2 * np.log1p(square / nu)
    return value, (nu + 1) * tau * residual / (nu + square), np.broadcast_to((nu + 1) / (nu + 3) * tau, eta.shape)


def _bernoulli(y: Array, eta: Array, own: Own) -> tuple[Array, Array, Array]:  # noqa: ARG001
    p = expit(eta)
    return y * eta - np.logaddexp(0.0, eta), y - p, p * (1 - p)


def _poisson(y: Array, eta: Array, own: Own) -> tuple[Array, Array, Array]:
    exposure, p = np.exp(own.log_exposure), expit(eta)
    rate = np.maximum(np.logaddexp(0.0, eta), 1e-300)
    value = y * (np.log(rate) + own.log_exposure) - exposure * rate - gammaln(y + 1)
    relative = p / rate
    curvature = y * (relative**2 - relative * (1 - p)) + exposure * p * (1 - p)
    return value, y * relative - exposure * p, np.maximum(curvature, 0.0)


def _negative_binomial(y: Array, eta: Array, own: Own) -> tuple[Array, Array, Array]:
    r = own.nuisance
    odds = eta + own.log_exposure - np.log(r)
    p = expit(odds)
    value = gammaln(y + r) - gammaln(r) - gammaln(y + 1) + y * odds - (y + r) * np.logaddexp(0.0, odds)
    return value, y - (y + r) * p, (y + r) * p * (1 - p)


def _ordinal(y: Array, eta: Array, own: Own) -> tuple[Array, Array, Array]:
    column = np.arange(y.shape[1])
    level = np.where(np.isnan(y), 0, y).astype(np.intp)
    low, high = own.limits[column, level] - eta, own.limits[column, level + 1] - eta
    value = log_mass(low, high)
    at_low, at_high = (np.exp(-(limit**2) / 2 - _LOG_SQRT_2PI - value) for limit in (low, high))
    slope = at_low - at_high
    # The density at an infinite limit is 0, and so is its product with the limit.
    along = np.where(np.isfinite(low), low, 0.0) * at_low - np.where(np.isfinite(high), high, 0.0) * at_high
    return value, slope, np.maximum(slope**2 - along, 0.0)


def _by_variable(values: Array, code: NDArray[np.intp], reduce: Callable[..., Array]) -> Array:
    """Reduce over the columns of each variable, and give every column what its variable got."""
    order = np.argsort(code, kind="stable")
    _, start, back = np.unique(code[order], return_index=True, return_inverse=True)
    result = np.empty_like(values)
    result[:, order] = reduce(values[:, order], start, axis=1)[:, back]
    return result


def _categorical(y: Array, eta: Array, own: Own) -> tuple[Array, Array, Array]:
    """Softmax over the columns of a variable; the indicator that is 1 carries the density."""
    log_p = eta - _by_variable(eta, own.code, np.logaddexp.reduceat)
    p = np.exp(log_p)
    return y * log_p, y - p, p


_DENSITIES: dict[str, Density] = {
    "gaussian": _gaussian,
    "student_t": _student_t,
    "bernoulli": _bernoulli,
    "poisson": _poisson,
    "negative_binomial": _negative_binomial,
    "ordinal": _ordinal,
    "categorical": _categorical,
}
SUPPORTED = tuple(_DENSITIES)
