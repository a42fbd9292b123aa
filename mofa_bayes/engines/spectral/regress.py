"""Loadings, intercepts and noise given the factors: one conjugate regression per feature."""

from dataclasses import dataclass, replace

import numpy as np

from mofa_bayes.engines.spectral.tables import Table
from mofa_bayes.engines.vi.packed import Array, Index
from mofa_bayes.spec import Gamma


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """Normal-inverse-gamma posterior of a view: sigma_d^2 ~ IG(shape, rate), w~_d | sigma_d^2 ~ N(mean, sigma_d^2 V).

    Attributes
    ----------
    mean
        Loadings and (last) intercept, (D, J).
    scale
        The distinct matrices V, (G, J, J).
    scale_of
        Which of them each feature has, (D,).
    shape, rate
        Of the noise variance, (D,).
    """

    mean: Array
    scale: Array
    scale_of: Index
    shape: Array
    rate: Array

    @property
    def loadings(self) -> Array:
        """Posterior means of the loadings (D, K)."""
        return self.mean[:, :-1]

    @property
    def variance(self) -> Array:
        """E[sigma_d^2] (D,); 2 / E[1/sigma_d^2] for a feature observed too rarely to have a mean."""
        return self.rate / np.maximum(self.shape - 1, self.shape / 2)

    def sign(self, signs: Array) -> "Regression":
        """Return the posterior under factors times signs (K,)."""
        terms = np.append(signs, 1.0)
        return replace(self, mean=self.mean * terms, scale=self.scale * np.outer(terms, terms))


def regress(factors: Array, table: Table, precision: Array, noise: Gamma) -> Regression:
    """Regress every feature on the factors and an intercept, over the rows where it was observed.

    With X = [F, 1] and prior w~ | sigma^2 ~ N(0, sigma^2 P^-1), sigma^2 ~ IG(a, b): V = (X'X + P)^-1, m = V X'y, shape
    a + n/2 and rate b + (y'y - m'V^-1 m)/2 (Gelman et al. 2013, Bayesian Data Analysis, section 14.2 and exercise 14.7;
    the half belongs to each feature's own sum of squares).

    Parameters
    ----------
    factors
        Scores of the view's rows, (n, K).
    table
        The view.
    precision
        Diagonal of P, (J,).
    noise
        Prior on 1/sigma^2.
    """
    terms = np.column_stack([factors, np.ones(len(factors))])
    cross = table.cross(terms)
    whole = np.linalg.inv(terms.T @ terms + np.diag(precision))
    scale, scale_of = whole[None], np.zeros(table.n_features, dtype=np.intp)
    mean = cross @ whole
    n_observed = np.full(table.n_features, float(len(factors)))
    if table.missing is not None:
        n_observed -= table.missing.sum(axis=0)
        scattered = np.flatnonzero(n_observed < len(factors))
        own = _invert_observed(terms, table, scattered, precision)
        scale, scale_of[scattered] = np.concatenate([scale, own]), 1 + np.arange(len(scattered))
        mean[scattered] = np.einsum("djk,dk->dj", own, cross[scattered])
    explained = np.sum(mean * cross, axis=1)
    residual = np.maximum(table.sum_squares - explained, 0.0)
    return Regression(mean, scale, scale_of, noise.shape + n_observed / 2, noise.rate + residual / 2)


def _invert_observed(terms: Array, table: Table, columns: Index, precision: Array) -> Array:
    """V of the columns with gaps, (., J, J): each sums X'X over its own rows."""
    assert table.missing is not None
    n, n_terms = terms.shape
    pairs = (terms[:, :, None] * terms[:, None, :]).reshape(n, -1)
    prior = np.diag(precision)
    inverses = np.empty((len(columns), n_terms, n_terms))
    for start in range(0, len(columns), 1024):
        chunk = columns[start : start + 1024]
        observed = (~table.missing[:, chunk]).astype(np.float64)
        grams = (observed.T @ pairs).reshape(-1, n_terms, n_terms)
        inverses[start : start + 1024] = np.linalg.inv(grams + prior)
    return inverses


def learn_precision(factors: Array, table: Table, intercept_scale: float) -> Array:
    """Learn the prior precision of a view's loadings, one per factor, in units of the noise.

    Empirical Bayes by moments: least squares gives w^_dk with E[w^2_dk / sigma_d^2] = 1/p_k + V_kk, averaged over
    features. A factor that the view does not have gets a large precision, so that its loadings are shrunk to nothing
    there; 1/p_k is never below the standard error of that average, which is what the view can tell from zero.

    Returns
    -------
    Diagonal of P, shape (J,), the intercept's last.
    """
    n, n_factors = factors.shape
    if n <= n_factors + 1:
        return np.append(np.ones(n_factors), intercept_scale**-2)  # too few subjects to learn anything
    flat = np.append(np.full(n_factors, 1e-10 * n), intercept_scale**-2)
    free = regress(factors, table, flat, Gamma(shape=1e-3, rate=1e-3))
    left = np.maximum(free.shape - (n_factors + 1) / 2, 0.5)
    strength = np.square(free.loadings) / (free.rate / left)[:, None]
    by_chance = np.diagonal(free.scale, axis1=1, axis2=2)[free.scale_of, :-1]
    excess = strength.mean(axis=0) - by_chance.mean(axis=0)
    least = by_chance.mean(axis=0) * np.sqrt(2 / table.n_features)
    return np.append(1 / np.maximum(excess, least), intercept_scale**-2)
