"""The cut posterior, as a comparator: draw the factors, fit as if they were known, pool over the draws.

It is what averaging over posterior draws (multiple imputation by Rubin's rules) estimates. Factors are drawn without
looking at the outcome, so effects are biased towards zero by the reliability of the factors, and no interval shows it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy.optimize import minimize

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.density import Density, Fall
from mofa_bayes.risk.quadrature import root_of
from mofa_bayes.risk.response import Array
from mofa_bayes.risk.sampling import Sampling

if TYPE_CHECKING:
    import pymc as pm

N_IMPUTATIONS = 200
_STEP = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """A normal approximation: `mean` (P,), and `spread` (P, P) with covariance spread spread'."""

    mean: Array
    spread: Array

    def draw(self, n_points: int, rng: np.random.Generator) -> Array:
        """Draw points, (n_points, P)."""
        points: Array = self.mean + rng.normal(size=(n_points, len(self.mean))) @ self.spread.T
        return points


def sample_cut(
    density: Density, model: "pm.Model", moments: FactorMoments, sampling: Sampling, rng: np.random.Generator
) -> xr.DataTree:
    """Draw from the cut posterior, with a Laplace approximation of the fit to each draw of the factors.

    Parameters
    ----------
    density
        Of the model with factors taken as known (`factors_mean`).
    model
        The model, for its names.
    moments
        Where factors are drawn from: 200 times, or once for each draw asked for if these are fewer.
    sampling
        How many draws: n_chains * n_draws, exchangeable over chains.

    Returns
    -------
    A tree with `posterior` only.
    """
    n_total = sampling.n_chains * sampling.n_draws
    n_imputations = min(N_IMPUTATIONS, n_total)
    of_imputation = np.array_split(np.arange(n_total), n_imputations)
    points, normal = [], Normal(density.start(), np.eye(0))
    roots = root_of(moments.covariance)[moments.pattern]
    for rows in of_imputation:
        noise = np.einsum("njk,nj->nk", roots, rng.normal(size=moments.mean.shape))
        density.model.set_data("factors_mean", moments.mean + noise)
        normal = approximate(density.fall, normal.mean)
        points.append(normal.draw(len(rows), rng))
    density.model.set_data("factors_mean", moments.mean)
    order = rng.permutation(n_total)
    return density.label(np.concatenate(points)[order], model, sampling)


def approximate(fall: Fall, start: Array) -> Normal:
    """Find the mode from `start`, and the curvature there by central differences of the gradient."""
    mode = minimize(fall, start, jac=True, method="BFGS").x
    steps = _STEP * np.eye(len(mode))
    hessian = np.stack([(fall(mode + step)[1] - fall(mode - step)[1]) / (2 * _STEP) for step in steps])
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return Normal(mode, vectors / np.sqrt(np.maximum(values, 1e-3)))  # a flat direction keeps an sd of at most 30
