"""The error that all new patients share: loadings are not known, and what is wrong with them turns every projection.

q(z* | x*) takes loadings as what the fit made of them. With D features and n subjects of the fit a projection's own
error falls with D, but that of the coordinates (how factors are scaled, mixed and centred) falls with n alone, and is
the same for everybody: with 6,200 features and 100 subjects 95 % intervals that leave it out cover 0.26. Mean-field
posteriors of loadings do not hold it either, for it is common to all features. It is measured here by the jackknife
that deletes groups: the model is fitted again without each fold of the subjects, and z* found by fold g is, nearly,

    z*_g = a_g + B_g z*,      Var z* = Var(z* | loadings) + (G - 1) / G sum_g e_g e_g',  e_g = z*_g - mean of z*_g

(Kott 2001, Journal of Official Statistics 17:521). Only a_g and B_g are kept, K (K + 1) numbers for each fold, so that
they serve any pattern of missing views and hold nothing of a patient.
"""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm, t

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.posterior.moments import FactorMoments

Array = NDArray[np.float64]
_TAIL = 0.975


@dataclass(frozen=True, slots=True, eq=False)
class SharedError:
    """What the folds make of the same factors.

    Attributes
    ----------
    offset
        a_g by group of subjects (G, groups, K).
    turn
        B_g, applied to rows from the right (G, K, K).
    """

    offset: Array
    turn: Array

    @classmethod
    def learn(cls, whole: Array, folds: Array, group_of: NDArray[np.intp], n_groups: int) -> "SharedError":
        """Regress what each fold found on what the whole fit did.

        Parameters
        ----------
        whole
            Means of the factors under the whole fit (N, K).
        folds
            The same under each fold's fit, matched to it (G, N, K).
        group_of, n_groups
            Group of each subject (N,), and how many there are.
        """
        known = np.column_stack([np.eye(n_groups)[group_of], whole])
        found = np.stack([np.linalg.lstsq(known, own, rcond=None)[0] for own in folds])
        return cls(found[:, :n_groups], found[:, n_groups:])

    def widen(self, moments: FactorMoments, group_of: NDArray[np.intp]) -> FactorMoments:
        """Add the shared error to moments that take loadings as known; those are kept as `given_loadings`.

        The variance over G folds is itself an estimate with G - 1 degrees of freedom: it is multiplied by
        (t / z)^2 of the 97.5 % quantiles, so that normal intervals of 95 % hold.
        """
        n_folds = len(self.turn)
        weight = (n_folds - 1) / n_folds * (t.ppf(_TAIL, n_folds - 1) / norm.ppf(_TAIL)) ** 2
        offset, turn = (own - own.mean(axis=0) for own in (self.offset, self.turn))
        moved = offset[:, group_of] + moments.mean @ turn
        covariance = moments.covariances()
        shared = np.einsum("gnk,gnl->nkl", moved, moved)
        shared += np.einsum("gjk,njm,gml->nkl", turn, covariance, turn, optimize=True)
        rows = np.arange(len(covariance))
        wide = covariance + weight * shared
        return replace(moments, covariance=wide, pattern=rows, given_loadings=moments)

    def to_dataset(self, factors: NDArray[np.str_], groups: NDArray[np.str_]) -> xr.Dataset:
        """Label the numbers."""
        return xr.Dataset(
            {
                "offset": (("fold", "group", "factor"), self.offset),
                "turn": (("fold", "factor", "factor_bis"), self.turn),
            },
            coords={"factor": factors, "factor_bis": factors, "group": groups},
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> "SharedError":
        """Read what `to_dataset` wrote."""
        return cls(
            dataset["offset"].transpose("fold", "group", "factor").values.astype(np.float64),
            dataset["turn"].transpose("fold", "factor", "factor_bis").values.astype(np.float64),
        )


def take_loadings_as_noise(moments: xr.Dataset) -> xr.Dataset:
    """Integrate each feature's own loadings out of the likelihood of a new patient.

    x_d | z ~ N(E[w_d]'z, 1 / tau_d + z' Var(w_d) z), with the prior's z z' = I in the small second term. The update of
    vi has the precision tau_d E[w_d w_d'] instead, which is right for subjects who took part in the fit of w_d, but
    shrinks new ones: truths were 1.11 times as far out as their projections (100 subjects, a weak view of 200
    features), and 0.98 times as far so. Features without noise of their own are left as they are.
    """
    found = moments.copy()
    n_factors = moments.sizes["factor"]
    views = [str(name)[13:] for name in moments.data_vars if str(name).startswith("weights_mean_")]
    for view in views:
        is_real = np.isin(moments[f"likelihood_{view}"].values, REAL)
        name = next(own for own in (f"weights_var_{view}", f"weights_cov_{view}") if own in moments)
        spread, precision = moments[name], moments[f"precision_{view}"]
        by_term = spread.values if spread.ndim == 2 else np.diagonal(spread.values, axis1=1, axis2=2)
        noise = 1 / precision.values + by_term[:, :n_factors].sum(axis=1)
        keep = np.where(is_real, 0.0, 1.0).reshape(-1, *(1,) * (spread.ndim - 1))
        found[f"precision_{view}"] = precision.copy(data=np.where(is_real, 1 / noise, precision.values))
        found[name] = spread.copy(data=spread.values * keep)
    return found
