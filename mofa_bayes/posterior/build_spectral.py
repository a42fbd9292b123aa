"""From what the spectral engine found to a labelled tree: draws and moments in the same places as every engine's."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.spectral.decompose import Decomposition
from mofa_bayes.engines.spectral.regress import Regression
from mofa_bayes.engines.spectral.tables import Table
from mofa_bayes.engines.vi.known import ALL
from mofa_bayes.engines.vi.packed import Index
from mofa_bayes.posterior.build import Variables, draw_factors, label
from mofa_bayes.posterior.project import infer_views

_CHUNK = 512
_LEAST_PRECISION = 1e-12
_NOT_GAUSSIAN = ("nuisance", "curvature", "latent_variance")


def build_spectral_tree(
    found: Decomposition, views: MultiView, preprocessing: Preprocessing, n_draws: int, rng: np.random.Generator
) -> xr.DataTree:
    """Label what was found and draw from it.

    Groups of the tree are those of `build_tree`. Loadings and noise are drawn from their normal-inverse-gamma
    posterior, with the standard deviations of loadings multiplied by `inflation_<view>`, a scalar in `moments`;
    `weights_cov_<view>` there is without that factor, because it is what q(z) needs. Factors are drawn from q(z), their
    Gaussian given the first two moments of the loadings. `ard_<view>` is what the draws imply, D / sum_d w_dk^2. The
    group `fit` holds the squared singular values of each view and the threshold they were held to, and the eigenvalues
    of the average of the views' projectors with their cut.

    Parameters
    ----------
    found
        What the engine ended with.
    views
        The cohort, every feature gaussian.
    preprocessing
        Its centres and scales.
    n_draws
        Number of draws.
    rng
        Draws; subjects, features and views have the same draws whatever their order.
    """
    names = np.array([f"F{k + 1}" for k in range(found.n_factors)])
    terms = np.append(names, "intercept")
    labels: dict[str, np.ndarray] = {"factor": names, "factor_bis": names, "term": terms, "term_bis": terms}
    labels |= {"subject": np.asarray(views.subjects), "group": np.array([ALL])}
    labels |= {f"feature_{view}": np.asarray(views.features(view)) for view in views.names}
    factor_rng, *view_rngs = rng.spawn(1 + len(found.tables))
    draws: Variables = {}
    moments: Variables = {}
    for table, fit, width, own in zip(found.tables, found.regressions, found.inflations, view_rngs, strict=True):
        place = _places(views.features(table.view), table.features)
        draws |= _draw_view(table, fit, width, place, n_draws, own)
        moments |= _summarise_view(table, fit, width, place)
        moments[f"observed_{table.view}"] = (("subject",), views.has_view(table.view).values)
    rows = infer_views(label(moments, labels).assign_coords(group=labels["group"], factor=names), views, preprocessing)
    draws["factors"] = (("draw", "subject", "factor"), draw_factors(rows, n_draws, factor_rng))
    stored: Variables = {
        str(name): (tuple(str(dim) for dim in own.dims), own.values)
        for name, own in rows.to_dataset().data_vars.items()
    }
    posterior = label(draws, labels).expand_dims({"chain": [0]})
    return xr.DataTree.from_dict(
        {
            "posterior": posterior.assign_coords(draw=np.arange(n_draws)),
            "moments": label(moments | stored, labels).assign_coords(group=labels["group"]),
            "preprocessing": preprocessing.dataset,
            "fit": _describe(found),
        }
    )


def _places(all_names: Sequence[str], names: Sequence[str]) -> Index:
    place = {name: position for position, name in enumerate(all_names)}
    return np.array([place[name] for name in names], dtype=np.intp)


def _draw_view(
    table: Table, fit: Regression, width: float, place: Index, n_draws: int, rng: np.random.Generator
) -> Variables:
    """Draw sigma^2, then loadings and intercepts given it, some features at a time."""
    n_features, n_terms = fit.mean.shape
    loadings = np.empty((n_draws, n_features, n_terms - 1), dtype=np.float32)
    intercept = np.empty((n_draws, n_features), dtype=np.float32)
    noise_sd = np.empty((n_draws, n_features), dtype=np.float32)
    roots = np.linalg.cholesky(fit.scale)
    widths = np.append(np.full(n_terms - 1, width), 1.0)
    for start in range(0, n_features, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        precision = rng.gamma(fit.shape[chunk], 1.0, (n_draws, len(fit.shape[chunk]))) / fit.rate[chunk]
        sd = 1 / np.sqrt(np.maximum(precision, _LEAST_PRECISION))
        noise = rng.standard_normal((n_draws, *fit.mean[chunk].shape))
        if len(roots) == 1:
            spread = noise @ roots[0].T
        else:
            spread = np.einsum("djk,sdk->sdj", roots[fit.scale_of[chunk]], noise, optimize=True)
        drawn = fit.mean[chunk] + spread * sd[:, :, None] * widths
        loadings[:, place[chunk]] = drawn[:, :, :-1]
        intercept[:, place[chunk]] = drawn[:, :, -1]
        noise_sd[:, place[chunk]] = sd
    feature = f"feature_{table.view}"
    implied = n_features / np.maximum(np.square(loadings, dtype=np.float64).sum(axis=1), _LEAST_PRECISION)
    return {
        f"loadings_{table.view}": (("draw", feature, "factor"), loadings),
        f"intercept_{table.view}": (("draw", feature), intercept),
        f"noise_sd_{table.view}": (("draw", feature), noise_sd),
        f"ard_{table.view}": (("draw", "factor"), implied),
    }


def _summarise_view(table: Table, fit: Regression, width: float, place: Index) -> Variables:
    mean, precision = np.empty_like(fit.mean), np.empty(len(fit.mean))
    covariance = np.empty((*fit.mean.shape, fit.mean.shape[1]))
    mean[place] = fit.mean
    covariance[place] = fit.variance[:, None, None] * fit.scale[fit.scale_of]
    precision[place] = fit.shape / fit.rate
    feature = f"feature_{table.view}"
    return {
        f"weights_mean_{table.view}": ((feature, "term"), mean),
        f"weights_cov_{table.view}": ((feature, "term", "term_bis"), covariance),
        f"precision_{table.view}": (("group", feature), precision[None]),
        **{f"{what}_{table.view}": ((feature,), np.ones(len(mean))) for what in _NOT_GAUSSIAN},
        f"likelihood_{table.view}": ((feature,), np.full(len(mean), "gaussian")),
        f"inflation_{table.view}": ((), np.array(width)),
        f"has_exposure_{table.view}": ((), np.array(False)),
    }


def _describe(found: Decomposition) -> xr.Dataset:
    """Keep what decided the number of factors; components are numbered from 1."""
    variables: Variables = {
        "eigenvalues": (("direction",), found.joint.eigenvalues),
        "cut": ((), np.array(found.joint.cut)),
    }
    coords = {"direction": 1 + np.arange(len(found.joint.eigenvalues))}
    for table, spectrum in zip(found.tables, found.spectra, strict=True):
        component = f"component_{table.view}"
        coords[component] = 1 + np.arange(len(spectrum.squares))
        variables[f"squares_{table.view}"] = ((component,), spectrum.squares)
        variables[f"threshold_{table.view}"] = ((), np.array(spectrum.threshold))
        variables[f"n_found_{table.view}"] = ((), np.array(spectrum.n_factors))
    return xr.Dataset(variables, coords=coords)
