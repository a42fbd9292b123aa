"""Means and standard deviations of a posterior as plain arrays: what formats hold that have no room for draws."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.posterior import Posterior

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ViewMeans:
    """Posterior means of one view, D features on the model's scale.

    Attributes
    ----------
    loadings, loadings_sd
        (D, K); the standard deviation is NaN where a posterior holds means alone.
    intercepts
        By group, (G, D).
    effects
        Of standardised covariates, (C, D).
    """

    loadings: Array
    loadings_sd: Array
    intercepts: Array
    effects: Array


def read_view(post: Posterior, view: str) -> ViewMeans:
    """Read a view's moments, in the order of `post.features(view)`."""
    moments = post.tree.children["moments"].to_dataset().sel({f"feature_{view}": list(post.features(view))})
    mean = moments[f"weights_mean_{view}"].values.astype(np.float64)
    if f"weights_var_{view}" in moments:
        variance = moments[f"weights_var_{view}"].values
    else:
        variance = np.diagonal(moments[f"weights_cov_{view}"].values, axis1=1, axis2=2)
    n_factors, effects = len(post.factor_names), post.effects(view)
    n_known = mean.shape[1] - (0 if effects is None else effects.sizes["covariate"])
    return ViewMeans(
        loadings=mean[:, :n_factors],
        loadings_sd=np.sqrt(variance[:, :n_factors]),
        intercepts=mean[:, n_factors:n_known].T,
        effects=mean[:, n_known:].T,
    )


def read_factors(post: Posterior) -> tuple[Array, Array]:
    """Mean and standard deviation of the factors, (N, K) each, in the order of `post.subjects`."""
    if not post.has_uncertainty:
        mean = post.factors().mean(("chain", "draw")).values.astype(np.float64)
        return mean, np.full_like(mean, np.nan)
    moments = post.factor_moments().sel(post.subjects)
    return moments.mean, np.sqrt(np.diagonal(moments.covariance, axis1=1, axis2=2))[moments.pattern]
