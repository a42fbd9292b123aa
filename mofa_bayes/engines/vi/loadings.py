"""Updates of the loadings of one part: three ways to the same optimum, each where it is the quickest."""

from dataclasses import replace

import numpy as np
from scipy.linalg import eigh

from mofa_bayes.engines.vi.kernels import (
    Array,
    diagonal_of,
    pack,
    pair_weights,
    quadratics,
    sweep_dense,
    sweep_elements,
    sweep_shared,
    unpack,
)
from mofa_bayes.engines.vi.layout import Part
from mofa_bayes.engines.vi.part_state import PartState
from mofa_bayes.engines.vi.rows import PartSums
from mofa_bayes.spec import Prior, SpikeSlab


def is_together(prior: Prior) -> bool:
    """Whether a feature's loadings are updated together: a dense prior that admits either sign."""
    return not isinstance(prior, SpikeSlab) and not prior.positive


def update_loadings(
    part: Part,
    state: PartState,
    prior: Prior,
    precisions: tuple[Array, Array, Array],
    sums: PartSums,
    known_precision: float,
) -> tuple[PartState, Array, float]:
    """Update loadings and coefficients of known terms.

    Parameters
    ----------
    part, state, prior
        The part, its q, and the prior of its view.
    precisions
        E[precision] and E[log precision] of loadings, (D or 1, K), and E[logit theta] (K,).
    sums
        Sums over rows, stacked by group: cross (G, D, J), grams (G, n_gram, P).
    known_precision
        Prior precision of the coefficients of known terms.

    Returns
    -------
    The part, E[w^2] (D, K), and the entropy gained: of q(s, w) less active (log 2 pi) / 2, less the KL of the
    coefficients of known terms.
    """
    is_shared = part.n_grams == 1 and len(sums.cross) == 1 and len(precisions[0]) == 1
    if is_together(prior):
        update = _solve_shared if is_shared else _solve_each
        return update(part, state, precisions[0], sums, known_precision)
    if is_shared and isinstance(prior, SpikeSlab) and not prior.positive:
        return _sweep_shared(part, state, precisions, sums, known_precision)
    return _sweep_each(part, state, prior, precisions, sums, known_precision)


def _solve_shared(
    part: Part, state: PartState, precision: Array, sums: PartSums, known_precision: float
) -> tuple[PartState, Array, float]:
    """Solve all features at once in the eigenbasis of their one Gram matrix (DESIGN section 4, dense W | Z).

    With A the prior precisions and A^-1/2 G A^-1/2 = Q diag(l) Q', T = A^-1/2 Q diagonalises every feature's precision:
    Cov[w~_d] = T diag(1 / (omega_d l + 1)) T' and E[w~_d] = Cov[w~_d] kappa_d h_d.
    """
    n_terms = state.mean.shape[1]
    prior = np.append(precision[0], np.full(n_terms - state.n_factors, known_precision))
    root = prior**-0.5
    values, vectors = eigh(root[:, None] * unpack(sums.grams[0, 0], n_terms) * root)
    basis = root[:, None] * vectors
    spread = 1 / (np.outer(state.square_weight(part)[0], np.maximum(values, 0.0)) + 1)
    linear = sums.cross[0] * state.kappa_weight(part)[0][:, None]
    mean = ((linear @ basis) * spread) @ basis.T
    updated = replace(state, mean=mean, spread=spread, basis=basis)
    variances = updated.variances()
    size = state.n_factors
    square = np.square(mean) + variances
    known = (np.log(known_precision) - known_precision * square[:, size:]).sum()
    log_determinant = np.log(spread).sum() - part.n_features * np.log(prior).sum()
    gained = (log_determinant + part.n_features * n_terms + known) / 2
    updated = replace(updated, slab_mean=mean[:, :size], slab_variance=variances[:, :size])
    return updated, square[:, :size], float(gained)


