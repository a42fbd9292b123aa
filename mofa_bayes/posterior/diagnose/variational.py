"""How far q of the vi engine is from the posterior: Pareto k of the ratio p(y, globals) / q(globals).

Integrated out of both are the factors, and what stands above the loadings (alpha, theta, lambda) under its Gamma or
Beta prior, in closed form; what is left are loadings with their indicators, coefficients, noise and the precision of
factors (Yao, Vehtari, Simpson and Gelman 2018, ICML, PMLR 80:5581).
"""

from typing import Any

import numpy as np
import xarray as xr
from scipy.special import betaln, gammaln
from scipy.stats import gamma, norm

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.posterior.diagnose.draws import Array, ModelDraws, ViewDraws
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.spec import ARD, Gamma, Laplace, Normal, Prior, SpikeSlab

_LOG_2PI = float(np.log(2 * np.pi))


def pareto_k(log_ratio: Array) -> float:
    """Pareto k of importance ratios (S,), by ArviZ."""
    import arviz_stats.base

    stats: Any = arviz_stats.base.array_stats  # type: ignore[attr-defined]
    return float(stats.psislw(-log_ratio)[1])


def why_not(post: Posterior) -> str | None:
    """Say why q cannot be held against the joint, or None: priors whose q does not keep its parameters in the file."""
    for view in post.views:
        prior = post.spec.loadings_of(view)
        if prior.positive or not isinstance(prior, ARD | Normal | Laplace | SpikeSlab):
            return f"view {view!r} has a prior ({prior.kind}{', positive' if prior.positive else ''})"
        if not set(post.likelihoods(view).values) <= {"gaussian", "student_t", "bernoulli", "poisson", "categorical"}:
            return f"view {view!r} has features whose own parameters vi maximises"
    return None


def log_ratios(post: Posterior, model: ModelDraws, log_likelihood: Array) -> Array:
    """Log p(y, globals) - log q(globals) of draws from q, (S,).

    Parameters
    ----------
    post
        A posterior of engine vi.
    model
        Its draws.
    log_likelihood
        Of each draw and subject, factors integrated out, (S, N); see `subject_log_likelihood`.
    """
    spec, moments = post.spec, post.tree.children["moments"].to_dataset()
    groups = [str(name) for name in moments["group"].values]
    total = log_likelihood.sum(axis=1)
    for view in model.views:
        own = moments.sel({f"feature_{view.view}": list(post.features(view.view))})
        prior, scale = spec.loadings_of(view.view), spec.intercept_scale
        known = np.concatenate([view.intercepts, view.effects], axis=1).astype(np.float64)
        total = total + norm.logpdf(known, 0, scale).sum(axis=(1, 2)) + _log_prior(view, prior)
        total -= _log_q_terms(view, own, known)
        total += _log_noise(view, own, spec.noise, model.group_of)
    if "factor_precision" in moments:
        prior_of_factors = getattr(spec.factors, "precision", Gamma())
        counts = np.bincount(model.group_of, minlength=len(groups)).astype(np.float64)[:, None]
        mean = moments["factor_precision"].transpose("group", "factor").values
        total += _log_gammas(model.factor_precision, prior_of_factors, counts, mean).sum(axis=(1, 2))
    return total


def _log_gammas(draws: Array, prior: Gamma, counts: Array, mean: Array) -> Array:
    """Log ratio of Gamma(a, b) to q = Gamma(a + counts / 2) with a known mean, at draws of a precision."""
    shape = prior.shape + counts / 2
    own: Array = gamma.logpdf(draws, prior.shape, scale=1 / prior.rate)
    return np.asarray(own - gamma.logpdf(draws, shape, scale=mean / shape))


