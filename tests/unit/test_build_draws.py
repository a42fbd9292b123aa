"""Trees built from draws: what vi says of the same draws, whatever the order and sign that they come in."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.errors import FitError
from mofa_bayes.posterior.build_draws import build_draws_tree, is_sparse
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.inputs import moments_of

N = 60
SUBJECTS = [f"p{n:02d}" for n in range(N)]


@dataclass
class Nothing:
    """The report of an aligner that has nothing to do."""

    strength: np.ndarray

    def to_dataset(self) -> xr.Dataset:
        return xr.Dataset({"match": ("factor", self.strength)})


def leave(draws, *, sparse):
    return draws, Nothing(np.arange(draws.sizes["factor"], dtype=float))


@pytest.fixture(scope="module")
def views():
    """Two sites, an age, a gaussian view that some lack and one of five likelihoods with exposures and gaps."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((N, 2))
    age = rng.normal(60, 10, N)
    real = z @ rng.normal(0, 1, (2, 10)) + rng.normal(0, 0.5, (N, 10)) + np.outer(age / 20, rng.normal(0, 1, 10))
    eta = z @ rng.normal(0, 1, (2, 10))
    exposure = rng.uniform(0.5, 2, N)
    counts = exposure[:, None] * np.exp(0.5 * eta[:, 4:8] + 0.5)
    mixed = np.column_stack(
        [
            eta[:, :2] + rng.normal(0, 0.5, (N, 2)),
            rng.random((N, 2)) < 1 / (1 + np.exp(-2 * eta[:, 2:4])),
            rng.poisson(counts),
            np.digitize(eta[:, 8:] + rng.standard_normal((N, 2)), [-1, 0.5]),
        ]
    ).astype(float)
    mixed[rng.random(mixed.shape) < 0.05] = np.nan
    kinds = ["gaussian"] * 2 + ["bernoulli"] * 2 + ["poisson"] * 2 + ["negative_binomial"] * 2 + ["ordinal"] * 2
    columns = [f"{kind[:4]}{n % 2}" for n, kind in enumerate(kinds)]
    return mb.MultiView.from_frames(
        {
            "lab": pd.DataFrame(real, SUBJECTS, [f"l{d}" for d in range(10)]).iloc[:50],
            "ehr": pd.DataFrame(mixed, SUBJECTS, columns),
        },
        likelihoods={"ehr": dict(zip(columns, kinds, strict=True))},
        groups=pd.Series(np.where(np.arange(N) % 3, "A", "B"), SUBJECTS),
        covariates=pd.DataFrame({"age": age}, index=SUBJECTS),
        exposures={"ehr": pd.Series(exposure, SUBJECTS)},
    )


SPARSE = mb.FactorModel(n_factors=2, factors=mb.ARDFactors(), min_variance=0.0)


@pytest.fixture(scope="module")
def ascended(views):
    return mb.fit(views, SPARSE, n_draws=3000, progress=False)


@pytest.fixture(scope="module")
def draws(ascended):
    """Draws of the vi engine, with the parameters that it only maximises."""
    stored = ascended.tree["moments"].to_dataset()
    kinds = stored["likelihood_ehr"].values
    rng = np.random.default_rng(1)
    own = {}
    for kind, name in (("negative_binomial", "dispersion_ehr"), ("ordinal", "cut_scale_ehr")):
        nuisance = stored["nuisance_ehr"].values[kinds == kind]
        values = nuisance * np.exp(rng.normal(0, 0.01, (1, 3000, 2)))
        own[name] = xr.DataArray(values, dims=("chain", "draw", f"{kind}_feature_ehr"))
    return ascended.tree["posterior"].to_dataset().assign(own)


def build(draws, views, spec=SPARSE, **more):
    return build_draws_tree(draws, views, spec, prepare(views, spec), aligner=leave, **more)


def prepare(views, spec):
    return fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})


@pytest.fixture(scope="module")
def post(draws, views, ascended):
    tree = build(draws, views)
    tree.attrs.update(ascended.tree.attrs | {"engine": "gibbs"})
    return mb.Posterior(tree)


