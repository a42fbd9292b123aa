"""Updates of the loadings of one part: three ways to the same optimum, each where it is the quickest."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import eigh

from mofa_bayes.engines.vi.kernels import quadratics, sweep_dense, sweep_elements, sweep_shared
from mofa_bayes.engines.vi.layout import Part
from mofa_bayes.engines.vi.packed import Array, Index, diagonal_of, pack, pair_weights, unpack
from mofa_bayes.engines.vi.part_state import PartState
from mofa_bayes.engines.vi.rows import PartSums
from mofa_bayes.spec import Prior, SpikeSlab

_CHUNK = 2048


def is_together(prior: Prior) -> bool:
    """Whether a feature's loadings are updated together: a dense prior that admits either sign."""
    return not isinstance(prior, SpikeSlab) and not prior.positive


@dataclass(frozen=True, slots=True)
class Above:
    """What stands above the loadings of a part, as its update needs it.

    E[precision] and E[log precision] of loadings (D or 1, K), E[logit theta] (K,), and the prior precision of the
    coefficients of known terms.
    """

    precision: Array
    log_precision: Array
    log_odds: Array
    known_precision: float

    def take(self, features: slice) -> "Above":
        """Keep what belongs to some features."""
        if len(self.precision) == 1:
            return self
        return replace(self, precision=self.precision[features], log_precision=self.log_precision[features])

    def prior_precision(self, n_terms: int) -> Array:
        """Prior precision of loadings and known terms (J,), where all features have the same."""
        n_known = n_terms - self.precision.shape[1]
        return np.append(self.precision[0], np.full(n_known, self.known_precision))


Mapper = Callable[[Callable[[slice], float], Sequence[slice]], Iterable[float]]


def update_loadings(
    part: Part, state: PartState, prior: Prior, above: Above, sums: PartSums, mapper: Mapper = map
) -> tuple[PartState, Array, float]:
    """Update loadings and coefficients of known terms.

    Parameters
    ----------
    part, state, prior, above
        The part, its q, the prior of its view, and what stands above.
    sums
        Sums over rows, stacked by group: cross (G, D, J), grams (G, n_gram, P).
    mapper
        Applies a function to chunks of features, in threads if it likes.

    Returns
    -------
    The part, E[w^2] (D, K), and the entropy gained: of q(s, w) less active (log 2 pi) / 2, less the KL of the
    coefficients of known terms.
    """
    data = _Data(
        sums.cross,
        sums.grams,
        part.gram_of,
        np.ascontiguousarray(state.kappa_weight(part)),
        np.ascontiguousarray(state.square_weight(part)),
    )
    is_shared = part.n_grams == 1 and len(sums.cross) == 1 and len(above.precision) == 1
    if is_together(prior):
        update = _solve_shared if is_shared else _solve_each
        return update(data, state, above, mapper)
    if is_shared and isinstance(prior, SpikeSlab) and not prior.positive:
        return _sweep_shared(data, state, above, mapper)
    return _sweep_each(data, state, prior, above, mapper)


@dataclass(frozen=True, slots=True)
class _Data:
    """Sums by group, which Gram matrix each feature has, and the weights of both kinds of sums (G, D)."""

    cross: Array
    grams: Array
    gram_of: Index
    kappa_weight: Array
    square_weight: Array

    def take(self, features: slice) -> tuple[Array, Array, Index, Array, Array]:
        """Keep what belongs to some features, as the kernels take it."""
        return (
            self.cross[:, features],
            self.grams,
            self.gram_of[features],
            self.kappa_weight[:, features],
            self.square_weight[:, features],
        )


def _in_chunks(mapper: Mapper, n_features: int, function: Callable[[slice], float]) -> float:
    """Sum a function over chunks of features, which do not depend on the number of threads."""
    chunks = [slice(start, min(start + _CHUNK, n_features)) for start in range(0, n_features, _CHUNK)]
    return float(sum(mapper(function, chunks)))


def _solve_shared(data: _Data, state: PartState, above: Above, mapper: Mapper) -> tuple[PartState, Array, float]:
    """Solve all features at once in the eigenbasis of their one Gram matrix (DESIGN section 4, dense W | Z).

    With A the prior precisions and A^-1/2 G A^-1/2 = Q diag(l) Q', T = A^-1/2 Q diagonalises every feature's precision:
    Cov[w~_d] = T diag(1 / (omega_d l + 1)) T' and E[w~_d] = Cov[w~_d] kappa_d h_d.
    """
    n_features, n_terms = state.mean.shape
    size, prior = state.n_factors, above.prior_precision(n_terms)
    root = prior**-0.5
    values, vectors = eigh(root[:, None] * unpack(data.grams[0, 0], n_terms) * root)
    basis = root[:, None] * vectors
    mean, spread = np.empty_like(state.mean), np.empty((n_features, n_terms))

    def solve(chunk: slice) -> float:
        spread[chunk] = 1 / (np.outer(data.square_weight[0, chunk], np.maximum(values, 0.0)) + 1)
        linear = data.cross[0, chunk] * data.kappa_weight[0, chunk, None]
        mean[chunk] = ((linear @ basis) * spread[chunk]) @ basis.T
        return float(np.log(spread[chunk]).sum())

    log_determinant = _in_chunks(mapper, n_features, solve) - n_features * np.log(prior).sum()
    updated = replace(state, mean=mean, spread=spread, basis=basis)
    variances = updated.variances()
    square = np.square(mean) + variances
    known = (np.log(above.known_precision) - above.known_precision * square[:, size:]).sum()
    updated = replace(updated, slab_mean=mean[:, :size], slab_variance=variances[:, :size])
    return updated, square[:, :size], float(log_determinant + n_features * n_terms + known) / 2


