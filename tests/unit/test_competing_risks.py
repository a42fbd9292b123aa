"""Competing risks from a posterior written by hand and from one fit: tables by cause, sums, and invariances."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.errors import DataError
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import CompetingRisks, ExtrapolationWarning, FittedRisk, RiskModel
from mofa_bayes.risk.baselines import Weibull
from mofa_bayes.risk.competing import CompetingResponse
from mofa_bayes.risk.inputs import Scaling
from mofa_bayes.risk.metrics import aalen_johansen
from mofa_bayes.risk.quadrature import product_nodes, spread_nodes
from mofa_bayes.risk.survival import SurvivalResponse

NAMES = {1: "relapse", 2: "death"}
OUTCOME = CompetingRisks("time", "cause", NAMES, baseline="weibull")
TIMES = [12.0, 36.0]
B = np.array([[0.9, -0.4], [0.2, 0.6]])


def make_fitted(method="marginal", spread=0.15, seed=0):
    """A fitted model whose draws are known: 2 chains of 60, two factors, one covariate, two causes."""
    rng = np.random.default_rng(seed)
    shape = (2, 60)
    draws = {
        "effect_factors": (("chain", "draw", "cause", "factor"), B + spread * rng.normal(size=(*shape, 2, 2))),
        "effect_covariates": (("chain", "draw", "cause", "covariate"), 0.02 + 0.01 * rng.normal(size=(*shape, 2, 1))),
    }
    for cause, level, power in (("relapse", -0.8, 1.3), ("death", -1.2, 0.8)):
        draws[f"intercept_{cause}"] = (("chain", "draw"), level + spread * rng.normal(size=shape))
        draws[f"shape_{cause}"] = (("chain", "draw"), power * np.exp(0.3 * spread * rng.normal(size=shape)))
        draws[f"scale_{cause}"] = (("chain", "draw"), np.ones(shape))
    coords = {"factor": ["F1", "F2"], "covariate": ["age"], "cause": ["relapse", "death"], "chain": [0, 1]}
    return FittedRisk(
        spec=RiskModel(OUTCOME, ["age"], method=method),
        response=CompetingResponse((1, 2), ("relapse", "death"), (SurvivalResponse(Weibull(20.0, 0.0), 60.0),) * 2),
        tree=xr.DataTree.from_dict({"posterior": xr.Dataset(draws, coords=coords)}),
        scaling=Scaling(("age",), np.array([60.0]), np.array([10.0])),
        factors=("F1", "F2"),
        n_subjects=100,
        fingerprint="abc",
    )


def make_patients(n_subjects=5, seed=1):
    rng = np.random.default_rng(seed)
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    covariance = np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.8, 0.0], [0.0, 0.9]]])
    moments = FactorMoments(
        subjects, ("F1", "F2"), rng.normal(size=(n_subjects, 2)), covariance, np.arange(n_subjects, dtype=np.intp) % 2
    )
    return moments, pd.DataFrame({"age": rng.normal(60, 10, size=n_subjects)}, index=list(subjects))


def draw_incidences(fitted, moments, clinical, n_each=60):
    """Brute force: draw factors, and sum hazard times survival over a fine grid of time; (draw, n_each, ...)."""
    rng = np.random.default_rng(3)
    draws = fitted.tree["posterior"].to_dataset().stack(s=("chain", "draw")).transpose("s", ...)
    root = np.linalg.cholesky(moments.covariances())
    noise = rng.normal(size=(120, n_each, len(moments.subjects), 2))
    factors = moments.mean + np.einsum("nkl,sjnl->sjnk", root, noise)
    predictor = np.einsum("sjnk,sck->sjnc", factors, draws["effect_factors"].values)
    predictor = predictor + (draws["effect_covariates"].values @ (clinical.to_numpy() - 60.0).T).swapaxes(1, 2)[:, None]
    grid = np.linspace(0, 1, 241) ** 2 * TIMES[-1]
    cumulative = []
    for c, cause in enumerate(("relapse", "death")):
        base = (
            np.exp(draws[f"intercept_{cause}"].values)[:, None]
            * (grid / 20.0) ** draws[f"shape_{cause}"].values[:, None]
        )
        cumulative.append(base[:, None, None] * np.exp(predictor[..., c])[..., None])
    alive = np.exp(-sum(cumulative))
    middle = (alive[..., 1:] + alive[..., :-1]) / 2
    at = [int(np.argmin(abs(grid - t))) for t in TIMES]
    assert abs(grid[at] - TIMES).max() < 0.2
    sums = [np.cumsum(np.diff(own, axis=-1) * middle, axis=-1)[..., np.array(at) - 1] for own in cumulative]
    return np.stack(sums, axis=-1), grid[at]


def test_predictions_are_what_drawing_factors_gives():
    fitted, (moments, clinical) = make_fitted(), make_patients()
    drawn, times = draw_incidences(fitted, moments, clinical)
    dataset = fitted.predict(moments, clinical, times=times, level=0.9).dataset
    pooled = drawn.reshape(-1, *drawn.shape[2:])
    np.testing.assert_allclose(dataset["risk"], pooled.mean(0), atol=0.01)
    np.testing.assert_allclose(dataset["lower"], np.quantile(pooled, 0.05, axis=0), atol=0.02)
    np.testing.assert_allclose(dataset["upper"], np.quantile(pooled, 0.95, axis=0), atol=0.03)
    total = pooled.mean(0) * (1 - pooled.mean(0))
    np.testing.assert_allclose(dataset["share_factors"], drawn.var(1, ddof=1).mean(0) / total, atol=0.015)
    np.testing.assert_allclose(dataset["share_outcome"], (pooled * (1 - pooled)).mean(0) / total, atol=0.02)
    averages = fitted.draw_risks(moments, clinical, times=times, cause="death")
    np.testing.assert_allclose(averages.mean().risk, dataset["risk"].sel(cause="death"), atol=1e-9)
    assert averages.cause == 2


def test_the_table_has_a_column_for_the_cause_and_shares_that_add_up(tmp_path):
    moments, clinical = make_patients()
    scores = make_fitted().predict(moments, clinical, times=TIMES)
    table = scores.to_frame()
    assert list(table.columns)[:6] == ["subject", "cause", "time", "risk", "lower", "upper"]
    assert len(table) == 20
    shares = table[["share_factors", "share_parameters", "share_outcome"]]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (shares > 0).all(axis=None)
    assert (table.groupby(["subject", "time"])["risk"].sum() < 1).all()
    death = scores.of_cause("death")
    pd.testing.assert_frame_equal(death.to_frame(), table[table["cause"] == "death"].reset_index(drop=True))
    assert scores.summary().index.names == ["cause", "time"]
    assert repr(scores) == "<Scores: 5 subjects at 12, 36; relapse; death>"
    assert len(death.linear_predictor) == 5
    scores.to_parquet(tmp_path / "scores.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scores.parquet"), table)
    assert json.loads(pq.read_schema(tmp_path / "scores.parquet").metadata[b"mofa_bayes"])["times"] == TIMES
    for wrong in ("cured", 2):
        with pytest.raises(DataError, match="one of relapse, death"):
            scores.of_cause(wrong)
    with pytest.raises(DataError, match="competing risks"):
        death.of_cause("death")
    with pytest.raises(DataError, match="one cause"):
        scores.linear_predictor  # noqa: B018


def test_effects_have_a_row_for_each_cause_and_term():
    table = make_fitted().effects()
    assert table["cause"].tolist() == ["relapse"] * 3 + ["death"] * 3
    assert table["term"].tolist() == ["F1", "F2", "age"] * 2
    np.testing.assert_allclose(table["mean"][[0, 1, 3, 4]], B.ravel(), atol=0.1)
    assert "hazard_ratio" in table


def test_plugin_takes_factors_for_known():
    moments, clinical = make_patients()
    known = FactorMoments(moments.subjects, moments.factors, moments.mean, 0 * moments.covariance, moments.pattern)
    plugin = make_fitted("plugin").predict(moments, clinical, times=TIMES).to_frame()
    pd.testing.assert_frame_equal(plugin, make_fitted().predict(known, clinical, times=TIMES).to_frame(), atol=1e-9)
    assert plugin["share_factors"].abs().max() < 1e-12


def test_predictions_do_not_depend_on_the_order_or_company_of_subjects():
    fitted, (moments, clinical) = make_fitted(), make_patients()
    whole = fitted.predict(moments, clinical, times=TIMES).dataset["risk"]
    part = fitted.predict(moments.sel(["p3", "p0"]), clinical[::-1], times=TIMES).dataset["risk"]
    np.testing.assert_allclose(part, whole.sel(subject=["p3", "p0"]), atol=1e-12)


def test_horizons_and_causes_are_checked():
    fitted, (moments, clinical) = make_fitted(), make_patients()
    with pytest.warns(ExtrapolationWarning, match="72"):
        fitted.predict(moments, clinical, times=[36, 72])
    with pytest.raises(DataError, match="times"):
        fitted.predict(moments, clinical)
    with pytest.raises(DataError, match="'relapse', 'death'"):
        fitted.draw_risks(moments, clinical, times=TIMES)


def simulate(n_subjects, seed=0, reliability=0.7):
    """Two factors; each cause has hazards of its own."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(scale=np.sqrt(reliability), size=(n_subjects, 2))
    factors = mean + rng.normal(scale=np.sqrt(1 - reliability), size=(n_subjects, 2))
    hazards = np.exp(factors @ B.T)
    died = np.stack(
        [
            30 * (rng.exponential(size=n_subjects) / hazards[:, 0]) ** (1 / 1.3),
            50 * (rng.exponential(size=n_subjects) / hazards[:, 1]) ** (1 / 0.8),
        ],
        axis=1,
    )
    censored = rng.uniform(6, 72, size=n_subjects)
    time = np.minimum(died.min(axis=1), censored)
    cause = np.where(time == censored, 0, died.argmin(axis=1) + 1)
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    moments = FactorMoments(
        subjects, ("F1", "F2"), mean, (1 - reliability) * np.eye(2)[None], np.zeros(n_subjects, dtype=np.intp)
    )
    return moments, pd.DataFrame({"time": time, "cause": cause}, index=list(subjects))


