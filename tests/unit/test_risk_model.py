"""RiskModel: what it refuses, what a fit returns, and that a fit depends on nothing but its inputs and seed."""

import subprocess
import sys

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from mofa_bayes.errors import ConvergenceWarning, DataError, FitError, SpecError
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import Binary, RiskModel, Survival
from mofa_bayes.risk.effects import Strength
from mofa_bayes.risk.sampling import warn_unconverged

QUICK = {"n_draws": 1000, "n_tune": 400, "n_chains": 2}
WEIBULL = Survival("time", "event", baseline="weibull")
OUTCOMES = {
    "weibull": WEIBULL,
    "piecewise": Survival("time", "event", baseline="piecewise_exponential", n_intervals=5),
    "m_spline": Survival("time", "event", n_intervals=5),
    "binary": Binary("dead"),
}
EFFECTS, AGE = np.array([0.8, 0.0]), 0.05


def make_cohort(n_subjects=250, seed=0, reliability=0.7):
    """Two factors known with reliability 0.7, of which the first matters; age matters, sex does not."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(scale=np.sqrt(reliability), size=(n_subjects, 2))
    factors = mean + rng.normal(scale=np.sqrt(1 - reliability), size=(n_subjects, 2))
    age, sex = rng.normal(60, 10, size=n_subjects), rng.integers(0, 2, size=n_subjects)
    predictor = factors @ EFFECTS + AGE * (age - 60)
    died, censored = 30 * rng.exponential(size=n_subjects) * np.exp(-predictor), rng.uniform(6, 72, size=n_subjects)
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    clinical = pd.DataFrame(
        {
            "time": np.minimum(died, censored),
            "event": (died <= censored).astype(int),
            "dead": (rng.uniform(size=n_subjects) < 1 / (1 + np.exp(-predictor))).astype(int),
            "age": age,
            "sex": sex,
        },
        index=list(subjects),
    )
    covariance = (1 - reliability) * np.eye(2)[None]
    return FactorMoments(subjects, ("F1", "F2"), mean, covariance, np.zeros(n_subjects, dtype=np.intp)), clinical


@pytest.fixture(scope="module")
def cohort():
    return make_cohort()


@pytest.fixture(scope="module", params=list(OUTCOMES))
def fitted(request, cohort):
    return RiskModel(OUTCOMES[request.param], ["age", "sex"]).fit(*cohort, seed=1, **QUICK)


@pytest.fixture(scope="module")
def weibull(cohort):
    return RiskModel(WEIBULL, ["age", "sex"]).fit(*cohort, seed=1, **QUICK)


def test_a_fit_finds_what_matters_and_what_does_not(fitted):
    table = fitted.effects(level=0.999).set_index("term")
    truth = pd.Series({"F1": 0.8, "F2": 0.0, "age": AGE, "sex": 0.0})
    assert ((table["lower"] < truth) & (truth < table["upper"])).all()
    assert table.loc["F1", "lower"] > 0
    assert table.loc["age", "lower"] > 0


def test_the_tree_is_labelled_and_holds_no_patient(fitted):
    assert set(fitted.tree.children) == {"posterior", "sample_stats"}
    posterior = fitted.tree["posterior"].to_dataset()
    assert posterior["effect_factors"].dims == ("chain", "draw", "factor")
    assert posterior["effect_covariates"].dims == ("chain", "draw", "covariate")
    assert posterior["effect_factors"]["factor"].values.tolist() == ["F1", "F2"]
    assert posterior["effect_covariates"]["covariate"].values.tolist() == ["age", "sex"]
    assert set(fitted.response.parameters) < set(posterior.data_vars)
    sizes = {size for node in fitted.tree.subtree for size in node.to_dataset(inherit=False).sizes.values()}
    assert 250 not in sizes
    assert len(az.summary(fitted.tree)) == sum(int(np.prod(v.shape[2:])) for v in posterior.data_vars.values())


def test_the_tree_survives_a_file(fitted, tmp_path):
    fitted.tree.to_netcdf(tmp_path / "risk.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "risk.nc", engine="h5netcdf") as back:
        xr.testing.assert_equal(back["posterior"].to_dataset().load(), fitted.tree["posterior"].to_dataset())


def test_pointwise_log_likelihood_adds_up_to_that_of_the_graph(weibull, cohort):
    moments, clinical = cohort
    model = weibull.spec.build(moments, clinical)
    density = model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")
    pointwise = weibull.log_likelihood(moments, clinical)
    for chain, draw in ((0, 0), (1, 999)):
        own = weibull.tree["posterior"].to_dataset().isel(chain=chain, draw=draw)
        point = {
            "effect_factors": own["effect_factors"].values,
            "standardised_effects": own["effect_covariates"].values * weibull.scaling.scale,
            "intercept": own["intercept"].values,
            "shape_log__": np.log(own["shape"].values),
        }
        assert float(pointwise.isel(chain=chain, draw=draw).sum()) == pytest.approx(float(density(point)), rel=1e-9)


def test_a_fit_measures_its_quadrature(weibull, cohort):
    assert weibull.quadrature_error.n_nodes == 20
    assert 0 < weibull.quadrature_error.total < 1e-3
    assert 0 < weibull.quadrature_error.patient < 0.01
    change = weibull.log_likelihood(*cohort, n_nodes=40) - weibull.log_likelihood(*cohort)
    assert weibull.quadrature_error.patient <= float(abs(change).max())


def test_the_scale_is_the_time_at_which_the_cumulative_hazard_is_one(weibull):
    posterior = weibull.tree["posterior"].to_dataset()
    reference = weibull.response.baseline.reference
    cumulative = np.exp(posterior["intercept"]) * (posterior["scale"] / reference) ** posterior["shape"]
    np.testing.assert_allclose(cumulative, 1.0)


def test_the_same_seed_gives_the_same_draws_and_another_seed_others(weibull, cohort):
    again = weibull.spec.fit(*cohort, seed=np.random.default_rng(1), **QUICK)
    xr.testing.assert_identical(again.tree["posterior"].to_dataset(), weibull.tree["posterior"].to_dataset())
    other = weibull.spec.fit(*cohort, seed=2, **QUICK)
    difference = abs(other.effects()["mean"] - weibull.effects()["mean"])
    assert (difference > 0).all()
    assert (difference < 0.3 * weibull.effects()["sd"]).all()


def test_units_of_covariates_change_effects_and_nothing_else(weibull, cohort):
    moments, clinical = cohort
    rescaled = clinical.assign(age=clinical["age"] * 16)  # a power of two, so that the standardised ages are the same
    other = weibull.spec.fit(moments, rescaled, seed=1, **QUICK)
    np.testing.assert_allclose(other.effects()["mean"], weibull.effects()["mean"] / [1, 1, 16, 1], rtol=1e-12)
    pd.testing.assert_frame_equal(
        other.predict(moments, rescaled, times=[12]).to_frame(),
        weibull.predict(moments, clinical, times=[12]).to_frame(),
    )


@pytest.mark.parametrize("kind", list(OUTCOMES))
def test_the_density_does_not_depend_on_the_order_of_subjects(kind, cohort):
    moments, clinical = cohort
    model = RiskModel(OUTCOMES[kind], ["age"])
    shuffled = moments.sel(list(np.random.default_rng(0).permutation(moments.subjects)))
    point = model.build(moments, clinical).initial_point()
    point["effect_factors"] = np.array([0.5, -0.3])
    values = [
        float(built.compile_logp(mode="FAST_COMPILE")(point))
        for built in (model.build(moments, clinical), model.build(shuffled, clinical.iloc[::-1]))
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


@pytest.mark.parametrize("kind", list(OUTCOMES))
def test_a_graph_holds_nothing_of_its_cohort_so_that_compiled_code_serves_the_next(kind, cohort):
    from pytensor.graph.basic import Constant
    from pytensor.graph.traversal import ancestors

    def list_constants(model):
        nodes = ancestors([model.logp(), *model.deterministics])
        return sorted(repr(getattr(node.data, "tolist", lambda: 0)()) for node in nodes if isinstance(node, Constant))

    model = RiskModel(OUTCOMES[kind], ["age"])
    first, second = (list_constants(model.build(*data)) for data in (cohort, make_cohort(180, seed=7, reliability=0.5)))
    assert first == second


def test_cut_with_known_factors_is_plugin(cohort):
    moments, clinical = cohort
    known = FactorMoments(moments.subjects, moments.factors, moments.mean, 0 * moments.covariance, moments.pattern)
    plugin, cut = (
        RiskModel(WEIBULL, ["age"], method=method).fit(known, clinical, seed=0, **QUICK).effects()
        for method in ("plugin", "cut")
    )
    # F2 has no effect: there the prior has a cusp that a normal approximation cannot follow
    kept = plugin["term"] != "F2"
    assert (abs(plugin["mean"] - cut["mean"]) < 0.2 * plugin["sd"])[kept].all()
    np.testing.assert_allclose(cut["sd"][kept], plugin["sd"][kept], rtol=0.15)


def test_predictions_follow_who_died(fitted, cohort):
    moments, clinical = cohort
    times = None if isinstance(fitted.spec.outcome, Binary) else [36]
    scores = fitted.predict(moments, clinical, times=times)
    observed = clinical["dead"] if times is None else (clinical["time"] <= 36) & (clinical["event"] == 1)
    predictor = scores.linear_predictor["mean"].to_numpy()
    assert predictor[observed.to_numpy() == 1].mean() > predictor[observed.to_numpy() == 0].mean() + 0.3
    if times is None:
        assert scores.dataset["risk"].mean() == pytest.approx(observed.mean(), abs=0.03)


def test_a_model_without_covariates_needs_no_clinical_table_to_predict(cohort):
    moments, clinical = cohort
    fitted = RiskModel(Binary("dead")).fit(moments, clinical, seed=0, **QUICK)
    assert "effect_covariates" not in fitted.tree["posterior"]
    assert fitted.effects()["term"].tolist() == ["F1", "F2"]
    assert len(fitted.predict(moments).to_frame()) == 250


def test_rows_and_columns_that_are_absent_stop_a_fit(cohort):
    moments, clinical = cohort
    model = RiskModel(WEIBULL, ["age"])
    with pytest.raises(DataError, match=r"no row for 1 of 250 subjects .*'p7'"):
        model.fit(moments, clinical.drop(index="p7"), seed=0)
    with pytest.raises(DataError, match="no column 'age'"):
        model.fit(moments, clinical.drop(columns="age"), seed=0)
    with pytest.raises(DataError, match="without column 'event'"):
        model.fit(moments, clinical.drop(columns="event"), seed=0)
    with pytest.raises(DataError, match="1 missing values in columns 'age'"):
        model.fit(moments, clinical.assign(age=clinical["age"].where(clinical.index != "p3")), seed=0)
    with pytest.raises(DataError, match="the same for everyone"):
        model.fit(moments, clinical.assign(age=61.3), seed=0)
    with pytest.raises(DataError, match="outcome table"):
        model.fit(moments, None, seed=0)


def test_an_unaligned_posterior_stops_a_fit(cohort):
    class Unaligned:
        is_aligned = False

        def factor_moments(self):
            return cohort[0]

    with pytest.raises(FitError, match="not aligned"):
        RiskModel(WEIBULL).fit(Unaligned(), cohort[1], seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outcome": "time"}, "outcome"),
        ({"covariates": "age"}, "list of column names"),
        ({"covariates": [1]}, "list of column names"),
        ({"covariates": ["age", "event"]}, "the outcome itself"),
        ({"covariates": ["age", "age"]}, "twice"),
        ({"method": "rubin"}, "marginal, plugin, cut"),
        ({"n_nodes": 1}, "n_nodes"),
        ({"n_nodes": "20"}, "n_nodes"),
    ],
)
def test_a_model_refuses_what_it_does_not_know(arguments, message):
    with pytest.raises(SpecError, match=message):
        RiskModel(**{"outcome": WEIBULL, **arguments})


@pytest.mark.parametrize("arguments", [{"n_draws": 0}, {"n_tune": 1.5}, {"n_chains": True}, {"cores": -1}])
def test_a_fit_refuses_impossible_lengths(arguments, cohort):
    with pytest.raises(SpecError, match=next(iter(arguments))):
        RiskModel(WEIBULL).fit(*cohort, seed=0, **arguments)


@pytest.mark.parametrize("arguments", [{"factors": 0.0}, {"covariates": -1.0}])
def test_prior_scales_are_positive(arguments):
    with pytest.raises(SpecError, match="prior scale"):
        Strength(**arguments)


def test_models_are_values():
    assert RiskModel(WEIBULL, ["age"]) == RiskModel(WEIBULL, ("age",))
    assert RiskModel(WEIBULL, ["age"]) != RiskModel(WEIBULL, ["age"], method="plugin")
    assert len({RiskModel(WEIBULL), RiskModel(WEIBULL), RiskModel(Binary("dead"))}) == 2


def make_tree(values, n_diverging=0):
    diverging = np.zeros(values.shape, dtype=bool)
    diverging.ravel()[:n_diverging] = True
    groups = {"posterior": {"shape": values}, "sample_stats": {"diverging": diverging}}
    return xr.DataTree.from_dict(
        {
            name: xr.Dataset(
                {k: (("chain", "draw"), v) for k, v in group.items()}, coords={"chain": range(len(values))}
            )
            for name, group in groups.items()
        }
    )


def test_chains_that_agree_pass_in_silence():
    warn_unconverged(make_tree(np.random.default_rng(0).normal(size=(4, 1000)), n_diverging=4))
    warn_unconverged(make_tree(np.random.default_rng(0).normal(size=(1, 1000))))


def test_chains_that_do_not_agree_warn_with_numbers():
    draws = np.random.default_rng(0).normal(size=(4, 1000))
    with pytest.warns(ConvergenceWarning, match=r"R-hat is 1\.\d+ \(shape\)"):
        warn_unconverged(make_tree(draws + np.array([[0], [0], [0], [1.0]])))
    with pytest.warns(ConvergenceWarning, match="5 of 4000 draws diverged"):
        warn_unconverged(make_tree(draws, n_diverging=5))
    with pytest.warns(ConvergenceWarning, match=r"only \d+ effective draws \((bulk|tail) of shape\)"):
        warn_unconverged(make_tree(np.cumsum(draws, axis=1)))


def test_importing_the_folder_imports_no_sampler():
    heavy = ("pymc", "pytensor", "arviz", "pyarrow.parquet")
    code = f"import sys, mofa_bayes.risk; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
