"""Groups of one fit: how strongly each factor acts in each, and how surely they differ.

The model gives all groups the same loadings; whether a factor holds across groups is then a question of its activity:
what it explains of a view there. For loadings that may differ, fit each group by itself and see `contrast`.
"""

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.errors import DataError
from mofa_bayes.explain.summarise import require_aligned, require_level
from mofa_bayes.posterior import Posterior


def variance_by_group(post: Posterior) -> xr.Dataset:
    """Share of each view's variance that factors explain in each group, per draw.

    As `variance_explained`, with the covariance of factors over the subjects of one group who have the view, around the
    group's own mean, and the noise of that group. Features that nobody in a group has are left out there.

    Returns
    -------
    Dataset of `factor_variance` (chain, draw, group, factor), the variance of the factors themselves; `total` (chain,
    draw, group, view) and `alone` (chain, draw, group, view, factor), what all factors and each by itself explain. NaN
    where fewer than two subjects of a group have a view.

    Raises
    ------
    FitError
        The posterior's draws are not aligned.
    """
    require_aligned(post)
    groups, factors = post.groups().values, post.factors().transpose("chain", "draw", "subject", "factor")
    names = list(dict.fromkeys(sorted(str(name) for name in groups)))
    values = factors.values.astype(np.float64)
    variance = np.stack([values[:, :, groups == name].var(axis=2) for name in names], axis=2)
    shape = (*values.shape[:2], len(names), len(post.views), values.shape[3])
    alone, total = np.full(shape, np.nan), np.full(shape[:-1], np.nan)
    for v, view in enumerate(post.views):
        loadings = post.loadings(view).transpose("chain", "draw", ..., "factor").values.astype(np.float64)
        for g, name in enumerate(names):
            rows = (groups == name) & post.has_view(view).values
            residual = _residual(post, view, name)
            seen = ~np.isnan(residual[0, 0])
            if rows.sum() < 2 or not seen.any():
                continue
            centred = values[:, :, rows] - values[:, :, rows].mean(axis=2, keepdims=True)
            covariance = np.swapaxes(centred, 2, 3) @ centred / rows.sum()
            own = loadings[:, :, seen]
            products = np.swapaxes(own, 2, 3) @ own * covariance
            whole = products.sum(axis=(2, 3)) + residual[:, :, seen].sum(axis=2)
            total[:, :, g, v] = products.sum(axis=(2, 3)) / whole
            alone[:, :, g, v] = np.diagonal(products, axis1=2, axis2=3) / whole[..., None]
    dims = ("chain", "draw", "group")
    return xr.Dataset(
        {
            "factor_variance": ((*dims, "factor"), variance),
            "total": ((*dims, "view"), total),
            "alone": ((*dims, "view", "factor"), alone),
        },
        coords={
            "chain": factors["chain"].values,
            "draw": factors["draw"].values,
            "group": names,
            "view": list(post.views),
            "factor": list(post.factor_names),
        },
    )


def contrast_groups(post: Posterior, reference: str | None = None, *, level: float = 0.95) -> pd.DataFrame:
    """Compare what each factor explains of each view in the groups of a fit.

    Parameters
    ----------
    post
        A posterior of a cohort with groups.
    reference
        Group to compare the others with; the first by name when left out.
    level
        Probability that an interval holds.

    Returns
    -------
    One row per view, factor and group other than the reference, surest first: `share` there and `reference_share`
    (posterior means of `alone` of `variance_by_group`), their `difference` with `lower`, `upper`, `level`,
    `probability` that it is above 0, and `sign_probability` that it has the sign of its mean.

    Raises
    ------
    DataError
        The cohort has no groups, or the reference is none of them.
    FitError
        The posterior's draws are not aligned.
    """
    require_level(level)
    shares = variance_by_group(post)["alone"].stack(point=("chain", "draw")).transpose("point", ...)
    names = [str(name) for name in shares["group"].values]
    chosen = names[0] if reference is None else reference
    if len(names) < 2 or chosen not in names:
        raise DataError(
            "groups to compare",
            got=f"{len(names)} groups ({', '.join(names)}), reference {chosen!r}",
            expected="two groups at least, the reference among them",
            do="Pass groups to MultiView.from_frames, or name one of these.",
        )
    base = shares.sel(group=chosen, drop=True)
    others = shares.sel(group=[name for name in names if name != chosen])
    difference = others - base
    tails = difference.quantile([0.5 - level / 2, 0.5 + level / 2], "point", skipna=False)
    mean, above = difference.mean("point"), (difference > 0).mean("point")
    table = xr.Dataset(
        {
            "share": others.mean("point"),
            "reference_share": base.mean("point"),
            "difference": mean,
            "lower": tails.isel(quantile=0, drop=True),
            "upper": tails.isel(quantile=1, drop=True),
            "probability": above.where(mean.notnull()),
            "sign_probability": above.where(mean > 0, (difference < 0).mean("point")).where(mean.notnull()),
        }
    ).to_dataframe(dim_order=["view", "factor", "group"])
    table = table.reset_index().assign(reference=chosen, level=level)
    first = [
        "view",
        "factor",
        "group",
        "reference",
        "share",
        "reference_share",
        "difference",
        "lower",
        "upper",
        "level",
    ]
    table = table[[*first, "probability", "sign_probability"]]
    return table.sort_values("sign_probability", ascending=False, kind="stable", ignore_index=True)


def _residual(post: Posterior, view: str, group: str) -> np.ndarray:
    """Variance of each feature that no factor explains in a group (chain, draw, feature); NaN where nobody has it."""
    latent, has_noise = post.latent_variance(view)
    residual = np.tile(latent.astype(np.float64), (*post.factors().shape[:2], 1))
    noise = post.noise_sd(view)
    if noise is not None:
        own = noise.sel(group=group) if "group" in noise.dims else noise
        residual[:, :, has_noise] *= np.square(own.transpose("chain", "draw", ...).values.astype(np.float64))
    return residual
