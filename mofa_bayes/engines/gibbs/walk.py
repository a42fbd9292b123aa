"""Compiled walk along the likelihood's invariance: everything it needs and changes is a K x K sum or smaller."""

import math

import numpy as np

from mofa_bayes.engines.gibbs.kernels import draw_from, factorise
from mofa_bayes.engines.vi.kernels import compiled
from mofa_bayes.engines.vi.packed import Array, Index

# Where both alpha and beta are vague nothing fixes the scale of a factor, and over the decades that such priors span
# double precision loses all digits: the prior of beta is cut off here. Alpha's is where no number is left.
LOW_BETA, HIGH_BETA = 1e-8, 1e8
LOW_ALPHA, HIGH_ALPHA = 1e-250, 1e250


@compiled
def draw_log_scale(power: float, grow: float, shrink: float, rng: np.random.Generator) -> float:  # pragma: no cover
    """Draw t of log density power t - (grow e^t + shrink e^-t) / 2: the log of a generalised inverse Gaussian.

    The density is log-concave in t, so a flat top and two exponential tails that touch it about one unit below its mode
    are above it everywhere: exact rejection (Devroye 2014, Stat Comput 24:239).
    """
    up, down = 0.5 * grow, 0.5 * shrink
    spread = math.sqrt(power * power + 4.0 * up * down)
    if power >= 0.0:
        mode = math.log(power + spread) - math.log(2.0 * up)
    else:
        mode = math.log(2.0 * down) - math.log(spread - power)
    up, down = up * math.exp(mode), down * math.exp(-mode)
    edges = np.empty(2)
    slopes = np.empty(2)
    for side in range(2):
        sign = 1.0 if side == 0 else -1.0
        step, low, high = math.sqrt(2.0 / spread), 0.0, np.inf
        while True:
            x = sign * step
            drop = up * math.expm1(x) + down * math.expm1(-x) - power * x
            if drop > 2.0:
                high = step
            elif drop < 0.5:
                low = step
            else:
                break
            step = 2.0 * step if high == np.inf else 0.5 * (low + high)
        slopes[side] = sign * (up * math.exp(x) - down * math.exp(-x) - power)
        edges[side] = step - drop / slopes[side]
    right, left = edges
    total = right + left + 1.0 / slopes[0] + 1.0 / slopes[1]
    while True:
        u = rng.random() * total
        excess = 0.0
        if u < right + left:
            x = u - left
        else:
            excess = rng.standard_exponential()
            is_right = u < right + left + 1.0 / slopes[0]
            x = right + excess / slopes[0] if is_right else -left - excess / slopes[1]
        drop = up * math.expm1(x) + down * math.expm1(-x) - power * x
        if rng.standard_exponential() >= drop - excess:
            return float(mode + x)


@compiled
def shear(
    k: int,
    factor_grams: Array,
    beta: Array,
    loading_grams: Array,
    alpha: Array,
    known_precision: float,
    may_mix: bool,
    rng: np.random.Generator,
    turn: Array,
    back: Array,
) -> None:  # pragma: no cover
    """Draw z_k -> z_k + sum_o b_o x_o and w_o -> w_o - b_o w_k, which leave Z~ W~' alone.

    x_o are the known terms and, where `may_mix`, the other factors. Given all else b is Gaussian of precision
    sum_g beta_gk G_g,oo + diag(sum_v alpha_vo S_v,kk) and linear term -sum_g beta_gk G_g,ok + sum_v alpha_vo S_v,ok;
    the map has Jacobian 1, and b is an element of a group under addition. Parameters as in `walk`.
    """
    n_groups, n_factors = beta.shape
    n_views, size = loading_grams.shape[0], loading_grams.shape[1]
    others = np.empty(size, dtype=np.int64)
    count = 0
    for o in range(size):
        if o != k and (o >= n_factors or may_mix):
            others[count] = o
            count += 1
    a = np.zeros((count, count))
    b = np.zeros(count)
    for i in range(count):
        o = others[i]
        for g in range(n_groups):
            for j in range(i + 1):
                a[i, j] += beta[g, k] * factor_grams[g, o, others[j]]
            b[i] -= beta[g, k] * factor_grams[g, o, k]
        for v in range(n_views):
            prior = alpha[v, o] if o < n_factors else known_precision
            a[i, i] += prior * loading_grams[v, k, k]
            b[i] += prior * loading_grams[v, o, k]
    factorise(a)
    draw_from(a, b, rng)
    for i in range(count):
        o = others[i]
        turn[:, k] += b[i] * turn[:, o]
        back[:, o] -= b[i] * back[:, k]
        for g in range(n_groups):
            factor_grams[g, :, k] += b[i] * factor_grams[g, :, o]
        for v in range(n_views):
            loading_grams[v, :, o] -= b[i] * loading_grams[v, :, k]
    for i in range(count):
        o = others[i]
        for g in range(n_groups):
            factor_grams[g, k, :] += b[i] * factor_grams[g, o, :]
        for v in range(n_views):
            loading_grams[v, o, :] -= b[i] * loading_grams[v, k, :]


