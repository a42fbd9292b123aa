"""From draws of a sampling engine to a labelled tree: aligned, ordered, with the moments that every engine stores."""

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
import xarray as xr
from scipy.special import logit

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import Layout, Part, lay_out
from mofa_bayes.engines.vi.packed import Array, Index
from mofa_bayes.engines.vi.variance import latent_variance
from mofa_bayes.errors import FitError
from mofa_bayes.posterior.build import Variables, has_noise, label, name_intercepts, place_features
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.spec import ARD, ARDFactors, FactorModel, Normal, StandardFactors


class Aligned(Protocol):
    """What an aligner says of its work."""

    def to_dataset(self) -> xr.Dataset:
        """Label it; rows of the dim `factor` are factors of the dataset that was aligned."""
        ...


logger = logging.getLogger(__name__)

Aligner = Callable[..., tuple[xr.Dataset, Aligned]]

_CHUNK_NUMBERS = 4_000_000
_TINY = 1e-300
NUISANCES = {"negative_binomial": "dispersion", "ordinal": "cut_scale"}


def build_draws_tree(
    draws: xr.Dataset,
    views: MultiView,
    spec: FactorModel,
    preprocessing: Preprocessing,
    *,
    sample_stats: xr.Dataset | None = None,
    report: xr.Dataset | None = None,
    aligner: Aligner | None = None,
) -> xr.DataTree:
    """Align draws and label them, with the moments that projection, imputation and risk models read.

    Factors come in the order of the variance that they explain, each with its largest mean loading positive (but no
    factor is turned where some view admits no negative loadings), on the scale that the aligner gives them. Factors
    whose posterior mean share of the variance is below `spec.min_variance` in every view leave every variable, but for
    the strongest. Nothing is drawn anew without them: what is left is the posterior under all `spec.n_factors`, with
    what the dropped ones explained, less than that share, left unexplained.

    Parameters
    ----------
    draws
        Dims (chain, draw, ...): `factors`, and by view `loadings_`, `intercept_`, with `noise_sd_` where there is
        noise, `ard_`, `active_`, `effects_`, `dispersion_` (negative_binomial) and `cut_scale_` (ordinal) as the model
        has them; `factor_precision`, or `factors_active` and `factor_inclusion`, where factors have them. Intercepts
        and noise have the dim `group` where the cohort has groups. Subjects and features in any order.
    views, spec, preprocessing
        What was fitted.
    sample_stats
        What the sampler says of each draw, dims (chain, draw, ...).
    report
        What the sampler says of the whole run: the tree's group `fit`. Counts of chains and draws when left out.
    aligner
        Makes draws comparable: a function of a dataset and `sparse` that returns a dataset and a report with
        `to_dataset`. `mofa_bayes.posterior.align.align` when left out.

    Returns
    -------
    xr.DataTree
        Groups `posterior`, `moments`, `preprocessing`, `fit`, `alignment` and, where given, `sample_stats`. What
        alignment makes of the precisions of loadings and factors is in its notes (`tree["alignment"].notes`). Where a
        group has no value of a feature, its noise is NaN.

    Raises
    ------
    FitError
        A variable that every model has is absent from the draws.
    """
    sparse = is_sparse(spec, views)
    draws = _bring_to_order(draws, views)
    posterior, aligned = (aligner or _align)(draws, sparse=sparse)
    layout = lay_out(views, preprocessing, find_known(views, preprocessing))
    posterior = _forget_unseen_noise(posterior, views, layout)
    shares = explained_by_draws(posterior, views, layout)
    order, sign = find_order_and_sign(posterior, views, spec, shares)
    order = _drop(order, shares, spec.min_variance)
    names = np.array([f"F{k + 1}" for k in range(len(order))])
    posterior = _turn(posterior, order, sign).assign_coords(factor=names)
    alignment = aligned.to_dataset()
    if "factor" in alignment.dims:
        alignment = alignment.isel(factor=order).assign_coords(factor=names)
    groups = {
        "posterior": posterior.drop_attrs(),
        "moments": summarise_draws(posterior, views, spec, layout),
        "preprocessing": preprocessing.dataset,
        "fit": _count(posterior) if report is None else report,
        "alignment": alignment,
    }
    return xr.DataTree.from_dict(groups if sample_stats is None else groups | {"sample_stats": sample_stats})


