"""Compiled steps of the panel's Gibbs sampler: arrays in, arrays out, everything in sds of each response."""

import math

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.engines.gibbs.kernels import draw_from, draw_positive, factorise
from mofa_bayes.engines.vi.kernels import compiled
from mofa_bayes.risk.response import Array

Index = NDArray[np.intp]
_LEAST = 1e-6
_MOST_STEPS = 60


@compiled
def draw_factors(
    effects: Array,
    changes: Array,
    factor: Index,
    moderators: Array,
    kinds: Array,
    roots: Array,
    order: Index,
    starts: Index,
    mean: Array,
    error: Array,
    noise: Array,
    rng: np.random.Generator,
    out: Array,
) -> None:  # pragma: no cover
    """Fill out (N, K) with factors given all effects.

    z = m + R'u with u ~ N(0, I), and the error of the measured responses is A u + e, A = E R' in units of noise, so
    that u has precision I + A'A. Where fewer responses than factors are known, u is drawn from N(0, I) with an e of its
    own and moved by A'(I + AA')^-1 times what it misses of the error (Bhattacharya et al. 2016, Biometrika 103:985).

    Parameters
    ----------
    effects, changes
        B (R, K), and what the covariate of each of P pairs changes in the effect of its factor, (R, P).
    factor
        Of each pair.
    moderators, kinds, roots
        Of each of G groups of subjects: covariates of the pairs (G, P), 1 where a response is measured (G, R), and R
        with R'R = V (G, K, K).
    order, starts
        Subjects sorted by group, and where each group starts (G + 1).
    mean
        m (N, K).
    error
        Outcome minus what does not depend on factors, (N, R).
    noise
        Sds (R,).
    """
    n_responses, n_factors = effects.shape
    own, u = np.empty((n_responses, n_factors)), np.empty(n_factors)
    for g in range(len(kinds)):
        n_known = 0
        for r in range(n_responses):
            n_known += kinds[g, r] > 0
        known, p = np.empty(n_known, dtype=np.intp), 0
        for r in range(n_responses):
            if kinds[g, r] > 0:
                known[p] = r
                p += 1
        own[:] = effects
        for j in range(len(factor)):
            for r in range(n_responses):
                own[r, factor[j]] += changes[r, j] * moderators[g, j]
        white = np.empty((n_known, n_factors))
        for i in range(n_known):
            for k in range(n_factors):
                white[i, k] = own[known[i], k] / noise[known[i]]
        along = np.dot(white, np.ascontiguousarray(roots[g].T))
        is_wide = n_known < n_factors
        turned = np.ascontiguousarray(along.T)
        root = np.dot(along, turned) if is_wide else np.dot(turned, along)
        for i in range(len(root)):
            root[i, i] += 1.0
        factorise(root)
        t = np.empty(n_known)
        for s in range(starts[g], starts[g + 1]):
            n = order[s]
            for i in range(n_known):
                t[i] = error[n, known[i]] / noise[known[i]]
                for k in range(n_factors):
                    t[i] -= white[i, k] * mean[n, k]
            if is_wide:
                for k in range(n_factors):
                    u[k] = rng.standard_normal()
                for i in range(n_known):
                    t[i] -= rng.standard_normal()
                    for k in range(n_factors):
                        t[i] -= along[i, k] * u[k]
                _solve(root, t)
                for i in range(n_known):
                    for k in range(n_factors):
                        u[k] += along[i, k] * t[i]
            else:
                u[:] = 0.0
                for i in range(n_known):
                    for k in range(n_factors):
                        u[k] += along[i, k] * t[i]
                draw_from(root, u, rng)
            for k in range(n_factors):
                out[n, k] = mean[n, k]
            for j in range(n_factors):
                for k in range(n_factors):
                    out[n, k] += roots[g, j, k] * u[j]


