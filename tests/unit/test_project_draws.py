"""Projection under draws: as wide as the posterior itself, because loadings are uncertain there too."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design
from mofa_bayes.errors import ConvergenceWarning
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.project_draws import mix, take_points

LOADINGS = "loadings_a", "loadings_b"
SHORT = mb.Sampling(n_draws=300, n_tune=150, n_chains=2, n_jobs=1)


def sample(views, spec, settings=SHORT):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mb.fit(views, spec, engine="gibbs", settings=settings, progress=False)


@pytest.fixture(scope="module")
def noisy():
    """Two views of 60 subjects whose loadings are far from certain."""
    design = Design(n_subjects=60, n_features={"a": 20, "b": 20}, sharing=[("a", "b")] * 2, noise_sd=1.5)
    return mb.simulate_cohort(design, seed=1).views


@pytest.fixture(scope="module")
def sampled(noisy):
    return sample(noisy, mb.FactorModel(n_factors=2, loadings=mb.ARD(), min_variance=0.0))


def deviations(moments):
    return np.sqrt(np.diagonal(moments.covariances(), axis1=1, axis2=2)).mean(axis=0)


def test_subjects_of_the_fit_are_projected_with_the_width_that_they_had(sampled, noisy):
    """By E[w w'] alone they come out 11 % too narrow in this cohort, and 20 % at 100 features."""
    fitted, projected = sampled.factor_moments(), sampled.project(noisy)
    np.testing.assert_allclose(deviations(projected), deviations(fitted), rtol=0.1)
    assert deviations(projected).mean() > 0.95 * deviations(fitted).mean()
    np.testing.assert_allclose(projected.mean, fitted.mean, atol=0.15)


@pytest.mark.parametrize(("who", "apart"), [("the fit", 1e-5), ("a new cohort", 0.15)])
def test_imputation_takes_factors_and_loadings_as_they_were_drawn_together(sampled, noisy, who, apart):
    """A draw whose factors and loadings are both turned over says the same, though E[z] E[w] is then near 0."""
    hidden = noisy.dataset["values_a"].where(np.arange(20) > 2)
    asked = mb.MultiView(noisy.dataset.assign(values_a=hidden))
    draws = sampled.tree["posterior"].to_dataset()
    sign = xr.where(draws["draw"] % 2 == 0, np.float32(1), np.float32(-1))
    straight, turned = sampled.tree.copy(), sampled.tree.copy()
    turned["posterior"] = xr.DataTree(draws.assign({name: draws[name] * sign for name in ("factors", *LOADINGS)}))
    if who == "the fit":
        for tree in (straight, turned):
            tree.attrs["data_fingerprint"] = asked.fingerprint
    ours, theirs = (mb.Posterior(tree).impute(asked, seed=1) for tree in (straight, turned))
    for name in ("mean_a", "lower_a", "upper_a"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=apart)
    assert ours["mean_a"].values[:, :3].std() > 3 * apart


def test_a_saved_posterior_projects_the_same(sampled, noisy, tmp_path):
    sampled.save(tmp_path / "post.nc")
    ours, theirs = (post.project(noisy) for post in (sampled, mb.load(tmp_path / "post.nc")))
    np.testing.assert_array_equal(ours.mean, theirs.mean)
    np.testing.assert_array_equal(ours.covariances(), theirs.covariances())


def test_a_mixture_has_the_variance_within_and_that_between():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((4, 3, 2, 2))
    pattern = np.array([0, 2, 1, 0, 2])
    own = [
        FactorMoments(tuple("abcde"), ("F1", "F2"), rng.standard_normal((5, 2)), r @ np.swapaxes(r, 1, 2), pattern)
        for r in root
    ]
    found = mix(iter(own))
    np.testing.assert_allclose(found.mean, np.mean([one.mean for one in own], axis=0))
    between = np.array([np.cov(np.array([one.mean[n] for one in own]).T) for n in range(5)])
    within = np.mean([one.covariances() for one in own], axis=0)
    np.testing.assert_allclose(found.covariances(), within + between)
    np.testing.assert_allclose(mix(own[:1]).covariances(), own[0].covariances())


def test_points_are_draws_with_everything_that_rows_depend_on():
    """Groups, a covariate, precisions of factors, counts with dispersions beside gaussian columns."""
    rng = np.random.default_rng(1)
    z = rng.standard_normal((40, 1))
    real = z @ rng.normal(0, 1, (1, 4)) + rng.normal(0, 0.5, (40, 4))
    counts = rng.poisson(np.exp(z @ rng.normal(0, 0.5, (1, 3)) + 1)).astype(float)
    subjects = [f"p{n}" for n in range(40)]
    names = ["n0", "g0", "n1", "g1", "n2", "g2", "g3"]
    table = pd.DataFrame(np.column_stack([counts, real])[:, [0, 3, 1, 4, 2, 5, 6]], subjects, names)
    views = mb.MultiView.from_frames(
        {"a": table},
        likelihoods={"a": {name: "negative_binomial" if name[0] == "n" else "gaussian" for name in names}},
        groups=pd.Series(["x", "y"] * 20, subjects),
        covariates=pd.DataFrame({"age": rng.standard_normal(40)}, subjects),
    )
    spec = mb.FactorModel(n_factors=1, loadings=mb.ARD(), factors=mb.ARDFactors(), min_variance=0.0)
    post = sample(views, spec, mb.Sampling(n_draws=30, n_tune=10, n_chains=2, n_jobs=1))
    draws = post.tree["posterior"].to_dataset()
    points = list(take_points(post.tree))
    assert len(points) == 60
    for number, (chain, draw) in {0: (0, 0), 45: (1, 15)}.items():
        own, point = draws.isel(chain=chain, draw=draw), points[number]
        terms = point["weights_mean_a"]
        np.testing.assert_array_equal(terms[:, :1], own["loadings_a"].transpose("feature_a", "factor"))
        np.testing.assert_array_equal(terms[:, 1:3], own["intercept_a"].transpose("feature_a", "group"))
        np.testing.assert_array_equal(terms[:, 3], own["effects_a"].isel(covariate=0))
        noise = own["noise_sd_a"].sel(noisy_feature_a=names[1]).values
        np.testing.assert_allclose(point["precision_a"].sel(feature_a=names[1]), noise.astype(float) ** -2)
        np.testing.assert_array_equal(point["nuisance_a"].sel(feature_a=["n0", "n1", "n2"]), own["dispersion_a"])
        np.testing.assert_array_equal(point["factor_precision"], own["factor_precision"])
        assert (point["weights_var_a"] == 0).all()
    assert np.isfinite(post.project(views).mean).all()
