"""The steps in order: rank and subspace of each view, one subspace for all, rotation, loadings, noise, intervals."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.spectral.combine import Joint, combine
from mofa_bayes.engines.spectral.coverage import inflation
from mofa_bayes.engines.spectral.rank import Spectrum, find_spectrum
from mofa_bayes.engines.spectral.regress import Regression, learn_precision, regress
from mofa_bayes.engines.spectral.subspace import lead
from mofa_bayes.engines.spectral.tables import Table, tabulate
from mofa_bayes.engines.vi.packed import Array
from mofa_bayes.engines.vi.varimax import varimax
from mofa_bayes.spec import FactorModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Decomposition:
    """What the engine ends with; everything by view is in canonical order (by name).

    Attributes
    ----------
    tables
        The views.
    factors
        Scores of unit variance, (n_subjects, K), rows in canonical order.
    regressions
        Loadings, intercepts and noise of each view.
    inflations
        Of each view the factor by which posterior standard deviations of loadings are widened.
    spectra, joint
        What the singular values of each view, and of all together, said.
    seconds
        Time it took.
    """

    tables: tuple[Table, ...]
    factors: Array
    regressions: tuple[Regression, ...]
    inflations: tuple[float, ...]
    spectra: tuple[Spectrum, ...]
    joint: Joint
    seconds: float

    @property
    def n_factors(self) -> int:
        """Number of factors."""
        return int(self.factors.shape[1])


def decompose(tables: Sequence[Table], spec: FactorModel, n_subjects: int, rng: np.random.Generator) -> Decomposition:
    """Fit a factor model in closed form (Mauri and Dunson 2025, arXiv 2509.02772, with the rank found by permutation).

    Of the model's description the upper limit on factors, the noise's prior, the intercepts' scale and `min_variance`
    are used. Loadings have a normal prior whose precision is learned per view and factor (see `learn_precision`),
    whatever prior the model names.

    Missing entries count as their feature's mean where the subspaces are found, and not at all in the regressions.
    Measured on simulated cohorts with 5 to 30 % of entries missing and 20 % of subjects without some view, alternating
    further between factors and loadings brought no gain: the correlation of q(z)'s mean with the true factors was .9122
    after no, .9110 after one and .9110 after seven rounds, and as flat at every other design.

    Parameters
    ----------
    tables
        The cohort.
    spec
        The model.
    n_subjects
        Number of subjects of all tables together.
    rng
        Permutes columns, draws features.
    """
    start = time.perf_counter()
    with threadpool_limits(1, user_api="blas"):
        rank_rng, width_rng = rng.spawn(2)
        spectra, joint, factors = _find_factors(tables, spec.n_factors, n_subjects, rank_rng)
        factors = _arrange(factors, tables, spec)
        precisions = [learn_precision(factors[t.rows], t, spec.intercept_scale) for t in tables]
        fits = [regress(factors[t.rows], t, p, spec.noise) for t, p in zip(tables, precisions, strict=True)]
        signs = _largest_signs([fit.loadings for fit in fits])
        factors, fits = factors * signs, [fit.sign(signs) for fit in fits]
        widths = [inflation(f.loadings, f.variance, r) for f, r in zip(fits, width_rng.spawn(len(fits)), strict=True)]
    seconds = time.perf_counter() - start
    return Decomposition(tuple(tables), factors, tuple(fits), tuple(widths), tuple(spectra), joint, seconds)


def start_scores(views: MultiView, preprocessing: Preprocessing, n_factors: int, rng: np.random.Generator) -> Array:
    """Find scores from which another engine can start: the factors of `decompose`, before rotation.

    Features of every likelihood are taken as real numbers, centred and standardised. Where fewer than `n_factors` are
    found, the rest is filled with standard normal numbers.

    Returns
    -------
    Scores, shape (n_subjects, n_factors), rows in canonical order.
    """
    tables = [table.standardise() for table in tabulate(views, preprocessing)]
    rank_rng, fill_rng = rng.spawn(2)
    with threadpool_limits(1, user_api="blas"):
        _, _, scores = _find_factors(tables, n_factors, views.n_subjects, rank_rng)
    filler = fill_rng.standard_normal((views.n_subjects, n_factors - scores.shape[1]))
    return np.column_stack([scores, filler])


def _find_factors(
    tables: Sequence[Table], limit: int, n_subjects: int, rng: np.random.Generator
) -> tuple[list[Spectrum], Joint, Array]:
    """Scores of unit variance, `limit` at most, in no particular rotation."""
    *rngs, joint_rng = rng.spawn(len(tables) + 1)
    spectra = [find_spectrum(table, 2 * limit, own) for table, own in zip(tables, rngs, strict=True)]
    if not any(spectrum.n_factors for spectrum in spectra):
        logger.warning("no view has a factor that stands out from noise; the strongest direction is kept")
        best = int(np.argmax([spectrum.squares[0] / spectrum.threshold for spectrum in spectra]))
        spectra[best] = replace(spectra[best], vectors=lead(tables[best], 1, joint_rng)[0])
    joint = combine([s.vectors for s in spectra], [t.rows for t in tables], n_subjects, joint_rng)
    vectors = joint.vectors
    if vectors.shape[1] > limit:
        logger.info("found %d factors; kept the %d that explain most", vectors.shape[1], limit)
        vectors = vectors @ _strongest(vectors, tables, limit)
    return spectra, joint, vectors * np.sqrt(n_subjects)


def _strongest(vectors: Array, tables: Sequence[Table], n_kept: int) -> Array:
    """Rotation (K, n_kept) to the directions that explain most, each view counting the same whatever its width."""
    explained = np.zeros((vectors.shape[1], vectors.shape[1]))
    for table in tables:
        products = table.cross(vectors[table.rows])
        explained += products.T @ products / table.total
    _, turn = np.linalg.eigh(explained)
    return np.ascontiguousarray(turn[:, ::-1][:, :n_kept])


def _arrange(factors: Array, tables: Sequence[Table], spec: FactorModel) -> Array:
    """Rotate to the sparsest loadings, drop factors that explain too little, sort and scale the others."""
    loadings = _least_squares(factors, tables)
    turn = varimax(loadings)
    loadings, factors = [own @ turn for own in loadings], factors @ turn
    shares = np.stack([_explained(own, table) for own, table in zip(loadings, tables, strict=True)])
    order = np.argsort(-shares.sum(axis=0), kind="stable")
    kept = order[shares.max(axis=0)[order] >= spec.min_variance]
    if len(kept) < len(order):
        logger.info(
            "dropped %d factors that explain less than %g of every view", len(order) - len(kept), spec.min_variance
        )
    if len(kept) == 0:
        logger.warning("no factor explains %g of any view; the strongest is kept", spec.min_variance)
        kept = order[:1]
    return factors[:, kept] / _scale_of(factors[:, kept], [own[:, kept] for own in loadings], tables)


def _largest_signs(loadings: Sequence[Array]) -> Array:
    """Sign of each factor's largest |loading| (K,)."""
    stacked = np.concatenate(loadings)
    signs = np.sign(stacked[np.abs(stacked).argmax(axis=0), np.arange(stacked.shape[1])])
    return np.where(signs == 0, 1.0, signs)


