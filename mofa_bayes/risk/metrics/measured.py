"""Scores of predicted numbers and grades: each a loss of every case, to be averaged with weights."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, xlogy
from scipy.stats import nbinom, norm

from mofa_bayes.risk.metrics.checks import Array, divide, read_values, read_weights

_MAX_GRID = 4000
_LEAST_EXCESS = 1e-6


def r_squared(predicted: ArrayLike, outcome: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    """1 - sum of squared errors / sum of squares around the mean of these cases, (...).

    1 is perfect, 0 no better than the mean, below 0 worse. NaN when the outcome does not vary.

    Parameters
    ----------
    predicted, outcome
        (case,).
    weights
        (..., case).
    """
    y, p, w = _read(predicted, outcome, weights)
    centre = divide((w * y).sum(-1), w.sum(-1))
    total = (w * (y - centre[..., None]) ** 2).sum(-1)
    return 1.0 - divide((w * (y - p) ** 2).sum(-1), total)


def linear_calibration(
    predicted: ArrayLike, outcome: ArrayLike, *, weights: ArrayLike | None = None
) -> tuple[Array, Array]:
    """Mean of outcome minus prediction, and slope of the least-squares line of outcome on prediction, each (...).

    0 and 1 are perfect; a slope below 1 is too wide a spread of predictions. Arguments as of `r_squared`.
    """
    y, p, w = _read(predicted, outcome, weights)
    total = w.sum(-1)
    centre_y, centre_p = divide((w * y).sum(-1), total), divide((w * p).sum(-1), total)
    from_centre = p - centre_p[..., None]
    slope = divide((w * from_centre * (y - centre_y[..., None])).sum(-1), (w * from_centre**2).sum(-1))
    return centre_y - centre_p, slope


def normal_crps(mean: ArrayLike, sd: ArrayLike, outcome: ArrayLike) -> Array:
    """Continuous ranked probability score of N(mean, sd^2), (case,): in the outcome's units, smaller is better.

    Gneiting et al. 2005, Monthly Weather Review 133:1098.
    """
    spread = np.asarray(sd, dtype=np.float64)
    z = (np.asarray(outcome) - np.asarray(mean)) / spread
    score: Array = spread * (z * (2 * ndtr(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    return score


def count_crps(mean: ArrayLike, sd: ArrayLike, outcome: ArrayLike) -> Array:
    """Ranked probability score of a negative binomial of this mean and sd, (case,): sum_k (F(k) - 1{y <= k})^2.

    Beyond 4,000 counts the sum is taken over every few.
    """
    y = np.asarray(outcome, dtype=np.float64)
    size, chance = _match(mean, sd)
    last = np.maximum(nbinom.ppf(1 - 1e-7, size, chance), y).max() + 1
    step = float(np.ceil(last / _MAX_GRID))
    grid = np.arange(0.0, last + step, step)
    score = np.zeros_like(y)
    for n, value in enumerate(y):
        below = nbinom.cdf(grid, size[n], chance[n])
        score[n] = step * ((below - (grid >= value)) ** 2).sum()
    return score


def normal_log_score(mean: ArrayLike, sd: ArrayLike, outcome: ArrayLike) -> Array:
    """Log density of N(mean, sd^2), (case,); larger is better."""
    return np.asarray(norm.logpdf(outcome, mean, sd))


def count_log_score(mean: ArrayLike, sd: ArrayLike, outcome: ArrayLike) -> Array:
    """Log probability of a negative binomial of this mean and sd, (case,); larger is better."""
    return np.asarray(nbinom.logpmf(outcome, *_match(mean, sd)))


def poisson_deviance(predicted: ArrayLike, outcome: ArrayLike) -> Array:
    """2 (y log(y / mu) - (y - mu)), (case,): 0 is perfect."""
    y, mu = np.asarray(outcome, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    deviance: Array = 2.0 * (xlogy(y, y / mu) - (y - mu))
    return deviance


def ranked_probability_score(probability: ArrayLike, grade: ArrayLike) -> Array:
    """Mean over thresholds of the squared error of P(y <= k), (case,), from (case, category) and positions (case,).

    Between 0 and 1; Epstein 1969, J Appl Meteorology 8:985, divided by the number of thresholds.
    """
    below = np.cumsum(np.asarray(probability, dtype=np.float64), axis=-1)[..., :-1]
    happened = np.asarray(grade)[:, None] <= np.arange(below.shape[-1])
    score: Array = ((below - happened) ** 2).mean(axis=-1)
    return score


def _match(mean: ArrayLike, sd: ArrayLike) -> tuple[Array, Array]:
    """Size and chance of the negative binomial with this mean and sd; a hardly overdispersed one is nearly Poisson."""
    mu, variance = np.asarray(mean, dtype=np.float64), np.asarray(sd, dtype=np.float64) ** 2
    size = mu**2 / np.maximum(variance - mu, _LEAST_EXCESS * mu)
    return size, size / (size + mu)


def _read(predicted: ArrayLike, outcome: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array, Array]:
    y = np.asarray(outcome, dtype=np.float64)
    return y, read_values("predicted", predicted, len(y)), read_weights(weights, len(y))
