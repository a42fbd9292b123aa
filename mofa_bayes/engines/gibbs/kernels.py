"""Compiled kernels of the gibbs engine: arrays in, arrays out, randomness from an explicit generator.

Symmetric matrices travel packed (see `vi.packed`).
"""

import math

import numpy as np

from mofa_bayes.engines.vi.kernels import compiled, log_normal_mass
from mofa_bayes.engines.vi.packed import Array


@compiled
def _factorise(a: Array) -> None:  # pragma: no cover
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
def _draw_from(root: Array, x: Array, rng: np.random.Generator) -> None:  # pragma: no cover
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
        _factorise(a)
        _draw_from(a, out[d], rng)


@compiled
def _draw_positive(mean: float, sd: float, rng: np.random.Generator) -> float:  # pragma: no cover
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
                terms[d, k] = _draw_positive(mu, sigma, rng)
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
        _factorise(a[:count, :count])
        _draw_from(a[:count, :count], x[:count], rng)
        for i in range(count):
            terms[d, active[i]] = x[i]


@compiled
def draw_log_scales(power: Array, grow: Array, shrink: Array, rng: np.random.Generator) -> Array:  # pragma: no cover
    """Draw t_k of log density power t - (grow e^t + shrink e^-t) / 2: logs of generalised inverse Gaussians.

    The density is log-concave in t, so a flat top and two exponential tails that touch it about one unit below its mode
    are above it everywhere: exact rejection (Devroye 2014, Stat Comput 24:239).
    """
    out = np.empty(power.shape[0])
    for k in range(power.shape[0]):
        up, down = 0.5 * grow[k], 0.5 * shrink[k]
        spread = math.sqrt(power[k] * power[k] + 4.0 * up * down)
        if power[k] >= 0.0:
            mode = math.log(power[k] + spread) - math.log(2.0 * up)
        else:
            mode = math.log(2.0 * down) - math.log(spread - power[k])
        up, down = up * math.exp(mode), down * math.exp(-mode)
        sides = np.empty(2)
        heights = np.empty(2)
        slopes = np.empty(2)
        for side in range(2):
            sign = 1.0 if side == 0 else -1.0
            step, low, high = math.sqrt(2.0 / spread), 0.0, np.inf
            while True:
                x = sign * step
                drop = up * math.expm1(x) + down * math.expm1(-x) - power[k] * x
                if drop > 2.0:
                    high = step
                elif drop < 0.5:
                    low = step
                else:
                    break
                step = 2.0 * step if high == np.inf else 0.5 * (low + high)
            sides[side] = step
            heights[side] = drop
            slopes[side] = sign * (up * math.exp(x) - down * math.exp(-x) - power[k])
        right = sides[0] - heights[0] / slopes[0]
        left = sides[1] - heights[1] / slopes[1]
        total = right + left + 1.0 / slopes[0] + 1.0 / slopes[1]
        while True:
            u = rng.random() * total
            excess = 0.0
            if u < right + left:
                x = u - left
            else:
                excess = rng.standard_exponential()
                if u < right + left + 1.0 / slopes[0]:
                    x = right + excess / slopes[0]
                else:
                    x = -left - excess / slopes[1]
            drop = up * math.expm1(x) + down * math.expm1(-x) - power[k] * x
            if rng.standard_exponential() >= drop - excess:
                break
        out[k] = mode + x
    return out


@compiled
def shear(
    factor_grams: Array,
    factor_precision: Array,
    loading_grams: Array,
    loading_precision: Array,
    known_precision: float,
    may_mix: bool,
    rng: np.random.Generator,
    turn: Array,
    back: Array,
) -> None:  # pragma: no cover
    """Draw, for each factor k in turn, z_k -> z_k + sum_o b_o x_o and w_o -> w_o - b_o w_k, which leave Z~ W~' alone.

    o are the known terms and, where priors admit it, the other factors; with prior precisions beta of z and alpha of w
    b is Gaussian of precision sum_g beta_gk G_g,oo + diag(sum_v alpha_vo S_v,kk) and linear term
    -sum_g beta_gk G_g,ok + sum_v alpha_vo S_v,ok. The map has Jacobian 1.

    Parameters
    ----------
    factor_grams, loading_grams
        Z~'Z~ per group (G, J, J) and W~'W~ per view (V, J, J); updated.
    factor_precision, loading_precision
        beta (G, K) and alpha (V, K); the latter is read where `may_mix`.
    turn, back
        Filled: Z~ -> Z~ turn, W~ -> W~ back, both (J, J).
    """
    n_groups, n_factors = factor_precision.shape
    n_views, size = loading_grams.shape[0], loading_grams.shape[1]
    turn[:] = np.eye(size)
    back[:] = np.eye(size)
    others = np.empty(size, dtype=np.int64)
    for k in range(n_factors):
        count = 0
        for o in range(size):
            if o != k and (o >= n_factors or may_mix):
                others[count] = o
                count += 1
        if count == 0:
            continue
        a = np.zeros((count, count))
        b = np.zeros(count)
        for i in range(count):
            o = others[i]
            for g in range(n_groups):
                beta = factor_precision[g, k]
                for j in range(i + 1):
                    a[i, j] += beta * factor_grams[g, o, others[j]]
                b[i] -= beta * factor_grams[g, o, k]
            for v in range(n_views):
                alpha = loading_precision[v, o] if o < n_factors else known_precision
                a[i, i] += alpha * loading_grams[v, k, k]
                b[i] += alpha * loading_grams[v, o, k]
        _factorise(a)
        _draw_from(a, b, rng)
        for i in range(count):
            o = others[i]
            turn[:, k] += b[i] * turn[:, o]
            back[:, o] -= b[i] * back[:, k]
        for g in range(n_groups):
            for i in range(count):
                factor_grams[g, :, k] += b[i] * factor_grams[g, :, others[i]]
            for i in range(count):
                factor_grams[g, k, :] += b[i] * factor_grams[g, others[i], :]
        for v in range(n_views):
            for i in range(count):
                loading_grams[v, :, others[i]] -= b[i] * loading_grams[v, :, k]
            for i in range(count):
                loading_grams[v, others[i], :] -= b[i] * loading_grams[v, k, :]


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