@pytest.fixture(scope="module")
def cohort():
    return simulate(300)


@pytest.fixture(scope="module")
def fitted(cohort):
    return RiskModel(OUTCOME).fit(*cohort, seed=1, sampler="importance", n_draws=200, n_chains=2)


def test_a_fit_finds_which_factor_matters_for_which_cause(fitted):
    table = fitted.effects(level=0.999)
    assert ((table["lower"] < B.ravel()) & (B.ravel() < table["upper"])).all()
    assert table["probability_positive"].iloc[[0, 3]].min() > 0.99
    assert table["probability_positive"].iloc[1] < 0.05
    assert fitted.tree["posterior"]["effect_factors"].dims == ("chain", "draw", "cause", "factor")
    assert 300 not in {size for node in fitted.tree.subtree for size in node.to_dataset(inherit=False).sizes.values()}
    assert 0 < fitted.quadrature_error.total < 0.02


def test_predicted_incidences_are_those_of_new_patients(fitted):
    """Calibration in the large: the mean incidence is Aalen-Johansen's, and all causes and survival add up."""
    moments, clinical = simulate(2000, seed=5)
    kept = list(moments.subjects[:150])
    scores = fitted.predict(moments.sel(kept), times=TIMES)
    for code, cause in NAMES.items():
        observed = aalen_johansen(clinical["time"], clinical["cause"], cause=code).at(np.array(TIMES))
        np.testing.assert_allclose(scores.of_cause(cause).dataset["risk"].mean("subject"), observed, atol=0.07)


