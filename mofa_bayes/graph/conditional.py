"""Given draws of everything but the factors of a gaussian model: draws of z | w, y, and each subject's own density."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.graph.patterns import Array, Pattern, find_patterns, number_groups, prepare
from mofa_bayes.spec import FactorModel

_CHUNK_NUMBERS = 2_000_000
_LOG_2PI = float(np.log(2 * np.pi))


def draw_factors_given(
    draws: xr.Dataset, views: MultiView, spec: FactorModel, rng: np.random.Generator
) -> xr.DataArray:
    """Draw the factors of a gaussian model given draws of all else: z_n ~ N(M^-1 g_n, M^-1), see `integrated`.

    Parameters
    ----------
    draws
        Dims (chain, draw, ...): by view `loadings_`, `intercept_`, `noise_sd_` and, with covariates, `effects_`;
        `factor_precision` where factors have one. Features in the order of the views.
    views, spec
        What was fitted; any number of patterns.
    rng
        Draws.

    Returns
    -------
    `factors` (chain, draw, subject, factor), from the prior where nothing of a subject is observed.
    """
    shape = draws.sizes["chain"], draws.sizes["draw"], views.n_subjects, draws.sizes["factor"]
    points = _Points.read(draws, views)
    _, group_of = number_groups(views)
    factors = rng.standard_normal((shape[0] * shape[1], *shape[2:])) / np.sqrt(points.factor_precision[:, group_of])
    for pattern, chunk, own in _condition(points, views, spec):
        noise = rng.standard_normal((len(own.root), shape[3], pattern.n_subjects))
        spread = np.linalg.solve(np.swapaxes(own.root, 1, 2), noise)  # Cov[L'^-1 e] = (L L')^-1 = M^-1
        factors[chunk, pattern.subjects] = own.mean + np.swapaxes(spread, 1, 2)
    return xr.DataArray(
        factors.reshape(shape),
        dims=("chain", "draw", "subject", "factor"),
        coords={"subject": np.asarray(views.subjects), "factor": draws["factor"].values},
        name="factors",
    )


def score_subjects(draws: xr.Dataset, views: MultiView, spec: FactorModel) -> xr.DataArray:
    """Log density of each subject's observed entries, factors integrated out: what leave-one-out needs.

    Parameters
    ----------
    draws, views, spec
        As in `draw_factors_given`.

    Returns
    -------
    `log_likelihood` (chain, draw, subject); 0 where nothing of a subject is observed.
    """
    shape = draws.sizes["chain"], draws.sizes["draw"], views.n_subjects
    scores = np.zeros((shape[0] * shape[1], shape[2]))
    for pattern, chunk, own in _condition(_Points.read(draws, views), views, spec):
        scores[chunk, pattern.subjects] = own.log_density
    return xr.DataArray(
        scores.reshape(shape),
        dims=("chain", "draw", "subject"),
        coords={"subject": np.asarray(views.subjects)},
        name="log_likelihood",
    )


@dataclass(frozen=True, slots=True)
class _Points:
    """Draws as arrays: by view loadings (S, D, K), coefficients of the design (S, F, D), noise precision (S, G, D)."""

    loadings: Mapping[str, Array]
    coefficients: Mapping[str, Array]
    noise_precision: Mapping[str, Array]
    factor_precision: Array

    @classmethod
    def read(cls, draws: xr.Dataset, views: MultiView) -> "_Points":
        loadings, coefficients, noise = {}, {}, {}
        for view in views.names:
            feature = f"feature_{view}"
            loadings[view] = _flatten(draws[f"loadings_{view}"], feature, "factor")
            known = [_flatten(draws[f"intercept_{view}"], "group", feature)]
            if f"effects_{view}" in draws:
                known.append(_flatten(draws[f"effects_{view}"], "covariate", feature))
            coefficients[view] = np.concatenate(known, axis=1)
            noise[view] = _flatten(draws[f"noise_sd_{view}"], "group", feature) ** -2
        if "factor_precision" in draws:
            precision = _flatten(draws["factor_precision"], "group", "factor")
        else:
            groups, _ = number_groups(views)
            precision = np.ones((draws.sizes["chain"] * draws.sizes["draw"], len(groups), draws.sizes["factor"]))
        return cls(loadings, coefficients, noise, precision)


def _flatten(values: xr.DataArray, *dims: str) -> Array:
    """Bring draws to one array (S, ...), chain after chain; a `group` that is absent has length 1."""
    if "group" in dims and "group" not in values.dims:
        values = values.expand_dims("group")
    array = values.transpose("chain", "draw", *dims).values.astype(np.float64)
    return array.reshape(-1, *array.shape[2:])


@dataclass(frozen=True, slots=True)
class _Conditional:
    """Of the subjects of a pattern, by draw: mean (S, n, K) of z, root L (S, K, K) of M, log p(y) (S, n)."""

    mean: Array
    root: Array
    log_density: Array


def _condition(points: _Points, views: MultiView, spec: FactorModel) -> Iterator[tuple[Pattern, slice, _Conditional]]:
    """Condition each pattern's factors on its values, some draws at a time."""
    n_points, _, n_factors = points.factor_precision.shape
    for pattern in find_patterns(views, prepare(views, spec)):
        step = max(1, _CHUNK_NUMBERS // (pattern.n_entries * max(pattern.n_subjects, n_factors)))
        for start in range(0, n_points, step):
            chunk = slice(start, start + step)
            yield pattern, chunk, _condition_chunk(points, pattern, chunk)


def _condition_chunk(points: _Points, pattern: Pattern, chunk: slice) -> _Conditional:
    beta = points.factor_precision[chunk, pattern.group]
    n_draws, n_factors = beta.shape
    inner = beta[:, :, None] * np.eye(n_factors)
    pulled = np.zeros((n_draws, pattern.n_subjects, n_factors))
    density = np.full((n_draws, pattern.n_subjects), -pattern.n_entries * _LOG_2PI)
    for view, columns in pattern.columns.items():
        w = points.loadings[view][chunk][:, columns]
        tau = points.noise_precision[view][chunk, pattern.group][:, columns]
        residual = pattern.values[view] - pattern.design @ points.coefficients[view][chunk][:, :, columns]
        weighted = w * tau[:, :, None]
        inner += np.swapaxes(w, 1, 2) @ weighted
        pulled += residual @ weighted
        density += np.log(tau).sum(axis=1)[:, None] - (residual**2 * tau[:, None]).sum(axis=2)
    root = np.linalg.cholesky(inner)
    mean = np.swapaxes(np.linalg.solve(inner, np.swapaxes(pulled, 1, 2)), 1, 2)
    log_determinant = 2 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1) - np.log(beta).sum(axis=1)
    density += (pulled * mean).sum(axis=2) - log_determinant[:, None]
    return _Conditional(mean, root, density / 2)
