"""New patients under a posterior of draws: q(z* | x*) at single draws, and the mixture of these.

Engines that draw know how far loadings are uncertain together. E[w w'] alone leaves out that q(z*) moves with them,
and its intervals are then narrower than those of the subjects who were fitted.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.posterior.build_draws import NUISANCES
from mofa_bayes.posterior.moments import FactorMoments

N_POINTS = 100
"""Draws that are mixed: the error of a standard deviation is then some 7 % of the share that draws have in it."""


def is_of_draws(tree: xr.DataTree) -> bool:
    """Say whether a tree was built from the draws of a sampling engine, which alone have an alignment."""
    return "alignment" in tree.children


def choose_places(tree: xr.DataTree, n_points: int = N_POINTS) -> NDArray[np.intp]:
    """Choose draws at even distances over all chains, counted from the first of the first chain; shape (n_points,)."""
    sizes = tree.children["posterior"].sizes
    every = sizes["chain"] * sizes["draw"]
    return np.linspace(0, every - 1, min(n_points, every)).round().astype(np.intp)


def take_points(tree: xr.DataTree, n_points: int = N_POINTS) -> Iterator[xr.Dataset]:
    """Take the draws of `choose_places`, each in the form of stored moments: loadings without any spread."""
    moments, draws = (tree.children[name].to_dataset() for name in ("moments", "posterior"))
    views = [str(name)[13:] for name in moments.data_vars if str(name).startswith("weights_mean_")]
    base = moments.drop_vars([str(name) for name in moments.data_vars if str(name).startswith("weights_cov_")])
    n_draws = draws.sizes["draw"]
    for point in choose_places(tree, n_points):
        own = draws.isel(chain=point // n_draws, draw=point % n_draws)
        changed: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for view in views:
            changed |= _at_point(view, own, moments)
        if "factor_precision" in own:
            values = own["factor_precision"].transpose("group", "factor").values
            changed["factor_precision"] = (("group", "factor"), values.astype(np.float64))
        yield base.assign(changed)


def mix(found: Iterable[FactorMoments]) -> FactorMoments:
    """Mix what the draws say of the same subjects, by the law of total variance: E[V] + Var[m], one per subject."""
    stream = iter(found)
    first = next(stream)
    means, covariance = [first.mean], first.covariances().copy()
    for own in stream:  # not kept: each may have a covariance for every subject
        means.append(own.mean)
        covariance += own.covariances()
    covariance /= len(means)
    mean = np.mean(means, axis=0)
    for one in means:
        apart = one - mean
        covariance += apart[:, :, None] * apart[:, None, :] / max(len(means) - 1, 1)
    return FactorMoments(first.subjects, first.factors, mean, covariance, np.arange(len(mean)))


def _at_point(view: str, own: xr.Dataset, moments: xr.Dataset) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Terms, noise and own parameters of a view's features in one draw."""
    feature, kinds = f"feature_{view}", moments[f"likelihood_{view}"].values
    intercept = own[f"intercept_{view}"]
    pieces = [
        own[f"loadings_{view}"].transpose(feature, "factor"),
        (intercept if "group" in intercept.dims else intercept.expand_dims("group")).transpose(feature, "group"),
    ]
    if f"effects_{view}" in own:
        pieces.append(own[f"effects_{view}"].transpose(feature, "covariate"))
    terms = np.concatenate([piece.values for piece in pieces], axis=1, dtype=np.float64)
    precision, nuisance = (moments[f"{what}_{view}"].values.copy() for what in ("precision", "nuisance"))
    if f"noise_sd_{view}" in own:
        noise = own[f"noise_sd_{view}"]
        noise = (noise if "group" in noise.dims else noise.expand_dims("group")).transpose("group", ...)
        drawn, is_noisy = noise.values.astype(np.float64) ** -2, np.isin(kinds, REAL)
        precision[:, is_noisy] = np.where(np.isnan(drawn), precision[:, is_noisy], drawn)
    for kind, what in NUISANCES.items():
        if f"{what}_{view}" in own:
            nuisance[kinds == kind] = _of_features(own[f"{what}_{view}"], moments[feature].values, kinds == kind)
    return {
        f"weights_mean_{view}": ((feature, "term"), terms),
        f"weights_var_{view}": ((feature, "term"), np.zeros_like(terms)),
        f"precision_{view}": (("group", feature), precision),
        f"nuisance_{view}": ((feature,), nuisance),
    }


def _of_features(values: xr.DataArray, features: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Values of some features, from an array that has them by name, for all features, or for these alone."""
    dim = values.dims[0]
    if dim in values.coords:
        values = values.sel({dim: features[chosen]})
    elif values.sizes[dim] == len(features):
        values = values.isel({dim: np.flatnonzero(chosen)})
    return values.values
