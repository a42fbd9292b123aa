"""Projection under draws: as wide as the posterior itself, because loadings are uncertain there too."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design
from mofa_bayes.errors import ConvergenceWarning
from mofa_bayes.posterior.drawn_error import DrawnError
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
    for k in range(2):
        assert np.corrcoef(projected.mean[:, k], fitted.mean[:, k])[0, 1] > 0.995


def test_new_subjects_are_where_their_projection_says():
    """A mixture over draws without weights fails both laws: it draws weak factors of many features in."""
    rng = np.random.default_rng(3)
    factor = rng.standard_normal(100 + 2000)
    values = np.outer(factor, rng.standard_normal(300)) + 8.0 * rng.standard_normal((len(factor), 300))
    table = pd.DataFrame(values, [f"p{n:04d}" for n in range(len(factor))], [f"f{d}" for d in range(300)])
    halves = {"a": table.iloc[:, :150], "b": table.iloc[:, 150:]}
    views = mb.MultiView.from_frames({view: half.iloc[:100] for view, half in halves.items()})
    post = sample(views, mb.FactorModel(n_factors=1, loadings=mb.ARD(), min_variance=0.0))
    found = post.project({view: half.iloc[100:] for view, half in halves.items()})
    in_units_of_the_cohort = (factor - factor[:100].mean()) / factor[:100].std()
    truth = pd.Series(in_units_of_the_cohort, table.index)[list(found.subjects)].to_numpy()
    mean, sd = found.mean[:, 0], np.sqrt(found.covariances()[:, 0, 0])
    slope = np.polyfit(mean, truth, 1)[0]
    assert 0.9 < abs(slope) < 1.2
    assert 0.9 < (np.abs(truth - np.sign(slope) * mean) < 1.96 * sd).mean() < 0.98


def test_the_shared_error_is_the_mean_square_of_what_each_draw_moves():
    """Two groups, views seen in part: every draw applied to every subject, one after the other."""
    rng = np.random.default_rng(0)
    n_subjects, n_draws, n_factors = 5, 6, 2
    error = DrawnError(("a", "b"), 0.1 * rng.standard_normal((2, 2, n_draws, n_factors, n_factors + 1)))
    root = rng.standard_normal((3, n_factors, n_factors))
    moments = FactorMoments(
        tuple("vwxyz"), ("F1", "F2"), rng.standard_normal((n_subjects, 2)), root @ np.swapaxes(root, 1, 2),
        np.array([0, 1, 2, 0, 0]),
    )  # fmt: skip
    seen, group_of = np.array([[1, 1], [0, 1], [0.5, 0.25], [1, 0], [1, 1]]), np.array([0, 1, 1, 0, 1])
    found = error.widen(moments, seen, group_of).covariances()
    for n in range(n_subjects):
        v = moments.covariances()[n]
        expected = v.copy()
        for s in range(n_draws):
            moved = v @ (seen[n, 0] * error.pulls[group_of[n], 0, s] + seen[n, 1] * error.pulls[group_of[n], 1, s])
            turn, offset = moved[:, :n_factors], moved[:, n_factors]
            step = turn @ moments.mean[n] + offset
            expected += (np.outer(step, step) + turn @ v @ turn.T) / (n_draws - 1)
        np.testing.assert_allclose(found[n], expected)


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
