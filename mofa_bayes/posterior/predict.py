"""Predictions of one view: draws of eta for any cells of any subjects, from a posterior's tree."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from mofa_bayes.data.categories import CATEGORICAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.vi.known import Known
from mofa_bayes.engines.vi.packed import Index
from mofa_bayes.errors import DataError, name_some
from mofa_bayes.posterior.moments import Array
from mofa_bayes.posterior.outcomes import Cells

CHUNK = 20_000  # cells at a time


class DrawsFactors(Protocol):
    """What draws subjects' factors: moments, or draws that there are already."""

    def draw(self, rows: Index, n_draws: int, rng: np.random.Generator) -> Array:
        """Draw the factors of some subjects (S, R, K)."""
        ...


@dataclass(frozen=True, slots=True)
class ViewDraws:
    """Draws of one view, by point (S,), feature (D,) and group (G,), and what else its predictions need.

    `code` numbers the variable of each categorical column, -1 elsewhere (D,); what belongs to subjects is in the order
    of the views.
    """

    loadings: np.ndarray
    intercepts: np.ndarray
    effects: np.ndarray
    noise_variance: np.ndarray
    likelihoods: np.ndarray
    nuisance: np.ndarray
    levels: np.ndarray
    code: np.ndarray
    group_of: np.ndarray
    covariates: np.ndarray
    exposure: np.ndarray

    @classmethod
    def read(
        cls,
        tree: xr.DataTree,
        views: MultiView,
        view: str,
        known: Known,
        place: Index,
        points: Index | slice = slice(None),
    ) -> "ViewDraws":
        """Take from a tree what predicts the features of `views`, at some of its draws.

        `place` brings canonical order to that of `views`; `points` are counted over chains, one after the other.

        Raises
        ------
        DataError
            A feature is not one of the fit.
        """
        stored = tree.children["moments"].to_dataset()
        dim = f"feature_{view}"
        unknown = set(views.features(view)) - {str(name) for name in stored[dim].values}
        if unknown:
            raise DataError(
                f"features of view {view!r}",
                got=f"some that the model does not know ({name_some(sorted(unknown))})",
                expected="features of the fit",
                do="Leave them out before imputing.",
            )
        features = {dim: list(views.features(view))}
        draws = tree.children["posterior"].to_dataset().stack(point=("chain", "draw")).sel(features)
        draws = draws.isel(point=points)
        own = stored.sel(features)
        by_group = draws[f"intercept_{view}"]
        if "group" not in by_group.dims:
            by_group = by_group.expand_dims("group")
        effects = np.zeros((draws.sizes["point"], 0, len(features[dim])))
        if f"effects_{view}" in draws:
            effects = draws[f"effects_{view}"].transpose("point", "covariate", dim).values
        log_exposure = known.exposures.get(view, np.zeros(views.n_subjects))
        return cls(
            loadings=draws[f"loadings_{view}"].transpose("point", dim, "factor").values,
            intercepts=by_group.transpose("point", "group", dim).values,
            effects=effects,
            noise_variance=_noise_variance(draws, view, features[dim], len(known.groups)),
            likelihoods=own[f"likelihood_{view}"].values,
            nuisance=own[f"nuisance_{view}"].values,
            levels=own[f"levels_{view}"].values if f"levels_{view}" in own else np.empty((len(features[dim]), 0)),
            code=_number_variables(own, view),
            group_of=known.group_of[place],
            covariates=known.values[place],
            exposure=np.exp(log_exposure)[place],
        )

    def predict(self, moments: DrawsFactors, n: np.ndarray, d: np.ndarray, rng: np.random.Generator) -> list["Part"]:
        """Draw eta of cells (n, d), each (C,), likelihood by likelihood; of categorical ones the log probability."""
        people, where = np.unique(n, return_inverse=True)
        factors = moments.draw(people, len(self.loadings), rng)
        parts = []
        for likelihood in dict.fromkeys(self.likelihoods[d]):
            cells = np.flatnonzero(self.likelihoods[d] == likelihood)
            find = self._log_probability if likelihood == CATEGORICAL else self._linear
            eta = find(factors, people, where[cells], d[cells])
            own, subjects = d[cells], n[cells]
            noise_variance = self.noise_variance[self.group_of[subjects], own]
            values = Cells(
                str(likelihood), eta, noise_variance, self.nuisance[own], self.levels[own], self.exposure[subjects]
            )
            parts.append(Part(cells, values))
        return parts

    def _linear(self, factors: np.ndarray, people: Index, where: Index, d: Index) -> np.ndarray:
        eta = np.stack(
            [np.einsum("ck,ck->c", own[where], self.loadings[s, d]) for s, own in enumerate(factors)]
        ).astype(np.float64)
        eta += self.intercepts[:, self.group_of[people[where]], d]
        for c in range(self.covariates.shape[1]):
            eta += self.effects[:, c, d] * self.covariates[people[where], c]
        return eta

    def _log_probability(self, factors: np.ndarray, people: Index, where: Index, d: Index) -> np.ndarray:
        """Log softmax over the levels of each cell's variable."""
        result = np.empty((len(factors), len(d)))
        for code in np.unique(self.code[d]):
            cells, members = np.flatnonzero(self.code[d] == code), np.flatnonzero(self.code == code)
            rows, back = np.unique(where[cells], return_inverse=True)
            every = self._linear(factors, people, np.repeat(rows, len(members)), np.tile(members, len(rows)))
            every = every.reshape(len(factors), len(rows), len(members))
            every -= logsumexp(every, axis=2, keepdims=True)
            result[:, cells] = every[:, back, np.searchsorted(members, d[cells])]
        return result


@dataclass(frozen=True, slots=True)
class Part:
    """Predictions of some cells: their positions among those asked for, and what is known of them."""

    positions: Index
    cells: Cells


def _number_variables(stored: xr.Dataset, view: str) -> np.ndarray:
    is_categorical = stored[f"likelihood_{view}"].values == CATEGORICAL
    if f"variable_{view}" not in stored:
        return np.full(len(is_categorical), -1)
    _, code = np.unique(stored[f"variable_{view}"].values, return_inverse=True)
    return np.where(is_categorical, code, -1)


def _noise_variance(draws: xr.Dataset, view: str, features: list[str], n_groups: int) -> np.ndarray:
    """E[sigma_d^2] by group (G, D), 0 for features without noise."""
    filled = np.zeros((n_groups, len(features)))
    if f"noise_sd_{view}" not in draws:
        return filled
    noise = (draws[f"noise_sd_{view}"].astype(np.float64) ** 2).mean("point")
    if "group" not in noise.dims:
        noise = noise.expand_dims("group")
    dim = next(str(name) for name in noise.dims if name != "group")
    names = [str(name) for name in noise[dim].values]
    place = {name: d for d, name in enumerate(features)}
    kept = [name for name in names if name in place]
    filled[:, [place[name] for name in kept]] = noise.sel({dim: kept}).transpose("group", dim).values
    return filled
