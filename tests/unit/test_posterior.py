"""Laws of the Posterior: labels, order and sign, draws that agree with moments, provenance without data."""

import numpy as np
import pytest

import mofa_bayes as mb
from mofa_bayes.errors import DataError, IgnoredWarning
from mofa_bayes.posterior.moments import FactorMoments


def test_dims_are_the_words_of_the_design(post):
    assert post.factors().dims == ("chain", "draw", "subject", "factor")
    for view in post.views:
        assert post.loadings(view).dims == ("chain", "draw", f"feature_{view}", "factor")
        assert post.active(view).dims == post.loadings(view).dims
        assert post.intercepts(view).dims == ("chain", "draw", f"feature_{view}")
    for node in post.tree.subtree:
        assert not {"sample", "variable"} & set(node.dims)


def test_noise_belongs_to_gaussian_features_only(post):
    assert post.noise_sd("rna").sizes["feature_rna"] == 60
    noise = post.noise_sd("ehr")
    names = set(noise["noisy_feature_ehr"].values)
    kinds = post.likelihoods("ehr").to_series()
    assert names == set(kinds.index[kinds == "gaussian"])


def test_largest_loading_of_each_factor_is_positive_and_factors_are_ordered(post):
    moments = post.tree["moments"].to_dataset()
    means = np.concatenate([moments[f"weights_mean_{view}"].values[:, :-1] for view in post.views])
    assert (means[np.abs(means).argmax(axis=0), np.arange(means.shape[1])] > 0).all()
    strength = mb.variance_explained(post)["alone"].mean(("chain", "draw")).sum("view").values
    assert (np.diff(strength) < 0.02).all()


def test_draws_agree_with_closed_form_moments(post):
    moments = post.factor_moments()
    draws = FactorMoments.from_draws(post.factors())
    sd = np.sqrt(np.diagonal(moments.covariances(), axis1=1, axis2=2))
    n_draws = post.factors().sizes["draw"]
    assert np.abs((draws.mean - moments.mean) / (sd / np.sqrt(n_draws))).max() < 5
    ratio = np.diagonal(draws.covariances(), axis1=1, axis2=2) / sd**2
    assert 0.93 < ratio.mean() < 1.07
    for view in post.views:
        stored = post.tree["moments"].to_dataset()
        mean = stored[f"weights_mean_{view}"].sel(term=list(post.factor_names)).values
        spread = np.sqrt(stored[f"weights_var_{view}"].sel(term=list(post.factor_names)).values / n_draws)
        own = post.loadings(view).mean(("chain", "draw")).values
        assert np.mean(np.abs(own - mean) < 3 * spread + 1e-6) > 0.98
        inclusion = stored[f"inclusion_{view}"].values
        share = post.active(view).mean(("chain", "draw")).values
        assert np.abs(share - inclusion).max() < 5 * np.sqrt(0.25 / n_draws)


def test_loading_is_zero_exactly_where_it_is_not_active(post):
    for view in post.views:
        zero = post.loadings(view).values == 0
        np.testing.assert_array_equal(zero, post.active(view).values == 0)


def test_dense_prior_has_no_indicators_and_keeps_full_covariances(cohort):
    dense = mb.fit(cohort.views, mb.FactorModel(n_factors=3, loadings=mb.ARD()), n_draws=50, progress=False)
    assert dense.active("rna") is None
    assert "weights_cov_rna" in dense.tree["moments"]
    assert not (dense.loadings("rna").values == 0).any()
    fitted, projected = dense.factor_moments(), dense.project(cohort.views)
    np.testing.assert_allclose(projected.mean, fitted.mean, atol=1e-2)


def test_provenance_says_what_made_it_and_holds_no_value_of_a_view(cohort, post):
    made = post.provenance
    assert made["data_fingerprint"] == cohort.views.fingerprint
    assert made["seed"] == "3"
    assert made["engine"] == "vi"
    assert mb.FactorModel.from_toml(made["spec"]) == post.spec
    assert len(post.fingerprint) == 64
    values = np.unique(cohort.views["rna"].values[np.isfinite(cohort.views["rna"].values)])
    for node in post.tree.subtree:
        for variable in node.data_vars.values():
            if variable.dtype.kind == "f":
                assert not np.isin(variable.values, values).any()


def test_repr_is_a_line_and_shows_no_patient(post):
    text, page = repr(post), post._repr_html_()
    assert "\n" not in text
    assert "3 factors" in text
    for subject in post.subjects:
        assert subject not in text
        assert subject not in page


