"""The cut posterior, as a comparator: draw the factors, fit as if they were known, pool over the draws.

It is what averaging over posterior draws (multiple imputation by Rubin's rules) estimates. Factors are drawn without
looking at the outcome, so effects are biased towards zero by the reliability of the factors, and no interval shows it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy.optimize import minimize

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.quadrature import root_of
from mofa_bayes.risk.response import Array
from mofa_bayes.risk.sampling import MODE, Sampling

if TYPE_CHECKING:
    import pymc as pm

N_IMPUTATIONS = 200
_STEP = 1e-4
Fall = Callable[[Array], tuple[float, Array]]


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """A normal approximation: `mean` (P,), and `spread` (P, P) with covariance spread spread'."""

    mean: Array
    spread: Array


def sample_cut(
    model: "pm.Model", moments: FactorMoments, names: Sequence[str], sampling: Sampling, rng: np.random.Generator
) -> xr.DataTree:
    """Draw from the cut posterior, with a Laplace approximation of the fit to each draw of the factors.

    Parameters
    ----------
    model
        The graph with factors taken as known (`factors_mean`).
    moments
        Where factors are drawn from: 200 times, or once for each draw asked for if these are fewer.
    names, sampling
        Variables to return, and how many draws: n_chains * n_draws, exchangeable over chains.

    Returns
    -------
    A tree with `posterior` only.
    """
    n_total = sampling.n_chains * sampling.n_draws
    n_imputations = min(N_IMPUTATIONS, n_total)
    of_imputation = np.array_split(np.arange(n_total), n_imputations)
    points, normal = [], Normal(_start(model), np.eye(0))
    fall = compile_fall(model)
    roots = root_of(moments.covariance)[moments.pattern]
    for rows in of_imputation:
        noise = np.einsum("njk,nj->nk", roots, rng.normal(size=moments.mean.shape))
        model.set_data("factors_mean", moments.mean + noise)
        normal = approximate(fall, normal.mean)
        points.append(normal.mean + rng.normal(size=(len(rows), len(normal.mean))) @ normal.spread.T)
    model.set_data("factors_mean", moments.mean)
    order = rng.permutation(n_total)
    return _label(model, np.concatenate(points)[order], names, sampling)


def compile_fall(model: "pm.Model") -> Fall:
    """Compile minus the log density and its gradient, at points of the unconstrained space, shape (parameter,)."""
    log_density = model.logp_dlogp_function(ravel_inputs=True, mode=MODE)
    log_density.set_extra_values({})

    def fall(point: Array) -> tuple[float, Array]:
        value, slope = log_density(point)
        return -float(value), -np.asarray(slope)

    return fall


def approximate(fall: Fall, start: Array) -> Normal:
    """Find the mode from `start`, and the curvature there by central differences of the gradient."""
    mode = minimize(fall, start, jac=True, method="BFGS").x
    steps = _STEP * np.eye(len(mode))
    hessian = np.stack([(fall(mode + step)[1] - fall(mode - step)[1]) / (2 * _STEP) for step in steps])
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return Normal(mode, vectors / np.sqrt(np.maximum(values, 1e-3)))  # a flat direction keeps an sd of at most 30


def _start(model: "pm.Model") -> Array:
    from pymc.blocking import DictToArrayBijection

    return np.asarray(DictToArrayBijection.map(model.initial_point()).data)


def _label(model: "pm.Model", points: Array, names: Sequence[str], sampling: Sampling) -> xr.DataTree:
    """Map points of the unconstrained space to the variables' own, and name their dims."""
    from pymc.blocking import DictToArrayBijection, RaveledVars

    info = DictToArrayBijection.map(model.initial_point()).point_map_info
    outputs = model.replace_rvs_by_values([model[name] for name in names])
    evaluate = model.compile_fn(outputs, inputs=model.value_vars, mode=MODE, point_fn=True)
    rows = [evaluate(DictToArrayBijection.rmap(RaveledVars(point, info))) for point in points]
    shape = (sampling.n_chains, sampling.n_draws)
    variables, coords = {}, {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    for place, name in enumerate(names):
        values = np.stack([np.asarray(row[place]) for row in rows])
        dims = tuple(str(dim) for dim in model.named_vars_to_dims.get(name, ()))
        variables[name] = (("chain", "draw", *dims), values.reshape(*shape, *values.shape[1:]))
        coords.update({dim: np.asarray(model.coords[dim]) for dim in dims})
    return xr.DataTree.from_dict({"posterior": xr.Dataset(variables, coords=coords)})
