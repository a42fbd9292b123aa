"""Correlation of factors over the patients of a cohort, with draws."""

import numpy as np
import xarray as xr

from mofa_bayes.explain.summarise import require_aligned
from mofa_bayes.posterior import Posterior


def correlate_factors(post: Posterior) -> xr.DataArray:
    """Correlate factors over subjects, in every draw.

    Factors are independent under the prior; factors that correlate in the cohort share what they explain.

    Returns
    -------
    Dims (chain, draw, factor, factor_bis).

    Raises
    ------
    FitError
        The posterior's draws are not aligned.
    """
    require_aligned(post)
    draws = post.factors().transpose("chain", "draw", "subject", "factor")
    values = draws.values.astype(np.float64)
    values -= values.mean(axis=-2, keepdims=True)
    size = np.sqrt(np.square(values).sum(axis=-2, keepdims=True))
    values /= np.where(size > 0, size, 1.0)
    return xr.DataArray(
        np.swapaxes(values, -1, -2) @ values,
        dims=("chain", "draw", "factor", "factor_bis"),
        coords={
            **{name: draws[name].values for name in ("chain", "draw", "factor")},
            "factor_bis": draws["factor"].values,
        },
    )
