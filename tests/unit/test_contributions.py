"""What views put into a predictor: parts sum to the whole, and the value of a view is what measuring it buys."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design
from mofa_bayes.errors import DataError, FitError
from mofa_bayes.risk import FittedRisk
from mofa_bayes.risk.binary import BinaryResponse
from mofa_bayes.risk.inputs import Scaling
from mofa_bayes.risk.interactions import Interactions

N_DRAWS = 30


def make_fitted(factors, seed=0, pairs=()):
    """A risk model with known draws on the factors of a posterior, and one covariate."""
    rng = np.random.default_rng(seed)
    draws = {
        "effect_factors": (("chain", "draw", "factor"), rng.normal(size=(2, N_DRAWS, len(factors)))),
        "effect_covariates": (("chain", "draw", "covariate"), 0.1 * rng.normal(size=(2, N_DRAWS, 1))),
        "intercept": (("chain", "draw"), rng.normal(size=(2, N_DRAWS))),
    }
    if pairs:  # a covariate alone stands for all factors with it
        own = 0.1 * rng.normal(size=(2, N_DRAWS, len(factors)))
        draws["effect_interactions"] = (("chain", "draw", "interaction"), own)
    coords = {"factor": list(factors), "covariate": ["age"], "chain": [0, 1], "draw": np.arange(N_DRAWS)}
    return FittedRisk(
        spec=mb.RiskModel(mb.Binary("died"), ["age"]),
        response=BinaryResponse(0.0),
        tree=xr.DataTree.from_dict({"posterior": xr.Dataset(draws, coords=coords)}),
        scaling=Scaling(("age",), np.array([60.0]), np.array([10.0])),
        factors=tuple(factors),
        n_subjects=80,
        fingerprint="abc",
        interactions=Interactions.find(pairs, factors, ["age"]),
    )


def ages(subjects):
    return pd.DataFrame({"age": np.random.default_rng(1).normal(60, 10, len(subjects))}, index=list(subjects))


@pytest.fixture(scope="module")
def counted():
    """A view of counts and heavy tails beside a real-valued one, some subjects without the first."""
    cohort = mb.simulate_cohort(
        Design(n_subjects=60, n_features={"rna": 20, "ehr": 8}, sharing=[("rna", "ehr"), ("rna",)], density=0.8), seed=4
    )
    rng = np.random.default_rng(0)
    ehr = cohort.complete["ehr"].copy()
    ehr[ehr.columns[:3]] = rng.poisson(rng.gamma(5, 0.2, size=(60, 3)) * np.exp(0.7 * ehr[ehr.columns[:3]]))
    kinds = {name: "negative_binomial" if place < 3 else "student_t" for place, name in enumerate(ehr.columns)}
    views = mb.MultiView.from_frames({"rna": cohort.complete["rna"], "ehr": ehr.iloc[:45]}, likelihoods={"ehr": kinds})
    return views, mb.fit(views, mb.FactorModel(n_factors=2), seed=0, n_draws=20, progress=False)


@pytest.fixture(scope="module")
def sampled(cohort):
    views = cohort.views.keep_views(["rna", "meth"])
    settings = mb.Sampling(n_draws=20, n_tune=20, n_chains=2)
    return views, mb.fit(views, mb.FactorModel(n_factors=3), engine="gibbs", seed=0, settings=settings, progress=False)


def check_sums(views, post):
    fitted, clinical = make_fitted(post.factor_names), ages(views.subjects)
    table = fitted.contributions(post, views, clinical)
    predictor = fitted.predict(post.project(views), clinical).linear_predictor
    total = table.groupby("subject", sort=False)["contribution"].sum()
    assert list(total.index) == list(views.subjects)
    np.testing.assert_allclose(total.to_numpy(), predictor["mean"].to_numpy(), rtol=0, atol=1e-8)


def test_contributions_sum_to_the_predictor(cohort, post):
    check_sums(cohort.views, post)


def test_contributions_sum_where_views_count_and_have_heavy_tails(counted):
    check_sums(*counted)


def test_contributions_sum_under_draws_of_a_sampler(sampled):
    check_sums(*sampled)


def test_contributions_sum_where_effects_depend_on_a_covariate(cohort, post):
    fitted, clinical = make_fitted(post.factor_names, pairs=("age",)), ages(cohort.views.subjects)
    table = fitted.contributions(post, cohort.views, clinical)
    predictor = fitted.predict(post.project(cohort.views), clinical).linear_predictor
    total = table.groupby("subject", sort=False)["contribution"].sum()
    np.testing.assert_allclose(total.to_numpy(), predictor["mean"].to_numpy(), rtol=0, atol=1e-8)
    plain = make_fitted(post.factor_names).contributions(post, cohort.views, clinical)
    assert not np.allclose(plain["contribution"], table["contribution"])
    with pytest.raises(FitError, match="interactions"):
        fitted.value_of_views(post, cohort.views)


def test_models_of_several_responses_are_refused(cohort, post):
    fitted = make_fitted(post.factor_names)
    several = fitted.tree["posterior"].to_dataset().expand_dims(response=["a", "b"], axis=2)
    fitted = replace(fitted, tree=xr.DataTree.from_dict({"posterior": several}))
    with pytest.raises(FitError, match="several responses"):
        fitted.contributions(post, cohort.views, ages(cohort.views.subjects))


def test_new_patients_in_any_order_have_the_same_contributions(cohort, post):
    fitted, clinical = make_fitted(post.factor_names), ages(cohort.views.subjects)
    whole = fitted.contributions(post, cohort.views, clinical).set_index(["subject", "source"])
    some = list(cohort.views.subjects[10:3:-1])
    own = fitted.contributions(post, cohort.views.sel(some), clinical).set_index(["subject", "source"])
    assert list(own.index.get_level_values(0).unique()) == some
    pd.testing.assert_frame_equal(own, whole.loc[own.index], atol=1e-6)


def test_an_absent_view_contributes_nothing(cohort, post):
    fitted, clinical = make_fitted(post.factor_names), ages(cohort.views.subjects)
    table = fitted.contributions(post, cohort.views, clinical)
    absent = table[~table["is_seen"]]
    assert len(absent) == sum(int((~cohort.views.has_view(view)).sum()) for view in cohort.views.names) > 0
    assert (absent[["contribution", "sd", "lower", "upper"]] == 0).to_numpy().all()
    assert (table.loc[table["is_seen"], "sd"] > 0).all()


def test_covariates_contribute_their_effect(cohort, post):
    fitted, clinical = make_fitted(post.factor_names), ages(cohort.views.subjects)
    table = fitted.contributions(post, cohort.views, clinical)
    own = table[table["kind"] == "covariate"].set_index("subject")["contribution"]
    slope = fitted.tree["posterior"]["effect_covariates"].values.mean()
    np.testing.assert_allclose(own, slope * (clinical.loc[own.index, "age"] - 60))


def test_value_of_a_gaussian_view_is_what_measuring_it_buys(cohort):
    """What is seen does not enter a gaussian posterior's covariance: with the view it is the variance that was told."""
    frames = {view: cohort.complete[view] for view in ("rna", "meth")}
    views = mb.MultiView.from_frames({"rna": frames["rna"].iloc[:60], "meth": frames["meth"]})
    post = mb.fit(views, mb.FactorModel(n_factors=3), seed=0, n_draws=20, progress=False)
    fitted = make_fitted(post.factor_names)
    table = fitted.value_of_views(post, views)
    assert list(table["subject"]) == list(views.subjects[60:])
    assert set(table["view"]) == {"rna"}
    with_rna = post.project(frames).sel(list(table["subject"]))
    effects = fitted.effects_of("factors")
    expected = table["variance"] - with_rna.variance_along(effects).mean(axis=0)
    np.testing.assert_allclose(table["value"], expected, rtol=1e-10)
    np.testing.assert_allclose(table["share"], table["value"] / table["variance"])


