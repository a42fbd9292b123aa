"""The nuts engine: one small exact posterior beside vi's, and what is said before and after sampling."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design
from mofa_bayes.engines import nuts
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.errors import ConvergenceWarning, FitError, MissingExtraError, ModelWarning, SpecError
from mofa_bayes.graph.patterns import can_integrate

DENSE = mb.FactorModel(n_factors=2, loadings=mb.ARD(), min_variance=0.0)
PRETENDED = Sampling(n_draws=200, n_chains=1)
SHORT = Sampling(n_draws=150, n_tune=250, n_chains=2, n_jobs=1)


@pytest.fixture(scope="session")
def small():
    """Two views of 6 features that share two factors; some of 40 subjects lack the second."""
    design = Design(
        n_subjects=40,
        n_features={"a": 6, "b": 6},
        sharing=[("a", "b"), ("a", "b")],
        density=0.8,
        noise_sd=0.7,
        absent_view=0.2,
    )
    return mb.simulate_cohort(design, seed=1).views


@pytest.fixture(scope="session")
def sampled(small):
    """The one real fit of this engine, factors left out while sampling."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mb.fit(small, DENSE, engine="nuts", settings=SHORT, seed=2, progress=False)


@pytest.fixture(scope="session")
def ascended(small):
    return mb.fit(small, DENSE, seed=2, progress=False)


def squares(post, view):
    """Posterior mean of the diagonal of W V W', V being the covariance of factors: free of rotation and scale."""
    w, z = post.loadings(view).values, post.factors().values
    centred = z - z.mean(axis=2, keepdims=True)
    spread = np.swapaxes(centred, 2, 3) @ centred / z.shape[2]
    return np.einsum("csdk,cskl,csdl->csd", w, spread, w).mean(axis=(0, 1))


def test_it_agrees_with_vi_on_what_no_rotation_touches(sampled, ascended):
    for view in ("a", "b"):
        np.testing.assert_allclose(squares(sampled, view), squares(ascended, view), atol=0.25)
        ours, theirs = (own.noise_sd(view).mean(("chain", "draw")) for own in (sampled, ascended))
        np.testing.assert_allclose(ours, theirs, atol=0.15)
    ours, theirs = (mb.variance_explained(own)["total"].mean(("chain", "draw")) for own in (sampled, ascended))
    np.testing.assert_allclose(ours, theirs, atol=0.06)


def test_its_factors_span_those_of_vi(sampled, ascended):
    ours, theirs = sampled.factor_moments().mean, ascended.factor_moments().mean
    fitted = ours @ np.linalg.lstsq(ours, theirs, rcond=None)[0]
    assert ((theirs - fitted) ** 2).mean() < 0.05


def test_posterior_is_wider_than_a_point_and_projects_its_own_subjects(sampled, small):
    fitted, projected = sampled.factor_moments(), sampled.project(small)
    for k in range(2):
        assert np.corrcoef(fitted.mean[:, k], projected.mean[:, k])[0, 1] > 0.95
    absent = ~small.has_view("b").values
    variance = np.diagonal(fitted.covariances(), axis1=1, axis2=2).sum(axis=1)
    assert variance[absent].mean() > variance[~absent].mean() > 0


def test_tree_explains_itself(sampled):
    assert sampled.provenance["engine"] == "nuts"
    assert sampled.tree["fit"].attrs["integrated"] == 1
    stats = sampled.tree["sample_stats"].to_dataset()
    assert set(stats.data_vars) == {
        "acceptance_rate", "diverging", "energy", "lp", "n_steps", "step_size", "tree_depth"
    }  # fmt: skip
    assert stats["diverging"].sum() == sampled.tree["fit"]["n_diverging"].sum()
    assert (mb.sharing(sampled)["views"] == "a+b").all()
    assert len(mb.biomarkers(sampled, "a")) == 12
    assert sampled.factors().sizes == {"chain": 2, "draw": 150, "subject": 40, "factor": 2}


