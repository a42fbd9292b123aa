"""ArviZ on `post.tree`: summaries, forest plots, leave-one-subject-out."""

import arviz as az
import numpy as np
import pytest

import mofa_bayes as mb
from mofa_bayes.errors import DataError, FitError


@pytest.fixture(scope="module")
def chains():
    """A small fit of the gibbs engine, in two chains."""
    design = mb.Design(n_subjects=40, n_features={"rna": 10, "meth": 8}, sharing=[("rna", "meth")], missing=0.05)
    views = mb.simulate_cohort(design, seed=4).views
    settings = mb.Sampling(n_draws=120, n_tune=60, n_chains=2, n_jobs=1)
    return views, mb.fit(views, mb.FactorModel(n_factors=1), engine="gibbs", settings=settings, progress=False)


def test_summary_has_a_row_for_each_entry(chains):
    _, post = chains
    table = az.summary(post.tree, var_names=["ard_rna", "loadings_meth"], round_to="none")
    assert len(table) == 1 + 8
    means = post.loadings("meth").mean(("chain", "draw")).values.ravel()
    np.testing.assert_allclose(table["mean"].to_numpy()[1:], means, rtol=1e-5)


def test_forest_has_an_interval_for_each_entry(chains):
    plot = az.plot_forest(chains[1].tree, var_names=["loadings_meth"], backend="none")
    assert plot.viz["trunk"]["loadings_meth"].sizes["feature_meth"] == 8


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")
def test_loo_is_that_of_diagnose(chains):
    views, post = chains
    with_density = post.with_log_likelihood(views)
    found, own = az.loo(with_density.tree, pointwise=True), mb.diagnose(post, views).loo
    np.testing.assert_allclose(found.elpd, own.elpd, rtol=0.01)
    assert found.n_data_points == 40
    assert with_density.fingerprint == post.fingerprint
    assert "log_likelihood" not in post.tree.children
    assert with_density.tree["log_likelihood"]["subject_density"].dims == ("chain", "draw", "subject")


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")
def test_the_likelihood_survives_the_file(post, cohort, tmp_path):
    with_density = post.with_log_likelihood(cohort.views)
    with_density.save(tmp_path / "fit.nc")
    found = az.loo(mb.load(tmp_path / "fit.nc").tree)
    assert np.isfinite(found.elpd)
    assert found.elpd == pytest.approx(az.loo(with_density.tree).elpd)


def test_the_likelihood_asks_for_the_data_of_the_fit(post, chains):
    with pytest.raises(DataError, match="MultiView of the fit"):
        post.with_log_likelihood(chains[0])


def test_factors_that_may_be_zero_have_no_closed_form(cohort):
    spec = mb.FactorModel(n_factors=2, factors=mb.SpikeSlabFactors())
    views = cohort.views.keep_views(["meth"]).sel(
        [s for s, has in cohort.views.has_view("meth").to_series().items() if has]
    )
    post = mb.fit(views, spec, n_draws=20, progress=False, settings=mb.Ascent(max_iterations=500))
    with pytest.raises(FitError, match="may be zero"):
        post.with_log_likelihood(views)
