"""Groups, covariates and weights: what is known of subjects is taken into account, and only that."""

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.errors import DataError

N, D = 160, 40
SUBJECTS = [f"p{n:03d}" for n in range(N)]


@pytest.fixture(scope="module")
def data():
    """Two sites with other means and other noise, an age effect, and one factor that only site B has."""
    rng = np.random.default_rng(0)
    site = np.where(np.arange(N) % 2 == 0, "A", "B")
    z = rng.standard_normal((N, 2))
    z[site == "A", 1] = 0.0
    w = rng.standard_normal((D, 2))
    age = rng.normal(60, 10, N)
    slope = rng.normal(0, 1.0, D)
    means = {"A": rng.normal(0, 3, D), "B": rng.normal(0, 3, D)}
    noise = np.where(site == "A", 0.4, 1.2)[:, None]
    y = z @ w.T + np.outer((age - 60) / 10, slope) + np.stack([means[s] for s in site])
    y += noise * rng.standard_normal((N, D))
    frame = pd.DataFrame(y, SUBJECTS, [f"f{d:02d}" for d in range(D)])
    frame = frame.mask(rng.random(frame.shape) < 0.03)
    groups, covariates = pd.Series(site, SUBJECTS), pd.DataFrame({"age": age}, index=SUBJECTS)
    views = mb.MultiView.from_frames({"v": frame}, groups=groups, covariates=covariates)
    return views, z, slope, site, frame


@pytest.fixture(scope="module")
def fitted(data):
    spec = mb.FactorModel(n_factors=4, factors=mb.ARDFactors(), scale="none")
    return mb.fit(data[0], spec, progress=False)


def test_bound_never_falls_with_groups_and_covariates(fitted):
    bound, counts = fitted.bound.values, fitted.tree["fit"]["n_factors"].values
    rise = np.diff(bound)[np.diff(counts) == 0]
    assert (rise / abs(bound[-1])).min() > -1e-8


def test_factors_are_found_once_sites_and_age_are_taken_off(data, fitted):
    _, z, _, site, _ = data
    found = fitted.factor_moments().mean
    r = np.abs(np.corrcoef(z[site == "B"].T, found[site == "B"].T)[:2, 2:])
    assert r.max(axis=1).min() > 0.93


def test_effects_of_a_covariate_are_those_of_the_simulation(data, fitted):
    views, _, slope, _, _ = data
    effects = fitted.effects("v").mean(("chain", "draw")).sel(covariate="age").values
    spread = views.covariates.values.std() / 10
    assert np.corrcoef(effects, slope)[0, 1] > 0.98
    np.testing.assert_allclose(effects, slope * spread, atol=0.5)


def test_intercepts_and_noise_are_by_group(data, fitted):
    noise = fitted.noise_sd("v").mean(("chain", "draw", "feature_v")).to_series()
    assert noise["A"] == pytest.approx(0.4, abs=0.1)
    assert noise["B"] == pytest.approx(1.2, abs=0.15)
    assert fitted.intercepts("v").dims == ("chain", "draw", "group", "feature_v")


def test_a_factor_that_a_group_lacks_has_no_variance_there(data, fitted):
    _, z, _, site, _ = data
    found = fitted.factor_moments().mean
    only_b = int(np.abs(np.corrcoef(z[site == "B", 1], found[site == "B"].T)[0, 1:]).argmax())
    assert found[site == "A", only_b].var() < 0.1 * found[site == "B", only_b].var()


def test_without_them_sites_and_age_are_taken_for_factors(data):
    *_, frame = data
    plain = mb.fit(mb.MultiView.from_frames({"v": frame}), mb.FactorModel(n_factors=6), progress=False)
    assert len(plain.factor_names) >= 3


def test_new_subjects_need_their_group_and_covariates(data, fitted):
    views, *_ = data
    some = views.sel(SUBJECTS[:5])
    np.testing.assert_allclose(fitted.project(some).mean, fitted.factor_moments().mean[:5], atol=0.02)
    bare = mb.MultiView(some.dataset.drop_vars(["group"]))
    with pytest.raises(DataError, match="groups"):
        fitted.project(bare)
    with pytest.raises(DataError, match="covariates"):
        fitted.project(mb.MultiView(some.dataset.drop_vars(["covariates", "covariate"])))
    foreign = some.dataset.assign(group=("subject", np.array(["C"] * 5)))
    with pytest.raises(DataError, match="'C'"):
        fitted.project(mb.MultiView(foreign))