def test_same_seed_same_draws(small):
    brief = Sampling(n_draws=5, n_tune=10, n_chains=1, n_jobs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        first, second = (nuts.sample_nuts(small, DENSE, brief, np.random.default_rng(4)) for _ in range(2))
    xr.testing.assert_identical(first.draws, second.draws)


def test_spike_and_slab_is_sent_to_gibbs(small):
    with pytest.raises(FitError, match="gibbs"):
        mb.fit(small, engine="nuts", progress=False)
    sparse = mb.FactorModel(n_factors=2, loadings=mb.ARD(), factors=mb.SpikeSlabFactors())
    with pytest.raises(FitError, match="gibbs"):
        mb.fit(small, sparse, engine="nuts", progress=False)


def test_absent_sampler_names_its_extra(small, monkeypatch):
    monkeypatch.setattr(nuts, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="samplers"):
        mb.fit(small, DENSE, engine="nuts", settings=Sampling(sampler="nutpie"), progress=False)


def test_settings_of_another_engine_are_refused(small):
    with pytest.raises(FitError, match="a Sampling"):
        mb.fit(small, DENSE, engine="nuts", settings=mb.Ascent(), progress=False)
    with pytest.raises(FitError, match="an Ascent"):
        mb.fit(small, DENSE, settings=Sampling(), progress=False)


@pytest.mark.parametrize(
    "wrong", [{"n_draws": 0}, {"n_jobs": 0}, {"n_tune": 1.5}, {"sampler": "stan"}, {"target_accept": 1.0}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(SpecError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_hours_are_announced_before_they_are_spent(monkeypatch):
    rng = np.random.default_rng(0)
    wide = mb.MultiView.from_frames({"w": pd.DataFrame(rng.standard_normal((200, 6000))).add_prefix("f")})
    monkeypatch.setattr(nuts, "graph", lambda *_, **__: 1 / 0)
    with pytest.warns(ModelWarning, match="gibbs"), pytest.raises(ZeroDivisionError):
        nuts.sample_nuts(wide, mb.FactorModel(n_factors=10, loadings=mb.ARD()), Sampling(), rng)


def test_time_grows_with_the_data_and_falls_with_the_processes(small):
    one, two = Sampling(n_chains=2, n_jobs=1), Sampling(n_chains=2, n_jobs=2)
    hours = nuts.estimate_hours(small, DENSE, one, integrated=True)
    assert 0 < hours < 0.1
    assert nuts.estimate_hours(small, DENSE, two, integrated=True) == hours / 2
    assert nuts.estimate_hours(small, DENSE, one, integrated=False) > hours


def test_scattered_gaps_and_other_likelihoods_keep_their_factors(small, cohort):
    assert can_integrate(small, DENSE)
    assert not can_integrate(cohort.views, DENSE)
    assert not can_integrate(cohort.views.keep_views(["rna"]), DENSE)


@pytest.mark.parametrize(
    "theirs",
    [
        {"depth": 3, "logp": -1.0, "mean_tree_accept": 0.9, "diverging": False, "fisher_distance": 0.0},
        {"tree_depth": 3, "lp": -1.0, "acceptance_rate": 0.9, "diverging": False, "step_size_bar": 0.1},
    ],
    ids=["nutpie", "pymc"],
)
def test_statistics_have_the_same_names_whoever_sampled(theirs):
    found = nuts.harmonise(xr.Dataset({name: (("chain", "draw"), [[value]]) for name, value in theirs.items()}))
    assert set(found.data_vars) == {"acceptance_rate", "diverging", "lp", "tree_depth"}


def test_log_density_of_numpyro_has_the_sign_of_the_others():
    theirs = xr.Dataset({"lp": (("chain", "draw"), [[7.0]]), "num_steps": (("chain", "draw"), [[3]])})
    found = nuts.harmonise(theirs, sampler="numpyro")
    assert found["lp"] == -7.0
    assert found["n_steps"].dtype == np.int64


def pretend(views, draws, diverging=0, depth=5):
    """A sampler that returns draws of vi under the names of the graph."""
    posterior = draws.drop_vars([name for name in draws if str(name).startswith(("noise_sd", "active"))])
    for view in views.names:
        noise = draws[f"noise_sd_{view}"]
        kinds = views.likelihoods(view).values
        noisy = [kind for kind in ("gaussian", "student_t") if kind in kinds]
        for kind in noisy:
            own = np.asarray(views.features(view))[kinds == kind]
            dim = next(str(dim) for dim in noise.dims if "feature" in str(dim))
            target = f"feature_{view}" if (kinds == kind).all() else f"{kind}_feature_{view}"
            name = f"noise_sd_{view}" if len(noisy) == 1 else f"noise_sd_{view}_{kind}"
            values = noise.sel({dim: own})
            posterior[name] = values if target == dim else values.rename({dim: target})
    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    n = np.arange(shape[0] * shape[1]).reshape(shape)
    stats = {"diverging": n < diverging, "tree_depth": np.full(shape, depth)}
    stats = xr.Dataset({name: (("chain", "draw"), own) for name, own in stats.items()})
    tree = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})
    return lambda model, *_: tree


@pytest.fixture(scope="module")
def mixed(cohort):
    """Views in which gaussian, student_t and bernoulli features stand beside each other, and vi's fit of them."""
    frames = {view: cohort.views[view].to_pandas().dropna(how="all") for view in ("meth", "ehr")}
    kinds = {"ehr": dict.fromkeys(frames["ehr"].columns[:3], "student_t")}
    views = mb.MultiView.from_frames(frames, likelihoods=kinds)
    spec = mb.FactorModel(n_factors=2, loadings=mb.Horseshoe(), min_variance=0.0)
    return views, spec, mb.fit(views, spec, progress=False, n_draws=200)


def test_noise_of_both_kinds_becomes_one_variable(mixed, monkeypatch):
    views, spec, post = mixed
    monkeypatch.setattr(nuts, "_run", pretend(views, post.tree["posterior"].to_dataset()))
    found = mb.fit(views, spec, engine="nuts", settings=PRETENDED, progress=False)
    xr.testing.assert_allclose(found.noise_sd("ehr"), post.noise_sd("ehr").sel(found.noise_sd("ehr").coords))
    assert found.provenance["converged"] == 1
    assert found.tree["fit"].attrs["integrated"] == 0
    assert np.isfinite(found.project(views).mean).all()


@pytest.mark.parametrize(("trouble", "said"), [({"diverging": 3}, "diverged"), ({"depth": 10}, "cut short")])
def test_trouble_of_the_sampler_is_told(mixed, monkeypatch, trouble, said):
    views, spec, post = mixed
    monkeypatch.setattr(nuts, "_run", pretend(views, post.tree["posterior"].to_dataset(), **trouble))
    with pytest.warns(ConvergenceWarning, match=said):
        found = mb.fit(views, spec, engine="nuts", settings=PRETENDED, progress=False)
    assert found.provenance["converged"] == 0


def test_precisions_of_loadings_are_those_of_vi_and_gibbs_under_every_prior(small, ascended, monkeypatch):
    """The graph names none under these two priors; a precision scales as the squared inverse of its factor."""
    spec = mb.FactorModel(
        n_factors=2, min_variance=0.0, views={"a": mb.ViewModel(loadings=mb.Normal(scale=0.5)),
                                              "b": mb.ViewModel(loadings=mb.Laplace())},
    )  # fmt: skip
    draws = ascended.tree["posterior"].to_dataset().drop_vars(["ard_a", "ard_b"])
    draws["rate_b"] = draws["factors"].isel(subject=0, drop=True) ** 2 + 1
    monkeypatch.setattr(nuts, "_run", pretend(small, draws))
    found = nuts.sample_nuts(small, spec, replace(PRETENDED, n_draws=500), np.random.default_rng(0)).draws
    assert found["ard_a"].dims == found["ard_b"].dims == ("chain", "draw", "factor")
    np.testing.assert_allclose(found["ard_a"], 4.0)
    np.testing.assert_allclose(found["ard_b"], found["rate_b"] ** 2 / 2, rtol=1e-5)
    assert {"ard_a", "ard_b"} <= set(
        mb.fit(small, spec, engine="nuts", settings=replace(PRETENDED, n_draws=500), progress=False)
        .tree["posterior"]
        .data_vars
    )
