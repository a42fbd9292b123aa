"""Laws of variance explained, sharing and biomarkers."""

from dataclasses import replace

import numpy as np
import pytest
from planted import plant_posterior
from scipy.stats import norm

import mofa_bayes as mb
from mofa_bayes.errors import DataError, FitError
from mofa_bayes.explain import summarise


def test_parts_of_the_variance_sum_to_the_whole(post):
    shares = mb.variance_explained(post)
    np.testing.assert_allclose(shares["by_factor"].sum("factor"), shares["total"])
    assert ((shares["total"] > 0) & (shares["total"] < 1)).all()


def test_variance_explained_matches_a_direct_computation_from_the_draws(post):
    """Oracle: variance over subjects of each feature of Z W', summed, by one pass over N x D."""
    shares = mb.variance_explained(post)
    has_view = post.has_view("ehr").values
    for draw in (0, 7):
        z = post.factors().values[0, draw][has_view].astype(float)
        w = post.loadings("ehr").values[0, draw].astype(float)
        signal = (z @ w.T).var(axis=0).sum()
        alone = [(np.outer(z[:, k], w[:, k])).var(axis=0).sum() for k in range(z.shape[1])]
        noise = (post.noise_sd("ehr").values[0, draw].astype(float) ** 2).sum() + 4 * np.pi**2 / 3
        own = shares.isel(chain=0, draw=draw).sel(view="ehr")
        np.testing.assert_allclose(float(own["total"]), signal / (signal + noise), rtol=1e-6)
        np.testing.assert_allclose(own["alone"].values, np.array(alone) / (signal + noise), rtol=1e-6)


def test_variance_explained_is_near_the_truth(cohort, post):
    found = mb.variance_explained(post)["total"].mean(("chain", "draw")).to_series()
    for view in ("rna", "meth"):
        signal = (cohort.factors.to_numpy() @ cohort.loadings[view].T).var(axis=0)
        assert found[view] == pytest.approx(np.mean(signal / (signal + 1.0)), abs=0.06)


def test_sharing_probabilities_are_those_of_the_draws(post):
    table = mb.sharing(post, min_variance=0.01)
    alone = mb.variance_explained(post)["alone"]
    for view in post.views:
        share = (alone.sel(view=view) >= 0.01).mean(("chain", "draw")).to_series()
        np.testing.assert_allclose(table[f"active_{view}"], share.loc[table.index])
    assert set(table["kind"]) <= {"shared", "partly_shared", "specific", "inactive"}
    assert table["probability"].between(0.25, 1).all()


def test_nothing_is_active_at_a_threshold_that_nothing_reaches(post):
    table = mb.sharing(post, min_variance=0.99)
    assert (table["kind"] == "inactive").all()
    assert (table["views"] == "").all()


def test_biomarkers_are_in_order_and_their_rate_is_a_running_mean(post):
    table = mb.biomarkers(post, "rna")
    assert len(table) == 60 * 3
    assert (np.diff(table["local_fdr"]) >= 0).all()
    np.testing.assert_allclose(table["fdr"], table["local_fdr"].expanding().mean())
    np.testing.assert_allclose(table["inclusion"], 1 - table["local_fdr"])
    assert ((table["lower"] <= table["mean"]) & (table["mean"] <= table["upper"])).mean() > 0.95


def test_a_stricter_rate_gives_a_shorter_list_that_keeps_it(post):
    loose, strict = (mb.biomarkers(post, fdr=fdr) for fdr in (0.2, 0.01))
    assert 0 < len(strict) < len(loose)
    assert strict["fdr"].max() <= 0.01
    assert strict.attrs["expected_false"] == pytest.approx(strict["local_fdr"].sum())
    assert strict.attrs["expected_false"] <= 0.01 * len(strict)


def test_biomarkers_of_all_views_hold_those_of_each(post):
    whole = mb.biomarkers(post)
    assert len(whole) == (60 + 40 + 12) * 3
    own = whole[whole["view"] == "meth"].set_index(["factor", "feature"])["mean"]
    one = mb.biomarkers(post, "meth").set_index(["factor", "feature"])["mean"]
    np.testing.assert_allclose(own.loc[one.index], one)


def test_dense_prior_lists_by_sign(cohort):
    dense = mb.fit(cohort.views, mb.FactorModel(n_factors=3, loadings=mb.ARD()), n_draws=100, progress=False)
    table = mb.biomarkers(dense, "rna", factors=["F1"])
    assert table["inclusion"].isna().all()
    np.testing.assert_allclose(table["local_fdr"], 1 - table["sign_probability"])
    draws = dense.loadings("rna").sel(factor="F1")
    first = table.iloc[0]
    own = draws.sel(feature_rna=first["feature"]).values
    assert first["sign_probability"] == max((own > 0).mean(), (own < 0).mean())


