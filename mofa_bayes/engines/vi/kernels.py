"""Compiled kernels of the vi engine: arrays in, arrays out.

Symmetric J x J matrices travel packed: the lower triangle row by row, P = J (J + 1) / 2 numbers, entry (i, j <= i) at
i (i + 1) / 2 + j. The intercept is the last of the J = K + 1 terms, so that the factors' K x K block is a prefix.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

_FAST = {"reassoc", "contract"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the GIL, cached on disk, with reductions that may be reordered (never with relaxed NaN rules)."""
    decorated: Callable[..., Any] = numba.njit(cache=True, nogil=True, fastmath=_FAST)(function)
    return decorated


def n_packed(n_terms: int) -> int:
    """Length of a packed symmetric matrix."""
    return n_terms * (n_terms + 1) // 2


def pair_weights(n_terms: int) -> Array:
    """Weights w with <A, B> = sum_p w_p A_p B_p for packed symmetric A and B: 1 on the diagonal, 2 beside it."""
    rows, columns = np.tril_indices(n_terms)
    return np.where(rows == columns, 1.0, 2.0)


def pack(matrix: Array) -> Array:
    """Pack symmetric matrices of shape (..., J, J)."""
    rows, columns = np.tril_indices(matrix.shape[-1])
    packed: Array = matrix[..., rows, columns]
    return packed


def diagonal_of(n_terms: int) -> Index:
    """Positions of the diagonal in a packed symmetric matrix."""
    return np.cumsum(np.arange(1, n_terms + 1)) - 1


def packed_positions(terms: Index) -> Index:
    """Where the packed matrix of some terms, in the order given, lies in the packed matrix of all."""
    first, second = (terms[side] for side in np.tril_indices(len(terms)))
    high, low = np.maximum(first, second), np.minimum(first, second)
    positions: Index = high * (high + 1) // 2 + low
    return positions


def unpack(packed: Array, n_terms: int) -> Array:
    """Restore symmetric matrices of shape (..., J, J)."""
    rows, columns = np.tril_indices(n_terms)
    full = np.empty((*packed.shape[:-1], n_terms, n_terms))
    full[..., rows, columns] = packed
    full[..., columns, rows] = packed
    return full


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
def _unpack_into(packed: Array, full: Array) -> None:  # pragma: no cover
    p = 0
    for i in range(full.shape[0]):
        for j in range(i + 1):
            full[i, j] = packed[p]
            full[j, i] = packed[p]
            p += 1


