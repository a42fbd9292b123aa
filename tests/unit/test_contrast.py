"""Laws of contrasts: between two fits, and between the groups of one."""

import numpy as np
import pytest
from planted import plant_posterior

import mofa_bayes as mb
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.errors import DataError, FitError


def fit_of(loadings, rng, n_draws=50, spread=0.05, spec=None):
    """Posterior whose loadings by view are normal around what is given."""
    draws = {view: w + spread * rng.standard_normal((n_draws, *w.shape)) for view, w in loadings.items()}
    n_factors = next(iter(loadings.values())).shape[1]
    return plant_posterior(rng.standard_normal((n_draws, 10, n_factors)), draws, spec=spec)


@pytest.fixture
def twins():
    """Loadings of two sparse fits: the second has other signs and another order, and three features changed."""
    rng = np.random.default_rng(0)
    first = {"rna": rng.standard_normal((40, 3)) * (rng.random((40, 3)) < 0.5), "ehr": rng.standard_normal((15, 3))}
    changed = {view: w.copy() for view, w in first.items()}
    changed["rna"][[3, 8, 11], 1] += 1.5
    second = {view: w[:, [2, 0, 1]] * [1, -1, -1] for view, w in changed.items()}
    spec = mb.FactorModel(n_factors=3, loadings=mb.SpikeSlab())
    return fit_of(first, rng, spec=spec), fit_of(second, rng, spec=spec), first


def test_factors_are_matched_in_whatever_order_and_sign(twins):
    post, other, _ = twins
    table = mb.match_factors(post, other).set_index("factor")
    assert table["other_factor"].to_dict() == {"F1": "F2", "F2": "F3", "F3": "F1"}
    assert (table["of_means"].drop("F2") > 0.99).all()
    assert table.loc["F2", "of_means"] < 0.97
    assert (table["lower"] <= table["congruence"]).all()
    assert (table["congruence"] <= table["of_means"]).all()
    assert table["alike"].to_dict() == {"F1": 1, "F2": 1, "F3": 1}


def test_changed_loadings_are_found_and_no_others(twins):
    post, other, first = twins
    table = mb.contrast(post, other)
    top = table.head(3)
    assert set(top["feature"]) == {"rna_3", "rna_8", "rna_11"}
    assert (top["factor"] == "F2").all()
    assert (top["other_factor"] == "F3").all()
    np.testing.assert_allclose(top["difference"], -1.5, atol=0.1)
    assert (table["fdr"] < 0.05).sum() <= 5
    assert len(table) == 55 * 3
    one = table.set_index(["view", "factor", "feature"]).loc[("ehr", "F1", "ehr_4")]
    assert (one["mean"], one["other_mean"]) == pytest.approx((first["ehr"][4, 0],) * 2, abs=0.03)
    np.testing.assert_allclose(table["difference"], table["mean"] - table["other_mean"], atol=1e-12)


def test_fits_of_the_same_loadings_differ_as_often_as_intervals_allow():
    rng = np.random.default_rng(1)
    truth = {"rna": rng.standard_normal((400, 2))}
    spec = mb.FactorModel(n_factors=2, loadings=mb.SpikeSlab())
    noisy = [{"rna": truth["rna"] + 0.2 * rng.standard_normal((400, 2))} for _ in range(2)]
    first, second = (fit_of(own, rng, n_draws=400, spread=0.2, spec=spec) for own in noisy)
    table = mb.contrast(first, second, level=0.9)
    assert ((table["lower"] <= 0) & (table["upper"] >= 0)).mean() == pytest.approx(0.9, abs=0.035)
    assert (table["p"] < 0.05).mean() == pytest.approx(0.05, abs=0.025)
    assert (table["fdr"] < 0.05).sum() <= 1
    assert (mb.contrast(first, second, min_effect=0.5)["p"] < 0.05).mean() < 0.005


def test_contrast_turns_over_with_the_order_of_the_fits(twins):
    post, other, _ = twins
    one = mb.contrast(post, other).set_index(["view", "factor", "feature"])
    back = mb.contrast(other, post)
    sign = back["other_factor"].map({"F1": -1.0, "F2": -1.0, "F3": 1.0})
    back = back.assign(difference=-sign * back["difference"], factor=back["other_factor"])
    back = back.set_index(["view", "factor", "feature"]).loc[one.index]
    np.testing.assert_allclose(one["difference"], back["difference"], atol=1e-12)
    np.testing.assert_allclose(one["same_sign"], back["same_sign"])


def test_dense_fits_are_brought_to_one_rotation():
    rng = np.random.default_rng(2)
    truth = rng.standard_normal((60, 3))
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    first, second = (fit_of({"rna": w}, rng) for w in (truth, truth @ turn))
    assert (mb.match_factors(first, second)["of_means"] > 0.99).all()
    sparse = mb.FactorModel(n_factors=3, loadings=mb.SpikeSlab())
    first, second = (fit_of({"rna": w}, rng, spec=sparse) for w in (truth, truth @ turn))
    assert mb.match_factors(first, second)["of_means"].min() < 0.9


def test_factors_without_a_counterpart_are_left_out():
    rng = np.random.default_rng(3)
    w, spec = rng.standard_normal((50, 3)), mb.FactorModel(n_factors=3, loadings=mb.SpikeSlab())
    post, other = fit_of({"rna": w}, rng, spec=spec), fit_of({"rna": w[:, [2, 0]]}, rng, spec=spec, n_draws=30)
    table = mb.match_factors(post, other).set_index("factor")
    assert table["other_factor"].to_dict() == {"F1": "F2", "F2": "", "F3": "F1"}
    assert np.isnan(table.loc["F2", "congruence"])
    assert set(mb.contrast(post, other)["factor"]) == {"F1", "F3"}
    assert mb.match_factors(other, post)["other_factor"].tolist() == ["F3", "F1"]
    dense = fit_of({"rna": w}, rng), fit_of({"rna": w[:, [2, 0]]}, rng)
    assert len(mb.match_factors(*dense)) == 3