def test_moments_are_those_that_vi_stores_for_the_same_draws(post, ascended):
    ours, theirs = (own.tree["moments"].to_dataset() for own in (post, ascended))
    others = ("weights_var", "n_observed")  # the second is counted by fit itself
    missing = {name for name in theirs.data_vars if not str(name).startswith(others)} - set(ours.data_vars)
    assert not missing
    for view in post.views:
        variance = theirs[f"weights_var_{view}"].values
        assert (
            np.abs(ours[f"weights_mean_{view}"] - theirs[f"weights_mean_{view}"]) < 5 * np.sqrt(variance / 3000) + 1e-3
        ).all()
        found = np.diagonal(ours[f"weights_cov_{view}"].values, axis1=1, axis2=2)
        np.testing.assert_allclose(found, variance, rtol=0.25, atol=1e-4)
        np.testing.assert_allclose(ours[f"precision_{view}"], theirs[f"precision_{view}"], rtol=0.05)
        np.testing.assert_allclose(ours[f"inclusion_{view}"], theirs[f"inclusion_{view}"], atol=0.05)
        np.testing.assert_allclose(ours[f"nuisance_{view}"], theirs[f"nuisance_{view}"], rtol=1e-3)
        for what in ("curvature", "latent_variance"):
            np.testing.assert_allclose(ours[f"{what}_{view}"], theirs[f"{what}_{view}"], rtol=1e-3)
        for what in ("likelihood", "observed", "has_exposure"):
            assert (ours[f"{what}_{view}"] == theirs[f"{what}_{view}"]).all()
    np.testing.assert_array_equal(ours["levels_ehr"], theirs["levels_ehr"])
    np.testing.assert_allclose(ours["factor_precision"], theirs["factor_precision"], rtol=0.05)
    assert list(ours["term"].values) == list(theirs["term"].values)


def test_factors_moments_are_those_of_the_draws(post, ascended):
    found, expected = post.factor_moments(), ascended.factor_moments()
    np.testing.assert_allclose(found.mean, expected.mean, atol=0.1)
    np.testing.assert_allclose(found.covariances(), expected.covariances(), atol=0.05)


def test_projection_imputation_and_explanation_work_as_on_a_fit_by_vi(post, ascended, views):
    found, expected = post.project(views), ascended.project(views)
    np.testing.assert_allclose(found.mean, expected.mean, atol=0.1)
    filled, reference = post.impute(views, seed=1), ascended.impute(views, seed=1)
    for name in ("mean_lab", "lower_lab", "upper_lab", "mean_ehr"):
        np.testing.assert_allclose(filled[name], reference[name], atol=0.5)
    ours, theirs = (mb.variance_explained(own).mean(("chain", "draw")) for own in (post, ascended))
    np.testing.assert_allclose(ours["alone"], theirs["alone"], atol=0.01)
    assert (mb.sharing(post)["views"] == mb.sharing(ascended)["views"]).all()
    by = ["view", "factor", "feature"]
    listed = [mb.biomarkers(own).set_index(by).sort_index()[["mean", "lower", "local_fdr"]] for own in (post, ascended)]
    pd.testing.assert_frame_equal(*listed, atol=0.05)
    assert "gibbs" in repr(post)


def test_risk_model_reads_its_factors(post):
    moments = moments_of(post)
    assert moments.subjects == post.subjects
    assert np.isfinite(moments.variance_along(np.array([1.0, -1.0]))).all()