@compiled
def sweep_spike_slab(
    cross: Array,
    grams: Array,
    gram_of: NDArray[np.intp],
    tau: Array,
    alpha: Array,
    log_alpha: Array,
    log_odds: Array,
    intercept_precision: float,
    mean: Array,
    slab_mean: Array,
    slab_variance: Array,
    inclusion: Array,
    variance: Array,
    quadratic: Array,
    sums: Array,
) -> None:  # pragma: no cover
    """Update q(s, w) of every feature of a part, term by term, and collect what the rest of the update needs.

    With w = s v and v integrated out where s = 0, q(s_k = 1) has log odds E[logit theta_k] + E[log alpha_k]/2 + (log
    sigma2 + mu^2 / sigma2) / 2, with sigma2 = 1 / (tau G_kk + E[alpha_k]) and mu = sigma2 tau (h_k - sum_{j != k} G_kj
    w_j): equations (S5-S7) of Argelaguet et al. (2018), supplement, with their v | s = 0 marginalised, which can only
    raise the bound.

    Parameters
    ----------
    cross
        h = sum_n y z' (D, J).
    grams, gram_of
        Packed sum_n E[z z'] (n_gram, P), and which of them belongs to each feature (D,).
    tau
        Noise precision (D,), 1 where the Gram already carries per-entry precisions.
    alpha, log_alpha, log_odds
        E[alpha], E[log alpha], E[logit theta], each (K,).
    mean, slab_mean, slab_variance, inclusion, variance
        Updated in place: E[w] (D, J), mu and sigma2 (D, K), q(s = 1) (D, K), Var[w] (D, J).
    quadratic
        Filled with E[w' G w] - 2 h' E[w] (D,).
    sums
        Added to, (4, J): sum of q(s = 1); of E[w^2]; of the entropy of (s, w) less its log 2 pi, per factor; the last
        column holds the intercepts' -KL in row 2.
    """
    n_features, n_terms = mean.shape
    n_factors = n_terms - 1
    gram = np.empty((n_terms, n_terms))
    loaded = -1
    for d in range(n_features):
        if gram_of[d] != loaded:
            loaded = gram_of[d]
            _unpack_into(grams[loaded], gram)
        for k in range(n_terms):
            rest = cross[d, k] + gram[k, k] * mean[d, k]
            for j in range(n_terms):
                rest -= gram[k, j] * mean[d, j]
            prior = alpha[k] if k < n_factors else intercept_precision
            sigma2 = 1.0 / (tau[d] * gram[k, k] + prior)
            mu = sigma2 * tau[d] * rest
            second = mu * mu + sigma2
            if k < n_factors:
                odds = log_odds[k] + 0.5 * (log_alpha[k] + np.log(sigma2) + mu * mu / sigma2)
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
                mean[d, k] = active * mu
                variance[d, k] = active * second - (active * mu) ** 2
                sums[0, k] += active
                sums[1, k] += active * second
                sums[2, k] += active * 0.5 * (np.log(sigma2) + 1.0) + entropy
            else:
                mean[d, k] = mu
                variance[d, k] = sigma2
                sums[2, k] += 0.5 * (np.log(sigma2 * prior) + 1.0 - prior * second)
        total = 0.0
        for k in range(n_terms):
            fitted = 0.0
            for j in range(n_terms):
                fitted += gram[k, j] * mean[d, j]
            total += mean[d, k] * (fitted - 2.0 * cross[d, k]) + gram[k, k] * variance[d, k]
        quadratic[d] = total


@compiled
def sweep_dense(
    cross: Array,
    grams: Array,
    gram_of: NDArray[np.intp],
    tau: Array,
    alpha: Array,
    intercept_precision: float,
    mean: Array,
    covariance: Array,
    quadratic: Array,
    sums: Array,
) -> None:  # pragma: no cover
    """Update q(w) of every feature of a part under a dense normal prior: a full J-dimensional Gaussian per feature.

    Precision tau G + diag(alpha, intercept precision), mean its inverse times tau h. Parameters as in
    `sweep_spike_slab`; `covariance` is packed (D, P). `sums` (4, J) gets the number of features, E[w^2] per factor and,
    in row 2's last column, sum_d (log|C_d| + J) / 2 plus the intercepts' expected log prior without its log 2 pi.
    """
    n_features, n_terms = mean.shape
    n_factors = n_terms - 1
    gram = np.empty((n_terms, n_terms))
    a = np.empty((n_terms, n_terms))
    work = np.empty((n_terms, n_terms))
    loaded = -1
    for d in range(n_features):
        if gram_of[d] != loaded:
            loaded = gram_of[d]
            _unpack_into(grams[loaded], gram)
        for i in range(n_terms):
            for j in range(i + 1):
                a[i, j] = tau[d] * gram[i, j]
            a[i, i] += alpha[i] if i < n_factors else intercept_precision
        log_determinant = -_invert_in_place(a, work)
        for i in range(n_terms):
            mean[d, i] = 0.0
        p = 0
        for i in range(n_terms):
            for j in range(i + 1):
                covariance[d, p] = a[i, j]
                p += 1
                mean[d, i] += a[i, j] * tau[d] * cross[d, j]
                if j < i:
                    mean[d, j] += a[i, j] * tau[d] * cross[d, i]
        total = 0.0
        p = 0
        for i in range(n_terms):
            for j in range(i + 1):
                weight = 1.0 if i == j else 2.0
                total += weight * gram[i, j] * (mean[d, i] * mean[d, j] + covariance[d, p])
                p += 1
            total -= 2.0 * cross[d, i] * mean[d, i]
            second = mean[d, i] * mean[d, i] + covariance[d, p - 1]
            if i < n_factors:
                sums[0, i] += 1.0
                sums[1, i] += second
            else:
                sums[2, i] += 0.5 * (
                    log_determinant + n_terms + np.log(intercept_precision) - intercept_precision * second
                )
        quadratic[d] = total
