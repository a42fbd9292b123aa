"""Two exact engines, one posterior: Gibbs and NUTS agree on what no rotation touches."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design


@pytest.fixture(scope="module")
def posts():
    """100 subjects, three views of 30 features, three factors, a tenth of the subjects without some view."""
    design = Design(
        n_subjects=100,
        n_features={"a": 30, "b": 30, "c": 30},
        sharing=[("a", "b", "c"), ("a", "b"), ("c",)],
        density=0.8,
        absent_view=0.1,
    )
    views = mb.simulate_cohort(design, seed=4).views
    spec = mb.FactorModel(n_factors=3, loadings=mb.ARD(), min_variance=0.0)
    gibbs = mb.Sampling(n_draws=2000, n_tune=500, n_chains=2, n_jobs=1)
    nuts = mb.Sampling(n_draws=500, n_tune=500, n_chains=2, n_jobs=1)
    return [
        mb.fit(views, spec, engine=engine, settings=settings, seed=1, progress=False)
        for engine, settings in (("gibbs", gibbs), ("nuts", nuts))
    ]


def communalities(post):
    """Variance of each feature that the factors explain, diag(W V W'), (chain, draw, feature)."""
    z = post.factors().transpose("chain", "draw", "subject", "factor").values.astype(np.float64)
    z = z - z.mean(axis=2, keepdims=True)
    covariance = np.einsum("csnk,csnl->cskl", z, z) / z.shape[2]
    loadings = [
        post.loadings(view).transpose("chain", "draw", f"feature_{view}", "factor").values for view in post.views
    ]
    w = np.concatenate(loadings, axis=2)
    return np.einsum("csdk,cskl,csdl->csd", w, covariance, w)


def noise(post):
    return np.concatenate([post.noise_sd(view).transpose("chain", "draw", ...).values for view in post.views], axis=2)


def variance_explained(post):
    return mb.variance_explained(post)["total"].transpose("chain", "draw", "view").values


@pytest.mark.slow
@pytest.mark.parametrize("quantity", [communalities, noise, variance_explained])
def test_means_agree_within_four_monte_carlo_errors(posts, quantity):
    means, errors = [], []
    for post in posts:
        draws = quantity(post)
        means.append(draws.mean(axis=(0, 1)))
        errors.append(array_stats.mcse(draws, chain_axis=0, draw_axis=1))
    z = (means[0] - means[1]) / np.hypot(*errors)
    assert np.abs(z).max() < 4
    assert (np.hypot(*errors) < 0.1 * np.abs(means[0]) + 0.01).all()  # or the agreement would say little