@compiled
def _solve(root: Array, x: Array) -> None:  # pragma: no cover
    """Replace x by A^-1 x, given the Cholesky factor of A."""
    size = len(x)
    for i in range(size):
        for k in range(i):
            x[i] -= root[i, k] * x[k]
        x[i] /= root[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            x[i] -= root[k, i] * x[k]
        x[i] /= root[i, i]


@compiled
def draw_effects(
    gram: Array,
    kind: Index,
    linear: Array,
    location: Array,
    scale: Array,
    noise: Array,
    rng: np.random.Generator,
    out: Array,
) -> None:  # pragma: no cover
    """Fill out (R, Q) with the effects of each response: a regression with prior N(location, scale^2).

    Effects are location + scale b with b ~ N(0, I), and b is what is drawn, so that a scale may go to 0.

    Parameters
    ----------
    gram
        H'H of the subjects who have a response, of each kind of response, (M, Q, Q).
    kind
        Of each response.
    linear
        H'y (R, Q).
    location, scale
        (Q,).
    noise
        Sds (R,).
    """
    n_terms = len(location)
    a, x = np.empty((n_terms, n_terms)), np.empty(n_terms)
    for r in range(len(kind)):
        own, weight = gram[kind[r]], 1.0 / noise[r] ** 2
        for i in range(n_terms):
            total = linear[r, i]
            for j in range(n_terms):
                total -= own[i, j] * location[j]
            x[i] = scale[i] * weight * total
            for j in range(i + 1):
                a[i, j] = scale[i] * weight * own[i, j] * scale[j]
            a[i, i] += 1.0
        factorise(a)
        draw_from(a, x, rng)
        for i in range(n_terms):
            out[r, i] = location[i] + scale[i] * x[i]


@compiled
def share(
    gram: Array,
    kind: Index,
    linear: Array,
    noise: Array,
    prior: Array,
    rng: np.random.Generator,
    effects: Array,
    location: Array,
    scale: Array,
) -> None:  # pragma: no cover
    """Draw the mean and the sd of each term's effects over responses, and move the effects with them, in place.

    First given the effects, then given (effect - location) / scale, which moves effects too: either alone is slow, the
    first for terms that do nothing, the second for strong ones, and together neither (Yu and Meng 2011, J Comput Graph
    Stat 20:531). In the second the likelihood is normal in a location and, above 0, in a scale.

    Parameters
    ----------
    gram, kind, linear, noise
        As in `draw_effects`.
    prior
        Location ~ N(0, prior^2) and scale ~ half-normal(prior) of each term (Q,); 0 for a term that shares nothing.
    effects, location, scale
        (R, Q), (Q,), (Q,).
    """
    n_responses, n_terms = effects.shape
    pull = np.empty((n_responses, n_terms))
    for q in range(n_terms):
        if prior[q] == 0.0:
            continue
        total = 0.0
        for r in range(n_responses):
            total += effects[r, q]
        precision = n_responses / scale[q] ** 2 + 1.0 / prior[q] ** 2
        location[q] = total / scale[q] ** 2 / precision + rng.standard_normal() / math.sqrt(precision)
        square = 0.0
        for r in range(n_responses):
            square += (effects[r, q] - location[q]) ** 2
        log_scale = draw_log_scale(
            math.log(scale[q]), n_responses - 1.0, 0.5 * square, 0.5 / prior[q] ** 2, 0.0, 0.0, rng
        )
        scale[q] = max(math.exp(log_scale), _LEAST)
    for r in range(n_responses):
        weight = 1.0 / noise[r] ** 2
        for i in range(n_terms):
            total = linear[r, i]
            for j in range(n_terms):
                total -= gram[kind[r], i, j] * effects[r, j]
            pull[r, i] = weight * total
    raw, ones = np.empty(n_responses), np.ones(n_responses)
    for q in range(n_terms):
        if prior[q] == 0.0:
            continue
        for r in range(n_responses):
            raw[r] = (effects[r, q] - location[q]) / scale[q]
        mean, sd = _conditional(gram, kind, noise, pull, ones, q, location[q], prior[q])
        step = mean + sd * rng.standard_normal() - location[q]
        location[q] += step
        _move(gram, kind, noise, effects, pull, ones, q, step)
        mean, sd = _conditional(gram, kind, noise, pull, raw, q, scale[q], prior[q])
        step = max(draw_positive(mean, sd, rng), _LEAST) - scale[q]
        scale[q] += step
        _move(gram, kind, noise, effects, pull, raw, q, step)


@compiled
def _conditional(
    gram: Array, kind: Index, noise: Array, pull: Array, along: Array, q: int, value: float, prior: float
) -> tuple[float, float]:  # pragma: no cover
    """Mean and sd of a number at `value` that moves effects of term q by `along`, with prior N(0, prior^2)."""
    precision, linear = 1.0 / prior**2, 0.0
    for r in range(len(along)):
        curvature = along[r] ** 2 * gram[kind[r], q, q] / noise[r] ** 2
        precision += curvature
        linear += along[r] * pull[r, q] + curvature * value
    return linear / precision, 1.0 / math.sqrt(precision)


@compiled
def _move(
    gram: Array, kind: Index, noise: Array, effects: Array, pull: Array, along: Array, q: int, step: float
) -> None:  # pragma: no cover
    """Move effects of term q by step times `along`, and the pull of the data with them."""
    for r in range(len(along)):
        moved = step * along[r]
        effects[r, q] += moved
        weight = moved / noise[r] ** 2
        for j in range(pull.shape[1]):
            pull[r, j] -= weight * gram[kind[r], j, q]


@compiled
def draw_noise(
    gram: Array,
    kind: Index,
    linear: Array,
    square: Array,
    count: Array,
    effects: Array,
    typical: float,
    spread: float,
    rng: np.random.Generator,
    noise: Array,
) -> None:  # pragma: no cover
    """Draw sds of the noise, (R,), given effects, with log-normal prior (typical, spread); in place.

    `square` (R,) is y'y and `count` (R,) the number of subjects of each response; the rest as in `draw_effects`.
    """
    n_responses, n_terms = effects.shape
    for r in range(n_responses):
        own, total = gram[kind[r]], square[r]
        for i in range(n_terms):
            fitted = 0.0
            for j in range(n_terms):
                fitted += own[i, j] * effects[r, j]
            total += effects[r, i] * (fitted - 2.0 * linear[r, i])
        start = math.log(noise[r])
        log_noise = draw_log_scale(start, count[r], 0.5 * max(total, 0.0), 0.0, typical, 0.5 / spread**2, rng)
        noise[r] = math.exp(log_noise)


@compiled
def draw_log_scale(
    start: float, count: float, fall: float, rise: float, centre: float, pull: float, rng: np.random.Generator
) -> float:  # pragma: no cover
    """Draw x from exp(-count x - fall e^-2x - rise e^2x - pull (x - centre)^2), log-concave, by slice sampling.

    An interval of length 1 is put at random around `start` and grown until both ends are outside the slice, then shrunk
    towards `start` (Neal 2003, Ann Stat 31:705, figures 3 and 5).
    """
    level = _log_density(start, count, fall, rise, centre, pull) - rng.standard_exponential()
    low = start - rng.random()
    high = low + 1.0
    for _ in range(_MOST_STEPS):
        if _log_density(low, count, fall, rise, centre, pull) <= level:
            break
        low -= 1.0
    for _ in range(_MOST_STEPS):
        if _log_density(high, count, fall, rise, centre, pull) <= level:
            break
        high += 1.0
    x = low + (high - low) * rng.random()
    while _log_density(x, count, fall, rise, centre, pull) < level:
        if x < start:
            low = x
        else:
            high = x
        x = low + (high - low) * rng.random()
    return x


@compiled
def _log_density(
    x: float, count: float, fall: float, rise: float, centre: float, pull: float
) -> float:  # pragma: no cover
    return -count * x - fall * math.exp(-2.0 * x) - rise * math.exp(2.0 * x) - pull * (x - centre) ** 2