def test_order_sign_and_labels_of_the_draws_do_not_matter(draws, views, post):
    rng = np.random.default_rng(2)
    scrambled = draws.isel(factor=[1, 0])
    for name in ("factors", "loadings_lab", "loadings_ehr"):
        scrambled[name] = scrambled[name] * xr.DataArray([-1.0, 1.0], dims="factor").astype(np.float32)
    places = {dim: rng.permutation(draws.sizes[dim]) for dim in ("subject", "feature_lab", "feature_ehr")}
    tree = build(scrambled.isel(places).transpose("factor", ...), views)
    for group in ("posterior", "moments"):
        xr.testing.assert_allclose(tree[group].to_dataset(), post.tree[group].to_dataset(), atol=1e-6)
    assert tree["posterior"]["active_lab"].dtype == np.int8
    assert tree["posterior"]["loadings_lab"].dtype == np.float32
    # The report's rows follow their factors.
    np.testing.assert_array_equal(tree["alignment"]["match"], [1.0, 0.0])


def test_a_view_without_negative_loadings_keeps_its_sign(draws, views):
    negative = draws.assign({name: -draws[name] for name in ("factors", "loadings_lab", "loadings_ehr")})
    positive = mb.FactorModel(n_factors=2, views={"lab": mb.ViewModel(loadings=mb.ARD(positive=True))})
    kept, turned = build(negative, views, positive), build(negative, views)
    assert kept["posterior"]["loadings_lab"].mean() < turned["posterior"]["loadings_lab"].mean()


def test_precisions_are_what_the_notes_of_the_alignment_say(draws, views):
    """Under a dense prior draws are rotated: Z T^-T of a group has covariance T^-1 B^-1 T^-T."""
    dense = mb.FactorModel(n_factors=2, loadings=mb.ARD(), factors=mb.ARDFactors(), min_variance=0.0)
    own = draws.drop_vars(["active_lab", "active_ehr"])
    tree = build_draws_tree(own, views, dense, prepare(views, dense))
    found = tree["posterior"].to_dataset()
    np.testing.assert_allclose(found["ard_lab"], 10 / np.square(found["loadings_lab"]).sum("feature_lab"), rtol=1e-5)
    old, new = own["factors"][0, :9].values.astype(float), found["factors"][0, :9].values.astype(float)
    turn = np.stack([np.linalg.lstsq(a, b)[0] for a, b in zip(old, new, strict=True)])  # T^-T of each draw
    variance = np.square(np.swapaxes(turn, 1, 2))[:, None] / own["factor_precision"][0, :9].values[..., None, :]
    np.testing.assert_allclose(found["factor_precision"][0, :9], 1 / variance.sum(axis=-1), rtol=1e-3)
    for said in ("D / sum_d w_dk^2", "1 / (T^-1 B^-1 T^-T)_kk"):
        assert said in tree["alignment"].attrs["notes"]


@pytest.mark.parametrize(
    ("loadings", "expected"),
    [
        (mb.ARD(), False),
        (mb.Normal(), False),
        (mb.Normal(positive=True), True),
        (mb.SpikeSlab(), True),
        (mb.Horseshoe(), True),
        (mb.Laplace(), True),
    ],
)
def test_only_dense_priors_allow_rotation(views, loadings, expected):
    model = mb.FactorModel(n_factors=2, loadings=mb.ARD(), views={"ehr": mb.ViewModel(loadings=loadings)})
    assert is_sparse(model, views) is expected


@pytest.mark.parametrize(("least", "n_kept"), [(0.0, 3), (0.01, 2), (0.99, 1)])
def test_factors_that_explain_too_little_leave_every_variable(draws, views, post, least, n_kept):
    """One of three factors explains 0.04 % of what another does; the draws of those that stay are as they were."""
    faint = draws.isel(factor=[0])
    faint = faint.assign({name: 0.02 * faint[name] for name in ("loadings_lab", "loadings_ehr")})
    three = xr.concat([faint, draws], "factor", data_vars="minimal").assign_coords(factor=["x", "y", "z"])
    spec = mb.FactorModel(n_factors=3, factors=mb.ARDFactors(), min_variance=least)
    tree = build(three, views, spec)
    names = [f"F{k + 1}" for k in range(n_kept)]
    for group in ("posterior", "moments", "alignment"):
        assert list(tree[group]["factor"].values) == names
    both = names[:2]
    xr.testing.assert_allclose(
        tree["posterior"].to_dataset().sel(factor=both), post.tree["posterior"].to_dataset().sel(factor=both)
    )
    np.testing.assert_array_equal(tree["alignment"]["match"], [1.0, 2.0, 0.0][:n_kept])