def is_sparse(spec: FactorModel, views: MultiView) -> bool:
    """Say whether some prior singles out directions, so that draws may be permuted and turned over but not rotated."""
    priors = [spec.loadings_of(view) for view in views.names]
    is_dense = all(isinstance(prior, ARD | Normal) and not prior.positive for prior in priors)
    return not (is_dense and isinstance(spec.factors, StandardFactors | ARDFactors))


def _align(draws: xr.Dataset, *, sparse: bool) -> tuple[xr.Dataset, Aligned]:
    from mofa_bayes.posterior.align import align

    return align(draws, sparse=sparse)


def _bring_to_order(draws: xr.Dataset, views: MultiView) -> xr.Dataset:
    """Check that every model's variables are there; put subjects and features in the order of the views."""
    needed = ["factors", *(f"{what}_{view}" for view in views.names for what in ("loadings", "intercept"))]
    absent = [name for name in needed if name not in draws]
    if absent:
        raise FitError(
            "draws",
            got=f"none of {', '.join(absent)}",
            expected=f"{', '.join(needed)}, with dims (chain, draw, ...)",
            do="Name the variables as mb.graph(views, spec) does.",
        )
    labels = {"subject": list(views.subjects)} | {f"feature_{view}": list(views.features(view)) for view in views.names}
    moved = {dim: names for dim, names in labels.items() if list(draws[dim].values) != names}
    return (draws.sel(moved) if moved else draws).transpose(
        "chain", "draw", "group", ..., "factor", missing_dims="ignore"
    )


def _points(draws: xr.Dataset, name: str, *dims: str) -> np.ndarray:
    """Draws of a variable as one array (S, ...), chain after chain; a `group` that it lacks has length 1."""
    own = draws[name]
    if "group" in dims and "group" not in own.dims:
        own = own.expand_dims("group")
    values = own.transpose("chain", "draw", *dims).values
    return values.reshape(-1, *values.shape[2:])


def _noise_dim(draws: xr.Dataset, view: str) -> str:
    return next(str(dim) for dim in draws[f"noise_sd_{view}"].dims if "feature" in str(dim))


def _forget_unseen_noise(draws: xr.Dataset, views: MultiView, layout: Layout) -> xr.Dataset:
    """Put NaN where the noise of a feature was drawn from its prior alone, and name the dim as every engine does."""
    changed = {}
    for view in (own for own in views.names if f"noise_sd_{own}" in draws):
        is_real, dim = has_noise(views, view), _noise_dim(draws, view)
        own = draws[f"noise_sd_{view}"]
        features = np.asarray(views.features(view))[is_real]
        if dim in own.coords:
            own = own.sel({dim: features})
        target = f"feature_{view}" if is_real.all() else f"noisy_feature_{view}"
        own = (own if dim == target else own.rename({dim: target})).assign_coords({target: features})
        seen = np.ones((len(layout.groups), len(is_real)), dtype=np.bool_)
        for part in (p for p in layout.parts if p.view == view):
            seen[:, place_features(view, part, views)] = part.n_observed > 0
        seen = seen[:, is_real]
        changed[f"noise_sd_{view}"] = own if seen.all() else own.where(seen if "group" in own.dims else seen[0])
    return draws.drop_vars(changed).assign(changed)


def explained_by_draws(draws: xr.Dataset, views: MultiView, layout: Layout) -> Array:
    """Posterior mean of the share of each view's variance that each factor alone explains; shape (view, factor).

    In each draw var(z_k) sum_d w_dk^2 / (sum_k of the same + residual), var(z_k) being over the subjects who have the
    view.
    """
    factors = _points(draws, "factors", "subject", "factor")
    shares = []
    for view in views.names:
        loadings = _points(draws, f"loadings_{view}", f"feature_{view}", "factor")
        signal = np.square(loadings, dtype=np.float64).sum(axis=1)
        signal *= factors[:, views.has_view(view).values].var(axis=1, dtype=np.float64)
        residual = _mean_residual(draws, view, views, layout)
        shares.append((signal / (signal.sum(axis=1) + residual)[:, None]).mean(axis=0))
    return np.stack(shares)


def find_order_and_sign(draws: xr.Dataset, views: MultiView, spec: FactorModel, shares: Array) -> tuple[Index, Array]:
    """Find the order of factors by the variance that each explains, and the sign of its largest mean loading.

    `shares` (view, factor) are those of `explained_by_draws`; factors are ordered by their sums over views.
    """
    n_factors = draws.sizes["factor"]
    largest, sign = np.full(n_factors, -np.inf), np.ones(n_factors)
    for view in views.names:
        mean = _points(draws, f"loadings_{view}", f"feature_{view}", "factor").mean(axis=0, dtype=np.float64)
        where = np.abs(mean).argmax(axis=0), np.arange(n_factors)
        is_larger = np.abs(mean[where]) > largest
        largest = np.where(is_larger, np.abs(mean[where]), largest)
        sign = np.where(is_larger & (mean[where] != 0), np.sign(mean[where]), sign)
    if any(spec.loadings_of(view).positive for view in views.names):
        sign = np.ones(n_factors)
    return np.argsort(-shares.sum(axis=0), kind="stable"), sign


