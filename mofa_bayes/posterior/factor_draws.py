"""FactorDraws: subjects' factors that belong to single draws of loadings, noise and intercepts."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.posterior.moments import Array
from mofa_bayes.posterior.project import project_each
from mofa_bayes.posterior.project_draws import N_POINTS

_PER_POINT = 5
"""Draws of new factors at each point: inferring them is the work, and more draws of them cost next to nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class FactorDraws:
    """Factors drawn together with everything else, or given that.

    Attributes
    ----------
    points
        Which draws of the posterior they belong to, counted over chains, one after the other; shape (S,).
    values
        Shape (S, N, K).
    """

    points: NDArray[np.intp]
    values: NDArray[np.floating]

    def draw(self, rows: NDArray[np.intp], n_draws: int, rng: np.random.Generator) -> Array:  # noqa: ARG002
        """Return the factors of some subjects (S, R, K): `n_draws` is S, and no chance is left."""
        return self.values[:, rows].astype(np.float64)


def take_draws(tree: xr.DataTree, views: MultiView) -> FactorDraws:
    """Take the draws of subjects of the fit, in the order of `views`."""
    draws = tree.children["posterior"].to_dataset()["factors"].stack(point=("chain", "draw"))
    values = draws.sel(subject=list(views.subjects)).transpose("point", "subject", "factor").values
    return FactorDraws(np.arange(len(values)), values)


def draw_new(tree: xr.DataTree, views: MultiView, rng: np.random.Generator) -> FactorDraws:
    """Draw the factors of new subjects from q(z* | x*) under some of the posterior's draws."""
    drawn = project_each(tree, views, N_POINTS)
    rows = np.arange(views.n_subjects)
    values = np.concatenate([own.draw(rows, _PER_POINT, rng) for own in drawn.each])
    return FactorDraws(np.repeat(drawn.places, _PER_POINT), values)
