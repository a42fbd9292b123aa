"""Stacking: how much each of several predictive distributions should count, by what they said of patients left out."""

import numpy as np
from scipy.special import logsumexp

from mofa_bayes.risk.response import Array
from mofa_bayes.validation.scored import Scored

_MAX_STEPS = 5000
_TOLERANCE = 1e-7
_SMALLEST = 1e-12


def stack(log_scores: Array) -> Array:
    """Weights on the simplex that maximise sum_n log sum_m w_m p_nm, (M,), for log scores log p_nm (N, M).

    The stacking of predictive distributions of Yao, Vehtari, Simpson and Gelman 2018 (Bayesian Anal 13:917). The
    objective is concave, and the step w_m <- mean_n (w_m p_nm / sum_l w_l p_nl) raises it until the top is reached.
    """
    relative = np.exp(log_scores - log_scores.max(axis=1, keepdims=True))
    weights = np.full(log_scores.shape[1], 1 / log_scores.shape[1])
    for _ in range(_MAX_STEPS):
        after = weights * (relative / (relative @ weights)[:, None]).mean(axis=0)
        is_there = np.abs(after - weights).max() < _TOLERANCE
        weights = after / after.sum()
        if is_there:
            break
    return weights


def left_out_scores(log_likelihood: Array) -> Array:
    """Log predictive density of each training patient by the model without them, (N,), from draws (S, N).

    By truncated importance sampling, without a refit (Ionides 2008, J Comput Graph Stat 17:295; Gelfand 1996): weights
    1 / p(y_n | draw), none above their mean times sqrt(S). A risk model has few parameters and none of one patient's
    own, so the weights are even.
    """
    weights = -log_likelihood - logsumexp(-log_likelihood, axis=0)
    weights = np.minimum(weights, -0.5 * np.log(len(weights)))
    result: Array = logsumexp(weights + log_likelihood, axis=0) - logsumexp(weights, axis=0)
    return result


def mix_scores(scored: list[Scored], weights: Array) -> Scored:
    """Mix predictive distributions of the same patients; the risk in the middle of the horizons ranks them."""
    n_draws = min(len(own.risk) for own in scored)
    risk = np.einsum("m,msnt->snt", weights, np.stack([own.risk[:n_draws] for own in scored]))
    middle = np.clip(risk[..., risk.shape[-1] // 2], _SMALLEST, 1 - _SMALLEST)
    log_score = logsumexp(np.stack([own.log_score for own in scored], axis=1), axis=1, b=weights)
    return Scored(risk, np.log(-np.log1p(-middle)), log_score)
