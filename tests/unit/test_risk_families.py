"""Outcomes that are measured, counted or graded: predictions of posteriors written by hand, scores, evaluation."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import expit

import mofa_bayes as mb
from mofa_bayes.errors import DataError, FileError, SpecError
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import FittedRisk, RiskModel
from mofa_bayes.risk.evaluation.measured import Measurements
from mofa_bayes.risk.inputs import Scaling
from mofa_bayes.risk.interactions import Interactions
from mofa_bayes.risk.metrics.measured import (
    count_crps,
    linear_calibration,
    normal_crps,
    poisson_deviance,
    r_squared,
    ranked_probability_score,
)

LEVELS = ["low", "mid", "high"]
N_DRAWS = 400
SHARES = ["share_factors", "share_parameters", "share_outcome"]
KINDS = {
    "continuous": mb.Continuous("weight"),
    "count": mb.Count("visits", "years"),
    "ordinal": mb.Ordinal("grade", levels=LEVELS),
    "probit": mb.Binary("dead", link="probit"),
    "panel": mb.MultiContinuous(["weight", "height"]),
}


def make_patients(n_subjects=6, seed=1):
    rng = np.random.default_rng(seed)
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    covariance = np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.8, 0.0], [0.0, 0.9]]])
    moments = FactorMoments(
        subjects, ("F1", "F2"), rng.normal(size=(n_subjects, 2)), covariance, np.arange(n_subjects, dtype=np.intp) % 2
    )
    clinical = {
        "age": rng.normal(60, 10, size=n_subjects),
        "weight": rng.normal(80, 5, size=n_subjects),
        "height": rng.normal(170, 9, size=n_subjects),
        "visits": rng.poisson(3, size=n_subjects) + (np.arange(n_subjects) == 0),
        "years": rng.uniform(0.5, 2, size=n_subjects),
        "grade": [LEVELS[n % 3] for n in range(n_subjects)],
        "dead": np.arange(n_subjects) % 2,
    }
    return moments, pd.DataFrame(clinical, index=list(subjects))


def make_fitted(kind, *, interaction=False, method="marginal", seed=0):
    """A fitted model whose draws are known: 2 chains of 200, two factors, one covariate."""
    rng = np.random.default_rng(seed)
    shape, lead = (2, N_DRAWS // 2), ("chain", "draw")
    unit = 4.0 if kind in ("continuous", "panel") else 1.0
    outer, sizes = (("response",), (2,)) if kind == "panel" else ((), ())
    noise = {name: rng.normal(size=(*shape, *sizes, size)) for name, size in (("f", 2), ("c", 1), ("i", 1))}
    own = {
        "continuous": {"intercept": 80 + rng.normal(size=shape), "noise_sd": np.exp(1 + 0.1 * rng.normal(size=shape))},
        "count": {"intercept": 0.5 + 0.2 * rng.normal(size=shape), "dispersion": np.exp(0.2 * rng.normal(size=shape))},
        "ordinal": {"cutpoints": np.sort([-0.5, 1.0] + 0.2 * rng.normal(size=(*shape, 2)), axis=-1)},
        "probit": {"intercept": 0.3 + 0.2 * rng.normal(size=shape)},
        "panel": {
            "intercept": rng.normal([80.0, 170.0], size=(*shape, 2)),
            "noise_sd": np.exp([1.0, 2.0] + 0.1 * rng.normal(size=(*shape, 2))),
        },
    }
    last = {"ordinal": ("cut",), "panel": ("response",)}.get(kind, ())
    draws = {name: ((*lead, *last), np.asarray(values)) for name, values in own[kind].items()}
    draws["effect_factors"] = ((*lead, *outer, "factor"), unit * ([0.9, -0.4] + 0.2 * noise["f"]))
    draws["effect_covariates"] = ((*lead, *outer, "covariate"), unit * (0.03 + 0.01 * noise["c"]))
    if interaction:
        draws["effect_interactions"] = ((*lead, *outer, "interaction"), unit * (0.05 + 0.01 * noise["i"]))
    coords = {"factor": ["F1", "F2"], "covariate": ["age"], "chain": [0, 1], "draw": np.arange(shape[1])}
    coords |= {"response": ["weight", "height"]} if kind == "panel" else {}
    _, clinical = make_patients()
    family = KINDS[kind]
    asked = [("F2", "age")] if interaction else []
    return FittedRisk(
        spec=RiskModel(family, ["age"], interactions=asked, method=method),
        response=family.learn(family.read(clinical, clinical.index)),
        tree=xr.DataTree.from_dict({"posterior": xr.Dataset(draws, coords=coords)}),
        scaling=Scaling(("age",), np.array([60.0]), np.array([10.0])),
        factors=("F1", "F2"),
        n_subjects=100,
        fingerprint="abc",
        interactions=Interactions.find(asked, ("F1", "F2"), ("age",)),
    )


def draw_outcomes(fitted, moments, clinical, part=None, n_each=300, seed=2):
    """Brute force: conditional means (draw, each, subject, place) and outcomes (draw, each, subject) or None."""
    rng = np.random.default_rng(seed)
    posterior = fitted.tree["posterior"].to_dataset()
    posterior = posterior if part is None else posterior.isel(response=part)
    draws = {str(k): v.values for k, v in posterior.stack(s=("chain", "draw")).transpose("s", ...).items()}
    root = np.linalg.cholesky(moments.covariances())
    noise = rng.normal(size=(N_DRAWS, n_each, len(moments.subjects), 2))
    factors = moments.mean + np.einsum("nkl,sjnl->sjnk", root, noise)
    age = clinical["age"].to_numpy() - 60.0
    directions = np.repeat(draws["effect_factors"][:, None, :], len(age), axis=1)
    if "effect_interactions" in draws:
        directions[:, :, 1] += draws["effect_interactions"] * age
    predictor = np.einsum("sjnk,snk->sjn", factors, directions) + (draws["effect_covariates"] * age)[:, None]
    own = {name: values[:, None, None] for name, values in draws.items()}
    if "cutpoints" in own:
        below = expit(own["cutpoints"] - predictor[..., None])
        return np.diff(below, axis=-1, prepend=0.0, append=1.0), None
    if "noise_sd" in own:
        mean = own["intercept"] + predictor
        return mean[..., None], mean + own["noise_sd"] * rng.normal(size=mean.shape)
    if "dispersion" in own:
        mean = clinical["years"].to_numpy() * np.exp(own["intercept"] + predictor)
        size = 1 / own["dispersion"] ** 2
        return mean[..., None], rng.poisson(mean * rng.gamma(np.broadcast_to(size, mean.shape)) / size)
    return stats.norm.cdf(own["intercept"] + predictor)[..., None], None


@pytest.mark.parametrize("interaction", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "panel"])
def test_prediction_is_what_drawing_factors_gives(kind, interaction):
    fitted, (moments, clinical) = make_fitted(kind, interaction=interaction), make_patients()
    dataset = fitted.predict(moments, clinical, level=0.9).dataset
    means, outcomes = draw_outcomes(fitted, moments, clinical)
    pooled = means.reshape(-1, *means.shape[2:])
    scale = pooled.std(axis=0)
    estimate = dataset[fitted.response.labels.estimate].values
    assert (abs(estimate - pooled.mean(axis=0)) < 0.03 * scale).all()
    for name, tail in (("lower", 0.05), ("upper", 0.95)):
        assert (abs(dataset[name].values - np.quantile(pooled, tail, axis=0)) < 0.12 * scale).all()
    within = means.var(axis=1, ddof=1).mean(axis=0)
    between = means.mean(axis=1).var(axis=0) - within / means.shape[1]
    if kind == "continuous":
        noise = _flat(fitted, "noise_sd")[:, None, None, None] ** 2
    elif kind == "count":
        noise = means + (means * _flat(fitted, "dispersion")[:, None, None, None]) ** 2
    else:
        noise = means * (1 - means)
    total = within + between + noise.mean(axis=(0, 1))
    np.testing.assert_allclose(dataset["share_factors"], within / total, rtol=0.06, atol=0.004)
    np.testing.assert_allclose(dataset["share_parameters"], between / total, rtol=0.06, atol=0.004)
    np.testing.assert_allclose(sum(dataset[name].values for name in SHARES), 1.0)
    if outcomes is not None:
        drawn = outcomes.reshape(-1, outcomes.shape[-1])
        np.testing.assert_allclose(dataset["predictive_sd"].values[:, 0], drawn.std(axis=0), rtol=0.1)
        for name, tail in (("predictive_lower", 0.05), ("predictive_upper", 0.95)):
            apart = dataset[name].values[:, 0] - np.quantile(drawn, tail, axis=0)
            assert (abs(apart) < (1.01 if kind == "count" else 0.03 * drawn.std(axis=0))).all()


def _flat(fitted, name):
    return fitted.tree["posterior"][name].values.reshape(-1)


@pytest.mark.parametrize("interaction", [False, True])
def test_each_response_of_a_panel_is_predicted_as_a_continuous_one(interaction):
    fitted, (moments, clinical) = make_fitted("panel", interaction=interaction), make_patients()
    dataset = fitted.predict(moments, clinical, level=0.9).dataset
    for part, name in enumerate(("weight", "height")):
        means, outcomes = draw_outcomes(fitted, moments, clinical, part)
        pooled, drawn = means.reshape(-1, 6), outcomes.reshape(-1, 6)
        own = dataset.sel(response=name)
        assert (abs(own["predicted"] - pooled.mean(axis=0)) < 0.03 * pooled.std(axis=0)).all()
        assert (abs(own["predictive_upper"] - np.quantile(drawn, 0.95, axis=0)) < 0.04 * drawn.std(axis=0)).all()
    with pytest.raises(DataError, match="several responses"):
        _ = fitted.predict(moments, clinical).linear_predictor


@pytest.mark.parametrize("interaction", [False, True])
def test_log_likelihood_of_a_panel_is_that_of_its_joint_normal_distribution(interaction):
    fitted, (moments, clinical) = make_fitted("panel", interaction=interaction), make_patients()
    clinical.loc["p2", "height"] = np.nan
    clinical.loc["p3", ["height", "weight"]] = np.nan
    values = fitted.log_likelihood(moments, clinical)
    assert values.dims == ("chain", "draw", "subject")
    own = fitted.tree["posterior"].to_dataset().isel(chain=1, draw=7)
    for n, row in enumerate(clinical[["weight", "height"]].to_numpy()):
        effects = own["effect_factors"].values.copy()
        age = clinical["age"].iloc[n] - 60
        if interaction:
            effects[:, 1] += own["effect_interactions"].values[:, 0] * age
        mean = own["intercept"].values + effects @ moments.mean[n] + own["effect_covariates"].values[:, 0] * age
        covariance = effects @ moments.covariance[n % 2] @ effects.T + np.diag(own["noise_sd"].values ** 2)
        has = ~np.isnan(row)
        expected = 0.0
        if has.any():
            expected = stats.multivariate_normal.logpdf(row[has], mean[has], covariance[np.ix_(has, has)])
        assert float(values[1, 7, n]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", list(KINDS))
def test_predictions_and_likelihoods_do_not_depend_on_the_order_of_subjects(kind):
    fitted, (moments, clinical) = make_fitted(kind, interaction=True), make_patients()
    dim = fitted.response.labels.dim
    whole = fitted.predict(moments, clinical).to_frame().set_index(["subject", dim])
    some = moments.sel(["p4", "p0", "p3"])
    shuffled = clinical.sample(frac=1, random_state=0)
    part = fitted.predict(some, shuffled).to_frame().set_index(["subject", dim])
    pd.testing.assert_frame_equal(part, whole.loc[part.index], atol=1e-9)
    likelihood = fitted.log_likelihood(moments, clinical).sel(subject=["p4", "p0", "p3"])
    xr.testing.assert_allclose(fitted.log_likelihood(some, shuffled), likelihood)


def test_plugin_believes_factors_known():
    moments, clinical = make_patients()
    for kind in ("continuous", "panel"):
        dataset = make_fitted(kind, method="plugin", interaction=True).predict(moments, clinical).dataset
        assert float(dataset["share_factors"].max()) < 1e-12


@pytest.mark.parametrize(
    ("kind", "columns", "rows"),
    [
        ("continuous", ["response", "predicted"], 6),
        ("count", ["response", "predicted"], 6),
        ("ordinal", ["category", "probability"], 18),
        ("panel", ["response", "predicted"], 12),
    ],
)
def test_scores_are_named_after_what_they_are_of(kind, columns, rows, tmp_path):
    fitted, (moments, clinical) = make_fitted(kind), make_patients()
    scores = fitted.predict(moments, clinical)
    table = scores.to_frame()
    predictive = [] if kind == "ordinal" else ["predictive_lower", "predictive_upper"]
    assert list(table.columns) == ["subject", *columns, "lower", "upper", *predictive, "level", *SHARES]
    assert len(table) == rows
    if predictive:
        assert (table["predictive_upper"] - table["predictive_lower"] > table["upper"] - table["lower"]).all()
    else:
        np.testing.assert_allclose(table.groupby("subject")["probability"].sum(), 1.0)
    assert scores.summary().index.name == columns[0]
    assert not any(subject in scores._repr_html_() + repr(scores) for subject in moments.subjects)
    scores.to_parquet(tmp_path / "scores.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scores.parquet"), table)


def test_a_csv_table_has_its_provenance_beside_it(tmp_path):
    fitted, (moments, clinical) = make_fitted("ordinal"), make_patients()
    scores = fitted.predict(moments, clinical)
    scores.to_csv(tmp_path / "scores.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores.csv"), scores.to_frame(), check_dtype=False)
    note = json.loads((tmp_path / "scores.csv.json").read_text())
    assert note["sha256"] == hashlib.sha256((tmp_path / "scores.csv").read_bytes()).hexdigest()
    assert note["categories"] == LEVELS
    assert note["fingerprint_fitted"] == "abc"
    with pytest.raises(FileError, match="No such file"):
        scores.to_csv(tmp_path / "nowhere" / "scores.csv")


def test_effects_have_a_row_for_each_interaction_and_response():
    table = make_fitted("panel", interaction=True).effects()
    assert table["term"].tolist() == ["F1", "F2", "age", "F2 x age"] * 2
    assert table["response"].tolist() == ["weight"] * 4 + ["height"] * 4
    assert "rate_ratio" in make_fitted("count").effects()
    assert list(make_fitted("continuous").effects().columns)[-1] == "probability_positive"


def test_what_is_not_a_risk_has_no_draws_of_risks_and_no_horizon():
    moments, clinical = make_patients()
    for kind in ("continuous", "count", "ordinal", "panel"):
        with pytest.raises(DataError, match="happens or not"):
            make_fitted(kind).draw_risks(moments, clinical)
        with pytest.raises(DataError, match="no horizon"):
            make_fitted(kind).predict(moments, clinical, times=[12])
    assert make_fitted("probit").draw_risks(moments, clinical, n_draws=50).risk.shape == (50, 6, 1)


def test_a_count_needs_its_exposure_to_be_predicted():
    fitted, (moments, clinical) = make_fitted("count"), make_patients()
    once = fitted.predict(moments, clinical).dataset["predicted"]
    twice = fitted.predict(moments, clinical.assign(years=2 * clinical["years"])).dataset["predicted"]
    np.testing.assert_allclose(twice, 2 * once)
    with pytest.raises(DataError, match="'years'"):
        fitted.predict(moments, clinical.drop(columns="years"))


def evaluate(kind, n_subjects=60, **options):
    fitted = make_fitted(kind)
    moments, clinical = make_patients(n_subjects)
    return mb.evaluate(fitted.predict(moments, clinical), clinical, KINDS[kind], seed=0, n_bootstrap=40, **options)


@pytest.mark.parametrize("kind", ["continuous", "count", "ordinal", "panel"])
def test_evaluation_has_a_row_for_each_metric(kind):
    evaluation = evaluate(kind)
    table = evaluation.table
    of_number = {"r_squared", "rmse", "crps", "log_score", "coverage", "calibration_intercept", "calibration_slope"}
    expected = {
        "continuous": of_number,
        "panel": of_number,
        "count": of_number | {"poisson_deviance"},
        "ordinal": {"ranked_probability_score", "log_score", "auc"},
    }
    assert set(table["metric"]) == expected[kind]
    assert len(table) == (2 * len(of_number) if kind == "panel" else len(expected[kind]) + (kind == "ordinal"))
    assert (table["lower"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["upper"]).all()
    assert "60 subjects" in repr(evaluation)
    assert evaluation.summary().index.names == ["metric", "category" if kind == "ordinal" else "response"]


def test_subgroups_of_a_measured_outcome_are_evaluated_by_themselves():
    evaluation = evaluate("continuous")
    table = evaluation.by_subgroup("dead")
    assert table["n"].tolist() == [30] * len(table)
    own = evaluation.cohort
    assert isinstance(own, Measurements)
    rows = np.arange(60)[::2]
    y, predicted = own.outcome[rows, 0], own.scores.dataset["predicted"].values[rows, 0]
    (rmse,) = table.loc[(table["metric"] == "rmse") & (table["subgroup"] == "0"), "estimate"]
    assert rmse == pytest.approx(np.sqrt(np.mean((y - predicted) ** 2)))


def test_evaluation_refuses_what_does_not_belong_together():
    fitted, (moments, clinical) = make_fitted("continuous"), make_patients()
    scores = fitted.predict(moments, clinical)
    with pytest.raises(DataError, match="this outcome"):
        mb.evaluate(scores, clinical, mb.Continuous("height"), seed=0)
    with pytest.raises(SpecError, match="interval"):
        mb.evaluate(scores, clinical, KINDS["continuous"], seed=0, interval="posterior")


def test_scores_of_numbers_are_what_integration_says():
    grid = np.linspace(-40, 60, 200_001)
    for mean, sd, y in ((0.0, 1.0, 0.4), (3.0, 5.0, -6.0)):
        exact = np.trapezoid((stats.norm.cdf(grid, mean, sd) - (grid >= y)) ** 2, grid)
        assert normal_crps([mean], [sd], [y])[0] == pytest.approx(exact, abs=1e-3)
    law, counts = stats.nbinom(2.0, 0.25), np.arange(2000)
    exact = ((law.cdf(counts) - (counts >= 9)) ** 2).sum()
    assert count_crps([law.mean()], [law.std()], [9])[0] == pytest.approx(exact, rel=1e-6)
    many = count_crps([1e5], [2e3], [9.9e4])[0]
    assert many == pytest.approx(normal_crps([1e5], [2e3], [9.9e4])[0], rel=0.02)
    assert poisson_deviance([2.0, 3.0], [2.0, 0.0]) == pytest.approx([0.0, 6.0])


def test_calibration_and_r_squared_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    predicted = rng.normal(size=80)
    outcome, weights = 1.0 + 0.7 * predicted + rng.normal(size=80), rng.multinomial(80, np.full(80, 1 / 80), size=3)
    offset, slope = linear_calibration(predicted, outcome, weights=weights)
    explained = r_squared(predicted, outcome, weights=weights)
    for own, a, b, share in zip(weights, offset, slope, explained, strict=True):
        p, y = np.repeat(predicted, own), np.repeat(outcome, own)
        assert b == pytest.approx(np.polyfit(p, y, 1)[0])
        assert a == pytest.approx((y - p).mean())
        assert share == pytest.approx(1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def test_ranked_probability_score_of_two_levels_is_the_brier_score():
    probability = np.array([[0.3, 0.7], [0.9, 0.1]])
    assert ranked_probability_score(probability, [1, 1]) == pytest.approx([0.09, 0.81])
    assert ranked_probability_score(np.eye(3), [0, 1, 2]) == pytest.approx([0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mb.Binary("dead", link="cloglog"), "link"),
        (lambda: mb.Ordinal("grade", levels=["a"]), "levels"),
        (lambda: mb.Ordinal("grade", levels="abc"), "levels"),
        (lambda: mb.Ordinal("grade", levels=["a", "b", "a"]), "levels"),
        (lambda: mb.Count("visits", "visits"), "exposure"),
        (lambda: mb.MultiContinuous(["a"]), "MultiContinuous"),
        (lambda: mb.MultiContinuous(["a", "a"]), "MultiContinuous"),
        (lambda: mb.MultiContinuous("ab"), "MultiContinuous"),
        (lambda: RiskModel(mb.Continuous), "outcome"),
        (lambda: RiskModel(mb.Continuous("y"), prior="lasso"), "prior"),
        (lambda: RiskModel(mb.Continuous("y"), interactions=["arm"]), "interactions"),
        (lambda: RiskModel(mb.Continuous("y"), ["arm"], interactions="arm"), "interactions"),
        (lambda: RiskModel(mb.Continuous("y"), ["arm"], interactions=[("F1", "age")]), "interactions"),
        (lambda: RiskModel(mb.Continuous("y"), ["arm"], interactions=[("F1", "arm", 2)]), "interactions"),
    ],
)
def test_models_refuse_what_they_do_not_know(make, message):
    with pytest.raises(SpecError, match=message):
        make()