def _solve_each(data: _Data, state: PartState, above: Above, mapper: Mapper) -> tuple[PartState, Array, float]:
    n_features, n_terms = state.mean.shape
    size = state.n_factors
    mean, spread = np.empty_like(state.mean), np.empty((n_features, n_terms * (n_terms + 1) // 2))
    square = np.empty((n_features, size))

    def solve(chunk: slice) -> float:
        gained = np.zeros(size + 1)
        precision = above.take(chunk).precision
        own = mean[chunk], spread[chunk], square[chunk]
        sweep_dense(*data.take(chunk), precision, above.known_precision, *own, gained)
        return float(gained.sum())

    gained = _in_chunks(mapper, n_features, solve)
    loadings, variance = mean[:, :size], spread[:, diagonal_of(n_terms)[:size]]
    updated = replace(
        state, mean=mean, spread=spread, basis=np.empty((0, 0)), slab_mean=loadings, slab_variance=variance
    )
    return updated, square, gained


def _sweep_shared(data: _Data, state: PartState, above: Above, mapper: Mapper) -> tuple[PartState, Array, float]:
    n_features, n_terms = state.mean.shape
    size, prior = state.n_factors, above.prior_precision(n_terms)
    gram = unpack(data.grams[0, 0], n_terms)
    log_odds = above.log_odds + above.log_precision[0] / 2
    mean, spread = state.mean.copy(), np.empty_like(state.mean)
    slab_mean, slab_variance, inclusion, square = (np.empty((n_features, size)) for _ in range(4))

    def sweep(chunk: slice) -> float:
        weight = data.square_weight[0, chunk]
        sigma2 = 1 / (np.outer(weight, np.diag(gram)) + prior)
        log_sigma2 = np.log(sigma2)
        residual = data.cross[0, chunk] * data.kappa_weight[0, chunk, None] - (mean[chunk] @ gram) * weight[:, None]
        odds = np.empty((len(weight), size))
        own = mean[chunk], slab_mean[chunk], inclusion[chunk]
        sweep_shared(residual, gram, weight, log_odds, log_sigma2[:, :size] / 2, sigma2, *own, odds)
        slab_variance[chunk], spread[chunk] = sigma2[:, :size], sigma2
        square[chunk] = inclusion[chunk] * (np.square(slab_mean[chunk]) + sigma2[:, :size])
        spread[chunk, :size] = square[chunk] - np.square(mean[chunk, :size])
        magnitude = np.minimum(np.abs(odds), 700.0)
        small = np.exp(-magnitude)
        entropy = np.log1p(small) + magnitude * small / (1 + small)
        known = np.square(mean[chunk, size:]) + sigma2[:, size:]
        known = log_sigma2[:, size:] + np.log(above.known_precision) + 1 - above.known_precision * known
        return float(np.sum(inclusion[chunk] * (log_sigma2[:, :size] + 1)) / 2 + entropy.sum() + known.sum() / 2)

    gained = _in_chunks(mapper, n_features, sweep)
    updated = replace(
        state, mean=mean, spread=spread, slab_mean=slab_mean, slab_variance=slab_variance, inclusion=inclusion
    )
    return updated, square, gained


def _sweep_each(
    data: _Data, state: PartState, prior: Prior, above: Above, mapper: Mapper
) -> tuple[PartState, Array, float]:
    n_features, size = state.slab_mean.shape
    is_sparse = isinstance(prior, SpikeSlab)
    log_odds = above.log_odds if is_sparse else np.zeros(size)
    mean, spread = state.mean.copy(), state.spread.copy()
    slab_mean, slab_variance, inclusion, square = (np.empty((n_features, size)) for _ in range(4))

    def sweep(chunk: slice) -> float:
        gained = np.zeros(size + 1)
        over = above.take(chunk)
        moments = over.precision, over.log_precision, log_odds, above.known_precision
        own = mean[chunk], slab_mean[chunk], slab_variance[chunk], inclusion[chunk], spread[chunk], square[chunk]
        sweep_elements(*data.take(chunk), *moments, is_sparse, prior.positive, *own, gained)
        return float(gained.sum())

    gained = _in_chunks(mapper, n_features, sweep)
    updated = replace(
        state, mean=mean, spread=spread, slab_mean=slab_mean, slab_variance=slab_variance, inclusion=inclusion
    )
    return updated, square, gained


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
