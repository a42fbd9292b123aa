"""Compiled kernels of the gibbs engine: arrays in, arrays out, randomness from an explicit generator.

Symmetric matrices travel packed (see `vi.packed`).
"""

import math

import numpy as np

from mofa_bayes.engines.vi.kernels import compiled, log_normal_mass
from mofa_bayes.engines.vi.packed import Array


@compiled
def factorise(a: Array) -> None:  # pragma: no cover
    """Replace the lower triangle of a symmetric positive matrix by its Cholesky factor."""
    size = a.shape[0]
    for j in range(size):
        pivot = a[j, j]
        for k in range(j):
            pivot -= a[j, k] * a[j, k]
        pivot = math.sqrt(pivot)
        a[j, j] = pivot
        for i in range(j + 1, size):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = total / pivot


@compiled
def draw_from(root: Array, x: Array, rng: np.random.Generator) -> None:  # pragma: no cover
    """Replace x = h by a draw of N(A^-1 h, A^-1), given the Cholesky factor of A."""
    size = root.shape[0]
    for i in range(size):
        total = x[i]
        for k in range(i):
            total -= root[i, k] * x[k]
        x[i] = total / root[i, i]
    for i in range(size):
        x[i] += rng.standard_normal()
    for i in range(size - 1, -1, -1):
        total = x[i]
        for k in range(i + 1, size):
            total -= root[k, i] * x[k]
        x[i] = total / root[i, i]


@compiled
def draw_gaussians(
    precision: Array, linear: Array, prior: Array, rng: np.random.Generator, out: Array
) -> None:  # pragma: no cover
    """Fill out (D, J) with N(A_d^-1 h_d, A_d^-1), A_d = precision_d + diag(prior_d).

    Parameters
    ----------
    precision
        Packed (D, P), or (1, P) where all share it.
    linear
        h (D, J).
    prior
        (D, J), or (1, J) where all share it.
    """
    n, size = linear.shape
    a = np.empty((size, size))
    for d in range(n):
        source = d if precision.shape[0] > 1 else 0
        own = d if prior.shape[0] > 1 else 0
        p = 0
        for i in range(size):
            for j in range(i + 1):
                a[i, j] = precision[source, p]
                p += 1
            a[i, i] += prior[own, i]
            out[d, i] = linear[d, i]
        factorise(a)
        draw_from(a, out[d], rng)


@compiled
def draw_positive(mean: float, sd: float, rng: np.random.Generator) -> float:  # pragma: no cover
    """Draw from N(mean, sd^2) given that it is above 0 (Robert 1995, Stat Comput 5:121)."""
    low = -mean / sd
    if low < 0.45:
        x = rng.standard_normal()
        while x < low:
            x = rng.standard_normal()
    else:
        rate = 0.5 * (low + math.sqrt(low * low + 4.0))
        x = low + rng.standard_exponential() / rate
        while rng.random() > math.exp(-0.5 * (x - rate) ** 2):
            x = low + rng.standard_exponential() / rate
    return max(mean + sd * x, 1e-300)


