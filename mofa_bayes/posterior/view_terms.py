"""What each view says of a subject's factors: its share of their mean, and what an absent one would add."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.vi.families.base import Values
from mofa_bayes.engines.vi.kernels import second_moments
from mofa_bayes.engines.vi.layout import Block, Cells, Part
from mofa_bayes.engines.vi.packed import pair_weights, unpack
from mofa_bayes.engines.vi.rows import PartGlobals, Rows, bound_entries, collect_terms
from mofa_bayes.errors import FitError
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.project import Inference, infer_point, widen

Array = NDArray[np.float64]
_LARGEST = 30.0
"""Of a log mean: what would overflow is of no use as a weight."""


@dataclass(frozen=True, slots=True, eq=False)
class ViewTerms:
    """Factors of N subjects, taken apart by M views.

    Attributes
    ----------
    moments
        The factors as `Posterior.project` infers them.
    views
        Names of the views of the fit.
    is_seen
        Which views each subject has, (N, M).
    shares
        V_n l_nm with l_nm = W_m' Sigma_m^-1 (x_nm - mu_m), (N, M, K): what view m puts into the mean of subject n's
        factors, zero where it is absent. They sum to that mean, because a priori it is zero.
    narrowing
        V_n - (V_n^-1 + W_m' Sigma_m^-1 W_m)^-1, (N, M, K, K): by how much the covariance would shrink if view m were
        measured; zero where it is there already.
    """

    moments: FactorMoments
    views: tuple[str, ...]
    is_seen: NDArray[np.bool_]
    shares: Array
    narrowing: Array


def split_by_view(tree: xr.DataTree, new: MultiView | Mapping[str, pd.DataFrame]) -> ViewTerms:
    """Infer the factors of subjects and take them apart by view.

    Features that are not gaussian enter with the pseudo-observations kappa / omega and weights omega of the engine's
    quadratic bounds where q(z) has settled: their shares sum to the mean as far as it has (1e-6).
    What draws of a sampling engine disagree on together adds to the covariance, but is not among what a view would take
    away.

    Raises
    ------
    FitError
        Factors are sparse: their means are not linear in what was seen.
    DataError
        No view, or no feature, is one the model knows.
    """
    if "factor_log_odds" in tree.children["moments"]:
        raise FitError(
            "contributions of views",
            got="a model with SpikeSlabFactors, whose factors are not linear in what was seen",
            expected="normal factors",
            do="Fit with factors=StandardFactors() or ARDFactors().",
        )
    point = infer_point(tree, new)
    moments, found = widen(tree, point), _split(point)
    moments = moments.given_loadings or moments
    return ViewTerms(moments, found.views, found.is_seen, found.shares, found.narrowing)


@dataclass(frozen=True, slots=True, eq=False)
class _Split:
    views: tuple[str, ...]
    is_seen: NDArray[np.bool_]
    shares: Array
    narrowing: Array


def _split(point: Inference) -> _Split:
    """Take apart the factors under one set of globals."""
    layout, known, n_factors = point.layout, point.known, len(point.factors)
    views = tuple(dict.fromkeys(part.view for part in layout.parts))
    shape = (len(point.views.subjects), len(views))
    result = _Split(
        views, np.zeros(shape, dtype=np.bool_), np.zeros((*shape, n_factors)), np.zeros((*shape, n_factors, n_factors))
    )
    place = {subject: n for n, subject in enumerate(point.views.subjects)}
    for block, rows in zip(layout.blocks, point.rows, strict=True):
        target = np.array([place[layout.subjects[n]] for n in block.rows])
        covariance = unpack(rows.covariance, n_factors)
        locals_ = bound_entries(block, layout.parts, known, rows)
        for m, view in enumerate(views):
            parts = {number: part for number, part in enumerate(layout.parts) if part.view == view}
            if parts.keys() <= block.cells.keys():
                own = {number: locals_[number] for number in parts}
                linear = collect_terms(block, layout.parts, known, own)[1]
                result.shares[target, m] = (covariance @ linear[:, :, None])[:, :, 0]
                result.is_seen[target, m] = True
            else:
                gained = _expect_precision(block, rows, parts, layout.parts, known)
                result.narrowing[target, m] = covariance - np.linalg.inv(np.linalg.inv(covariance) + gained)
    return result


def _expect_precision(
    block: Block,
    rows: Rows,
    absent: Mapping[int, Part],
    parts: tuple[Part, ...],
    known: Mapping[int, PartGlobals],
) -> Array:
    """W' Sigma^-1 W of the absent parts of a view for a block's rows, as if every feature were seen, (n or 1, K, K)."""
    cells = {number: Cells(_expect_values(part, known[number], block, rows), None) for number, part in absent.items()}
    is_entrywise = any(part.family.is_entrywise for part in absent.values())
    whole = replace(block, cells=cells, is_uniform=block.weights is None and not is_entrywise)
    precision, _ = collect_terms(whole, parts, known, bound_entries(whole, parts, known, rows))
    return unpack(precision, rows.mean.shape[1])


def _expect_values(part: Part, own: PartGlobals, block: Block, rows: Rows) -> Values:
    """Values of unseen cells at which the weights of the bounds are as expected.

    Only those of counts and of student_t features depend on the value: E[y], linear in which the weight is, and the
    point at a root mean square from E[eta], where E[u] is its mean 1.
    """
    shape = (block.n_rows, part.n_features)
    y, log_exposure = np.zeros(shape), np.full(block.n_rows, np.log(part.exposure))
    if part.family.is_entrywise:
        terms = np.column_stack([rows.mean, block.design])
        eta = terms @ own.mean.T
        square = (second_moments(terms, rows.covariance) * pair_weights(terms.shape[1])) @ own.pairs.T
        variance = np.maximum(square - eta**2, 0.0)
        if part.likelihood == "negative_binomial":
            y = np.exp(np.minimum(eta + variance / 2 + log_exposure[:, None], _LARGEST))
        elif part.likelihood == "student_t":
            y = eta + np.sqrt(np.maximum(1 / own.kappa_weight[block.group] - variance, 0.0))
    return Values(y, np.ones(shape), log_exposure, part.levels, members=part.members)
