"""Enrichment over draws: how probably the loadings of a set of features are larger than those of the rest."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.explain.genesets import FeatureSets, match_sets
from mofa_bayes.explain.multiplicity import adjust
from mofa_bayes.explain.residuals import mean_correlation, residuals
from mofa_bayes.explain.set_statistics import (
    SIGNS,
    STATISTICS,
    Sign,
    Statistic,
    compare_sets,
    score_ranks,
    take_part,
)
from mofa_bayes.explain.summarise import require_aligned, require_choice, require_factors, require_level
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.matching import in_chunks

Array = NDArray[np.float64]
_N_MOST = 1000
"""Draws that are looked at, evenly from all chains: thousands of sets by factor and draw are many numbers."""


def enrichment(
    post: Posterior,
    view: str,
    sets: Mapping[str, Iterable[str]] | str | Path,
    *,
    factors: Sequence[str] | None = None,
    sign: Sign = "all",
    statistic: Statistic = "mean",
    views: MultiView | None = None,
    min_size: int = 10,
    max_size: int | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Ask of each set of features and factor how probably the set's loadings are larger than those of the other ones.

    A set's features count as a sample of those it could have had (a competitive null: a random set of equal size). In
    draw s, with T_s the mean in the set minus the mean outside it, and e_s its standard error under a random choice,

        T ~ N(T_s, e_s^2),    e_s^2 = s^2 (1/m + 1/(D - m)) + c v (m - 1)/m,

    s^2 being the pooled variance of the features' values in that draw; the answer is the mixture over draws, so that
    both the uncertainty of loadings and that of a small set are in it. The last term is there with `views` only: c is
    the mean correlation of two features' residuals within the set, and v the mean posterior variance of their loadings.
    Features that share noise which no factor has err together, and the model does not know it (the same thought as Wu
    and Smyth 2012, Nucleic Acids Res 40:e133, who inflate the whole variance).

    Parameters
    ----------
    post
        A posterior.
    view
        The view whose features are in the sets.
    sets
        Set name -> names of features, or the path of a GMT file.
    factors
        Factors to look at; all when left out.
    sign
        `all`: sizes of loadings; `positive` and `negative`: of that part of them only; `signed`: the loadings
        themselves, and then a set may also be low.
    statistic
        `mean` of these values, or `rank`: of the normal scores of their ranks, which no few large loadings can decide.
    views
        The cohort of the fit; pass it wherever the features of a set may be correlated beyond the factors.
    min_size, max_size
        Fewest and most features of the view that a set must have.
    level
        Probability that an interval holds.

    Returns
    -------
    One row per factor and set, by p: `factor`, `set`, `n_features` of the view in it, `n_named` in all, `difference`
    with `lower`, `upper`, `level`, `probability` that it is above 0, `correlation` c (NaN without `views`), `p` =
    1 - probability (of both sides under `signed`), which is uniform for a set without enrichment, and `fdr` (Benjamini
    and Hochberg) over all rows.

    Raises
    ------
    DataError
        A name is unknown, no set fits, or `views` are not those of the fit.
    FitError
        The posterior's draws are not aligned.
    """
    require_level(level)
    draws = enrichment_draws(
        post,
        view,
        sets,
        factors=factors,
        sign=sign,
        statistic=statistic,
        views=views,
        min_size=min_size,
        max_size=max_size,
    )
    dims = ["chain", "draw"]
    mean = draws["difference"].mean(dims)
    sd = np.sqrt(draws["difference"].var(dims) + (draws["error"] ** 2).mean(dims))
    above = xr.apply_ufunc(ndtr, draws["difference"] / draws["error"]).mean(dims)
    half = ndtri(0.5 + level / 2) * sd
    columns = {"difference": mean, "lower": mean - half, "upper": mean + half, "probability": above}
    columns |= {name: draws[name] for name in ("n_features", "n_named", "correlation")}
    table = xr.Dataset(columns).to_dataframe(dim_order=["factor", "set"]).reset_index()
    high = table["probability"].to_numpy()
    p = 2 * np.minimum(high, 1 - high) if sign == "signed" else 1 - high
    table = table.assign(level=level, p=p, fdr=adjust(p)).sort_values("p", kind="stable", ignore_index=True)
    names = ["factor", "set", "n_features", "n_named", "difference", "lower", "upper", "level", "probability"]
    return table[[*names, "correlation", "p", "fdr"]]


def enrichment_draws(
    post: Posterior,
    view: str,
    sets: Mapping[str, Iterable[str]] | str | Path,
    *,
    factors: Sequence[str] | None = None,
    sign: Sign = "all",
    statistic: Statistic = "mean",
    views: MultiView | None = None,
    min_size: int = 10,
    max_size: int | None = None,
) -> xr.Dataset:
    """Compute what `enrichment` sums up; parameters as there.

    Returns
    -------
    `difference` and `error` (chain, draw, factor, set) of at most a thousand draws, `n_features`, `n_named` and
    `correlation` (set).
    """
    require_aligned(post)
    require_choice("sign", sign, SIGNS)
    require_choice("statistic", statistic, STATISTICS)
    chosen = require_factors(post, factors)
    loadings = post.loadings(view).sel(factor=chosen).transpose("chain", "draw", ..., "factor")
    step = -(-loadings.sizes["chain"] * loadings.sizes["draw"] // _N_MOST)
    loadings = loadings.isel(draw=slice(None, None, step))
    matched = match_sets(sets, post.features(view), min_size=min_size, max_size=max_size)
    own = loadings.values.reshape(-1, *loadings.shape[2:])
    shape = (*loadings.shape[:2], len(matched.names), len(chosen))
    difference, error = np.empty((len(own), *shape[2:])), np.empty((len(own), *shape[2:]))
    total, square = np.zeros(own.shape[1:]), np.zeros(own.shape[1:])
    for chunk in in_chunks(own):
        values = take_part(own[chunk], sign)
        values = score_ranks(values) if statistic == "rank" else values
        found = compare_sets(values, matched.members)
        difference[chunk], error[chunk] = found.difference, found.error()
        total += values.sum(axis=0)
        square += np.square(values).sum(axis=0)
    spread = np.maximum(square / len(own) - np.square(total / len(own)), 0.0)
    correlation = np.full(len(matched.names), np.nan)
    if views is not None:
        correlation = mean_correlation(residuals(post, views, view), matched.members)
        error = np.sqrt(np.square(error) + _shared_error(correlation, spread, matched))
    dims = ("chain", "draw", "set", "factor")
    return xr.Dataset(
        {
            "difference": (dims, difference.reshape(shape)),
            "error": (dims, np.maximum(error, 1e-300).reshape(shape)),
            "n_features": ("set", matched.sizes),
            "n_named": ("set", matched.n_named),
            "correlation": ("set", correlation),
        },
        coords={
            "chain": loadings["chain"].values,
            "draw": loadings["draw"].values,
            "factor": chosen,
            "set": list(matched.names),
        },
    ).transpose("chain", "draw", "factor", "set")


def _shared_error(correlation: Array, spread: Array, matched: FeatureSets) -> Array:
    """Variance of a set's mean that its features' correlated errors add, c v (m - 1) / m, (S, K)."""
    sizes = matched.sizes[:, None]
    mean = matched.members.astype(np.float64) @ spread / sizes
    return np.asarray(np.maximum(correlation, 0.0)[:, None] * mean * (sizes - 1) / sizes)