def test_value_is_never_negative_nor_more_than_the_variance(cohort, post, counted, sampled):
    for views, own in ((cohort.views, post), counted, sampled):
        table = make_fitted(own.factor_names).value_of_views(own, views)
        assert len(table)
        assert (table["value"] > 0).all()
        assert (table["value"] <= table["variance"]).all()
        assert (table["lower"] <= table["value"]).all()
        assert (table["value"] <= table["upper"]).all()


def test_a_patient_with_every_view_has_nothing_to_buy(cohort, post):
    complete = mb.MultiView.from_frames(cohort.complete, uninformative="keep")
    assert make_fitted(post.factor_names).value_of_views(post, complete).empty


def test_what_holds_no_views_is_refused(cohort, post):
    fitted = make_fitted(post.factor_names)
    with pytest.raises(FitError, match="no longer hold"):
        fitted.contributions(post.project(cohort.views), cohort.views)
    with pytest.raises(DataError, match="clinical"):
        fitted.contributions(post, cohort.views)
    with pytest.raises(DataError, match="factors"):
        make_fitted(["F1"]).value_of_views(post, cohort.views)


def test_sparse_factors_are_refused(cohort):
    views = cohort.views.keep_views(["rna"])
    spec = mb.FactorModel(n_factors=2, factors=mb.SpikeSlabFactors())
    own = mb.fit(views, spec, seed=0, n_draws=10, progress=False)
    with pytest.raises(FitError, match="SpikeSlabFactors"):
        make_fitted(own.factor_names).contributions(own, views, ages(views.subjects))
