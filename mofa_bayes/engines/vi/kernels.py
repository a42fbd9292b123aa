"""Compiled kernels of the vi engine: arrays in, arrays out; symmetric matrices travel packed (see `packed`)."""

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from mofa_bayes.engines.vi.packed import Array, Index

_FAST = {"reassoc", "contract"}
_TILE = 64


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the GIL, cached on disk, with reductions that may be reordered (never with relaxed NaN rules)."""
    decorated: Callable[..., Any] = numba.njit(cache=True, nogil=True, fastmath=_FAST)(function)
    return decorated


@compiled
def _invert_in_place(a: Array, work: Array) -> float:  # pragma: no cover
    """Replace the lower triangle of a symmetric positive matrix by that of its inverse; return log|a|."""
    size = a.shape[0]
    log_determinant = 0.0
    for j in range(size):
        pivot = a[j, j]
        for k in range(j):
            pivot -= a[j, k] * a[j, k]
        pivot = np.sqrt(pivot)
        a[j, j] = pivot
        log_determinant += 2.0 * np.log(pivot)
        for i in range(j + 1, size):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = total / pivot
    for j in range(size):
        work[j, j] = 1.0 / a[j, j]
        for i in range(j + 1, size):
            total = 0.0
            for k in range(j, i):
                total -= a[i, k] * work[k, j]
            work[i, j] = total / a[i, i]
    for i in range(size):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, size):
                total += work[k, i] * work[k, j]
            a[i, j] = total
    return log_determinant


@compiled
def solve_rows(precision: Array, linear: Array, mean: Array, covariance: Array) -> Array:  # pragma: no cover
    """Gaussian per row from its packed precision (n, >= K(K+1)/2) and linear term (n, K).

    Fills mean (n, K) and packed covariance (n, K(K+1)/2); returns log|covariance| (n,).
    """
    n, size = linear.shape
    a = np.empty((size, size))
    work = np.empty((size, size))
    log_determinants = np.empty(n)
    for row in range(n):
        p = 0
        for i in range(size):
            for j in range(i + 1):
                a[i, j] = precision[row, p]
                p += 1
        log_determinants[row] = -_invert_in_place(a, work)
        p = 0
        for i in range(size):
            mean[row, i] = 0.0
        for i in range(size):
            for j in range(i + 1):
                covariance[row, p] = a[i, j]
                p += 1
                mean[row, i] += a[i, j] * linear[row, j]
                if j < i:
                    mean[row, j] += a[i, j] * linear[row, i]
    return log_determinants


@compiled
def second_moments(mean: Array, covariance: Array) -> Array:  # pragma: no cover
    """Packed E[x x'] (n, P) from mean (n, J) and packed covariance (n or 1, P' <= P); terms past P' are certain."""
    n, size = mean.shape
    out = np.empty((n, size * (size + 1) // 2))
    n_covariance, filled = covariance.shape
    for row in range(n):
        source = row if n_covariance == n else 0
        p = 0
        for i in range(size):
            for j in range(i + 1):
                out[row, p] = mean[row, i] * mean[row, j]
                p += 1
        for q in range(filled):
            out[row, q] += covariance[source, q]
    return out


@compiled
def second_moments_diagonal(mean: Array, variance: Array) -> Array:  # pragma: no cover
    """Packed E[x x'] (n, P) from mean (n, J) and variances (n, J) of independent terms."""
    n, size = mean.shape
    out = np.empty((n, size * (size + 1) // 2))
    for row in range(n):
        p = 0
        for i in range(size):
            for j in range(i + 1):
                out[row, p] = mean[row, i] * mean[row, j]
                p += 1
            out[row, p - 1] += variance[row, i]
    return out


@compiled
def _effective(
    grams: Array, gram: int, square_weight: Array, cross: Array, kappa_weight: Array, d: int, full: Array, linear: Array
) -> None:  # pragma: no cover
    """Weigh one feature's sums over groups: full = sum_g weight_g G_g (J, J), linear = sum_g weight_g h_g (J,)."""
    n_groups, n_terms = cross.shape[0], cross.shape[2]
    for i in range(n_terms):
        linear[i] = 0.0
        for g in range(n_groups):
            linear[i] += kappa_weight[g, d] * cross[g, d, i]
    p = 0
    for i in range(n_terms):
        for j in range(i + 1):
            total = 0.0
            for g in range(n_groups):
                total += square_weight[g, d] * grams[g, gram, p]
            full[i, j] = total
            full[j, i] = total
            p += 1


@compiled
def log_normal_mass(x: float) -> float:  # pragma: no cover
    """Compute log Phi(x); far left by the continued fraction of Mills' ratio, t + 1/(t + 2/(t + 3/...)), t = -x."""
    if x > -8.0:
        return math.log(0.5 * math.erfc(-x / 1.4142135623730951))
    ratio = -x
    for i in range(40, 0, -1):
        ratio = -x + i / ratio
    return -0.5 * x * x - 0.9189385332046727 - math.log(ratio)


@compiled
def sweep_elements(
    cross: Array,
    grams: Array,
    gram_of: Index,
    kappa_weight: Array,
    square_weight: Array,
    precision: Array,
    log_precision: Array,
    log_odds: Array,
    known_precision: float,
    is_sparse: bool,
    is_positive: bool,
    mean: Array,
    slab_mean: Array,
    slab_variance: Array,
    inclusion: Array,
    variance: Array,
    square: Array,
    gained: Array,
) -> None:  # pragma: no cover
    """Update q of every loading of a part, term by term: sparse or not, signed or not negative.

    With w = s v and v integrated out where s = 0, q(s_k = 1) has log odds
    E[logit theta_k] + E[log precision_k] / 2 + (log sigma2 + mu^2 / sigma2) / 2, with
    sigma2 = 1 / (G_kk + E[precision_k]) and mu = sigma2 (h_k - sum_{j != k} G_kj w_j): the updates of Titsias and
    Lazaro-Gredilla (2011, NIPS) and of MOFA (Argelaguet et al. 2018), with their v | s = 0 marginalised, which can only
    raise the bound. G and h are weighted sums over groups. A loading that may not be negative has a half-normal prior,
    hence a truncated normal q and log(2 Phi(mu / sigma)) more.

    Parameters
    ----------
    cross
        h = sum_n kappa z~' per group (G, D, J).
    grams, gram_of
        Packed sum_n E[z~ z~'] per group (G, n_gram, P), and which of them belongs to each feature (D,).
    kappa_weight, square_weight
        What multiplies cross and grams (G, D).
    precision, log_precision
        E[precision] and E[log precision] of loadings, (D or 1, K).
    log_odds
        E[logit theta] (K,); unused unless `is_sparse`.
    known_precision
        Prior precision of coefficients of known terms (intercepts, covariates).
    mean, slab_mean, slab_variance, inclusion, variance
        Updated in place: E[w~] (D, J); mu and sigma2 (D, K); q(s = 1) (D, K); Var[w~] (D, J).
    square
        Filled with E[w^2] (D, K).
    gained
        Added to, (K + 1,): entropy of q(s, w) less active (log 2 pi) / 2, plus log 2 for each half-normal, per factor;
        last, minus the KL of the known terms' coefficients.
    """
    n_features, n_terms = mean.shape
    n_factors = slab_mean.shape[1]
    gram = np.empty((n_terms, n_terms))
    linear = np.empty(n_terms)
    own_prior = precision.shape[0] > 1
    for d in range(n_features):
        _effective(grams, gram_of[d], square_weight, cross, kappa_weight, d, gram, linear)
        row = d if own_prior else 0
        for k in range(n_terms):
            rest = linear[k] + gram[k, k] * mean[d, k]
            for j in range(n_terms):
                rest -= gram[k, j] * mean[d, j]
            prior = precision[row, k] if k < n_factors else known_precision
            sigma2 = 1.0 / (gram[k, k] + prior)
            mu = sigma2 * rest
            if k >= n_factors:
                mean[d, k] = mu
                variance[d, k] = sigma2
                gained[n_factors] += 0.5 * (np.log(sigma2 * prior) + 1.0 - prior * (mu * mu + sigma2))
                continue
            first, second, spread, log_mass = mu, mu * mu + sigma2, 1.0, 0.0
            if is_positive:
                sigma = np.sqrt(sigma2)
                ratio = mu / sigma
                log_half = log_normal_mass(ratio)
                hazard = np.exp(-0.5 * ratio * ratio - 0.9189385332046727 - log_half)
                first = max(mu + sigma * hazard, 0.0)
                second = max(sigma2 + mu * first, first * first)
                spread = (second - 2.0 * mu * first + mu * mu) / sigma2
                log_mass = log_half + 0.6931471805599453
            active, entropy = 1.0, 0.0
            if is_sparse:
                odds = log_odds[k] + 0.5 * (log_precision[row, k] + np.log(sigma2) + mu * mu / sigma2) + log_mass
                if odds >= 0.0:
                    unlikely = np.exp(-odds)
                    active = 1.0 / (1.0 + unlikely)
                    entropy = np.log1p(unlikely) + odds * unlikely / (1.0 + unlikely)
                else:
                    likely = np.exp(odds)
                    active = likely / (1.0 + likely)
                    entropy = np.log1p(likely) - odds * active
            inclusion[d, k] = active
            slab_mean[d, k] = mu
            slab_variance[d, k] = sigma2
            mean[d, k] = active * first
            square[d, k] = active * second
            variance[d, k] = active * second - (active * first) ** 2
            gained[k] += active * (0.5 * (np.log(sigma2) + spread) + log_mass) + entropy


@compiled
def sweep_shared(
    residual: Array,
    gram: Array,
    square_weight: Array,
    log_odds: Array,
    half_log: Array,
    sigma2: Array,
    mean: Array,
    slab_mean: Array,
    inclusion: Array,
    odds: Array,
) -> None:  # pragma: no cover
    """Do what `sweep_elements` does where all features share one Gram matrix and loadings are sparse and signed.

    Features are innermost, in tiles that stay in the first cache, and the residual h - G E[w~] is carried along by
    rank-1 updates, so that the inner loops run over contiguous numbers.

    Parameters
    ----------
    residual
        kappa weight h - square weight G E[w~] (D, J); updated.
    gram
        G (J, J).
    square_weight
        (D,).
    log_odds
        E[logit theta] + E[log precision] / 2 (K,).
    half_log, sigma2
        log(sigma2) / 2 (D, K) and sigma2 (D, J), which a sweep does not change.
    mean, slab_mean, inclusion
        Updated: E[w~] (D, J), mu and q(s = 1) (D, K).
    odds
        Filled with the log odds of s = 1 (D, K).
    """
    n_features, n_terms = mean.shape
    n_factors = slab_mean.shape[1]
    own = np.empty((n_terms, _TILE))
    change = np.empty(_TILE)
    for start in range(0, n_features, _TILE):
        n = min(_TILE, n_features - start)
        for i in range(n):
            for j in range(n_terms):
                own[j, i] = residual[start + i, j]
        for k in range(n_terms):
            for i in range(n):
                d = start + i
                before = mean[d, k]
                after = sigma2[d, k] * (own[k, i] + square_weight[d] * gram[k, k] * before)
                if k < n_factors:
                    slab_mean[d, k] = after
                    odds[d, k] = log_odds[k] + half_log[d, k] + 0.5 * after * after / sigma2[d, k]
                    inclusion[d, k] = 1.0 / (1.0 + np.exp(-odds[d, k]))
                    after *= inclusion[d, k]
                mean[d, k] = after
                change[i] = square_weight[d] * (after - before)
            for j in range(n_terms):
                for i in range(n):
                    own[j, i] -= change[i] * gram[k, j]
        for i in range(n):
            for j in range(n_terms):
                residual[start + i, j] = own[j, i]


@compiled
def sweep_dense(
    cross: Array,
    grams: Array,
    gram_of: Index,
    kappa_weight: Array,
    square_weight: Array,
    precision: Array,
    known_precision: float,
    mean: Array,
    covariance: Array,
    square: Array,
    gained: Array,
) -> None:  # pragma: no cover
    """Update q(w~) of every feature of a part under a dense normal prior: a full J-dimensional Gaussian per feature.

    Precision G + diag(precision, known precision), mean its inverse times h. Parameters as in `sweep_elements`;
    `covariance` is packed (D, P). The last entry of `gained` gets sum_d (log|C_d| + J) / 2 plus the known terms'
    expected log prior without its log 2 pi.
    """
    n_features, n_terms = mean.shape
    n_factors = square.shape[1]
    gram = np.empty((n_terms, n_terms))
    linear = np.empty(n_terms)
    work = np.empty((n_terms, n_terms))
    own_prior = precision.shape[0] > 1
    for d in range(n_features):
        _effective(grams, gram_of[d], square_weight, cross, kappa_weight, d, gram, linear)
        row = d if own_prior else 0
        for i in range(n_terms):
            gram[i, i] += precision[row, i] if i < n_factors else known_precision
            mean[d, i] = 0.0
        gained[n_factors] += 0.5 * (n_terms - _invert_in_place(gram, work))
        p = 0
        for i in range(n_terms):
            for j in range(i + 1):
                covariance[d, p] = gram[i, j]
                p += 1
                mean[d, i] += gram[i, j] * linear[j]
                if j < i:
                    mean[d, j] += gram[i, j] * linear[i]
        p = -1
        for i in range(n_terms):
            p += i + 1
            second = mean[d, i] * mean[d, i] + covariance[d, p]
            if i < n_factors:
                square[d, i] = second
            else:
                gained[n_factors] += 0.5 * (np.log(known_precision) - known_precision * second)


@compiled
def quadratics(
    cross: Array, grams: Array, gram_of: Index, mean: Array, spread: Array, is_packed: bool, out: Array
) -> None:  # pragma: no cover
    """Fill out (G, D) with E[w~' G w~] - 2 h' E[w~] of each group; `spread` is variances (D, J) or packed (D, P)."""
    n_groups, n_features, n_terms = cross.shape
    for g in range(n_groups):
        for d in range(n_features):
            gram = grams[g, gram_of[d]]
            total = 0.0
            p = 0
            for i in range(n_terms):
                for j in range(i):
                    extra = spread[d, p] if is_packed else 0.0
                    total += 2.0 * gram[p] * (mean[d, i] * mean[d, j] + extra)
                    p += 1
                extra = spread[d, p] if is_packed else spread[d, i]
                total += gram[p] * (mean[d, i] * mean[d, i] + extra) - 2.0 * cross[g, d, i] * mean[d, i]
                p += 1
            out[g, d] = total
