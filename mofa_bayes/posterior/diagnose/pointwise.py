"""log p(y_n | globals) of every subject and draw, the factors integrated out.

With gaussian features alone the integral is closed (Woodbury, K x K per pattern of observed entries). Other likelihoods
are integrated by Laplace's method around each subject's mode, whose error falls with the number of features of the
subject (Tierney and Kadane 1986, JASA 81:82).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.vi.packed import n_packed, pack, unpack
from mofa_bayes.errors import FitError
from mofa_bayes.posterior.diagnose.draws import Array, ModelDraws, ViewDraws, read_draws
from mofa_bayes.posterior.likelihoods import SUPPORTED, Own, log_density
from mofa_bayes.posterior.posterior import Posterior

_CHUNK = 2048
_MAX_STEPS = 50
_TOLERANCE = 1e-8
_LARGEST_MOVE = 3.0
_LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Columns of a view that share a likelihood, some at a time, and their patterns of observed entries.

    `patterns` (U, columns) are the different rows of what is observed within a group, `of_row` (N,) says which each
    subject has, and `group` (U,) whose it is.
    """

    view: ViewDraws
    likelihood: str
    columns: NDArray[np.intp]
    values: Array = field(repr=False)
    observed: NDArray[np.bool_]
    patterns: NDArray[np.bool_]
    of_row: NDArray[np.intp]
    group: NDArray[np.intp]


def subject_log_likelihood(model: ModelDraws) -> Array:
    """Log density of each subject's observed entries, on the model's scale, for each draw: (S, N).

    Features of a likelihood that is not in `SUPPORTED` are left out.
    """
    parts = list(_parts(model))
    return np.stack([_log_likelihood(model, parts, s) for s in range(model.n_draws)])


def add_log_likelihood(post: Posterior, views: MultiView) -> xr.DataTree:
    """Return a posterior's tree with a group `log_likelihood`; see `Posterior.with_log_likelihood`."""
    draws = post.factors()
    model = read_draws(post, views, draws.sizes["chain"] * draws.sizes["draw"])
    if model.is_sparse:
        raise FitError(
            "log likelihood",
            got="factors that may be zero, which no closed form integrates out",
            expected="a model with StandardFactors or ARDFactors",
            do="Compare such models by held-out subjects.",
        )
    density = subject_log_likelihood(model) - log_scales(model)
    labelled = xr.DataArray(
        density.reshape(draws.sizes["chain"], draws.sizes["draw"], -1),
        dims=("chain", "draw", "subject"),
        coords={"chain": draws["chain"], "draw": draws["draw"], "subject": list(views.subjects)},
        name="subject_density",
    )
    groups = {name: node.to_dataset() for name, node in post.tree.children.items()}
    tree = xr.DataTree.from_dict(groups | {"log_likelihood": labelled.to_dataset()})
    tree.attrs.update(post.tree.attrs)
    return tree


def log_scales(model: ModelDraws) -> Array:
    """Sum what the change to the data's own scale takes off each subject's log density, (N,)."""
    total = np.zeros(len(model.group_of))
    for view in model.views:
        own = np.isin(view.likelihoods, REAL)
        total += np.where(np.isnan(view.values), 0.0, np.log(view.scale)[model.group_of])[:, own].sum(axis=1)
    return total


def _parts(model: ModelDraws) -> Iterator[Part]:
    for view in model.views:
        for likelihood in dict.fromkeys(str(kind) for kind in view.likelihoods):
            columns = np.flatnonzero(view.likelihoods == likelihood) if likelihood in SUPPORTED else np.empty(0, int)
            step = len(columns) if likelihood == "categorical" else _CHUNK  # a variable's columns stay together
            for start in range(0, len(columns), max(step, 1)):
                own = columns[start : start + step]
                observed = ~np.isnan(view.values[:, own])
                if observed.any():
                    keyed = np.column_stack([observed, model.group_of])
                    patterns, of_row = np.unique(keyed, axis=0, return_inverse=True)
                    yield Part(
                        view,
                        likelihood,
                        own,
                        np.where(observed, view.values[:, own], 0.0),
                        observed,
                        patterns[:, :-1].astype(np.bool_),
                        of_row.ravel(),
                        patterns[:, -1].astype(np.intp),
                    )


def _log_likelihood(model: ModelDraws, parts: list[Part], s: int) -> Array:
    n_subjects, n_factors = model.factors.shape[1:]
    prior = model.factor_precision[s][model.group_of]
    precision = np.zeros((n_subjects, n_packed(n_factors)))
    linear, constant = np.zeros((n_subjects, n_factors)), np.log(prior).sum(axis=1) / 2
    others = []
    for part in parts:
        loadings = part.view.loadings[s][part.columns].astype(np.float64)
        known = part.view.known(s, part.columns, model.group_of, model.covariates)
        tau = part.view.precision[s][:, part.columns].astype(np.float64)
        pairs = pack(loadings[:, :, None] * loadings[:, None, :])
        if part.likelihood != "gaussian":
            own = Own(
                tau[model.group_of],
                part.view.own(s, part.columns),
                part.view.log_exposure[:, None],
                part.view.limits(s, part.columns),
                part.view.code[part.columns],
            )
            others.append((part, known, loadings, pairs, own))
            continue
        weight = part.patterns * tau[part.group]
        precision += (weight @ pairs)[part.of_row]
        residual = (part.values - known) * part.observed
        linear += (residual * tau[model.group_of]) @ loadings
        constant -= np.einsum("nd,nd,nd->n", residual, residual, tau[model.group_of]) / 2
        constant += (part.patterns @ (np.log(tau) - _LOG_2PI).T)[part.of_row, model.group_of] / 2
    whole = unpack(precision, n_factors) + prior[:, :, None] * np.eye(n_factors)
    z = np.linalg.solve(whole, linear[:, :, None])[:, :, 0]
    curvature = whole
    if others:
        z, value, curvature = _find_modes(z, whole, linear, others)
        constant += value
    constant += np.einsum("nk,nk->n", linear, z) - np.einsum("nk,nkl,nl->n", z, whole, z) / 2
    return np.asarray(constant - np.linalg.slogdet(curvature)[1] / 2)


def _find_modes(
    z: Array, whole: Array, linear: Array, others: list[tuple[Part, Array, Array, Array, Own]]
) -> tuple[Array, Array, Array]:
    """Newton's method for each subject's mode: z (N, K), the other likelihoods there (N,), and the curvature there.

    A step moves no eta by more than 3, which keeps exponentials tame.
    """
    n_factors = z.shape[1]
    for _ in range(_MAX_STEPS):
        value, slope, curvature = np.zeros(len(z)), linear - np.einsum("nkl,nl->nk", whole, z), whole
        for part, known, loadings, pairs, own in others:
            eta = known + z @ loadings.T
            parts = log_density(part.likelihood, part.values, eta, own)
            density, along, bend = (np.where(part.observed, each, 0.0) for each in parts)
            value += density.sum(axis=1)
            slope = slope + along @ loadings
            curvature = curvature + unpack(bend @ pairs, n_factors)
            for code in np.unique(own.code) if part.likelihood == "categorical" else ():
                mean = (bend * (own.code == code)) @ loadings
                curvature = curvature - mean[:, :, None] * mean[:, None, :]
        step = np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        move = np.max([np.abs(step @ own[2].T).max(axis=1, initial=0.0) for own in others], axis=0)
        if move.max() < _TOLERANCE:
            break
        z = z + step * np.minimum(1.0, _LARGEST_MOVE / np.maximum(move, 1e-300))[:, None]
    return z, value, curvature
