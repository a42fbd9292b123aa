"""Biomarkers: which features carry a factor, how strongly, how surely, at which false discovery rate."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mofa_bayes.errors import DataError, name_some
from mofa_bayes.explain.summarise import require_aligned, require_level, require_share, summarise
from mofa_bayes.posterior import Posterior


def biomarkers(
    post: Posterior,
    view: str | None = None,
    *,
    factors: Sequence[str] | None = None,
    fdr: float | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """List features by how surely they carry a factor.

    Parameters
    ----------
    post
        A posterior.
    view
        One view, or all when left out.
    factors
        Names of the factors to look at; all when left out.
    fdr
        Keep the longest list whose expected share of false discoveries is at most this; None keeps every row.
    level
        Probability that an interval holds.

    Returns
    -------
    One row per view, factor and feature, surest first: `mean`, `sd`, `lower`, `upper`, `level` of the loading on the
    model's scale; `inclusion`, the probability that it is not zero (NaN under a dense prior); `sign_probability`, that
    it has the sign of its mean; `local_fdr`, the probability that listing it is an error; `fdr`, the mean of
    `local_fdr` over this row and all above it (Newton, Noueiry, Sarkar and Ahlquist 2004, Biostatistics 5:155).
    `attrs["expected_false"]` is the number of errors expected in the list.

    Notes
    -----
    Under a sparse prior an error is a loading of zero. Under a dense prior no loading is zero, and an error is a wrong
    sign (Stephens 2017, Biostatistics 18:275). The rate is over all rows asked for, so it changes with `view` and
    `factors`.

    Raises
    ------
    DataError
        A name is unknown, or `fdr` or `level` is not in (0, 1).
    """
    require_aligned(post)
    require_level(level)
    if fdr is not None:
        require_share("fdr", fdr, "0.05 is usual; None keeps every row.")
    chosen = list(post.factor_names if factors is None else factors)
    unknown = [name for name in chosen if name not in post.factor_names]
    if unknown or not chosen:
        raise DataError(
            "factors",
            got=name_some(unknown) if unknown else "none",
            expected=f"names among {', '.join(post.factor_names)}",
            do="Use names of post.factor_names.",
        )
    table = pd.concat([_list_view(post, own, chosen, level) for own in (post.views if view is None else [view])])
    order = np.lexsort((-table["mean"].abs(), table["local_fdr"]))
    table = table.iloc[order].reset_index(drop=True)
    table["fdr"] = table["local_fdr"].cumsum() / np.arange(1, len(table) + 1)
    if fdr is not None:
        table = table[table["fdr"] <= fdr]
    table.attrs["expected_false"] = float(table["local_fdr"].sum())
    return table


def _list_view(post: Posterior, view: str, factors: list[str], level: float) -> pd.DataFrame:
    loadings = post.loadings(view).sel(factor=factors)
    feature = f"feature_{view}"
    table = summarise(loadings, level=level).rename(columns={feature: "feature"})
    labels = [table["feature"], table["factor"]]
    positive = (loadings > 0).mean(("chain", "draw")).to_series()
    negative = (loadings < 0).mean(("chain", "draw")).to_series()
    sign = np.where(
        table["mean"] >= 0, *(s.loc[list(zip(*labels, strict=True))].to_numpy() for s in (positive, negative))
    )
    inclusion = _inclusion(post, view, factors)
    own = np.nan if inclusion is None else inclusion.loc[list(zip(*labels, strict=True))].to_numpy()
    table.insert(0, "view", view)
    # A draw of exactly zero has no sign: under a sparse prior the sign is asked of the draws that are not zero.
    nonzero = (positive + negative).loc[list(zip(*labels, strict=True))].to_numpy()
    table = table.assign(inclusion=own, sign_probability=sign / np.maximum(nonzero, 1e-12))
    error = 1 - (table["sign_probability"] if inclusion is None else table["inclusion"])
    columns = ["view", "factor", "feature", "mean", "sd", "lower", "upper", "level", "inclusion", "sign_probability"]
    return table[columns].assign(local_fdr=error)


def _inclusion(post: Posterior, view: str, factors: list[str]) -> pd.Series | None:
    """Probability that each loading is not zero: the engine's own where it has one, else the share of draws."""
    stored = post.tree.children["moments"].to_dataset().get(f"inclusion_{view}")
    if stored is not None:
        return stored.sel(factor=factors).to_series()
    active = post.active(view)
    return None if active is None else active.sel(factor=factors).mean(("chain", "draw")).to_series()
