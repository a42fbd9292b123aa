"""Enrichment as MOFA has it: p values of sets, from posterior means of loadings."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError
from mofa_bayes.explain.genesets import match_sets
from mofa_bayes.explain.multiplicity import adjust
from mofa_bayes.explain.residuals import mean_correlation, residuals
from mofa_bayes.explain.set_statistics import (
    SIGNS,
    STATISTICS,
    Sign,
    Statistic,
    compare_ranks,
    compare_sets,
    take_part,
)
from mofa_bayes.explain.summarise import require_aligned, require_choice, require_factors
from mofa_bayes.posterior import Posterior
from mofa_bayes.seeds import make_rng

Array = NDArray[np.float64]
METHODS = ("parametric", "correlation", "permutation")
_BLOCK = 200
"""Random sets that are compared at the same time."""


def enrichment_test(
    post: Posterior,
    view: str,
    sets: Mapping[str, Iterable[str]] | str | Path,
    *,
    method: Literal["parametric", "correlation", "permutation"] = "parametric",
    factors: Sequence[str] | None = None,
    sign: Sign = "all",
    statistic: Statistic = "mean",
    views: MultiView | None = None,
    min_size: int = 10,
    max_size: int | None = None,
    n_permutations: int = 1000,
    seed: int | np.random.Generator = 0,
) -> pd.DataFrame:
    """Test whether posterior mean loadings of a set are larger than those of the other features.

    The tests of MOFA2's `run_enrichment`, after Frost, Li and Moore 2015 (BioData Min 8:25). They take loadings as
    known; `enrichment` does not.

    Parameters
    ----------
    post, view, sets, factors, sign, statistic, min_size, max_size
        As in `enrichment`; `rank` is Wilcoxon's rank sum.
    method
        `parametric`: a t test with pooled variance and D - 2 degrees of freedom, every feature on its own.
        `correlation`: the set's part of the variance is inflated by 1 + (m - 1) c, c being the mean correlation of two
        features' residuals in it (never below 0), with min(N - K - 1, D - 2) degrees of freedom (CAMERA: Wu and Smyth
        2012, Nucleic Acids Res 40:e133). `permutation`: against random sets of equal size.
    views
        The cohort of the fit, for `correlation`.
    n_permutations
        Random sets of each size. p is never below 1 / (n_permutations + 1), which must be well below the fdr that is
        wanted over the number of rows.
    seed
        Seed of the random sets.

    Returns
    -------
    One row per factor and set, by p: `factor`, `set`, `n_features`, `n_named`, `difference` of means (in minus out, of
    the loadings' sizes where `sign` is all), `statistic` (t, or z of the ranks), `correlation` (NaN where unused), `p`
    (one-sided: larger in the set; two-sided under `signed`), `fdr` (Benjamini and Hochberg) over all rows.

    Notes
    -----
    MOFA2's `cor.adj.parametric` takes correlations of the data themselves, in which the factor's own effect on the set
    passes for correlation and hides it; residuals have no such part.

    Raises
    ------
    DataError
        A name is unknown, no set fits, or `views` are needed and not those of the fit.
    FitError
        The posterior's draws are not aligned.
    """
    require_aligned(post)
    require_choice("method", method, METHODS)
    require_choice("sign", sign, SIGNS)
    require_choice("statistic", statistic, STATISTICS)
    if isinstance(n_permutations, bool) or not isinstance(n_permutations, int) or n_permutations < 1:
        raise DataError(
            "n_permutations", got=repr(n_permutations)[:80], expected="a whole number from 1 up", do="1000 is usual."
        )
    chosen = require_factors(post, factors)
    mean = post.loadings(view).sel(factor=chosen).mean(("chain", "draw"), dtype=np.float64)
    values = take_part(mean.transpose(..., "factor").values, sign)
    matched = match_sets(sets, post.features(view), min_size=min_size, max_size=max_size)
    correlation, freedom = np.full(len(matched.names), np.nan), float(len(values) - 2)
    if method == "correlation":
        left = residuals(post, _require_views(views), view)
        correlation = np.maximum(mean_correlation(left, matched.members), 0.0)
        n_seen = int((~np.isnan(left)).any(axis=1).sum())
        freedom = float(max(1, min(freedom, n_seen - len(post.factor_names) - 1)))
    inflation = np.nan_to_num(correlation)
    found = compare_sets(values, matched.members)
    if statistic == "rank":
        score = compare_ranks(values, matched.members, inflation)
        upper = ndtr(-score)
    else:
        error = found.error(1 + (matched.sizes - 1) * inflation)
        score = found.difference / np.where(error > 0, error, np.inf)
        upper = stdtr(freedom, -score)
    p = 2 * np.minimum(upper, 1 - upper) if sign == "signed" else upper
    if method == "permutation":
        p = _permute(values, score, matched.sizes, sign, statistic, n_permutations, make_rng(seed))
    index = pd.MultiIndex.from_product([chosen, matched.names], names=["factor", "set"])
    columns = {"difference": found.difference, "statistic": score, "p": p}
    table = pd.DataFrame({name: own.T.ravel() for name, own in columns.items()}, index=index).reset_index()
    table.insert(2, "n_features", np.tile(matched.sizes, len(chosen)))
    table.insert(3, "n_named", np.tile(matched.n_named, len(chosen)))
    table.insert(6, "correlation", np.tile(correlation, len(chosen)))
    table["fdr"] = adjust(table["p"].to_numpy())
    return table.sort_values("p", kind="stable", ignore_index=True)


def _require_views(views: MultiView | None) -> MultiView:
    if views is None:
        raise DataError(
            "views", got="None", expected="the MultiView of the fit, for correlations", do="Pass views=..., too."
        )
    return views


def _permute(
    values: Array,
    score: Array,
    sizes: NDArray[np.intp],
    sign: Sign,
    statistic: Statistic,
    n_permutations: int,
    rng: np.random.Generator,
) -> Array:
    """Share of random sets of equal size whose statistic is at least as large, (S, K)."""
    count = np.zeros(score.shape)
    for size in np.unique(sizes):
        own = sizes == size
        mine = np.abs(score[own]) if sign == "signed" else score[own]
        for start in range(0, n_permutations, _BLOCK):
            members = np.zeros((min(_BLOCK, n_permutations - start), len(values)), dtype=np.bool_)
            for row in members:
                row[rng.choice(len(values), size, replace=False)] = True
            if statistic == "rank":
                random = compare_ranks(values, members, np.zeros(len(members)))
            else:
                found = compare_sets(values, members)
                error = found.error()
                random = found.difference / np.where(error > 0, error, np.inf)
            theirs = np.abs(random) if sign == "signed" else random
            count[own] += (theirs[None] >= mine[:, None] - 1e-12).sum(axis=1)
    return (1 + count) / (n_permutations + 1)