def test_noise_that_no_value_informs_is_not_a_number(draws, views):
    lab = views["lab"].to_pandas().dropna()
    lab.iloc[views.groups.sel(subject=lab.index).values == "B", 0] = np.nan
    hidden = mb.MultiView(
        views.dataset.assign(values_lab=views["lab"].copy(data=lab.reindex(list(views.subjects)).to_numpy()))
    )
    tree = build(draws, hidden)
    noise = tree["posterior"]["noise_sd_lab"]
    assert noise.sel(group="B", feature_lab="l0").isnull().all()
    assert noise.sel(group="A").notnull().all()
    assert tree["moments"]["precision_lab"].sel(group="B", feature_lab="l0") == 1.0


def test_statistics_and_report_of_the_sampler_are_kept(draws, views):
    stats = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((1, 3000), dtype=bool))})
    tree = build(draws, views, sample_stats=stats, report=xr.Dataset({"seconds": 3.0}))
    assert tree["fit"]["seconds"] == 3.0
    xr.testing.assert_identical(tree["sample_stats"].to_dataset(), stats)
    assert build(draws, views)["fit"]["n_draws"] == 3000


def test_draws_without_loadings_are_refused(draws, views):
    with pytest.raises(FitError, match="loadings_lab"):
        build(draws.drop_vars("loadings_lab"), views)


def test_sparse_factors_and_categories_are_stored_as_vi_stores_them():
    rng = np.random.default_rng(5)
    z = rng.standard_normal((N, 2)) * (rng.random((N, 2)) < 0.5)
    # One factor explains more than the other, so that their order is certain.
    signal = z @ (rng.normal(0, 1, (2, 8)) * [[2.0], [0.7]])
    real = pd.DataFrame(signal + 0.3 * rng.standard_normal((N, 8)), SUBJECTS).add_prefix("r")
    stage = pd.DataFrame({"stage": np.where(z[:, 0] > 0.3, "b", np.where(z[:, 1] > 0, "c", "a"))}, SUBJECTS)
    views = mb.MultiView.from_frames({"real": real, "flags": stage}, likelihoods={"flags": "categorical"})
    spec = mb.FactorModel(n_factors=2, factors=mb.SpikeSlabFactors(), min_variance=0.0)
    fit = mb.fit(views, spec, n_draws=2000, progress=False)
    tree = build(fit.tree["posterior"].to_dataset(), views, spec)
    ours, theirs = tree["moments"].to_dataset(), fit.tree["moments"].to_dataset()
    np.testing.assert_allclose(ours["factor_log_odds"], theirs["factor_log_odds"], atol=0.1)
    assert (ours["variable_flags"] == theirs["variable_flags"]).all()
    tree.attrs.update(fit.tree.attrs)
    found, expected = mb.Posterior(tree).project(views), fit.project(views)
    np.testing.assert_allclose(found.mean, expected.mean, atol=0.15)


def test_it_is_saved_and_read_back(post, tmp_path):
    post.save(tmp_path / "post.nc")
    xr.testing.assert_identical(
        mb.load(tmp_path / "post.nc").tree["moments"].to_dataset(), post.tree["moments"].to_dataset()
    )


def test_covariances_do_not_depend_on_the_size_of_chunks(draws, views, post, monkeypatch):
    monkeypatch.setattr("mofa_bayes.posterior.build_draws._CHUNK_NUMBERS", 3 * 3000 * 5)
    again = build(draws, views)["moments"].to_dataset()
    xr.testing.assert_allclose(again, post.tree["moments"].to_dataset())


def test_a_subject_has_the_covariance_of_its_own_draws(post):
    direct = FactorMoments.from_draws(post.factors())
    np.testing.assert_allclose(direct.covariances(), post.factor_moments().covariances())
