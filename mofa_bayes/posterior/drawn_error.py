"""The errors of a projection that draws of the loadings know of: each feature's own, and those that features share.

A new patient's value is x_d = w_d'z + noise with w_d of a posterior that this patient took no part in. Of its error the
features' own part, independent between them, is noise: see `take_loadings_as_noise`. What is left is common, because
draws turn, stretch and shift all loadings together. With T the precisions of what was seen and V the covariance of
z* given mean loadings W, a draw s of loadings and intercepts moves z* by

    V W'T ((W_s - W) z + mu_s - mu),    z ~ N(m, V),

whose mean square over draws is added to V. A mixture of q(z* | x*, s) over draws without weights p(x* | s) is no
substitute, for a new patient's values speak of the draws too: its means are drawn in towards zero, the more the wider
the views and the weaker the factor, and with the weights draws wear out. `tests/unit/test_project_draws.py` holds this
form to truths of new subjects.
"""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.precision import precision_of_values
from mofa_bayes.posterior.project_draws import choose_places
from mofa_bayes.posterior.shared_error import take_loadings_as_noise

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class DrawnError:
    """By how much each of S draws moves the linear term of M views' subjects.

    Attributes
    ----------
    views
        Names of the M views.
    pulls
        W'T [W_s - W, mu_s - mu] by group of subjects and view, shape (G, M, S, K, K + 1).
    """

    views: tuple[str, ...]
    pulls: Array

    @classmethod
    def learn(cls, tree: xr.DataTree) -> "DrawnError":
        """Read a hundred draws of all loadings and intercepts."""
        moments, draws = (tree.children[name].to_dataset() for name in ("moments", "posterior"))
        views = tuple(str(name)[13:] for name in moments.data_vars if str(name).startswith("weights_mean_"))
        of_noise = take_loadings_as_noise(moments)
        points = _take_places(draws[_names(views)], choose_places(tree))
        pulls = np.stack([_pull(view, moments, of_noise, points) for view in views], axis=1)
        return cls(views, pulls)

    def widen(self, moments: FactorMoments, seen: Array, group_of: NDArray[np.intp]) -> FactorMoments:
        """Add the shared error to moments that take loadings as noise.

        Parameters
        ----------
        moments
            Of N subjects.
        seen
            Share of each view's features that they have, (N, M).
        group_of
            Group of each subject (N,).
        """
        keys = np.column_stack([moments.pattern, group_of, seen])
        unique, member = np.unique(keys, axis=0, return_inverse=True)
        n_factors = len(moments.factors)
        wide = np.empty((len(moments.mean), n_factors, n_factors))
        for number, key in enumerate(unique):
            rows = np.flatnonzero(member.ravel() == number)
            covariance = moments.covariance[int(key[0])]
            moved = np.einsum("kl,msln,m->skn", covariance, self.pulls[int(key[1])], key[2:], optimize=True)
            wide[rows] = covariance + _mean_square(moved, moments.mean[rows], covariance)
        return replace(moments, covariance=wide, pattern=np.arange(len(wide)))


def _mean_square(moved: Array, mean: Array, covariance: Array) -> Array:
    """Mean over draws of (A_s z + a_s)(A_s z + a_s)', for `moved` [A_s, a_s] (S, K, K + 1) and z ~ N(mean, V)."""
    n_factors = len(covariance)
    known = np.column_stack([mean, np.ones(len(mean))])
    square = known[:, :, None] * known[:, None, :]
    square[:, :n_factors, :n_factors] += covariance
    pairs = np.einsum("ski,slj->klij", moved, moved, optimize=True) / max(len(moved) - 1, 1)
    result: Array = np.einsum("klij,nij->nkl", pairs, square, optimize=True)
    return result


def _pull(view: str, moments: xr.Dataset, of_noise: xr.Dataset, points: xr.Dataset) -> Array:
    """W'T [W_s - W, mu_s - mu] of one view, (G, S, K, K + 1)."""
    feature, n_factors = f"feature_{view}", moments.sizes["factor"]
    loadings = points[f"loadings_{view}"].transpose("point", feature, "factor").values.astype(np.float64)
    intercept = points[f"intercept_{view}"]
    intercept = intercept if "group" in intercept.dims else intercept.expand_dims("group")
    shifts = intercept.transpose("group", "point", feature).values.astype(np.float64)
    weights = moments[f"weights_mean_{view}"].values[:, :n_factors]
    precision = precision_of_values(view, of_noise)
    n_groups = len(precision)
    pulls = np.empty((n_groups, len(loadings), n_factors, n_factors + 1))
    loadings, shifts = loadings - loadings.mean(axis=0), shifts - shifts.mean(axis=1, keepdims=True)
    for group, own in enumerate(precision):
        weighed = (weights * own[:, None]).T
        pulls[group, ..., :n_factors] = weighed @ loadings
        pulls[group, ..., n_factors] = shifts[min(group, len(shifts) - 1)] @ weighed.T
    return pulls


def _names(views: tuple[str, ...]) -> list[str]:
    return [f"{what}_{view}" for view in views for what in ("loadings", "intercept")]


def _take_places(draws: xr.Dataset, places: NDArray[np.intp]) -> xr.Dataset:
    """Take draws by their number, counted over chains, along the new dim `point`."""
    chain, draw = np.divmod(places, draws.sizes["draw"])
    return draws.isel(chain=xr.DataArray(chain, dims="point"), draw=xr.DataArray(draw, dims="point"))
