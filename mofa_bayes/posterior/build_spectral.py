"""From what the spectral engine found to a labelled tree: draws and moments in the same places as every engine's."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.spectral.decompose import Decomposition
from mofa_bayes.engines.spectral.regress import Regression
from mofa_bayes.engines.spectral.tables import Table
from mofa_bayes.engines.vi.ascend import infer_given_globals
from mofa_bayes.engines.vi.kernels import Array, Index, unpack
from mofa_bayes.engines.vi.layout import lay_out
from mofa_bayes.posterior.build import part_state

_CHUNK = 512
_LEAST_PRECISION = 1e-12

Variables = dict[str, tuple[tuple[str, ...], np.ndarray]]


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
    labels |= {"subject": np.asarray(views.subjects)}
    labels |= {f"feature_{view}": np.asarray(views.features(view)) for view in views.names}
    factor_rng, *view_rngs = rng.spawn(1 + len(found.tables))
    draws: Variables = {}
    moments: Variables = {}
    for table, fit, width, own in zip(found.tables, found.regressions, found.inflations, view_rngs, strict=True):
        place = _places(views.features(table.view), table.features)
        draws |= _draw_view(table, fit, width, place, n_draws, own)
        moments |= _summarise_view(table, fit, width, place)
        moments[f"observed_{table.view}"] = (("subject",), views.has_view(table.view).values)
    rows = _infer_rows(_label(moments, labels), views, preprocessing, found.n_factors)
    draws["factors"] = (("draw", "subject", "factor"), _draw_rows(rows, views, n_draws, factor_rng))
    posterior = _label(draws, labels).expand_dims({"chain": [0]})
    return xr.DataTree.from_dict(
        {
            "posterior": posterior.assign_coords(draw=np.arange(n_draws)),
            "moments": _label(moments | rows, labels),
            "preprocessing": preprocessing.dataset,
            "fit": _describe(found),
        }
    )


def _label(variables: Variables, labels: Mapping[str, np.ndarray]) -> xr.Dataset:
    used = {dim for dims, _ in variables.values() for dim in dims}
    return xr.Dataset(variables, coords={name: values for name, values in labels.items() if name in used})


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
        f"precision_{table.view}": ((feature,), precision),
        f"likelihood_{table.view}": ((feature,), np.full(len(mean), "gaussian")),
        f"inflation_{table.view}": ((), np.array(width)),
    }


def _infer_rows(moments: xr.Dataset, views: MultiView, preprocessing: Preprocessing, n_factors: int) -> Variables:
    """q(z) of every subject, by the same steps as `project`, so that projecting the cohort returns it."""
    layout = lay_out(views, preprocessing)
    known = {n: part_state(moments, part.view, part).summarise(part) for n, part in enumerate(layout.parts)}
    mean = np.empty((views.n_subjects, n_factors))
    pattern_of = np.empty(views.n_subjects, dtype=np.int64)
    covariances: list[Array] = []
    target = _places(views.subjects, layout.subjects)
    for block, rows in zip(layout.blocks, infer_given_globals(layout, known, n_factors), strict=True):
        own = unpack(rows.covariance, n_factors)
        mean[target[block.rows]] = rows.mean
        first = sum(len(c) for c in covariances)
        pattern_of[target[block.rows]] = first + (np.arange(block.n_rows) if len(own) == block.n_rows else 0)
        covariances.append(own)
    return {
        "factors_mean": (("subject", "factor"), mean),
        "factors_cov": (("pattern", "factor", "factor_bis"), np.concatenate(covariances)),
        "pattern_of": (("subject",), pattern_of),
    }


def _draw_rows(rows: Variables, views: MultiView, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    mean, covariance, pattern_of = (rows[name][1] for name in ("factors_mean", "factors_cov", "pattern_of"))
    root = np.linalg.cholesky(covariance)[pattern_of]
    noise = np.empty((n_draws, *mean.shape))
    noise[:, np.argsort(np.asarray(views.subjects), kind="stable")] = rng.standard_normal(noise.shape)
    draws: np.ndarray = mean + np.einsum("nkl,snl->snk", root, noise, optimize=True)
    return draws.astype(np.float32)


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
