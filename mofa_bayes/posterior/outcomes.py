"""p(y | eta) of each likelihood, at draws of eta: expectation, draws and log density of cells.

Of a categorical column, eta is the log probability of its level (see `predict`).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, gammaln, ndtr, xlogy
from scipy.stats import norm
from scipy.stats import t as student

from mofa_bayes.engines.vi.families.ordinal import log_mass
from mofa_bayes.engines.vi.families.student_t import DEGREES

_MAX_LOG_RATE = 30.0


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of one likelihood, C of them, at S draws.

    Attributes
    ----------
    likelihood
        Its name.
    eta
        (S, C).
    noise_variance
        Of gaussian and student_t cells, 0 elsewhere (C,).
    nuisance, levels
        Parameters of each cell's column, (C,) and (C, L + 1).
    exposure
        Of each cell's subject (C,).
    """

    likelihood: str
    eta: np.ndarray
    noise_variance: np.ndarray
    nuisance: np.ndarray
    levels: np.ndarray
    exposure: np.ndarray

    @property
    def cuts(self) -> np.ndarray:
        """Cut points of ordinal cells (C, L + 1)."""
        cuts: np.ndarray = self.levels * self.nuisance[:, None]
        return cuts


def expect(cells: Cells) -> np.ndarray:
    """E[y | eta] (S, C)."""
    eta = cells.eta
    match cells.likelihood:
        case "bernoulli":
            return np.asarray(expit(eta))
        case "categorical":
            return np.asarray(np.exp(eta))
        case "poisson":
            return np.asarray(cells.exposure * np.logaddexp(0.0, eta))
        case "negative_binomial":
            return np.asarray(cells.exposure * np.exp(np.minimum(eta, _MAX_LOG_RATE)))
        case "ordinal":
            # E[y] is the sum over levels of P(y > l).
            return np.asarray(np.sum(1 - _below(cells), axis=2))
        case _:
            return eta


def draw(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Draw y | eta (S, C); of bernoulli and categorical cells their probability, which is what is asked of them."""
    eta = cells.eta
    match cells.likelihood:
        case "gaussian":
            return np.asarray(eta + np.sqrt(cells.noise_variance) * rng.standard_normal(eta.shape))
        case "student_t":
            return np.asarray(eta + np.sqrt(cells.noise_variance) * rng.standard_t(DEGREES, eta.shape))
        case "poisson":
            return np.asarray(rng.poisson(expect(cells)), dtype=np.float64)
        case "negative_binomial":
            r = np.broadcast_to(cells.nuisance, eta.shape)
            return np.asarray(rng.poisson(rng.gamma(r) / r * expect(cells)), dtype=np.float64)
        case "ordinal":
            return np.asarray((rng.random(eta.shape)[:, :, None] > _below(cells)).sum(axis=2), dtype=np.float64)
        case _:
            return expect(cells)


def log_density(cells: Cells, y: np.ndarray) -> np.ndarray:
    """Log density of values y (C,), on the model's scale, (S, C).

    Of a categorical variable the indicator that is 1 carries it all; the others give 0.
    """
    eta = cells.eta
    match cells.likelihood:
        case "gaussian":
            return np.asarray(norm.logpdf(y, eta, np.sqrt(cells.noise_variance)))
        case "student_t":
            return np.asarray(student.logpdf(y, DEGREES, eta, np.sqrt(cells.noise_variance)))
        case "bernoulli":
            return np.asarray(y * eta - np.logaddexp(0.0, eta))
        case "categorical":
            return np.asarray(y * eta)
        case "poisson":
            rate = expect(cells)
            return np.asarray(xlogy(y, rate) - rate - gammaln(y + 1))
        case "negative_binomial":
            r, mean = cells.nuisance, expect(cells)
            total = gammaln(y + r) - gammaln(r) - gammaln(y + 1)
            return np.asarray(total + xlogy(y, mean / (mean + r)) - r * np.log1p(mean / r))
        case _:
            place, level = np.arange(len(y)), y.astype(np.intp)
            return np.asarray(log_mass(cells.cuts[place, level] - eta, cells.cuts[place, level + 1] - eta))


def _below(cells: Cells) -> np.ndarray:
    """P(y <= l | eta) of each level (S, C, L)."""
    return np.asarray(ndtr(cells.cuts[None, :, 1:] - cells.eta[:, :, None]))
