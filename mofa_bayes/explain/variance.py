"""Variance explained: by all factors together, by each factor as a part of the whole, and by each factor alone."""

import numpy as np
import xarray as xr

from mofa_bayes.explain.summarise import require_aligned
from mofa_bayes.posterior import Posterior

ALL = "all"


def variance_explained(post: Posterior, *, by_group: bool = False) -> xr.Dataset:
    """Share of each view's variance that the factors explain, per draw.

    With S the covariance of a draw's factors over the subjects who have the view, and A = W'W of that draw's loadings,
    factor k contributes sum_l A_kl S_kl to the variance of Z W', and alone A_kk S_kk; contributions are divided by the
    variance of Z W' plus noise (Bayesian R2 of Gelman, Goodrich, Gabry and Vehtari 2019, Am Stat 73:307). Read from
    Z W', never from W W' alone, because scale may sit in either.

    Parameters
    ----------
    post
        A posterior.
    by_group
        Within each group of the cohort, around the group's own means and with its own noise, rather than over all
        subjects; NaN where nobody in a group has a view.

    Returns
    -------
    Dataset
        `total` (chain, draw, view); `by_factor` (chain, draw, view, factor), whose sum over factors is `total` (a part
        can be slightly negative where factors are correlated in the cohort); `alone` (chain, draw, view, factor), the
        share that the factor would explain by itself, which does not add up. By group they have the dim `group` before
        `view`. Features without gaussian noise count on the scale of eta, where their likelihood has a variance of its
        own: pi^2 / 3 for bernoulli, see `latent_variance` (Nakagawa, Johnson and Schielzeth 2017, J R Soc Interface
        14:20170213).

    Raises
    ------
    FitError
        The posterior's draws are not aligned.
    """
    require_aligned(post, means_suffice=True)
    subject = post.factors()["subject"]
    groups = post.groups().sel(subject=subject).values if by_group else np.full(len(subject), ALL)
    names = np.unique(groups)
    members = [groups == name for name in names]
    parts = np.stack([[_divide(post, view, rows) for view in post.views] for rows in members])
    by_factor, alone = (np.moveaxis(own, (0, 1), (2, 3)) for own in np.moveaxis(parts, 2, 0))
    coords = {
        "chain": post.factors()["chain"].values,
        "draw": post.factors()["draw"].values,
        "group": names,
        "view": list(post.views),
        "factor": list(post.factor_names),
    }
    dims = ("chain", "draw", "group", "view", "factor")
    shares = xr.Dataset({"by_factor": (dims, by_factor), "alone": (dims, alone)}, coords=coords)
    if not by_group:
        shares = shares.isel(group=0, drop=True)
    return shares.assign(total=shares["by_factor"].sum("factor", skipna=False))


def _divide(post: Posterior, view: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares by factor, parts of the whole and alone, (chain, draw, factor) each, over `rows` that have the view."""
    rows = rows & post.has_view(view).sel(subject=post.factors()["subject"]).values
    draws = post.factors().transpose("chain", "draw", "subject", "factor").values
    if not rows.any():
        empty = np.full((*draws.shape[:2], draws.shape[3]), np.nan)
        return empty, empty
    factors = draws[:, :, rows].astype(np.float64)
    centred = factors - factors.mean(axis=-2, keepdims=True)
    covariance = np.einsum("csnk,csnl->cskl", centred, centred, optimize=True) / factors.shape[-2]
    loadings = post.loadings(view).values.astype(np.float64)
    products = np.swapaxes(loadings, -1, -2) @ loadings * covariance
    parts = products.sum(axis=-1)
    total = (parts.sum(axis=-1) + residual_variance(post, view, rows).sum(axis=-1))[..., None]
    return parts / total, np.diagonal(products, axis1=-2, axis2=-1) / total


def residual_variance(post: Posterior, view: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Variance of each feature that no factor explains, per draw (chain, draw, feature).

    Noise is averaged over the view's subjects, or those among `rows`, (subject,), in the order of the posterior; a
    feature without noise of its own has the variance of its likelihood on the scale of eta.
    """
    latent, has_noise = post.latent_variance(view)
    residual = np.tile(latent.astype(np.float64), (*post.factors().shape[:2], 1))
    noise = post.noise_sd(view)
    if noise is None:
        return residual
    if "group" in noise.dims:
        noise = noise.transpose("chain", "draw", "group", ...)
    square = np.square(noise.values.astype(np.float64)) * latent[has_noise]
    if "group" in noise.dims:
        has_view = post.has_view(view).sel(subject=post.factors()["subject"]).values
        own = has_view if rows is None else has_view & rows
        is_seen = ~np.isnan(square)
        # A group in which nobody has a feature says nothing of its noise; where none of `rows` does, all others do.
        weights, every = (_count(post, noise["group"].values, chosen) * is_seen for chosen in (own, has_view))
        weights = np.where(weights.sum(axis=2, keepdims=True) > 0, weights, every)
        known = weights.sum(axis=2)
        # Of no group's noise is anything known where a file of means had no data.
        square = (np.nan_to_num(square) * weights).sum(axis=2) / np.where(known > 0, known, np.nan)
    residual[:, :, has_noise] = square
    return residual


def _count(post: Posterior, names: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Subjects of each group among `rows`, shape (G, 1)."""
    groups = post.groups().sel(subject=post.factors()["subject"]).values[rows]
    return np.array([np.count_nonzero(groups == name) for name in names])[:, None]