def test_loadings_on_the_scale_of_the_data_are_those_times_its_scale(cohort, post):
    other = mb.fit(cohort.views, mb.FactorModel(n_factors=5), seed=9, n_draws=100, progress=False)
    model, data = (
        mb.contrast(post, other, scale=scale).set_index(["view", "factor", "feature"]) for scale in ("model", "data")
    )
    for view in post.views:
        scale = Preprocessing(dataset=post.preprocessing.dataset).scale(view)
        own = model.loc[view].swaplevel().loc[list(post.features(view))]
        units = np.repeat(scale, len(post.factor_names))
        found = data.loc[view].swaplevel().loc[own.index]
        np.testing.assert_allclose(found["mean"], own["mean"] * units, rtol=1e-5)
    assert (mb.match_factors(post, other)["congruence"] > 0.9).all()
    assert model["same_sign"].between(0, 1).all()


def test_fits_with_nothing_in_common_are_refused(post):
    rng = np.random.default_rng(4)
    stranger = fit_of({"protein": rng.standard_normal((5, 2))}, rng)
    with pytest.raises(DataError, match="no feature in common"):
        mb.contrast(post, stranger)
    with pytest.raises(DataError, match="scale"):
        mb.contrast(post, post, scale="raw")
    with pytest.raises(DataError, match="min_effect"):
        mb.contrast(post, post, min_effect=-1)
    with pytest.raises(DataError, match="Posterior"):
        mb.contrast(post, "fit.nc")
    tree = stranger.tree.copy()
    tree.attrs["aligned"] = 0
    with pytest.raises(FitError, match="aligned"):
        mb.match_factors(post, mb.Posterior(tree))


@pytest.fixture(scope="module")
def sites():
    """Two sites: the first factor acts only in the first; site two has no view b for anyone."""
    rng = np.random.default_rng(5)
    groups = np.repeat(["one", "two"], [60, 40])
    factors = rng.standard_normal((1, 100, 2)) * np.where(groups == "one", 1, 0.05)[:, None] ** [1, 0]
    factors = factors + 0.02 * rng.standard_normal((30, 100, 2)) + np.where(groups == "one", 3, -3)[:, None]
    loadings = {view: np.tile(rng.standard_normal((12, 2)), (30, 1, 1)) for view in ("a", "b")}
    has = {"a": np.ones(100, bool), "b": groups == "one"}
    return plant_posterior(factors, loadings, groups=groups, has_view=has)


def test_activity_by_group_is_that_of_the_signal(sites):
    shares = mb.variance_by_group(sites)
    z, w = sites.factors().values[0, 3], sites.loadings("a").values[0, 3]
    for name in ("one", "two"):
        rows = sites.groups().values == name
        signal = (z[rows] @ w.T).var(axis=0).sum()
        own = shares.isel(chain=0, draw=3).sel(group=name, view="a")
        assert float(own["total"]) == pytest.approx(signal / (signal + 12))
        alone = [np.outer(z[rows, k], w[:, k]).var(axis=0).sum() for k in range(2)]
        np.testing.assert_allclose(own["alone"], np.array(alone) / (signal + 12))
        np.testing.assert_allclose(own["factor_variance"], z[rows].var(axis=0))
    assert shares["alone"].sel(group="two", view="b").isnull().all()
    assert shares["alone"].sel(group="one", view="b").notnull().all()


def test_a_factor_that_one_group_lacks_is_found(sites):
    table = mb.contrast_groups(sites).set_index(["view", "factor"])
    assert (table["group"] == "two").all()
    assert (table["reference"] == "one").all()
    row = table.loc[("a", "F1")]
    assert row["share"] < 0.02 < 0.2 < row["reference_share"]
    assert row["upper"] < -0.2
    assert (row["probability"], row["sign_probability"]) == (0, 1)
    assert table.loc["b"][["difference", "probability", "sign_probability"]].isna().all(axis=None)
    back = mb.contrast_groups(sites, "two").set_index(["view", "factor"])
    np.testing.assert_allclose(back["difference"], -table.loc[back.index, "difference"])


def test_groups_of_a_real_fit_add_up_to_its_variance(cohort):
    """With every subject in one of two groups by chance, activity in each is near that of all."""
    groups = np.where(np.arange(cohort.views.n_subjects) % 2, "x", "y")
    views = mb.MultiView(cohort.views.dataset.assign(group=("subject", groups)))
    fitted = mb.fit(views, mb.FactorModel(n_factors=3), n_draws=50, progress=False)
    by_group = mb.variance_by_group(fitted)["total"].mean(("chain", "draw"))
    whole = mb.variance_explained(fitted)["total"].mean(("chain", "draw"))
    assert list(by_group["group"].values) == ["x", "y"]
    for view in ("rna", "meth"):
        assert float(by_group.sel(view=view).mean()) == pytest.approx(float(whole.sel(view=view)), abs=0.05)


def test_cohorts_without_groups_have_none_to_compare(post, sites):
    with pytest.raises(DataError, match="1 groups"):
        mb.contrast_groups(post)
    with pytest.raises(DataError, match="'three'"):
        mb.contrast_groups(sites, "three")
    whole = mb.variance_explained(post)
    own = mb.variance_by_group(post).squeeze("group", drop=True)
    np.testing.assert_allclose(own["total"], whole["total"], rtol=1e-6)
    np.testing.assert_allclose(own["alone"], whole["alone"], rtol=1e-6)
