"""Variance explained: by all factors together, by each factor as a part of the whole, and by each factor alone."""

import numpy as np
import xarray as xr

from mofa_bayes.explain.summarise import require_aligned
from mofa_bayes.posterior import Posterior


def variance_explained(post: Posterior) -> xr.Dataset:
    """Share of each view's variance that the factors explain, per draw.

    With S the covariance of a draw's factors over the subjects who have the view, and A = W'W of that draw's loadings,
    factor k contributes sum_l A_kl S_kl to the variance of Z W', and alone A_kk S_kk; contributions are divided by the
    variance of Z W' plus noise (Bayesian R2 of Gelman, Goodrich, Gabry and Vehtari 2019, Am Stat 73:307). Read from
    Z W', never from W W' alone, because scale may sit in either.

    Returns
    -------
    Dataset
        `total` (chain, draw, view); `by_factor` (chain, draw, view, factor), whose sum over factors is `total` (a part
        can be slightly negative where factors are correlated in the cohort); `alone` (chain, draw, view, factor), the
        share that the factor would explain by itself, which does not add up. Features without gaussian noise count
        on the scale of eta, where their likelihood has a variance of its own: pi^2 / 3 for bernoulli, see
        `latent_variance` (Nakagawa, Johnson and Schielzeth 2017, J R Soc Interface 14:20170213).

    Raises
    ------
    FitError
        The posterior's draws are not aligned.
    """
    require_aligned(post)
    by_factor, alone = [], []
    for view in post.views:
        has_view = post.has_view(view)
        factors = post.factors().sel(subject=has_view["subject"][has_view.values]).values.astype(np.float64)
        centred = factors - factors.mean(axis=-2, keepdims=True)
        covariance = np.einsum("csnk,csnl->cskl", centred, centred, optimize=True) / factors.shape[-2]
        loadings = post.loadings(view).values.astype(np.float64)
        products = np.swapaxes(loadings, -1, -2) @ loadings * covariance
        parts = products.sum(axis=-1)
        total = (parts.sum(axis=-1) + residual_variance(post, view).sum(axis=-1))[..., None]
        by_factor.append(parts / total)
        alone.append(np.diagonal(products, axis1=-2, axis2=-1) / total)
    coords = {
        "chain": post.factors()["chain"].values,
        "draw": post.factors()["draw"].values,
        "view": list(post.views),
        "factor": list(post.factor_names),
    }
    dims = ("chain", "draw", "view", "factor")
    shares = xr.Dataset(
        {"by_factor": (dims, np.stack(by_factor, axis=2)), "alone": (dims, np.stack(alone, axis=2))}, coords=coords
    )
    return shares.assign(total=shares["by_factor"].sum("factor", skipna=False))


def residual_variance(post: Posterior, view: str) -> np.ndarray:
    """Variance of each feature that no factor explains, per draw (chain, draw, feature).

    Noise is averaged over the view's subjects; a feature without noise of its own has the variance of its likelihood
    on the scale of eta.
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
        groups = post.groups().values[post.has_view(view).values]
        counts = np.array([(groups == name).sum() for name in noise["group"].values])
        # A group in which nobody has a feature says nothing of its noise.
        weights = counts[:, None] * ~np.isnan(square)
        square = (np.nan_to_num(square) * weights).sum(axis=2) / weights.sum(axis=2)
    residual[:, :, has_noise] = square
    return residual
