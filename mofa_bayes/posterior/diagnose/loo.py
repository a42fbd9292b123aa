"""Leave-one-subject-out prediction, by Pareto-smoothed importance sampling in ArviZ."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.posterior.convergence import rhat_and_ess


@dataclass(frozen=True, slots=True, eq=False)
class LeaveOneOut:
    """How well each subject is predicted from the others, its factors integrated out.

    Attributes
    ----------
    elpd, se
        Expected log predictive density of new subjects, summed over those of the fit, on the data's own scale, and its
        standard error.
    p
        Effective number of parameters.
    pareto_k
        Of each subject, without names: how much the posterior hangs on it.
    good_k
        What `pareto_k` should not exceed with this number of draws.
    """

    elpd: float
    se: float
    p: float
    pareto_k: NDArray[np.float64]
    good_k: float

    @property
    def counts(self) -> dict[str, int]:
        """Number of subjects by `pareto_k`: `good`, `bad` up to 1, and `very bad` above."""
        k = self.pareto_k
        good, bad = int((k <= self.good_k).sum()), int((k > 1).sum())
        return {"good": good, "bad": len(k) - good - bad, "very bad": bad}


def leave_one_out(log_likelihood: NDArray[np.float64], n_chains: int) -> LeaveOneOut:
    """Estimate it from log densities of each draw and subject, (S, N), chains one after the other in S."""
    import arviz_stats

    stats: Any = arviz_stats

    draws = log_likelihood.reshape(n_chains, -1, log_likelihood.shape[1])
    efficiency = 1.0
    if n_chains > 1:
        bulk = rhat_and_ess(draws)[1]
        efficiency = float(min(np.nanmean(bulk) / len(log_likelihood), 1.0)) if len(bulk) else 1.0
    named = xr.DataArray(draws, dims=("chain", "draw", "subject"), name="y")
    tree = xr.DataTree.from_dict(
        {"log_likelihood": named.to_dataset(), "posterior": named.mean("subject").to_dataset()}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # large k is told by the table, not by a warning
        found = stats.loo(tree, pointwise=True, var_name="y", reff=efficiency)
    k = np.asarray(found.pareto_k.values, dtype=np.float64)
    return LeaveOneOut(float(found.elpd), float(found.se), float(found.p), k, float(found.good_k))