def test_summary_is_that_of_the_draws(post):
    draws = post.noise_sd("rna")
    table = summarise(draws, level=0.8).set_index("feature_rna")
    one = draws.sel(feature_rna="rna_3").values.ravel().astype(float)
    row = table.loc["rna_3"]
    np.testing.assert_allclose(row[["mean", "sd"]].astype(float), [one.mean(), one.std(ddof=1)], rtol=1e-6)
    np.testing.assert_allclose(row[["lower", "upper"]].astype(float), np.quantile(one, [0.1, 0.9]), rtol=1e-6)
    assert row["level"] == 0.8


@pytest.mark.parametrize("explain", [mb.variance_explained, mb.sharing, mb.biomarkers])
def test_unaligned_draws_are_refused(post, explain):
    tree = post.tree.copy()
    tree.attrs["aligned"] = 0
    with pytest.raises(FitError, match="aligned"):
        explain(replace(post, tree=tree))


def test_called_at_a_rate_the_true_rate_is_that():
    """Draws from the exact posterior of a spike and a slab: over 12 tables, 5 % of the calls are false."""
    rng = np.random.default_rng(0)
    false, called = np.zeros(3), np.zeros(3)
    for _ in range(12):
        is_active = rng.random((360, 2)) < 0.2
        truth = is_active * rng.standard_normal((360, 2))
        seen = truth + 0.3 * rng.standard_normal(truth.shape)
        slab, spike = (norm(0, sd).pdf(seen) for sd in (np.sqrt(1.09), 0.3))
        inclusion = 0.2 * slab / (0.2 * slab + 0.8 * spike)
        active = rng.random((300, 360, 2)) < inclusion
        draws = seen / 1.09 + np.sqrt(0.09 / 1.09) * rng.standard_normal(active.shape)
        post = plant_posterior(
            rng.standard_normal((300, 4, 2)), {"rna": active * draws}, active={"rna": active.astype(np.int8)}
        )
        for number, options in enumerate(({}, {"min_effect": 0.5}, {"min_effect": 0.01})):
            table = mb.biomarkers(post, fdr=0.05, **options)
            place = [int(name[4:]) for name in table["feature"]], [int(name[1:]) - 1 for name in table["factor"]]
            own = truth[place] * np.sign(table["mean"].to_numpy())
            false[number] += (own <= 0).sum() if not options else (own < options["min_effect"]).sum()
            called[number] += len(table)
    np.testing.assert_allclose(false / called, 0.05, atol=0.012)
    assert called[1] < called[0]


def test_least_effect_asks_for_a_size_on_the_side_of_the_mean(post):
    table = mb.biomarkers(post, "rna", min_effect=0.3).set_index(["factor", "feature"])
    assert (table["error"] == "effect").all()
    draws = post.loadings("rna").sel(factor="F2", feature_rna="rna_5").values
    row = table.loc[("F2", "rna_5")]
    assert row["inclusion"] == pytest.approx((np.abs(draws) >= 0.3).mean())
    assert row["local_fdr"] == pytest.approx(1 - (draws * np.sign(draws.mean()) >= 0.3).mean())
    assert (mb.biomarkers(post, "rna")["error"] == "zero").all()


def test_probability_of_the_top_is_that_of_the_draws(post):
    table = mb.biomarkers(post, top=7).set_index(["view", "factor", "feature"])["top_probability"]
    size = np.abs(np.concatenate([post.loadings(view).sel(factor="F1").values[0] for view in post.views], axis=1))
    names = [(view, "F1", name) for view in post.views for name in post.features(view)]
    rank = (size[:, None, :] > size[:, :, None]).sum(axis=2)
    np.testing.assert_allclose(table.loc[names], ((rank < 7) & (size > 0)).mean(axis=0), atol=1e-9)
    one = mb.biomarkers(post, "rna", top=10_000)["top_probability"]
    assert one.max() == 1
    sums = mb.biomarkers(post, top=7).groupby("factor")["top_probability"].sum()
    assert (sums <= 7 + 1e-9).all()


def test_expected_number_of_errors_counts_up(post):
    table = mb.biomarkers(post, fdr=0.1)
    np.testing.assert_allclose(table["expected_false"], table["local_fdr"].cumsum())
    assert table["expected_false"].iloc[-1] == pytest.approx(table.attrs["expected_false"])


def test_loadings_that_can_be_neither_zero_nor_negative_need_a_size():
    rng = np.random.default_rng(1)
    spec = mb.FactorModel(n_factors=1, loadings=mb.ARD(positive=True))
    post = plant_posterior(rng.standard_normal((20, 6, 1)), {"rna": rng.gamma(1.0, size=(20, 8, 1))}, spec=spec)
    table = mb.biomarkers(post)
    assert (table["error"] == "none").all()
    assert table["local_fdr"].isna().all()
    with pytest.raises(DataError, match="min_effect"):
        mb.biomarkers(post, fdr=0.05)
    assert (mb.biomarkers(post, min_effect=0.1, fdr=0.9)["sign_probability"] == 1).all()


@pytest.mark.parametrize("options", [{"min_effect": 0}, {"min_effect": "x"}, {"top": 0}, {"top": True}, {"fdr": 1.5}])
def test_unusable_limits_are_refused(post, options):
    with pytest.raises(DataError, match=next(iter(options))):
        mb.biomarkers(post, **options)