def _drop(order: Index, shares: Array, least: float) -> Index:
    """Leave out of the order of factors those that explain less than a share of every view; keep one at least."""
    kept = order[shares.max(axis=0)[order] >= least]
    if len(kept) == 0:
        logger.warning("no factor explains %g of any view; the strongest is kept", least)
        kept = shares.max(axis=0).argmax(keepdims=True)
    elif len(kept) < len(order):
        logger.info("dropped %d factors that explain less than %g of every view", len(order) - len(kept), least)
    return kept


def _mean_residual(draws: xr.Dataset, view: str, views: MultiView, layout: Layout) -> float:
    """Variance of a view that no factor explains, summed over features: mean over draws and groups."""
    latent = _describe_parts(draws, view, views, layout)["latent_variance"]
    if f"noise_sd_{view}" not in draws:
        return float(latent.sum())
    is_real = has_noise(views, view)
    by_group = np.square(_points(draws, f"noise_sd_{view}", "group", _noise_dim(draws, view)), dtype=np.float64).mean(0)
    seen = ~np.isnan(by_group)
    noise = np.where(seen, by_group, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return float(latent[~is_real].sum() + (latent[is_real] * noise).sum())


def _turn(draws: xr.Dataset, order: Index, sign: Array) -> xr.Dataset:
    """Reorder the factors of every variable, and turn those of factors and loadings over."""
    turned = draws.isel(factor=order)
    directed = [str(name) for name in draws.data_vars if name == "factors" or str(name).startswith("loadings_")]
    factor_sign = xr.DataArray(sign[order], dims="factor")
    return turned.assign({name: turned[name] * factor_sign.astype(turned[name].dtype) for name in directed})


def summarise_draws(draws: xr.Dataset, views: MultiView, spec: FactorModel, layout: Layout) -> xr.Dataset:
    """Summarise aligned draws in the form of `build_tree`: moments of factors and loadings, and each feature's own.

    Loadings have full covariances over the terms of a feature (`weights_cov_<view>`), and every subject a covariance of
    its own, both from the draws; `nuisance_<view>` is the median of the draws.
    """
    names = draws["factor"].values
    moments = FactorMoments.from_draws(draws["factors"])
    stored: Variables = {
        str(name): (tuple(str(dim) for dim in own.dims), own.values)
        for name, own in moments.to_dataset().data_vars.items()
    }
    for view in views.names:
        stored |= _summarise_view(draws, view, views, spec, layout)
    if views.groups is not None:
        stored["group_of"] = (("subject",), views.groups.values.astype(np.str_))
    if "factor_precision" in draws:
        own = draws["factor_precision"].mean(("chain", "draw"), dtype=np.float64)
        stored["factor_precision"] = (("group", "factor"), own.transpose("group", "factor").values)
    if "factor_inclusion" in draws:
        own = xr.apply_ufunc(logit, draws["factor_inclusion"].astype(np.float64).clip(_TINY, 1 - 1e-12))
        mean = own.mean(("chain", "draw")).transpose("group", "factor")
        stored["factor_log_odds"] = (("group", "factor"), mean.values)
    terms = np.array([*names, *name_intercepts(layout), *layout.covariates])
    labels = {"factor": names, "factor_bis": names, "term": terms, "term_bis": terms}
    labels |= {"subject": np.asarray(views.subjects), "group": np.asarray(layout.groups)}
    labels |= {f"feature_{view}": np.asarray(views.features(view)) for view in views.names}
    return label(stored, labels).assign_coords(group=labels["group"])


def _summarise_view(draws: xr.Dataset, view: str, views: MultiView, spec: FactorModel, layout: Layout) -> Variables:
    feature = f"feature_{view}"
    mean, covariance = _moments_of_terms(draws, view)
    precision = np.ones((len(layout.groups), len(mean)))
    if f"noise_sd_{view}" in draws:
        noise = _points(draws, f"noise_sd_{view}", "group", _noise_dim(draws, view)).astype(np.float64)
        own = (1 / np.square(noise)).mean(axis=0)
        precision[:, has_noise(views, view)] = np.where(np.isnan(own), spec.noise.shape / spec.noise.rate, own)
    stored: Variables = {
        f"weights_mean_{view}": ((feature, "term"), mean),
        f"weights_cov_{view}": ((feature, "term", "term_bis"), covariance),
        f"precision_{view}": (("group", feature), precision),
        f"likelihood_{view}": ((feature,), views.likelihoods(view).values.astype(np.str_)),
        f"has_exposure_{view}": ((), np.array(views.exposure(view) is not None)),
        f"observed_{view}": (("subject",), views.has_view(view).values),
    }
    if f"variable_{view}" in views.dataset:
        stored[f"variable_{view}"] = ((feature,), views.variables(view))
    described = _describe_parts(draws, view, views, layout)
    levels = described.pop("levels")
    stored |= {f"{what}_{view}": ((feature,), values) for what, values in described.items()}
    if levels.size:
        stored[f"levels_{view}"] = ((feature, f"cut_{view}"), levels)
    if f"active_{view}" in draws:
        share = draws[f"active_{view}"].mean(("chain", "draw"), dtype=np.float64)
        stored[f"inclusion_{view}"] = ((feature, "factor"), share.transpose(feature, "factor").values)
    return stored


def _moments_of_terms(draws: xr.Dataset, view: str) -> tuple[Array, Array]:
    """Mean (D, J) and covariance (D, J, J) of the terms of each feature: loadings, intercepts, effects."""
    feature = f"feature_{view}"
    pieces = [
        _points(draws, f"loadings_{view}", feature, "factor"),
        _points(draws, f"intercept_{view}", feature, "group"),
    ]
    if f"effects_{view}" in draws:
        pieces.append(_points(draws, f"effects_{view}", feature, "covariate"))
    n_draws, n_features = pieces[0].shape[:2]
    n_terms = sum(piece.shape[2] for piece in pieces)
    mean, covariance = np.empty((n_features, n_terms)), np.empty((n_features, n_terms, n_terms))
    step = max(1, _CHUNK_NUMBERS // (n_draws * n_terms))
    for start in range(0, n_features, step):
        chunk = slice(start, start + step)
        terms = np.concatenate([piece[:, chunk] for piece in pieces], axis=2, dtype=np.float64)
        mean[chunk] = terms.mean(axis=0)
        centred = np.ascontiguousarray(np.moveaxis(terms - mean[chunk], 0, 2))
        covariance[chunk] = centred @ np.swapaxes(centred, 1, 2) / max(n_draws - 1, 1)
    return mean, covariance


def _describe_parts(draws: xr.Dataset, view: str, views: MultiView, layout: Layout) -> dict[str, Array]:
    """Collect what the likelihoods of a view's features have of their own, each (D,), and cut points (D, L + 1)."""
    parts = [part for part in layout.parts if part.view == view]
    n_features = len(views.features(view))
    nuisance, curvature, latent = np.ones(n_features), np.ones(n_features), np.ones(n_features)
    levels = np.full((n_features, max(part.levels.shape[1] for part in parts)), np.nan)
    for part in parts:
        columns = place_features(view, part, views)
        nuisance[columns] = _median_nuisance(draws, part, columns, n_features)
        curvature[columns] = part.curvature
        latent[columns] = latent_variance(part, nuisance[columns])
        if part.levels.size:
            levels[np.ix_(columns, np.arange(part.levels.shape[1]))] = part.levels
    return {"nuisance": nuisance, "curvature": curvature, "latent_variance": latent, "levels": levels}


def _median_nuisance(draws: xr.Dataset, part: Part, columns: Index, n_features: int) -> Array:
    """Median of the draws of a part's own parameters (D,), 1 where its likelihood has none."""
    name = f"{NUISANCES.get(part.likelihood)}_{part.view}"
    if name not in draws:
        return np.ones(part.n_features)
    own = draws[name]
    dim = next(str(dim) for dim in own.dims if dim not in ("chain", "draw"))
    if dim in own.coords:
        own = own.sel({dim: list(part.features)})
    elif own.sizes[dim] == n_features:
        own = own.isel({dim: columns})
    else:
        own = own.isel({dim: np.argsort(np.argsort(columns))})
    median: Array = np.median(own.values.reshape(-1, part.n_features), axis=0).astype(np.float64)
    return median


def _count(draws: xr.Dataset) -> xr.Dataset:
    return xr.Dataset({"n_chains": draws.sizes["chain"], "n_draws": draws.sizes["draw"]})
