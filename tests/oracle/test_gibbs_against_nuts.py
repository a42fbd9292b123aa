"""Two samplers that share no code, PyMC's NUTS on the graph and the gibbs engine, have the same posterior."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design


def quantities(post):
    """What no rotation or scale of factors touches: covariances that factors explain, and noise; (chain, draw, .)."""
    z = post.factors().transpose("chain", "draw", "subject", "factor").values.astype(np.float64)
    z = z - z.mean(axis=2, keepdims=True)
    covariance = np.einsum("cdnk,cdnl->cdkl", z, z) / z.shape[2]
    w = [post.loadings(view).transpose("chain", "draw", ..., "factor").values for view in post.views]
    w = np.concatenate(w, axis=2).astype(np.float64)
    rows, columns = np.tril_indices(w.shape[2])
    product = (w @ covariance @ w.transpose(0, 1, 3, 2))[:, :, rows, columns]
    noise = [post.noise_sd(view).transpose("chain", "draw", ...).values for view in post.views]
    explained = mb.variance_explained(post)["total"].transpose("chain", "draw", "view").values
    return np.concatenate([product, np.log(np.concatenate(noise, axis=2)), explained], axis=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_gibbs_and_nuts_agree():
    names = ("a", "b", "c")
    design = Design(
        n_subjects=100, n_features=dict.fromkeys(names, 30), sharing=[names, names[:2], names[1:]], missing=0.02
    )
    views = mb.simulate_cohort(design, seed=4).views
    spec = mb.FactorModel(n_factors=3, loadings=mb.ARD(precision=mb.Gamma(shape=2.0, rate=1.0)))
    gibbs = mb.fit(views, spec, engine="gibbs", settings=mb.Sampling(n_draws=4000, n_chains=2), progress=False)
    nuts = mb.fit(
        views, spec, engine="nuts", settings=mb.Sampling(n_draws=1000, n_chains=2, target_accept=0.95), progress=False
    )
    ours, theirs = quantities(gibbs), quantities(nuts)
    error = 0.0
    for own in (ours, theirs):
        ess = np.asarray(array_stats.ess(own, chain_axis=0, draw_axis=1))
        error = error + own.var(axis=(0, 1)) / ess
    score = np.abs(ours.mean(axis=(0, 1)) - theirs.mean(axis=(0, 1))) / np.sqrt(error)
    # Four errors for each; of four thousand that depend on each other a few more are to be expected.
    assert np.mean(score < 4) > 0.999
    assert score.max() < 5