def _solve_each(
    part: Part, state: PartState, precision: Array, sums: PartSums, known_precision: float
) -> tuple[PartState, Array, float]:
    n_features, n_terms = state.mean.shape
    mean, spread = np.empty_like(state.mean), np.empty((n_features, n_terms * (n_terms + 1) // 2))
    square, gained = np.empty_like(state.slab_mean), np.zeros(state.n_factors + 1)
    weights = np.ascontiguousarray(state.kappa_weight(part)), np.ascontiguousarray(state.square_weight(part))
    data = (sums.cross, sums.grams, part.gram_of, *weights)
    sweep_dense(*data, precision, known_precision, mean, spread, square, gained)
    loadings, variance = mean[:, : state.n_factors], spread[:, diagonal_of(n_terms)[: state.n_factors]]
    updated = replace(
        state, mean=mean, spread=spread, basis=np.empty((0, 0)), slab_mean=loadings, slab_variance=variance
    )
    return updated, square, float(gained.sum())


def _sweep_shared(
    part: Part, state: PartState, precisions: tuple[Array, Array, Array], sums: PartSums, known_precision: float
) -> tuple[PartState, Array, float]:
    precision, log_precision, log_odds = precisions
    size, n_terms = state.n_factors, state.mean.shape[1]
    gram = unpack(sums.grams[0, 0], n_terms)
    square_weight = np.ascontiguousarray(state.square_weight(part)[0])
    prior = np.append(precision[0], np.full(n_terms - size, known_precision))
    sigma2 = 1 / (np.outer(square_weight, np.diag(gram)) + prior)
    log_sigma2 = np.log(sigma2)
    residual = sums.cross[0] * state.kappa_weight(part)[0][:, None]
    residual -= (state.mean @ gram) * square_weight[:, None]
    mean, slab_mean, inclusion = state.mean.copy(), np.empty_like(state.slab_mean), np.empty_like(state.inclusion)
    odds = np.empty_like(slab_mean)
    start = log_odds + log_precision[0] / 2
    sweep_shared(
        residual, gram, square_weight, start, log_sigma2[:, :size] / 2, sigma2, mean, slab_mean, inclusion, odds
    )
    square = inclusion * (np.square(slab_mean) + sigma2[:, :size])
    spread = sigma2.copy()
    spread[:, :size] = square - np.square(mean[:, :size])
    magnitude = np.minimum(np.abs(odds), 700.0)
    small = np.exp(-magnitude)
    entropy = np.log1p(small) + magnitude * small / (1 + small)
    gained = np.sum(inclusion * (log_sigma2[:, :size] + 1)) / 2 + entropy.sum()
    known = np.square(mean[:, size:]) + sigma2[:, size:]
    gained += np.sum(log_sigma2[:, size:] + np.log(known_precision) + 1 - known_precision * known) / 2
    updated = replace(
        state, mean=mean, spread=spread, slab_mean=slab_mean, slab_variance=sigma2[:, :size], inclusion=inclusion
    )
    return updated, square, float(gained)


def _sweep_each(
    part: Part,
    state: PartState,
    prior: Prior,
    precisions: tuple[Array, Array, Array],
    sums: PartSums,
    known_precision: float,
) -> tuple[PartState, Array, float]:
    precision, log_precision, log_odds = precisions
    is_sparse = isinstance(prior, SpikeSlab)
    moments = precision, log_precision, log_odds if is_sparse else np.zeros(state.n_factors)
    mean, spread = state.mean.copy(), state.spread.copy()
    slab = tuple(np.array(own, order="C") for own in (state.slab_mean, state.slab_variance, state.inclusion))
    square, gained = np.empty(state.slab_mean.shape), np.zeros(state.n_factors + 1)
    weights = np.ascontiguousarray(state.kappa_weight(part)), np.ascontiguousarray(state.square_weight(part))
    data = (sums.cross, sums.grams, part.gram_of, *weights)
    sweep_elements(*data, *moments, known_precision, is_sparse, prior.positive, mean, *slab, spread, square, gained)
    updated = replace(state, mean=mean, spread=spread, slab_mean=slab[0], slab_variance=slab[1], inclusion=slab[2])
    return updated, square, float(gained.sum())


def quadratic_forms(part: Part, state: PartState, cross: Array, grams: Array) -> Array:
    """E[w~' G w~] - 2 h' E[w~] of each feature in each group (G, D)."""
    if part.n_grams == 1:
        own = []
        for h, gram in zip(cross, grams[:, 0], strict=True):
            full = unpack(gram, state.mean.shape[1])
            if state.has_basis:
                along = np.einsum("jr,jk,kr->r", state.basis, full, state.basis)
            else:
                along = np.diag(full) if state.is_elementwise else gram * pair_weights(len(full))
            own.append(np.sum(state.mean * (state.mean @ full - 2 * h), axis=1) + state.spread @ along)
        return np.stack(own)
    out = np.empty(cross.shape[:2])
    spread, is_packed = state.spread, not state.is_elementwise
    if state.has_basis:
        spread, is_packed = pack(state.covariance()), True
    quadratics(cross, grams, part.gram_of, state.mean, spread, is_packed, out)
    return out
