"""Biomarkers: which features carry a factor, how strongly, how surely, at which false discovery rate."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.errors import DataError
from mofa_bayes.explain.summarise import require_aligned, require_factors, require_level, require_share, summarise
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.matching import in_chunks

_TINY = 1e-12


def biomarkers(
    post: Posterior,
    view: str | None = None,
    *,
    factors: Sequence[str] | None = None,
    fdr: float | None = None,
    min_effect: float | None = None,
    top: int = 20,
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
    min_effect
        Size that a loading must have to be worth a call, on the model's scale (standard deviations of a scaled
        feature); None asks for no size.
    top
        How many largest loadings of a factor `top_probability` is about.
    level
        Probability that an interval holds.

    Returns
    -------
    One row per view, factor and feature, surest first: `mean`, `sd`, `lower`, `upper`, `level` of the loading on the
    model's scale; `inclusion`, the probability that it is not zero (NaN under a dense prior), or of `min_effect`, that
    it is at least as large; `sign_probability`, that it has the sign of its mean; `top_probability`, that its size is
    among the `top` largest of its factor in the views asked for; `error`, what counts as one; `local_fdr`, the
    probability that listing it is an error; `fdr`, the mean of `local_fdr` over this row and all above it (Newton,
    Noueiry, Sarkar and Ahlquist 2004, Biostatistics 5:155); `expected_false`, their sum. `attrs["expected_false"]` is
    the number of errors expected in the list.

    Notes
    -----
    Under a sparse prior an error is a loading of `zero`. Under a dense prior no loading is zero, and an error is a
    wrong `sign` (Stephens 2017, Biostatistics 18:275): features with tiny loadings of a sure sign are listed too. With
    `min_effect` an error is an `effect` that is smaller, or on the other side, under either. Loadings that can neither
    be zero nor negative have no error but that one. The rate is over all rows asked for, so it changes with `view` and
    `factors`; it is as good as the posterior, see `tests/benchmarks/biomarker_fdr.py`.

    Raises
    ------
    DataError
        A name is unknown, `fdr` or `level` is not in (0, 1), `min_effect` or `top` is not above 0, or `fdr` is asked of
        loadings that need a `min_effect`.
    """
    require_aligned(post)
    require_level(level)
    if fdr is not None:
        require_share("fdr", fdr, "0.05 is usual; None keeps every row.")
    for name, value in (("min_effect", min_effect), ("top", top)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
            raise DataError(name, got=repr(value)[:80], expected="a number above 0", do="Correct or leave it out.")
    chosen = require_factors(post, factors)
    views = list(post.views) if view is None else [view]
    near_top = _probability_of_top(post, views, chosen, int(top))
    table = pd.concat([_list_view(post, own, chosen, near_top[own], min_effect, level) for own in views])
    order = np.lexsort((-table["mean"].abs(), table["local_fdr"]))
    table = table.iloc[order].reset_index(drop=True)
    expected = table["local_fdr"].cumsum()
    table = table.assign(fdr=expected / np.arange(1, len(table) + 1), expected_false=expected)
    if fdr is not None:
        _require_errors(table)
        table = table[table["fdr"] <= fdr]
    table.attrs["expected_false"] = float(table["local_fdr"].sum())
    return table


def _list_view(
    post: Posterior,
    view: str,
    factors: list[str],
    near_top: NDArray[np.float64],
    min_effect: float | None,
    level: float,
) -> pd.DataFrame:
    feature, dims = f"feature_{view}", ("chain", "draw")
    loadings = post.loadings(view).sel(factor=factors).rename({feature: "feature"})
    table = summarise(loadings, level=level).set_index(["feature", "factor"])
    mean = loadings.mean(dims, dtype=np.float64)
    positive, negative = (loadings > 0).mean(dims), (loadings < 0).mean(dims)
    # A draw of exactly zero has no sign: under a sparse prior the sign is asked of the draws that are not zero.
    sign = positive.where(mean >= 0, negative) / (positive + negative).clip(min=_TINY)
    inclusion = _inclusion(post, view, factors)
    is_positive = post.spec.loadings_of(view).positive
    if min_effect is not None:
        what, inclusion = "effect", (abs(loadings) >= min_effect).mean(dims)
        local = 1 - (loadings * xr.ones_like(mean).where(mean >= 0, -1) >= min_effect).mean(dims)
    elif inclusion is not None:
        what, local = "zero", 1 - inclusion
    else:
        what, local = ("none", xr.full_like(sign, np.nan)) if is_positive else ("sign", 1 - sign)
    found = xr.Dataset(
        {
            "inclusion": xr.full_like(sign, np.nan) if inclusion is None else inclusion,
            "sign_probability": sign,
            "top_probability": (("feature", "factor"), near_top),
            "local_fdr": local,
        }
    )
    table = table.join(found.drop_vars(dims, errors="ignore").to_dataframe(dim_order=["feature", "factor"]))
    table = table.reset_index().assign(view=view, error=what)
    columns = ["view", "factor", "feature", "mean", "sd", "lower", "upper", "level", "inclusion", "sign_probability"]
    return table[[*columns, "top_probability", "error", "local_fdr"]]


def _inclusion(post: Posterior, view: str, factors: list[str]) -> xr.DataArray | None:
    """Probability that each loading is not zero: the engine's own where it has one, else the share of draws."""
    own = post.tree.children["moments"].to_dataset().get(f"inclusion_{view}")
    if own is None:
        active = post.active(view)
        own = None if active is None else active.mean(("chain", "draw"))
    return None if own is None else own.sel(factor=factors).rename({f"feature_{view}": "feature"})


def _probability_of_top(
    post: Posterior, views: list[str], factors: list[str], top: int
) -> dict[str, NDArray[np.float64]]:
    """Share of draws in which each loading is among the largest of its factor over all views asked for, (D, K) each."""
    draws = [post.loadings(view).sel(factor=factors).transpose("chain", "draw", ..., "factor").values for view in views]
    stacked = [own.reshape(-1, *own.shape[2:]) for own in draws]
    sizes = [own.shape[1] for own in stacked]
    last = max(sum(sizes) - top, 0)
    count = np.zeros((sum(sizes), len(factors)))
    for chunk in in_chunks(stacked[int(np.argmax(sizes))]):
        size = np.abs(np.concatenate([own[chunk] for own in stacked], axis=1))
        least = np.partition(size, last, axis=1)[:, last, None]
        count += ((size >= least) & (size > 0)).sum(axis=0)
    shares = np.split(count / len(stacked[0]), np.cumsum(sizes)[:-1])
    return dict(zip(views, shares, strict=True))


def _require_errors(table: pd.DataFrame) -> None:
    bare = table.loc[table["error"] == "none", "view"].unique()
    if len(bare):
        raise DataError(
            "min_effect",
            got=f"None, with loadings of {', '.join(repr(str(name)) for name in bare)} that are all above zero",
            expected="a size from which such a loading counts",
            do="Write min_effect=0.1 or another size, or leave fdr out.",
        )