def test_evaluation_takes_the_scores_of_one_cause(fitted, cohort):
    moments, clinical = cohort
    scores = fitted.predict(moments, times=TIMES)
    result = mb.evaluate(scores.of_cause("death"), clinical, OUTCOME, seed=0, n_bootstrap=20, times=[12.0])
    table = result.table.set_index("metric")["estimate"]
    assert table["harrell_c"] > 0.55
    assert 0.7 < table["observed_expected"] < 1.3
    with pytest.raises(DataError, match="of_cause"):
        mb.evaluate(scores, clinical, OUTCOME, seed=0)


def test_pointwise_log_likelihood_adds_up_to_that_of_the_graph(fitted, cohort):
    moments, clinical = cohort
    model = fitted.spec.build(moments, clinical)
    own = fitted.tree["posterior"].to_dataset().isel(chain=0, draw=7)
    point = {"effect_factors": own["effect_factors"].values}
    for cause in NAMES.values():
        point[f"intercept_{cause}"] = own[f"intercept_{cause}"].values
        point[f"shape_{cause}_log__"] = np.log(own[f"shape_{cause}"].values)
    density = float(model.compile_logp(vars=model.potentials, mode="FAST_COMPILE")(point))
    pointwise = fitted.log_likelihood(moments, clinical).isel(chain=0, draw=7)
    assert float(pointwise.sum()) == pytest.approx(density, rel=1e-9)