def _log_noise(view: ViewDraws, moments: xr.Dataset, prior: Gamma, group_of: np.ndarray) -> Array:
    is_real = np.isin(view.likelihoods, REAL)
    observed = ~np.isnan(view.values[:, is_real])
    mean = moments[f"precision_{view.view}"].values[:, is_real]
    counts = np.stack([observed[group_of == g].sum(axis=0) for g in range(len(mean))])
    ratio = _log_gammas(view.precision[:, :, is_real].astype(np.float64), prior, counts, mean)
    return np.asarray(np.where(counts > 0, ratio, 0.0).sum(axis=(1, 2)))


def _log_prior(view: ViewDraws, prior: Prior) -> Array:
    """Log p(loadings, indicators), precisions and shares integrated out, (S,)."""
    w = view.loadings.astype(np.float64)
    match prior:
        case Normal():
            return np.asarray(norm.logpdf(w, 0, prior.scale).sum(axis=(1, 2)))
        case Laplace():
            n = w.shape[1]
            size, own = np.abs(w).sum(axis=1), prior.rate
            value = own.shape * np.log(own.rate) - (own.shape + n) * np.log(own.rate + size) - n * np.log(2)
            return np.asarray((value + gammaln(own.shape + n) - gammaln(own.shape)).sum(axis=1))
        case SpikeSlab():
            assert view.active is not None
            count = view.active.sum(axis=1)
            a, b = prior.inclusion_a, prior.inclusion_b
            share = betaln(a + count, b + w.shape[1] - count) - betaln(a, b)
            return np.asarray((share + _log_student(np.square(w).sum(axis=1), count, prior.precision)).sum(axis=1))
    n_features = np.full(w.shape[::2], w.shape[1])
    precision = getattr(prior, "precision", Gamma())
    return np.asarray(_log_student(np.square(w).sum(axis=1), n_features, precision).sum(axis=1))


def _log_student(square: Array, count: np.ndarray, prior: Gamma) -> Array:
    """Log density of `count` normals of mean 0 with one precision from a Gamma, by the sum of their squares."""
    shape = prior.shape + count / 2
    value = prior.shape * np.log(prior.rate) - shape * np.log(prior.rate + square / 2) - count / 2 * _LOG_2PI
    return np.asarray(value + gammaln(shape) - gammaln(prior.shape))


def _log_q_terms(view: ViewDraws, moments: xr.Dataset, known: Array) -> Array:
    """Log q(loadings, indicators, coefficients), (S,)."""
    name, n_factors = view.view, view.loadings.shape[2]
    mean = moments[f"weights_mean_{name}"].values
    w = view.loadings.astype(np.float64)
    if f"weights_cov_{name}" in moments:
        terms = np.concatenate([w, np.moveaxis(known, 1, 2)], axis=2) - mean
        root = np.linalg.cholesky(moments[f"weights_cov_{name}"].values)
        half = np.linalg.solve(root, np.moveaxis(terms, 0, 2))
        log_det = np.log(np.diagonal(root, axis1=1, axis2=2)).sum()
        return np.asarray(-np.square(half).sum(axis=(0, 1)) / 2 - log_det - mean.size / 2 * _LOG_2PI)
    variance = moments[f"weights_var_{name}"].values
    rest = np.moveaxis(known, 1, 2), mean[:, n_factors:], np.sqrt(variance[:, n_factors:])
    total = norm.logpdf(*rest).sum(axis=(1, 2))
    mean, variance = mean[:, :n_factors], variance[:, :n_factors]
    if view.active is None:
        return np.asarray(total + norm.logpdf(w, mean, np.sqrt(variance)).sum(axis=(1, 2)))
    inclusion = np.ones_like(mean)
    if f"inclusion_{name}" in moments:
        inclusion = moments[f"inclusion_{name}"].values
    inclusion = np.clip(inclusion, 1e-300, 1.0)
    slab_mean = mean / inclusion
    slab_variance = np.maximum((variance + mean**2) / inclusion - slab_mean**2, 1e-300)
    with np.errstate(divide="ignore"):
        off = np.log1p(-inclusion)
    on = np.log(inclusion) + norm.logpdf(w, slab_mean, np.sqrt(slab_variance))
    return np.asarray(total + np.where(view.active, on, off).sum(axis=(1, 2)))
