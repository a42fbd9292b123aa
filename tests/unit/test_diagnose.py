"""Laws of diagnose: a good fit is believed, each fault is found by its own check, and no patient is shown."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.errors import DataError, IgnoredWarning
from mofa_bayes.posterior.diagnose import Check, Diagnosis, Limits
from mofa_bayes.posterior.diagnose.draws import read_draws
from mofa_bayes.posterior.diagnose.loo import leave_one_out
from mofa_bayes.posterior.diagnose.measured import COVERAGE, expected_coverage
from mofa_bayes.posterior.diagnose.pointwise import subject_log_likelihood
from mofa_bayes.posterior.diagnose.variational import why_not


@pytest.fixture(scope="module")
def diagnosis(post, cohort):
    return mb.diagnose(post, cohort.views)


def change(post, attributes=None, **groups):
    """A posterior with other attributes and groups: what another engine would have written."""
    parts = {name: child.to_dataset() for name, child in post.tree.children.items()} | groups
    tree = xr.DataTree.from_dict(parts)
    tree.attrs = post.tree.attrs | (attributes or {})
    return mb.Posterior(tree)


def as_chains(post, *, shift=0.0, n_chains=2):
    """The draws of a fit as if a sampler had drawn them in chains, of which one can be shifted."""
    draws = post.tree["posterior"].to_dataset()
    size = draws.sizes["draw"] // n_chains
    chains = [draws.isel(draw=slice(c * size, (c + 1) * size)).assign_coords(chain=[c]) for c in range(n_chains)]
    chains = [own.assign_coords(draw=np.arange(size)) for own in chains]
    joined = xr.concat(chains, "chain", coords="minimal", compat="override", join="exact")
    noise = joined["noise_sd_rna"] + shift * (joined["chain"] == 0) * joined["noise_sd_rna"].std()
    return change(
        post, {"engine": "gibbs"}, posterior=joined.assign(noise_sd_rna=noise.transpose(*joined["noise_sd_rna"].dims))
    )


def test_checks_of_vi_are_named_and_explained(diagnosis):
    table = diagnosis.table
    assert list(table.columns) == ["check", "value", "threshold", "passed", "advice"]
    assert {"vi converged", "Pareto k of q", "LOO: elpd"} <= set(table["check"])
    assert (table.loc[~table["passed"], "advice"] != "").all()
    assert (table.loc[table["passed"], "advice"] == "").all()


def test_fits_of_vi_whose_like_were_measured_to_cover_too_little_are_read_with_care(diagnosis):
    assert diagnosis.verdict == "with care"
    assert any("too narrow" in reason for reason in diagnosis.reasons)


def test_coverage_to_expect_is_that_measured_by_prior_likelihood_and_size():
    design = mb.Design(n_subjects=50, n_features={"a": 50, "b": 40}, sharing=[("a", "b")])
    views = mb.simulate_cohort(design, seed=0).views
    for prior, kind in ((mb.ARD(), "dense, gaussian"), (mb.SpikeSlab(), "sparse, gaussian")):
        post = mb.fit(views, mb.FactorModel(n_factors=1, loadings=prior), n_draws=20, progress=False)
        assert expected_coverage(post) == pytest.approx(COVERAGE[kind][0][0])
        row = mb.diagnose(post).table.set_index("check").loc["measured coverage of loadings (95 %)"]
        assert row["passed"] == (COVERAGE[kind][0][0] >= 0.93)


def test_coverage_is_interpolated_between_sizes_and_told_of_no_other_than_those_measured():
    def expect(n_subjects, n_features, kind="gaussian", prior=None):
        return expected_coverage(
            SimpleNamespace(
                subjects=range(n_subjects),
                views=("a",),
                features=lambda view: range(n_features),
                spec=mb.FactorModel(n_factors=1, loadings=prior or mb.SpikeSlab()),
                likelihoods=lambda view: SimpleNamespace(values=np.array(["gaussian", kind])),
            )
        )

    few, some, many = COVERAGE["sparse, gaussian"]
    assert expect(100, 90) == pytest.approx((few[0] + some[0]) / 2)
    assert expect(1000, round(90 * 10**0.5)) == pytest.approx(sum(many) / 2, abs=1e-3)
    assert expect(50, 90, "bernoulli") == pytest.approx(COVERAGE["sparse, bernoulli"][0][0])
    assert expect(2000, 1800) == pytest.approx(many[1])
    for size in ((20, 90), (2001, 90), (200, 40), (200, 1801)):
        assert expect(*size) is None
    assert expect(200, 900, "bernoulli") is None
    for kind in ("poisson", "student_t", "ordinal"):
        assert expect(200, 90, kind) is None
    for prior in (mb.Horseshoe(), mb.Laplace(), mb.ARD(positive=True), mb.SpikeSlab(positive=True)):
        assert expect(200, 90, prior=prior) is None


def test_coverage_that_has_not_been_measured_is_a_note(cohort):
    post = mb.fit(cohort.views, mb.FactorModel(n_factors=1, loadings=mb.Laplace()), n_draws=4, progress=False)
    found = mb.diagnose(post)
    assert "measured coverage of loadings (95 %)" not in set(found.table["check"])
    assert "has not been measured" in found.notes[0]


def test_the_same_views_and_seed_give_the_same_diagnosis(post, cohort, diagnosis):
    again = mb.diagnose(post, cohort.views)
    np.testing.assert_array_equal(again.table["value"], diagnosis.table["value"])
    np.testing.assert_array_equal(again.predictive.table["p"], diagnosis.predictive.table["p"])


def test_no_patient_is_shown(post, diagnosis):
    text = repr(diagnosis) + diagnosis._repr_html_() + diagnosis.table.to_string()
    assert "\n" not in repr(diagnosis)
    assert not any(subject in text for subject in post.subjects)


def test_model_makes_data_like_its_own_and_not_like_others(post, cohort, diagnosis):
    outside = {key: ((p < 0.025) | (p > 0.975)).mean() for key, p in diagnosis.predictive.by_statistic()}
    assert max(outside.values()) < 0.2
    table = diagnosis.predictive.table
    real = table[(table["view"] == "rna") & (table["statistic"] == "mean")].set_index("feature")["observed"]
    np.testing.assert_allclose(real, cohort.views["rna"].mean("subject").to_series().loc[real.index], atol=1e-6)
    assert set(table.loc[table["view"] == "ehr", "statistic"]) == {"mean", "sd", "extreme"}


def test_heavy_tails_are_found():
    design = mb.Design(n_subjects=60, n_features={"a": 12, "b": 4}, sharing=[("a", "b")])
    cohort = mb.simulate_cohort(design, seed=0)
    frames = {view: cohort.views[view].to_pandas() for view in ("a", "b")}
    frames["a"] = frames["a"] + np.random.default_rng(0).standard_t(1.2, frames["a"].shape)
    views = mb.MultiView.from_frames(frames)
    post = mb.fit(views, mb.FactorModel(n_factors=1), n_draws=100, progress=False)
    table = mb.diagnose(post, views).table.set_index("check")
    assert not table.loc["a: features whose extreme is unlike its replications", "passed"]
    assert table.loc["b: features whose extreme is unlike its replications", "passed"]


def test_an_unconverged_or_unaligned_fit_is_not_believed(post):
    for attributes, word in (({"converged": 0}, "converged"), ({"aligned": 0}, "aligned")):
        found = mb.diagnose(change(post, attributes))
        assert found.verdict == "do not believe"
        assert word in found.reasons[0]


@pytest.mark.parametrize(("engine", "name"), [("gibbs", "ran to its end"), ("nuts", "sampler is content")])
def test_chains_that_were_stopped_are_read_with_care(post, engine, name):
    loose = Limits(ess_per_chain=1, rhat=2.0, congruence=0.1)
    for converged in (1, 0):
        found = mb.diagnose(change(as_chains(post), {"engine": engine, "converged": converged}), limits=loose)
        assert bool(found.table.set_index("check").loc[name, "passed"]) == bool(converged)
        assert found.verdict == ("believe" if converged else "with care")


def test_starts_that_disagree_are_told(post):
    starts = post.tree["starts"].to_dataset()
    match = np.vstack([starts["start_match"].values, [0.99, 0.4, 0.98]])
    bound = np.append(starts["start_bound"].values, starts["start_bound"].values[0] - 1)
    other = xr.Dataset(
        {
            "start_bound": ("start", bound),
            "start_n_factors": ("start", [3, 3]),
            "start_match": (("start", "factor"), match),
        },
        coords={"factor": starts["factor"].values},
    )
    row = mb.diagnose(change(post, starts=other)).table.set_index("check").loc["agreement of starts"]
    assert row["value"] == 0.4
    assert not row["passed"]


def test_chains_that_agree_are_believed_and_those_that_do_not_are_not(post):
    loose = Limits(ess_per_chain=20)
    good = mb.diagnose(as_chains(post), limits=loose)
    rhat = good.table.set_index("check").loc["R-hat of rotation-free quantities (99 %)"]
    assert rhat["passed"]
    assert good.convergence is not None
    bad = mb.diagnose(as_chains(post, shift=5.0), limits=loose)
    assert bad.verdict == "do not believe"
    assert "R-hat of rotation-free" in bad.reasons[0]


def test_divergences_and_other_modes_are_told(post):
    chains = as_chains(post)
    dataset = chains.tree["posterior"].to_dataset()
    _, report = mb.align(dataset, sparse=True, n_checked=0)
    assert report.is_one_mode
    stats = xr.Dataset({"diverging": (("chain", "draw"), np.eye(2, dataset.sizes["draw"], dtype=bool))})
    torn = report.to_dataset().assign_attrs(other_mode=np.array([1]))
    found = mb.diagnose(change(chains, sample_stats=stats, alignment=torn))
    table = found.table.set_index("check")
    assert table.loc["divergences", "value"] == 2
    assert table.loc["congruence of draws (worst factor)", "value"] > 0.8
    assert not table.loc["chains in other modes", "passed"]
    assert found.verdict == "do not believe"


def test_pareto_k_is_told_why_not_where_q_is_not_kept(cohort):
    spec = mb.FactorModel(n_factors=2, loadings=mb.Horseshoe())
    post = mb.fit(cohort.views, spec, n_draws=30, progress=False)
    found = mb.diagnose(post, cohort.views)
    assert any("horseshoe" in note for note in found.notes)
    assert "Pareto k of q" not in set(found.table["check"])
    positive = mb.fit(
        cohort.views, mb.FactorModel(n_factors=2, loadings=mb.ARD(positive=True)), n_draws=30, progress=False
    )
    assert "positive" in why_not(positive)


def test_factors_that_may_be_zero_are_not_integrated_out(cohort):
    spec = mb.FactorModel(n_factors=2, factors=mb.SpikeSlabFactors())
    post = mb.fit(cohort.views.keep_views(["rna", "meth"]), spec, n_draws=30, progress=False)
    found = mb.diagnose(post, cohort.views.keep_views(["rna", "meth"]))
    assert found.loo is None
    assert found.predictive is not None
    assert "may be zero" in found.notes[0]


def test_spectral_is_held_against_data_as_it_saw_them(cohort):
    with pytest.warns(IgnoredWarning):
        post = mb.fit(cohort.views, engine="spectral", n_draws=50)
    found = mb.diagnose(post, cohort.views)
    assert found.loo is not None
    assert "vi converged" not in set(found.table["check"])
    blind = mb.diagnose(post)
    assert blind.verdict == "with care"
    assert "pass the views" in blind.reasons[0]


def test_likelihood_of_fewer_draws_is_that_of_those_draws(post, cohort):
    every, some = (read_draws(post, cohort.views, n) for n in (200, 20))
    assert (every.n_draws, some.n_draws) == (200, 20)
    np.testing.assert_allclose(subject_log_likelihood(some)[3], subject_log_likelihood(every)[30])


@pytest.mark.parametrize("has_own_dim", [True, False])
def test_parameters_of_features_go_by_name_whatever_the_order_of_columns(has_own_dim):
    rng = np.random.default_rng(0)
    names = ["a", "b", "c", "d"]
    frame = pd.DataFrame(rng.poisson(3, (30, 4)), index=[f"p{n}" for n in range(30)], columns=names).astype(float)
    frame["b"] = rng.standard_normal(30)
    kinds = dict.fromkeys("acd", "negative_binomial") | {"b": "gaussian"}
    views, turned = (
        mb.MultiView.from_frames({"x": frame[order]}, likelihoods={"x": kinds}) for order in (names, names[::-1])
    )
    post = mb.fit(views, mb.FactorModel(n_factors=1), n_draws=4, progress=False)
    draws = post.tree["posterior"].to_dataset()
    if has_own_dim:
        dim, columns = "negative_binomial_feature_x", ["a", "c", "d"]
        draws = draws.assign_coords({dim: columns})
    else:
        dim, columns = "feature_x", [str(name) for name in draws["feature_x"].values]
    size = {"a": 1.0, "b": 9.0, "c": 2.0, "d": 3.0}
    own = np.broadcast_to([size[name] for name in columns], (1, 4, len(columns)))
    known = change(post, posterior=draws.assign(dispersion_x=(("chain", "draw", dim), own)))
    for order in (views, turned):
        model = read_draws(known, order, 4)
        found = dict(zip(order.features("x"), model.views[0].nuisance[2], strict=True))
        assert [found[name] for name in "acd"] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("n_draws", [2, 20, 24, 25])
def test_few_draws_are_held_against_data_without_pareto_k(post, cohort, n_draws):
    few = change(post, posterior=post.tree["posterior"].to_dataset().isel(draw=slice(n_draws)))
    found = mb.diagnose(few, cohort.views)
    assert found.predictive is not None
    assert (found.loo is None) == (n_draws < 25)
    assert any("too few" in note for note in found.notes) == (n_draws < 25)
    assert ("Pareto k of q" in set(found.table["check"])) == (n_draws >= 25)


def test_leave_one_out_is_the_sum_over_subjects_and_flags_an_outlier():
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 0.1, (400, 30))
    flat = leave_one_out(draws, 2)
    assert flat.counts == {"good": 30, "bad": 0, "very bad": 0}
    assert abs(flat.elpd) < 1
    draws[:, 4] *= 60
    assert leave_one_out(draws, 1).counts["good"] == 29


@pytest.mark.parametrize("views", ["other", None, 3])
def test_other_data_than_those_of_the_fit_are_refused(post, cohort, views):
    if views is None:
        assert "no views" in mb.diagnose(post).notes[0]
        return
    other = cohort.views.sel(cohort.views.subjects[:50]) if views == "other" else views
    with pytest.raises(DataError, match="views"):
        mb.diagnose(post, other)


def test_a_posterior_is_needed():
    with pytest.raises(DataError, match="posterior"):
        mb.diagnose({})


def test_verdict_is_the_worst_of_the_checks():
    fine, aside = Check("a", 1, 1, True), Check("d", 1, 1, False, "no matter", "aside")
    care, grave = Check("b", 1, 2, False, "look"), Check("c", np.inf, np.nan, False, "run", "grave")
    assert Diagnosis("vi", (fine, aside)).verdict == "believe"
    assert Diagnosis("vi", (fine, care)).verdict == "with care"
    worst = Diagnosis("vi", (care, fine, grave))
    assert worst.verdict == "do not believe"
    assert worst.reasons == ("c is inf: run", "b is 1 (held to 2): look")
    assert "2 of 3 checks failed" in repr(worst)