def test_a_graph_holds_nothing_of_its_cohort(cohort):
    from pytensor.graph.basic import Constant
    from pytensor.graph.traversal import ancestors

    def list_constants(model):
        nodes = ancestors([model.logp(), *model.deterministics])
        return sorted(repr(getattr(node.data, "tolist", lambda: 0)()) for node in nodes if isinstance(node, Constant))

    for method in ("marginal", "plugin"):
        spec = RiskModel(CompetingRisks("time", "cause", NAMES, n_intervals=4), method=method)
        first, second = (list_constants(spec.build(*data)) for data in (cohort, simulate(200, seed=4)))
        assert first == second


def test_causes_without_names_are_called_by_their_numbers(cohort):
    moments, clinical = cohort
    outcome = CompetingRisks("time", "cause", baseline="weibull")
    response = outcome.learn(outcome.read(clinical, moments.subjects))
    assert response.causes == ("1", "2")
    assert RiskModel(outcome) == RiskModel(CompetingRisks("time", "cause", baseline="weibull"))
    assert hash(RiskModel(OUTCOME)) == hash(RiskModel(CompetingRisks("time", "cause", dict(NAMES), baseline="weibull")))


@pytest.mark.parametrize("n_dims", [1, 2, 3])
def test_product_nodes_reproduce_normal_moments(n_dims):
    points, log_weights = product_nodes(20, n_dims)
    weights = np.exp(log_weights)
    assert len(points) == {1: 20, 2: 144, 3: 512}[n_dims]
    np.testing.assert_allclose(weights @ points, 0.0, atol=1e-12)
    np.testing.assert_allclose(np.einsum("q,qc,qd->cd", weights, points, points), np.eye(n_dims), atol=1e-9)
    np.testing.assert_allclose(weights @ points**4, 3.0)


@pytest.mark.parametrize("n_dims", [1, 2, 3])
def test_spread_nodes_fill_the_space_evenly(n_dims):
    points = spread_nodes(200, 24, n_dims).reshape(-1, n_dims)
    np.testing.assert_allclose(
        np.quantile(points, [0.025, 0.5, 0.975], axis=0).T, [[-1.96, 0, 1.96]] * n_dims, atol=0.03
    )
    np.testing.assert_allclose(np.corrcoef(points.T) if n_dims > 1 else 1.0, np.eye(n_dims), atol=0.01)
    share = (points > 1).all(axis=1).mean()
    assert share == pytest.approx(0.1587**n_dims, abs=0.003)
