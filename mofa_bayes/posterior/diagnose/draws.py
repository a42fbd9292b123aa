"""Draws of a fitted model beside the data it was fitted to, as arrays: what predictive checks and LOO compute from."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.vi.known import canonical_order, find_known
from mofa_bayes.errors import DataError
from mofa_bayes.posterior.posterior import Posterior

Array = NDArray[np.float64]
Draws = NDArray[np.floating]

_NUISANCES = ("dispersion", "cut_scale")


@dataclass(frozen=True, slots=True, eq=False)
class ViewDraws:
    """One view, its D features by name and S draws.

    Attributes
    ----------
    view
        Its name.
    values
        On the model's scale, NaN where missing, (N, D).
    likelihoods
        Of each feature (D,).
    loadings
        (S, D, K).
    active
        Which loadings are not zero under a spike-slab prior, (S, D, K), or None.
    intercepts
        By group, (S, G, D).
    effects
        Of standardised covariates, (S, C, D).
    precision
        Of noise by group, 1 where there is none, (S, G, D).
    nuisance
        The features' own parameters, (S, D), or (1, D) where the engine has points.
    levels
        Cut points of ordinal features before `nuisance` scales them, (D, L + 1).
    log_exposure
        (N,).
    scale
        What divided each feature, by group, (G, D).
    center
        What was subtracted, (D,).
    code
        Number of the variable of each categorical column, (D,).
    """

    view: str
    values: Array
    likelihoods: NDArray[np.str_]
    loadings: Draws
    active: NDArray[np.bool_] | None
    intercepts: Draws
    effects: Draws
    precision: Draws
    nuisance: Draws
    levels: Array
    log_exposure: Array
    scale: Array
    center: Array
    code: NDArray[np.intp]

    def known(self, s: int, columns: NDArray[np.intp], group_of: NDArray[np.intp], covariates: Array) -> Array:
        """Known part of eta of some features in draw s: intercepts and effects, (N, columns)."""
        own: Array = self.intercepts[s][:, columns].astype(np.float64)[group_of]
        if covariates.shape[1]:
            own = own + covariates @ self.effects[s][:, columns].astype(np.float64)
        return own

    def own(self, s: int, columns: NDArray[np.intp]) -> Array:
        """Own parameters of some features in draw s, (columns,)."""
        nuisance: Array = self.nuisance[min(s, len(self.nuisance) - 1), columns].astype(np.float64)
        return nuisance

    def limits(self, s: int, columns: NDArray[np.intp]) -> Array:
        """Cut points of ordinal features in draw s, (columns, L + 1), NaN where a feature has fewer levels."""
        limits: Array = self.levels[columns] * self.own(s, columns)[:, None]
        return limits


@dataclass(frozen=True, slots=True, eq=False)
class ModelDraws:
    """All views, and what belongs to subjects: groups (N,), covariates (N, C), factors (S, N, K) and their precision.

    `factor_precision` is (S, G, K); `n_chains` chains lie one after the other in S; `is_sparse` says that factors may
    be zero, and are not normal given the rest.
    """

    views: tuple[ViewDraws, ...]
    group_of: NDArray[np.intp]
    covariates: Array
    factors: Draws
    factor_precision: Array
    n_chains: int
    is_sparse: bool = False

    @property
    def n_draws(self) -> int:
        """Number of draws S."""
        return len(self.factors)


def read_draws(post: Posterior, views: MultiView, n_draws: int) -> ModelDraws:
    """Read draws, at most about `n_draws` evenly from all chains, beside the data of the fit.

    Raises
    ------
    DataError
        `views` are not those of the fit.
    """
    if not isinstance(views, MultiView) or views.fingerprint != post.tree.attrs["data_fingerprint"]:
        raise DataError(
            "views",
            got="other data than the posterior was fitted to" if isinstance(views, MultiView) else type(views).__name__,
            expected="the MultiView of the fit",
            do="Pass what was given to mb.fit.",
        )
    draws = post.tree.children["posterior"].to_dataset()
    step = max(1, draws.sizes["chain"] * draws.sizes["draw"] // n_draws)
    draws = draws.isel(draw=slice(None, None, step)).sel(subject=list(views.subjects))
    moments = post.tree.children["moments"].to_dataset()
    preprocessing = post.preprocessing
    groups = [str(name) for name in moments["group"].values]
    known = find_known(views, preprocessing, groups)
    place = np.argsort(canonical_order(views))
    n_factors, n_points = draws.sizes["factor"], draws.sizes["chain"] * draws.sizes["draw"]
    precision = np.ones((n_points, len(groups), n_factors))
    if "factor_precision" in draws:
        precision = _points(draws["factor_precision"], "group", "factor").astype(np.float64)
    found = []
    for view in views.names:
        log_exposure = known.exposures.get(view, np.zeros(views.n_subjects))[place]
        found.append(_read_view(draws, moments, views, view, preprocessing, groups, log_exposure))
    return ModelDraws(
        views=tuple(found),
        group_of=known.group_of[place],
        covariates=known.values[place],
        factors=_points(draws["factors"], "subject", "factor"),
        factor_precision=precision,
        n_chains=draws.sizes["chain"],
        is_sparse="factors_active" in draws,
    )


def _points(own: xr.DataArray, *dims: str) -> Draws:
    values: Draws = own.transpose("chain", "draw", *dims).values
    return values.reshape(-1, *values.shape[2:])


def _by_group(own: xr.DataArray, dim: str) -> Draws:
    return _points(own if "group" in own.dims else own.expand_dims("group"), "group", dim)


def _read_view(
    draws: xr.Dataset,
    moments: xr.Dataset,
    views: MultiView,
    view: str,
    preprocessing: Preprocessing,
    groups: list[str],
    log_exposure: Array,
) -> ViewDraws:
    dim, features = f"feature_{view}", list(views.features(view))
    draws, moments = draws.sel({dim: features}), moments.sel({dim: features})
    # The engine's own: spectral takes every feature as gaussian.
    kinds = np.asarray(moments[f"likelihood_{view}"].values, dtype=np.str_)
    n_points = draws.sizes["chain"] * draws.sizes["draw"]
    effects: Draws = np.zeros((n_points, 0, len(features)))
    if f"effects_{view}" in draws:
        effects = _points(draws[f"effects_{view}"], "covariate", dim)
    precision: Draws = np.ones((n_points, len(groups), len(features)))
    if f"noise_sd_{view}" in draws:
        noise = draws[f"noise_sd_{view}"]
        own = next(str(name) for name in noise.dims if "feature" in str(name))
        is_real = np.isin(kinds, REAL)
        sd = _by_group(noise.sel({own: np.asarray(features)[is_real]}), own).astype(np.float64)
        precision[:, :, is_real] = np.where(np.isnan(sd), 1.0, sd**-2.0)
    nuisance: Draws = moments[f"nuisance_{view}"].values[None]
    for what in (name for name in _NUISANCES if f"{name}_{view}" in draws):
        kind = "ordinal" if what == "cut_scale" else "negative_binomial"
        own_draws = draws[f"{what}_{view}"]
        dim_of = next(str(name) for name in own_draws.dims if name not in ("chain", "draw"))
        has_own = kinds == kind
        nuisance = np.array(np.broadcast_to(nuisance, (n_points, len(features))))
        nuisance[:, has_own] = _points(own_draws.sel({dim_of: np.asarray(features)[has_own]}), dim_of)
    levels = moments[f"levels_{view}"].values if f"levels_{view}" in moments else np.empty((len(features), 0))
    chosen = preprocessing.subset(view, features)
    scale = np.tile(chosen.scale(view), (len(groups), 1))
    if f"is_real_{view}" in chosen.dataset:
        scale *= np.where(chosen.dataset[f"is_real_{view}"].values, chosen.group_scale(view, groups)[:, None], 1.0)
    labels = None if views.groups is None else views.groups.values
    code = np.zeros(len(features), dtype=np.intp)
    if f"variable_{view}" in moments:
        code = np.unique(moments[f"variable_{view}"].values, return_inverse=True)[1]
    return ViewDraws(
        view=view,
        values=np.asarray(chosen.apply(view, views[view].values.astype(np.float64), labels), dtype=np.float64),
        likelihoods=kinds,
        loadings=_points(draws[f"loadings_{view}"], dim, "factor"),
        active=_points(draws[f"active_{view}"], dim, "factor") == 1 if f"active_{view}" in draws else None,
        intercepts=_by_group(draws[f"intercept_{view}"], dim),
        effects=effects,
        precision=precision,
        nuisance=nuisance,
        levels=levels,
        log_exposure=log_exposure,
        scale=scale,
        center=chosen.center(view),
        code=code,
    )
