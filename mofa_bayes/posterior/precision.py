"""How precisely a value shows what loadings and factors make of it."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.likelihoods import REAL


def precision_of_values(view: str, moments: xr.Dataset) -> NDArray[np.float64]:
    """Return the precision of each feature's values given eta, on the scale of eta, by group of subjects (G, D).

    Of real values that of their noise; of the others the inverse of their latent variance, pi^2 / 3 of bernoulli ones.
    """
    precision: NDArray[np.float64] = np.where(
        np.isin(moments[f"likelihood_{view}"].values, REAL),
        moments[f"precision_{view}"].values,
        1 / moments[f"latent_variance_{view}"].values,
    )
    return precision
