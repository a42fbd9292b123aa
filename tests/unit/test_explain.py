"""Laws of variance explained, sharing and biomarkers."""

from dataclasses import replace

import numpy as np
import pytest

import mofa_bayes as mb
from mofa_bayes.errors import FitError
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