@compiled
def rescale(
    k: int,
    factor_grams: Array,
    beta: Array,
    loading_grams: Array,
    alpha: Array,
    squares: Array,
    counts: Array,
    rows_of: Index,
    alpha_prior: Array,
    beta_prior: Array,
    with_alpha: bool,
    with_beta: bool,
    rng: np.random.Generator,
    turn: Array,
    back: Array,
) -> None:  # pragma: no cover
    """Draw c for z_k -> c z_k, w_k -> w_k / c, and where asked alpha_k -> c^2 alpha_k and beta_k -> beta_k / c^2.

    t = log c^2 has log density power t - (grow e^t + shrink e^-t) / 2. z adds N/2 to power (its Jacobian) and beta z'z
    to grow; a loading that is not 0 takes 1/2 from power and adds its precision times its square to shrink. Where
    alpha ~ Gamma(a, b) follows, alpha w^2 stays, the Jacobians of w and of alpha's density cancel, and what is left is
    alpha's prior: a to power, 2 b alpha to grow; likewise for beta, with the signs turned. Parameters as in `walk`.
    """
    power, grow, shrink = 0.0, 0.0, 0.0
    for g in range(beta.shape[0]):
        if with_beta:
            power -= beta_prior[0]
            shrink += 2.0 * beta_prior[1] * beta[g, k]
        else:
            power += 0.5 * rows_of[g]
            grow += beta[g, k] * factor_grams[g, k, k]
    for v in range(alpha.shape[0]):
        if with_alpha and alpha_prior[v, 0] > 0.0:
            power += alpha_prior[v, 0]
            grow += 2.0 * alpha_prior[v, 1] * alpha[v, k]
        else:
            power -= 0.5 * counts[v, k]
            shrink += alpha[v, k] * squares[v, k]
    growth = math.exp(min(max(draw_log_scale(power, max(grow, LOW_ALPHA), shrink, rng), -500.0), 500.0))
    if with_beta:
        # Drawn from the conditional without bounds: to stay where it is when it is outside them is Metropolis' rule.
        for g in range(beta.shape[0]):
            if not LOW_BETA <= beta[g, k] / growth <= HIGH_BETA:
                return
        beta[:, k] /= growth
    scale = math.sqrt(growth)
    turn[:, k] *= scale
    back[:, k] /= scale
    factor_grams[:, k, :] *= scale
    factor_grams[:, :, k] *= scale
    loading_grams[:, k, :] /= scale
    loading_grams[:, :, k] /= scale
    squares[:, k] /= growth
    for v in range(alpha.shape[0]):
        if with_alpha and alpha_prior[v, 0] > 0.0:
            alpha[v, k] = min(max(alpha[v, k] * growth, LOW_ALPHA), HIGH_ALPHA)


@compiled
def walk(
    n_rounds: int,
    factor_grams: Array,
    beta: Array,
    loading_grams: Array,
    alpha: Array,
    squares: Array,
    counts: Array,
    rows_of: Index,
    alpha_prior: Array,
    beta_prior: Array,
    known_precision: float,
    may_mix: bool,
    rng: np.random.Generator,
    turn: Array,
    back: Array,
) -> None:  # pragma: no cover
    """Go some rounds of shears, changes of scale, and draws of alpha and beta.

    Parameters
    ----------
    factor_grams, loading_grams
        Z~'Z~ per group (G, J, J) and W~'W~ per view (V, J, J); updated.
    beta, alpha
        Precisions of factors (G, K) and of loadings (V, K); updated where they have priors.
    squares
        sum_d p_dk w_dk^2 with alpha p the precision of each loading (V, K); updated.
    counts, rows_of
        Loadings that are not 0 (V, K), and rows per group (G,).
    alpha_prior, beta_prior
        Shape and rate of gamma priors (V, 2) and (2,); a shape of 0 is none.
    known_precision
        Prior precision of coefficients of known terms.
    may_mix
        Whether p is 1 everywhere and loadings may have any sign, so that factors may be mixed.
    turn, back
        Filled with J x J maps: Z~ -> Z~ turn, W~ -> W~ back.
    """
    n_groups, n_factors = beta.shape
    n_views = alpha.shape[0]
    turn[:] = np.eye(turn.shape[0])
    back[:] = np.eye(turn.shape[0])
    for _ in range(n_rounds):
        for k in range(n_factors):
            shear(k, factor_grams, beta, loading_grams, alpha, known_precision, may_mix, rng, turn, back)
        if may_mix:
            for v in range(n_views):
                for k in range(n_factors):
                    squares[v, k] = loading_grams[v, k, k]
        for k in range(n_factors):
            for move in range(3 if beta_prior[0] > 0.0 else 2):
                rescale(
                    k,
                    factor_grams,
                    beta,
                    loading_grams,
                    alpha,
                    squares,
                    counts,
                    rows_of,
                    alpha_prior,
                    beta_prior,
                    move > 0,
                    move > 1,
                    rng,
                    turn,
                    back,
                )
            for v in range(n_views):
                if alpha_prior[v, 0] > 0.0:
                    drawn = rng.standard_gamma(alpha_prior[v, 0] + 0.5 * counts[v, k])
                    drawn /= alpha_prior[v, 1] + 0.5 * squares[v, k]
                    alpha[v, k] = min(max(drawn, LOW_ALPHA), HIGH_ALPHA)
            for g in range(n_groups):
                if beta_prior[0] > 0.0:
                    drawn = rng.standard_gamma(beta_prior[0] + 0.5 * rows_of[g])
                    drawn /= beta_prior[1] + 0.5 * factor_grams[g, k, k]
                    if LOW_BETA <= drawn <= HIGH_BETA:
                        beta[g, k] = drawn