def test_projection_matches_features_by_name_and_says_what_it_left_out(cohort, post):
    table = cohort.views["rna"].to_pandas().iloc[:5]
    shuffled = table.iloc[:, ::-1].assign(unheard_of=1.0)
    with pytest.warns(IgnoredWarning, match="1 features"):
        found = post.project({"rna": shuffled})
    np.testing.assert_allclose(found.mean, post.project({"rna": table}).mean)
    with pytest.warns(IgnoredWarning, match="foreign"):
        post.project({"rna": table, "foreign": table})


def test_a_table_without_rows_is_a_view_that_nobody_has(cohort, post):
    table = cohort.views["rna"].to_pandas().dropna(how="all").iloc[:3]
    found = post.project({"rna": table, "meth": cohort.views["meth"].to_pandas().iloc[:0]})
    np.testing.assert_array_equal(found.mean, post.project({"rna": table}).mean)
    with pytest.raises(DataError, match=r"shape \(0, "):
        post.project({"rna": table.iloc[:0]})


def test_projection_uses_the_scale_of_the_fit(cohort, post):
    """One patient alone is scored as in company: nothing is centred on the new patients."""
    table = cohort.views["rna"].to_pandas().dropna(how="all").iloc[:4]
    together = post.project({"rna": table})
    for n in range(4):
        alone = post.project({"rna": table.iloc[[n]]})
        np.testing.assert_allclose(alone.mean[0], together.mean[n])


def test_more_views_mean_less_uncertainty(cohort, post):
    some = np.asarray(cohort.views.subjects)[
        np.all([cohort.views.has_view(view).values for view in cohort.views.names], axis=0)
    ]
    variances = []
    for views in (["rna"], ["rna", "meth"], ["rna", "meth", "ehr"]):
        moments = post.project(cohort.views.keep_views(views).sel(some))
        variances.append(np.diagonal(moments.covariances(), axis1=1, axis2=2))
    assert (variances[1] < variances[0]).all()
    assert (variances[2] < variances[1]).all()


def test_imputation_keeps_what_was_observed_and_brackets_the_rest(cohort, post):
    filled = post.impute(cohort.views)
    for view in cohort.views.names:
        values = cohort.views[view].values
        seen = ~np.isnan(values)
        for name in (f"mean_{view}", f"lower_{view}", f"upper_{view}"):
            np.testing.assert_array_equal(filled[name].values[seen], values[seen])
        mean = filled[f"mean_{view}"]
        inner = (mean >= filled[f"lower_{view}"]) & (mean <= filled[f"upper_{view}"])
        assert inner.values.all()
    flags = cohort.views.likelihoods("ehr").values == "bernoulli"
    assert (filled["mean_ehr"].values[:, flags] >= 0).all()
    assert (filled["mean_ehr"].values[:, flags] <= 1).all()


def test_imputation_of_projected_patients_agrees_with_that_of_fitted_ones(cohort, post):
    whole = post.impute(cohort.views, seed=1)
    some = cohort.views.sel(cohort.views.subjects[:20])
    part = post.impute(some, seed=1)
    for view in cohort.views.names:
        scale = cohort.views[view].values[~np.isnan(cohort.views[view].values)].std()
        gap = np.abs(part[f"mean_{view}"].values - whole[f"mean_{view}"].sel(subject=list(some.subjects)).values)
        assert gap.max() < 0.5 * scale


def test_moments_of_some_subjects_are_theirs(post):
    moments = post.factor_moments()
    some = moments.sel(post.subjects[5:2:-1])
    np.testing.assert_array_equal(some.mean, moments.mean[5:2:-1])
    np.testing.assert_array_equal(some.covariances(), moments.covariances()[5:2:-1])
    direction = np.array([1.0, -2.0, 0.5])
    expected = [direction @ covariance @ direction for covariance in some.covariances()]
    np.testing.assert_allclose(some.variance_along(direction), expected)
    again = FactorMoments.from_dataset(moments.to_dataset())
    np.testing.assert_array_equal(again.covariances(), moments.covariances())


def test_az_summary_reads_the_tree(post):
    import arviz as az

    table = az.summary(post.tree, var_names=["noise_sd_rna"])
    assert len(table) == 60
    assert np.isfinite(table["mean"].astype(float)).all()