def test_imputation_knows_group_and_covariates(data, fitted):
    views, _, _, _, frame = data
    filled = fitted.impute(views)["mean_v"].values
    hidden = frame.isna().to_numpy()
    assert np.isfinite(filled).all()
    spread = filled[hidden].std()
    assert spread > 1.5  # site means differ by 3: ignoring them would leave far less


def test_variance_explained_by_factors_leaves_sites_and_age_out(data, fitted):
    total = float(mb.variance_explained(fitted)["total"].mean())
    assert 0.3 < total < 0.9


def test_weight_two_is_the_same_as_being_there_twice():
    """Oracle: doubling a subject's weight equals a second copy, as far as loadings and noise go, when z is certain."""
    rng = np.random.default_rng(2)
    z = rng.standard_normal((60, 1))
    y = z @ rng.standard_normal((1, 200)) * 3 + 0.3 * rng.standard_normal((60, 200))
    frame = pd.DataFrame(y, [f"a{n:02d}" for n in range(60)], [f"f{d:03d}" for d in range(200)])
    twice = pd.concat([frame, frame.set_axis([f"b{n:02d}" for n in range(60)], axis=0)])
    spec = mb.FactorModel(n_factors=1, loadings=mb.ARD())
    weighted = mb.fit(mb.MultiView.from_frames({"v": frame}, weights=pd.Series(2.0, frame.index)), spec, progress=False)
    doubled = mb.fit(mb.MultiView.from_frames({"v": twice}), spec, progress=False)
    ours, theirs = (post.noise_sd("v").mean(("chain", "draw")).values for post in (weighted, doubled))
    np.testing.assert_allclose(ours, theirs, rtol=0.05)
    ours, theirs = (post.tree["moments"]["weights_mean_v"].values[:, 0] for post in (weighted, doubled))
    np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_subjects_of_small_weight_hardly_count():
    rng = np.random.default_rng(3)
    good = np.outer(rng.standard_normal(80), rng.standard_normal(50)) + 0.3 * rng.standard_normal((80, 50))
    bad = np.outer(rng.standard_normal(80), rng.standard_normal(50)) * 3 + 0.3 * rng.standard_normal((80, 50))
    frame = pd.DataFrame(np.vstack([good, bad]), SUBJECTS, [f"f{d:02d}" for d in range(50)])
    weights = pd.Series(np.repeat([1.0, 1e-4], 80), SUBJECTS)
    views = mb.MultiView.from_frames({"v": frame}, weights=weights)
    post = mb.fit(views, mb.FactorModel(n_factors=1, scale="none"), progress=False)
    loading = post.tree["moments"]["weights_mean_v"].values[:, 0]
    direction = np.linalg.svd(good - good.mean(axis=0))[2][0]
    assert abs(np.corrcoef(loading, direction)[0, 1]) > 0.99


def test_imputation_refuses_unknown_groups_and_absent_covariates(data, fitted):
    """Filling with another group's intercepts would be wrong by the distance between sites, and silent."""
    views, *_ = data
    with pytest.raises(DataError, match="groups"):
        fitted.impute(views.forget_known())
    foreign = views.dataset.assign(group=("subject", np.array(["C"] * N)))
    with pytest.raises(DataError, match="'C'"):
        fitted.impute(mb.MultiView(foreign))


def test_fingerprint_tells_groups_covariates_and_weights_apart(data):
    views, *_ = data
    swapped = views.dataset["group"].values[::-1]
    others = [
        views.forget_known(),
        mb.MultiView(views.dataset.assign(group=("subject", swapped))),
        mb.MultiView(views.dataset.assign(covariates=views.dataset["covariates"] + 1)),
        mb.MultiView(views.dataset.assign(weight=("subject", np.ones(N)))),
    ]
    assert len({views.fingerprint, *(own.fingerprint for own in others)}) == 5
    assert views.sel(views.subjects[::-1]).fingerprint == views.fingerprint


def test_a_view_that_a_group_lacks_has_no_noise_there_and_is_explained_elsewhere(data):
    views, *_ = data
    frame = views["v"].to_pandas()
    groups, second = views.groups.to_series(), frame.add_prefix("w")
    both = mb.MultiView.from_frames({"v": frame, "w": second[groups == "B"]}, groups=groups)
    post = mb.fit(both, mb.FactorModel(n_factors=4), progress=False)
    noise = post.noise_sd("w")
    assert noise.sel(group="A").isnull().all()
    assert noise.sel(group="B").notnull().all()
    total = mb.variance_explained(post)["total"].mean(("chain", "draw")).to_series()
    assert total["w"] > 0.3