@compiled
def draw_elements(
    precision: Array,
    linear: Array,
    prior: Array,
    log_odds: Array,
    is_sparse: bool,
    is_positive: bool,
    rng: np.random.Generator,
    terms: Array,
) -> None:  # pragma: no cover
    """Draw loadings one by one given all others of their feature, then those of known terms.

    Under a sparse prior w_k = 0 with probability 1 - theta_k, else N(0, 1 / prior_k). With w_k integrated out, the log
    odds of w_k != 0 are logit theta_k + (log prior_k + log sigma2 + mu^2 / sigma2) / 2 with
    sigma2 = 1 / (A_kk + prior_k), mu = sigma2 (h_k - sum_{j != k} A_kj w_j); given that, w_k ~ N(mu, sigma2). Loadings
    that may not be negative have a half-normal prior: a truncated normal, and log(2 Phi(mu / sigma)) more in the odds.

    Parameters
    ----------
    precision, linear, prior
        As in `draw_gaussians`.
    log_odds
        logit theta (K,).
    terms
        Updated in place (D, J).
    """
    n, size = terms.shape
    n_factors = log_odds.shape[0]
    a = np.empty((size, size))
    for d in range(n):
        source = d if precision.shape[0] > 1 else 0
        own = d if prior.shape[0] > 1 else 0
        p = 0
        for i in range(size):
            for j in range(i + 1):
                a[i, j] = precision[source, p]
                a[j, i] = precision[source, p]
                p += 1
        for k in range(size):
            rest = linear[d, k] + a[k, k] * terms[d, k]
            for j in range(size):
                rest -= a[k, j] * terms[d, j]
            sigma2 = 1.0 / (a[k, k] + prior[own, k])
            mu, sigma = sigma2 * rest, math.sqrt(sigma2)
            if k < n_factors and is_sparse:
                odds = log_odds[k] + 0.5 * (math.log(prior[own, k]) + math.log(sigma2) + mu * mu / sigma2)
                if is_positive:
                    odds += log_normal_mass(mu / sigma) + 0.6931471805599453
                u = rng.random()
                # u < 1 / (1 + exp(-odds)), without overflow
                if not math.log(max(u, 1e-300)) - math.log1p(-u) < odds:
                    terms[d, k] = 0.0
                    continue
            if k < n_factors and is_positive:
                terms[d, k] = draw_positive(mu, sigma, rng)
            else:
                terms[d, k] = mu + sigma * rng.standard_normal()


@compiled
def redraw_active(
    precision: Array, linear: Array, prior: Array, rng: np.random.Generator, terms: Array
) -> None:  # pragma: no cover
    """Draw together the terms of each feature that are not 0, given which these are; as in `draw_gaussians`."""
    n, size = terms.shape
    a = np.empty((size, size))
    x = np.empty(size)
    active = np.empty(size, dtype=np.int64)
    for d in range(n):
        source = d if precision.shape[0] > 1 else 0
        own = d if prior.shape[0] > 1 else 0
        count = 0
        for i in range(size):
            if terms[d, i] != 0.0:
                active[count] = i
                count += 1
        if count < 2:
            continue
        for i in range(count):
            k = active[i]
            start = k * (k + 1) // 2
            for j in range(i + 1):
                a[i, j] = precision[source, start + active[j]]
            a[i, i] += prior[own, k]
            x[i] = linear[d, k]
        factorise(a[:count, :count])
        draw_from(a[:count, :count], x[:count], rng)
        for i in range(count):
            terms[d, active[i]] = x[i]


@compiled
def draw_dispersion(
    y: Array, eta: Array, log_exposure: Array, observed: Array, r: Array, rate: float, rng: np.random.Generator
) -> None:  # pragma: no cover
    """Draw each column's r of NegativeBinomial(exposure e^eta, r), r ~ Exponential(rate), by one slice in log r.

    Stepping out and shrinking (Neal 2003, Ann Stat 31:705, sections 4.1); `r` (D,) is updated.
    """
    width = 1.0
    for d in range(r.shape[0]):
        x = math.log(r[d])
        level = _log_dispersion(y, eta, log_exposure, observed, d, x, rate) - rng.standard_exponential()
        low = x - width * rng.random()
        high = low + width
        while _log_dispersion(y, eta, log_exposure, observed, d, low, rate) > level:
            low -= width
        while _log_dispersion(y, eta, log_exposure, observed, d, high, rate) > level:
            high += width
        while True:
            proposal = low + (high - low) * rng.random()
            if _log_dispersion(y, eta, log_exposure, observed, d, proposal, rate) >= level:
                break
            if proposal < x:
                low = proposal
            else:
                high = proposal
        r[d] = math.exp(proposal)


@compiled
def _log_dispersion(
    y: Array, eta: Array, log_exposure: Array, observed: Array, d: int, log_r: float, rate: float
) -> float:  # pragma: no cover
    """Log density of log r given one column, up to a constant."""
    r = math.exp(log_r)
    total = log_r - rate * r
    for n in range(y.shape[0]):
        if observed[n, d] > 0.0:
            count = y[n, d]
            psi = eta[n, d] + log_exposure[n] - log_r
            softplus = max(psi, 0.0) + math.log1p(math.exp(-abs(psi)))
            total += math.lgamma(count + r) - math.lgamma(r) + count * psi - (count + r) * softplus
    return total
