"""Posteriors made of known arrays, for laws of what is read from them; no engine has a part in it."""

import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.posterior.moments import FactorMoments


def plant_posterior(
    factors: np.ndarray,
    loadings: Mapping[str, np.ndarray],
    *,
    covariance: np.ndarray | None = None,
    noise_sd: Mapping[str, np.ndarray] | None = None,
    active: Mapping[str, np.ndarray] | None = None,
    has_view: Mapping[str, np.ndarray] | None = None,
    groups: np.ndarray | None = None,
    spec: mb.FactorModel | None = None,
    chains: int = 1,
    is_sampled: bool = False,
) -> mb.Posterior:
    """Draws of factors (S, N, K) and of loadings by view (S, D, K), in chains one after the other; noise is 1.

    `is_sampled` makes it look like one of an engine that draws.
    """
    n_draws, n_subjects, n_factors = factors.shape
    subjects = np.array([f"p{n}" for n in range(n_subjects)])
    names = np.array([f"F{k + 1}" for k in range(n_factors)])

    def by_chain(values):
        return np.asarray(values).reshape(chains, n_draws // chains, *np.shape(values)[1:])

    draws = {"factors": (("chain", "draw", "subject", "factor"), by_chain(factors))}
    coords = {"chain": np.arange(chains), "draw": np.arange(n_draws // chains), "subject": subjects, "factor": names}
    if covariance is None:
        centred = factors - factors.mean(axis=0)
        covariance = np.einsum("snk,snl->nkl", centred, centred) / max(n_draws - 1, 1)
    moments = FactorMoments(
        tuple(subjects), tuple(names), factors.mean(axis=0), covariance, np.arange(n_subjects) % len(covariance)
    )
    stored = moments.to_dataset()
    for view, own in loadings.items():
        dim = f"feature_{view}"
        n_features = own.shape[1]
        coords[dim] = np.array([f"{view}_{d}" for d in range(n_features)])
        draws[f"loadings_{view}"] = (("chain", "draw", dim, "factor"), by_chain(own))
        noise = np.ones((n_draws, n_features)) if noise_sd is None else noise_sd[view]
        draws[f"noise_sd_{view}"] = (("chain", "draw", dim), by_chain(noise))
        if active is not None:
            draws[f"active_{view}"] = (("chain", "draw", dim, "factor"), by_chain(active[view]))
        seen = np.ones(n_subjects, dtype=bool) if has_view is None else has_view[view]
        stored[f"observed_{view}"] = (("subject",), seen)
        stored[f"latent_variance_{view}"] = ((dim,), np.ones(n_features))
        stored[f"likelihood_{view}"] = ((dim,), np.full(n_features, "gaussian"))
    stored = stored.assign_coords(group=["all"] if groups is None else np.unique(groups))
    if groups is not None:
        stored["group_of"] = (("subject",), groups)
    attrs = {
        "views": json.dumps(list(loadings)),
        "spec": (spec or mb.FactorModel(n_factors=n_factors, loadings=mb.ARD())).to_toml(),
        "aligned": 1,
        "engine": "planted",
        "fingerprint": "planted",
        "data_fingerprint": "planted",
    }
    posterior = xr.Dataset(draws, coords=coords)
    parts = {"posterior": posterior, "moments": stored, "fit": xr.Dataset()}
    tree = xr.DataTree.from_dict(parts | ({"alignment": xr.Dataset()} if is_sampled else {}))
    tree.attrs.update(attrs)
    return mb.Posterior(tree)