def _least_squares(factors: Array, tables: Sequence[Table]) -> list[Array]:
    """Regress each view on the factors: loadings (D_m, K), missing entries counting as means."""
    return [table.cross(np.linalg.pinv(factors[table.rows]).T) for table in tables]


def _explained(loadings: Array, table: Table) -> Array:
    """Share of a view's variance that each factor alone explains, (K,)."""
    shares: Array = len(table.rows) * np.square(loadings).sum(axis=0) / table.total
    return shares


def _scale_of(factors: Array, loadings: Sequence[Array], tables: Sequence[Table]) -> Array:
    """Root of E[z_k^2] per factor (K,): a subject without the views that carry a factor has the prior's variance there.

    Its score is about 0, so that scores of unit variance over all subjects are too large over the others. What a view
    tells of a factor is n |w_k|^2 over its noise, taken alike for all features; where every subject has every view the
    scale is 1.
    """
    gains = []
    for own, table in zip(loadings, tables, strict=True):
        noise = max(1 - float(_explained(own, table).sum()), 1e-6) * table.total / len(table.rows) / table.n_features
        gains.append(np.square(own).sum(axis=0) / noise)
    information = np.zeros_like(factors)
    for gain, table in zip(gains, tables, strict=True):
        information[table.rows] += gain
    unseen = 1 / (1 + information) - 1 / (1 + np.sum(gains, axis=0))
    result: Array = np.sqrt(np.mean(np.square(factors) + unseen, axis=0))
    return result
