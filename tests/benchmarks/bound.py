"""The evidence lower bound of MOFA's model, written a second time: dense NumPy, entry by entry, no code of the engines.

It takes the moments of any factorised q and returns one number, constants included, so that two programs are compared
by the same formula. `profile` first sets everything but q(z) and q(s, w) to its optimum: what the factors and loadings
that a program found are worth, whatever it did with the rest.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import betaln, digamma, gammaln

LOG_2PI = np.log(2 * np.pi)


@dataclass(frozen=True, kw_only=True)
class View:
    """q of one view of D features and K factors; `tau_*` are None for bernoulli views, `xi` for gaussian ones."""

    inclusion: np.ndarray
    slab_mean: np.ndarray
    slab_variance: np.ndarray
    intercept_mean: np.ndarray
    intercept_variance: np.ndarray
    alpha_a: np.ndarray
    alpha_b: np.ndarray
    theta_a: np.ndarray
    theta_b: np.ndarray
    tau_a: np.ndarray | None = None
    tau_b: np.ndarray | None = None
    xi: np.ndarray | None = None

    @property
    def mean(self):
        return self.inclusion * self.slab_mean

    @property
    def square(self):
        return self.inclusion * (self.slab_mean**2 + self.slab_variance)


@dataclass(frozen=True, kw_only=True)
class Moments:
    """q of everything: factors (N, K), covariances (P, K, K) by pattern, the pattern of each row, and the views."""

    z_mean: np.ndarray
    z_covariance: np.ndarray
    pattern: np.ndarray
    views: tuple[View, ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """Priors: (shape, rate) of alpha and tau, (a, b) of theta, and the intercepts' sd; None is a model without them."""

    alpha: tuple[float, float]
    tau: tuple[float, float]
    theta: tuple[float, float] = (1.0, 1.0)
    intercept_scale: float | None = 5.0


def bound(tables, moments, model):
    """Evidence lower bound; `tables` are centred (N, D) arrays, or 0/1 ones, NaN where missing."""
    total = -_factors_kl(moments)
    for table, view in zip(tables, moments.views, strict=True):
        seen = ~np.isnan(table)
        mean, variance = _predict(moments, view)
        mean, variance = mean + view.intercept_mean, variance + view.intercept_variance
        if view.xi is None:
            total += _gaussian(np.where(seen, table, 0.0), seen, mean, variance, view, model)
        else:
            total += _bernoulli(np.where(seen, table, 0.0), seen, mean, variance, view.xi)
        total += _loadings(view, model)
    return float(total)


def profile(tables, moments, model, rounds=200):
    """Set intercepts, noise, alpha, theta and xi to their joint optimum given q(z) and q(s, w)."""
    views = []
    for table, view in zip(tables, moments.views, strict=True):
        active, square = view.inclusion.sum(axis=0), view.square.sum(axis=0)
        alpha = {"alpha_a": model.alpha[0] + active / 2, "alpha_b": model.alpha[1] + square / 2}
        theta = {"theta_a": model.theta[0] + active, "theta_b": model.theta[1] + len(view.inclusion) - active}
        seen = ~np.isnan(table)
        mean, variance = _predict(moments, view)
        tune = _tune_gaussian if view.xi is None else _tune_bernoulli
        rest = tune(np.where(seen, table, 0.0), seen, mean, variance, view, model, rounds)
        views.append(replace(view, **alpha, **theta, **rest))
    return replace(moments, views=tuple(views))


def move_intercept_to_factors(moments):
    """Centre the factors and drop the intercepts: for a model without intercepts, fitted to centred data."""
    nothing = [np.zeros(len(view.inclusion)) for view in moments.views]
    views = tuple(
        replace(view, intercept_mean=zero, intercept_variance=zero)
        for view, zero in zip(moments.views, nothing, strict=True)
    )
    return replace(moments, z_mean=moments.z_mean - moments.z_mean.mean(axis=0), views=views)


def gamma_kl(a, b, prior):
    """KL(Gamma(a, b) | Gamma(prior)), by the definition: E[log q] - E[log p]."""
    log_x, x = digamma(a) - np.log(b), a / b
    q = a * np.log(b) - gammaln(a) + (a - 1) * log_x - b * x
    p = prior[0] * np.log(prior[1]) - gammaln(prior[0]) + (prior[0] - 1) * log_x - prior[1] * x
    return q - p


