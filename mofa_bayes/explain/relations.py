"""How values of subjects go with a covariate: correlation, groups, survival; pure array code over columns of values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, fdtrc, ndtri, stdtr
from scipy.stats import ncf

Array = NDArray[np.float64]
_LARGEST = 1 - 1e-12
_STEPS = 30
_TOLERANCE = 1e-8
_WIDEST = 10.0
"""Log hazard ratios are held this far from 0, where perfect separation would drive them to infinity."""


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """What K columns of values have to do with a covariate.

    Attributes
    ----------
    estimate
        Correlation, eta, or log hazard ratio per standard deviation (K,).
    error_low, error_high
        How far the estimate may be from the truth on each side, as standard errors (K,).
    p
        Of no relation (K,).
    weights
        Linear form a' z (n, K) whose deviations are, to first order, those of the estimate when standardised values
        deviate.
    """

    estimate: Array
    error_low: Array
    error_high: Array
    p: Array
    weights: Array


def correlate(values: Array, covariate: Array, level: float | None) -> Relation:
    """Pearson's correlation of columns (n, K) with a covariate (n,); p of the t test with n - 2 degrees of freedom.

    Its interval is that of Fisher's atanh(r), with n - 3; there is none without a `level`.
    """
    n = len(values)
    z, c = standardise(values), standardise(covariate[:, None])
    r = np.clip((z * c).mean(axis=0), -1, 1)
    t = np.abs(r) * np.sqrt((n - 2) / np.maximum(1 - r**2, 1e-300))
    errors = np.full_like(r, np.nan), np.full_like(r, np.nan)
    if level is not None:
        half = ndtri(0.5 + level / 2)
        middle, width = np.arctanh(np.clip(r, -_LARGEST, _LARGEST)), half / np.sqrt(n - 3)
        errors = (r - np.tanh(middle - width)) / half, (np.tanh(middle + width) - r) / half
    return Relation(r, *errors, 2 * stdtr(n - 2, -t), np.repeat(c / n, values.shape[1], axis=1))


def compare_groups(values: Array, codes: NDArray[np.intp], level: float | None) -> Relation:
    """Eta, the root of the share of variance between groups, of columns (n, K); p of the F test.

    Its interval inverts the noncentral F distribution, whose noncentrality is n eta^2 / (1 - eta^2) (Steiger 2004,
    Psychol Methods 9:164); there is none without a `level`.
    """
    n, n_groups = len(values), int(codes.max()) + 1
    z = standardise(values)
    member = np.eye(n_groups)[codes]
    means = (member.T @ z) / member.sum(axis=0)[:, None]
    score = member @ means
    share = np.minimum(np.square(score).mean(axis=0), 1 - 1e-12)
    f = share / (1 - share) * (n - n_groups) / (n_groups - 1)
    eta = np.sqrt(share)
    errors = np.full_like(eta, np.nan), np.full_like(eta, np.nan)
    if level is not None:
        tail = (1 - level) / 2
        low, high = (_invert_f(f, n_groups - 1, n - n_groups, probability, n) for probability in (1 - tail, tail))
        errors = tuple(np.maximum(gap, 0.0) / ndtri(1 - tail) for gap in (eta - low, high - eta))
    weights = score / np.where(eta > 0, eta, 1.0) / n
    return Relation(eta, *errors, np.asarray(fdtrc(n_groups - 1, n - n_groups, f)), weights)


def _invert_f(f: Array, between: int, within: int, probability: float, n: int) -> Array:
    """Find the eta at which F as large as `f` has this probability to be undercut: bisection on the noncentrality."""
    low, high = np.zeros_like(f), 4 * f * between + 100.0
    for _ in range(60):
        middle = (low + high) / 2
        is_less = ncf.cdf(f, between, within, middle) > probability
        low, high = np.where(is_less, middle, low), np.where(is_less, high, middle)
    return np.asarray(np.sqrt(low / (low + n)))


def hazard(values: Array, time: Array, event: Array) -> Relation:
    """Cox's log hazard ratio per standard deviation of each column (n, K) alone; p of the score test at 0.

    Newton steps on the partial likelihood, tied events by Breslow. `weights` are the martingale residuals of the model
    without covariates over its information, since the score at 0 is their product with the values.
    """
    z = standardise(values)
    order = np.argsort(-time, kind="stable")
    z, times, events = z[order], time[order], event[order] > 0
    # The risk set of a time ends with the last subject, in falling order of time, who is under observation then.
    last = np.searchsorted(-times, -times, side="right") - 1
    beta = np.zeros(z.shape[1])
    gradient, curvature = _score(beta, z, events, last)
    null_curvature = np.maximum(curvature, 1e-300)
    p = np.asarray(chdtrc(1, gradient**2 / null_curvature))
    count, is_moving = 0, True
    while is_moving and count < _STEPS:
        before = beta
        beta = np.clip(beta + np.clip(gradient / np.maximum(curvature, 1e-12), -1, 1), -_WIDEST, _WIDEST)
        gradient, curvature = _score(beta, z, events, last)
        count, is_moving = count + 1, bool(np.abs(beta - before).max(initial=0.0) > _TOLERANCE)
    error = 1 / np.sqrt(np.maximum(curvature, 1e-12))
    steps = events / (last + 1.0)
    # Hazard up to each own time: the sum over events no later, that is from this place of the order on.
    first = np.searchsorted(-times, -times, side="left")
    cumulative = np.cumsum(steps[::-1])[::-1][first]
    weights = np.empty(z.shape)
    weights[order] = (events - cumulative)[:, None] / null_curvature
    return Relation(beta, error, error, p, weights)


def _score(beta: Array, z: Array, events: NDArray[np.bool_], last: NDArray[np.intp]) -> tuple[Array, Array]:
    """First derivative and minus the second of Breslow's partial likelihood in each coefficient, (K,)."""
    eta = z * beta
    risk = np.exp(eta - eta.max(axis=0))
    total, first, second = (np.cumsum(risk * z**power, axis=0)[last] for power in (0, 1, 2))
    mean = first / total
    spread = np.maximum(second / total - mean**2, 0.0)
    return (z - mean)[events].sum(axis=0), spread[events].sum(axis=0)


def standardise(values: Array) -> Array:
    """Columns with mean 0 and mean square 1; a constant column becomes 0."""
    centred = values - values.mean(axis=0)
    scale = np.sqrt(np.square(centred).mean(axis=0))
    return np.asarray(centred / np.where(scale > 1e-12 * np.abs(values).max(initial=1e-300), scale, np.inf))
