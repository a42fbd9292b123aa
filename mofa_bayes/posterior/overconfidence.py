"""How much surer of the factors mean-field inference is than it should be, because it takes loadings as settled.

q(z) q(W) keeps factors and loadings apart, while errors of one move the other. Of a factor that stands out from white
noise with a signal-to-noise ratio s, found in n subjects and D features, the squared correlation with the truth is

    r^2 = (1 - g / s^2) / (1 + 1 / s),   g = D / n

(Benaych-Georges and Nadakuditi 2012, J Multivariate Analysis 111:120, for left singular vectors), where q(z) takes
1 / (1 + 1 / s) for granted. Regressions on its means are then too flat by the root of the numerator. Everything in it
is in the fit: s = (1 - V_kk) / V_kk, and c = sum_d tau_d Var(w_dk), in which features that sparse priors leave out do
not count, is g after the prior's shrinkage, c = g / (1 + g / s). Predicted for one factor and 300 subjects beside what
simulations showed: .03 for .07 (20 features, reliability .5), .05 for .04 (400, .8), .17 for .22 (1,700, .8).
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.posterior.precision import precision_of_values

_SMALLEST = 1e-6


def estimate_attenuation(tree: xr.DataTree) -> NDArray[np.float64]:
    """Estimate the share by which effects of each factor come out too near to zero, 1 - sqrt(1 - g / s^2), (K,).

    Zero for sampling engines, which know how loadings and factors go together, and where covariances of the subjects
    have been left out; one for factors that noise alone would explain.
    """
    moments = tree.children["moments"].to_dataset()
    n_factors = moments.sizes["factor"]
    if "alignment" in tree.children or "factors_cov" not in moments:
        return np.zeros(n_factors)
    by_pattern = np.diagonal(moments["factors_cov"].values, axis1=1, axis2=2)
    variance = np.clip(by_pattern[moments["pattern_of"].values].mean(axis=0), _SMALLEST, 1 - _SMALLEST)
    signal = (1 - variance) / variance
    spread = np.zeros(n_factors)
    for view in (str(name)[13:] for name in moments.data_vars if str(name).startswith("weights_mean_")):
        spread += _spread_of_loadings(view, moments)
    noise = spread / np.maximum(1 - spread / signal, _SMALLEST)
    attenuation: NDArray[np.float64] = 1 - np.sqrt(np.maximum(1 - noise / signal**2, 0.0))
    return attenuation


def _spread_of_loadings(view: str, moments: xr.Dataset) -> NDArray[np.float64]:
    """Sum over the features that a subject has of tau_d Var(w_dk), (K,)."""
    if f"weights_var_{view}" in moments:
        own = moments[f"weights_var_{view}"].values
    else:
        own = np.diagonal(moments[f"weights_cov_{view}"].values, axis1=1, axis2=2)
    precision = precision_of_values(view, moments).mean(axis=0)
    total: NDArray[np.float64] = precision @ own[:, : moments.sizes["factor"]]
    share = float(moments[f"observed_{view}"].mean()) if f"observed_{view}" in moments else 1.0
    return total * share