def _predict(moments, view):
    """Mean and variance of z'w for every entry, (N, D)."""
    loadings, own = view.mean, view.square - view.mean**2
    diagonal = np.einsum("pkk->pk", moments.z_covariance)
    shared = np.stack([np.einsum("dk,dk->d", loadings @ c, loadings) for c in moments.z_covariance])
    variance = shared[moments.pattern] + (moments.z_mean**2 + diagonal[moments.pattern]) @ own.T
    return moments.z_mean @ loadings.T, variance


def _factors_kl(moments):
    logs = np.linalg.slogdet(moments.z_covariance)[1]
    traces = np.trace(moments.z_covariance, axis1=1, axis2=2)
    n, k = moments.z_mean.shape
    return (np.sum(traces[moments.pattern] - logs[moments.pattern]) + np.sum(moments.z_mean**2) - n * k) / 2


def _gaussian(y, seen, mean, variance, view, model):
    log_tau, tau = digamma(view.tau_a) - np.log(view.tau_b), view.tau_a / view.tau_b
    each = (log_tau - LOG_2PI - tau * ((y - mean) ** 2 + variance)) / 2
    return each[seen].sum() - gamma_kl(view.tau_a, view.tau_b, model.tau).sum()


def _bernoulli(y, seen, mean, variance, xi):
    """Jaakkola and Jordan's bound at xi."""
    weight = np.tanh(xi / 2) / (2 * xi)
    each = (y - 0.5) * mean - weight / 2 * (mean**2 + variance - xi**2) - np.logaddexp(xi / 2, -xi / 2)
    return each[seen].sum()


def _loadings(view, model):
    """E[log p] - E[log q] of (w, s), intercepts, alpha and theta."""
    s, square = view.inclusion, view.slab_mean**2 + view.slab_variance
    alpha, log_alpha = view.alpha_a / view.alpha_b, digamma(view.alpha_a) - np.log(view.alpha_b)
    log_theta = digamma(view.theta_a) - digamma(view.theta_a + view.theta_b)
    log_rest = digamma(view.theta_b) - digamma(view.theta_a + view.theta_b)
    active = s.sum(axis=0)
    slab = s * (1 + np.log(view.slab_variance) - alpha * square)
    total = (slab.sum() + active @ log_alpha) / 2
    total += (_times_log(active, log_theta) + _times_log(len(s) - active, log_rest)).sum()
    total -= (_times_log(s, np.log(np.maximum(s, 1e-320))) + _times_log(1 - s, np.log(np.maximum(1 - s, 1e-320)))).sum()
    total -= gamma_kl(view.alpha_a, view.alpha_b, model.alpha).sum() + _beta_kl(view, model.theta).sum()
    if model.intercept_scale is not None:
        precision = model.intercept_scale**-2
        own = precision * view.intercept_variance
        total -= (own + precision * view.intercept_mean**2 - 1 - np.log(own)).sum() / 2
    return total


def _times_log(x, log_y):
    return np.where(x > 0, x * log_y, 0.0)


def _beta_kl(view, prior):
    a, b = view.theta_a, view.theta_b
    log_x, log_y = digamma(a) - digamma(a + b), digamma(b) - digamma(a + b)
    return betaln(*prior) - betaln(a, b) + (a - prior[0]) * log_x + (b - prior[1]) * log_y


def _tune_gaussian(y, seen, mean, variance, view, model, rounds):
    residual = np.where(seen, y - mean, 0.0)
    count, first = seen.sum(axis=0), residual.sum(axis=0)
    second = (residual**2).sum(axis=0) + np.where(seen, variance, 0.0).sum(axis=0)
    center, spread = np.zeros(len(count)), np.zeros(len(count))
    a, b = model.tau[0] + count / 2, model.tau[1] + second / 2
    for _ in range(rounds if model.intercept_scale is not None else 0):
        tau = a / b
        spread = 1 / (model.intercept_scale**-2 + tau * count)
        center = spread * tau * first
        b = model.tau[1] + (second - 2 * center * first + count * (center**2 + spread)) / 2
    return {"intercept_mean": center, "intercept_variance": spread, "tau_a": a, "tau_b": b}


def _tune_bernoulli(y, seen, mean, variance, view, model, rounds):
    center, spread = view.intercept_mean, view.intercept_variance
    xi = np.sqrt((mean + center) ** 2 + variance + spread)
    for _ in range(rounds if model.intercept_scale is not None else 0):
        weight = np.where(seen, np.tanh(xi / 2) / (2 * xi), 0.0)
        spread = 1 / (model.intercept_scale**-2 + weight.sum(axis=0))
        center = spread * (np.where(seen, y - 0.5, 0.0) - weight * mean).sum(axis=0)
        xi = np.sqrt((mean + center) ** 2 + variance + spread)
    return {"intercept_mean": center, "intercept_variance": spread, "xi": xi}
