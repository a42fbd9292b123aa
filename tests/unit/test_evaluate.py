"""Evaluation of scores: tables are the metrics, intervals are what they say, and no small group shows."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from unit.test_risk_predict import make_fitted, make_patients

import mofa_bayes as mb
from mofa_bayes.errors import DataError, SpecError
from mofa_bayes.plot import plot_calibration, plot_decision, plot_risk_distribution
from mofa_bayes.risk import metrics
from mofa_bayes.risk.evaluation.curves import find_quantiles

mpl.use("Agg")

GRID = np.arange(2.0, 25.0, 2.0)
TIMES = [6.0, 12.0]
SURVIVAL = mb.Survival("time", "event")
PER_HORIZON = ["auc", "brier_score", "brier_gain", "log_score", "observed_expected", "calibration_intercept"]
PER_HORIZON += ["calibration_slope", "ici", "e50", "e90"]


def make_cohort(n=150, seed=0, n_draws=None):
    """Exponential survival with a known risk; draws of the risk err around it."""
    rng = np.random.default_rng(seed)
    predictor = rng.normal(size=n)
    waiting, censored = rng.exponential(12 / np.exp(predictor)), rng.exponential(25, size=n)
    clinical = pd.DataFrame(
        {
            "time": np.minimum(waiting, censored) + 0.01,
            "event": (waiting <= censored).astype(int),
            "died": (rng.random(n) < 1 / (1 + np.exp(-predictor))).astype(int),
            "site": pd.Series(rng.choice(["a", "b"], size=n)).mask(np.arange(n) < 30).to_numpy(),
            "age": rng.normal(60, 10, size=n),
        },
        index=[f"p{i}" for i in range(n)],
    )
    clinical.loc[clinical.index[-5:], "site"] = "rare"
    if n_draws is not None:
        predictor = predictor + 0.2 * rng.normal(size=(n_draws, 1)) + 0.3 * rng.normal(size=(n_draws, n))
    risk = -np.expm1(-np.exp(predictor)[..., None] * GRID / 12)
    return mb.Risks(clinical.index, GRID, risk, predictor), clinical


def value(table, metric, time=np.nan, column="estimate"):
    is_time = table["time"].isna() if np.isnan(time) else table["time"] == time
    (found,) = table.loc[(table["metric"] == metric) & is_time, column]
    return found


@pytest.fixture(scope="module")
def evaluation():
    risks, clinical = make_cohort()
    return mb.evaluate(risks, clinical, SURVIVAL, times=TIMES, seed=1, n_bootstrap=60)


def test_table_holds_every_metric_at_every_time(evaluation):
    table = evaluation.table
    assert list(table.columns) == ["metric", "time", "estimate", "lower", "upper", "level"]
    once = ["harrell_c", "uno_c", "mean_auc", "integrated_brier", "density_score", "crps", "d_calibration_p"]
    assert sorted(table["metric"]) == sorted(once + PER_HORIZON * len(TIMES))
    inside = table[~table["metric"].isin(["d_calibration_p", "ici", "e50", "e90"])]
    assert ((inside["lower"] < inside["estimate"]) & (inside["estimate"] < inside["upper"])).all()


def test_estimates_are_the_metrics_of_the_arrays(evaluation):
    risks, clinical = make_cohort()
    time, event = clinical["time"], clinical["event"]
    status = metrics.status_at(time, event, TIMES)
    own = risks.risk[:, [2, 5]]
    table = evaluation.table
    for t, horizon in enumerate(TIMES):
        assert value(table, "auc", horizon) == pytest.approx(metrics.auc(own, status)[t])
        assert value(table, "brier_score", horizon) == pytest.approx(metrics.brier_score(own, status)[t])
    assert value(table, "harrell_c") == pytest.approx(metrics.harrell_c(risks.linear_predictor, time, event))
    assert value(table, "uno_c", 12.0) == pytest.approx(metrics.uno_c(risks.linear_predictor, time, event, tau=12.0))


def test_same_seed_gives_the_same_intervals_and_the_intervals_are_of_resamples():
    risks, clinical = make_cohort(60)
    runs = [mb.evaluate(risks, clinical, SURVIVAL, times=[6.0], seed=seed, n_bootstrap=40) for seed in (3, 3, 4)]
    pd.testing.assert_frame_equal(runs[0].table, runs[1].table)
    assert not runs[0].table.equals(runs[2].table)
    rng = np.random.default_rng(runs[0].resampling.seed)
    counts = rng.multinomial(60, np.full(60, 1 / 60), size=40)
    own = metrics.harrell_c(risks.linear_predictor, clinical["time"], clinical["event"], weights=counts)
    assert value(runs[0].table, "harrell_c", column="lower") == pytest.approx(np.quantile(own, 0.025))


def test_bootstrap_interval_of_c_holds_the_truth_about_as_often_as_it_says():
    big, clinical = make_cohort(20_000, seed=5)
    truth = metrics.harrell_c(big.linear_predictor, clinical["time"], clinical["event"])
    held = []
    for seed in range(60):
        risks, own = make_cohort(100, seed=100 + seed)
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(100, np.full(100, 0.01), size=200)
        c = metrics.harrell_c(risks.linear_predictor, own["time"], own["event"], weights=counts)
        lower, upper = np.quantile(c, [0.1, 0.9])
        held.append(lower <= truth <= upper)
    assert 0.65 < np.mean(held) < 0.93


def test_intervals_over_draws_patients_and_both():
    risks, clinical = make_cohort(n_draws=80)
    widths = {}
    for interval in ("patients", "posterior", "both"):
        own = mb.evaluate(risks, clinical, SURVIVAL, times=[6.0], seed=0, n_bootstrap=80, interval=interval)
        row = own.table.set_index("metric").loc["observed_expected"]
        widths[interval] = row["upper"] - row["lower"]
        if interval == "posterior":
            by_draw = metrics.harrell_c(risks.linear_predictor, clinical["time"], clinical["event"])
            assert value(own.table, "harrell_c", column="upper") == pytest.approx(np.quantile(by_draw, 0.975))
            assert value(own.table, "d_calibration_p", column="lower") >= 0
    assert widths["both"] > max(widths["patients"], widths["posterior"])


def test_curves_are_the_metrics_and_hold_their_bands(evaluation):
    risks, clinical = make_cohort()
    time, event = clinical["time"], clinical["event"]
    curve = evaluation.calibration_curve.query("time == 12")
    status = metrics.status_at(time, event, [12.0], limit="left")
    observed = metrics.calibration_curve(risks.risk[:, [5]], status, curve["predicted"])
    np.testing.assert_allclose(curve["observed"], observed[0])
    assert ((curve["lower"] <= curve["upper"]) & (curve["upper"] <= 1)).all()
    decision = evaluation.decision_curve.query("time == 12")
    worth = metrics.net_benefit_at(risks.risk[:, [5]], time, event, [12.0], decision["threshold"])
    np.testing.assert_allclose(decision["net_benefit"], worth[0])
    best = np.maximum(decision["treat_all"], 0)
    np.testing.assert_allclose(decision["gain"], decision["net_benefit"] - best, atol=1e-12)
    lowest = decision.iloc[0]  # nobody's risk is below 1 %: acting on it is treating all
    assert (lowest["gain"], lowest["probability_useful"]) == (0, 0)
    assert decision["probability_useful"].max() > 0.95
    shares = evaluation.risk_distribution.groupby(["time", "event"])["share"].sum()
    np.testing.assert_allclose(shares, 1)


def test_subgroup_is_the_evaluation_of_its_patients_and_small_ones_are_suppressed(evaluation):
    risks, clinical = make_cohort()
    panel = evaluation.by_subgroup("site")
    pd.testing.assert_frame_equal(panel, evaluation.by_subgroup("site"))
    rows = np.flatnonzero(clinical["site"] == "a")
    alone = mb.evaluate(risks.take(rows), clinical, SURVIVAL, times=TIMES, seed=0, n_bootstrap=20)
    own = panel[panel["subgroup"] == "a"]
    np.testing.assert_allclose(own["estimate"], alone.table["estimate"])
    assert (own["n"] == len(rows)).all()
    assert set(panel["subgroup"]) == {"(absent)", "a", "b", "rare"}
    rare = panel[panel["subgroup"] == "rare"].iloc[0]
    assert rare["metric"] == "suppressed"
    assert rare[["n", "time", "estimate", "lower", "upper"]].isna().all()
    assert (panel["subgroup"] == "rare").sum() == 1
    assert "suppressed" not in set(evaluation.by_subgroup("site", min_size=5)["metric"])


def test_horizon_beyond_a_groups_follow_up_is_unknown():
    risks, clinical = make_cohort()
    clinical["group"] = np.where(clinical["time"] < 8, "short", "long")
    panel = mb.evaluate(risks, clinical, SURVIVAL, times=TIMES, seed=0, n_bootstrap=20).by_subgroup("group")
    short = panel[panel["subgroup"] == "short"]
    assert np.isnan(value(short, "brier_score", 12.0))
    assert not np.isnan(value(short, "brier_score", 6.0))


def test_binary_outcome_has_its_own_panel():
    _, clinical = make_cohort()
    rng = np.random.default_rng(2)
    risk = 0.2 + 0.5 * clinical["died"].to_numpy() + 0.2 * rng.random(150)
    own = mb.evaluate(mb.Risks(clinical.index, None, risk), clinical, mb.Binary("died"), seed=0, n_bootstrap=30)
    assert list(own.table["metric"]) == PER_HORIZON
    assert own.table["time"].isna().all()
    assert value(own.table, "auc") == 1.0
    assert value(own.table, "brier_score") == pytest.approx(((risk - clinical["died"]) ** 2).mean())
    worth = metrics.net_benefit(risk, clinical["died"], own.decision_curve["threshold"])
    np.testing.assert_allclose(own.decision_curve["net_benefit"], worth)
    assert repr(own) == "<Evaluation: 150 subjects; 95% intervals over patients>"


class Causes:
    """An outcome with two causes, as a family of competing risks reads it."""

    def read(self, clinical, subjects):
        rows = clinical.loc[list(subjects)]
        return {"time": rows["time"].to_numpy(), "event": rows["cause"].to_numpy()}


@pytest.mark.parametrize("cause", [1, 2])
def test_competing_risks_are_evaluated_by_cause(cause):
    rng = np.random.default_rng(9)
    rates = 0.05 * np.exp(rng.normal(size=(400, 2)))
    waiting, censored = rng.exponential(1 / rates.sum(1)), rng.exponential(25, size=400)
    which = 1 + (rng.random(400) > rates[:, 0] / rates.sum(1))
    clinical = pd.DataFrame({"time": np.minimum(waiting, censored), "cause": which * (waiting <= censored)})
    clinical.index = [f"p{i}" for i in range(400)]
    total = rates.sum(1)[:, None]
    risk = rates[:, [cause - 1]] / total * -np.expm1(-total * GRID)
    own = mb.evaluate(
        mb.Risks(clinical.index, GRID, risk, cause=cause), clinical, Causes(), times=TIMES, seed=0, n_bootstrap=40
    )
    assert set(own.table["metric"]) == {"harrell_c", "integrated_brier", *PER_HORIZON}
    ratio = own.table[own.table["metric"] == "observed_expected"]
    np.testing.assert_allclose(ratio["estimate"], 1, atol=0.25)  # sd 0.08 over cohorts
    time, code = clinical["time"].to_numpy(), clinical["cause"].to_numpy()
    worth = metrics.net_benefit_at(risk[:, [2]], time, code, [6.0], own.decision_curve["threshold"][:99], cause=cause)
    np.testing.assert_allclose(own.decision_curve["net_benefit"][:99], worth[0])
    above = below = 0.0
    for i in np.flatnonzero(code == cause):
        later = (time > time[i]) | ((code > 0) & (code != cause))
        above += (risk[i, -1] > risk[later, -1]).sum()
        below += later.sum()
    assert value(own.table, "harrell_c") == pytest.approx(above / below)


@pytest.mark.parametrize("kind", ["survival", "binary"])
def test_scores_and_draws_of_a_fitted_model_are_evaluated(kind):
    fitted, (moments, clinical) = make_fitted(kind), make_patients(60)
    rng = np.random.default_rng(4)
    clinical = clinical.assign(time=rng.exponential(20, 60) + 0.1, event=1, dead=np.arange(60) % 2)
    times = [12.0, 36.0] if kind == "survival" else None
    scores = fitted.predict(moments, clinical, times=times)
    draws = fitted.draw_risks(moments, clinical, times=times, n_draws=400)
    # scores average over the same draws and factors
    np.testing.assert_allclose(draws.mean().risk, scores.dataset["risk"].values, atol=1e-12)
    np.testing.assert_allclose(draws.mean().linear_predictor, scores.linear_predictor["mean"])
    assert len(fitted.draw_risks(moments, clinical, times=times, n_draws=7).risk) == 7
    outcome = fitted.spec.outcome
    by_scores = mb.evaluate(scores, clinical, outcome, seed=0, n_bootstrap=20)
    by_draws = mb.evaluate(draws, clinical, outcome, seed=0, n_bootstrap=20, interval="both")
    np.testing.assert_allclose(by_draws.table["estimate"], by_scores.table["estimate"])
    assert by_scores.summary().index.names == ["metric", "time"]
    assert "auc" in by_scores._repr_html_()


def test_risks_without_a_predictor_are_ranked_by_the_last():
    risks, _ = make_cohort(10)
    own = mb.Risks(risks.subjects, GRID, risks.risk)
    np.testing.assert_array_equal(own.linear_predictor, risks.risk[:, -1])
    assert repr(own) == "<Risks: 10 subjects at 12 times>"
    assert repr(make_cohort(10, n_draws=3)[0]) == "<Risks: 3 draws of 10 subjects at 12 times>"


def test_quantiles_leave_out_what_is_unknown_and_bear_infinity():
    values = np.array([[1.0, np.nan, -np.inf], [2.0, np.nan, 0.0], [np.nan, np.nan, 1.0]])
    lower, upper = find_quantiles(values, 0.5)
    np.testing.assert_allclose(lower, [1.25, np.nan, -np.inf])
    np.testing.assert_allclose(upper[:2], [1.75, np.nan])


def evaluate_cohort(change=lambda clinical: clinical, outcome=SURVIVAL, source=None, **options):
    risks, clinical = make_cohort(40)
    return mb.evaluate(risks if source is None else source, change(clinical), outcome, seed=0, **options)


BAD = {
    "a model instead of scores": (lambda: evaluate_cohort(source=make_fitted()), DataError, "scores"),
    "no table": (lambda: evaluate_cohort(lambda clinical: None), DataError, "clinical table"),
    "unknown horizon": (lambda: evaluate_cohort(times=[7.0]), DataError, "times"),
    "unfollowed horizon": (
        lambda: evaluate_cohort(lambda clinical: clinical.assign(time=clinical["time"].clip(upper=9.0))),
        DataError,
        "times",
    ),
    "no draws": (lambda: evaluate_cohort(interval="posterior"), SpecError, "interval"),
    "unknown interval": (lambda: evaluate_cohort(interval="bayes"), SpecError, "interval"),
    "few replicates": (lambda: evaluate_cohort(n_bootstrap=5), SpecError, "n_bootstrap"),
    "level of 95": (lambda: evaluate_cohort(level=95), SpecError, "level"),
    "another kind of outcome": (lambda: evaluate_cohort(outcome=mb.Binary("died")), DataError, "scores"),
    "horizon of a binary outcome": (
        lambda: evaluate_cohort(
            source=mb.Risks([f"p{i}" for i in range(40)], None, np.full(40, 0.5)),
            outcome=mb.Binary("died"),
            times=[1.0],
        ),
        DataError,
        "times",
    ),
    "a subject twice": (lambda: mb.Risks(["p", "p"], None, [0.1, 0.2]), DataError, "subjects"),
    "falling risk": (lambda: mb.Risks(["p"], [1, 2], [[0.4, 0.3]]), DataError, "risk"),
    "a predictor without draws": (
        lambda: mb.Risks(["p"], [1.0], np.full((3, 1, 1), 0.5), [0.1]),
        DataError,
        "linear_predictor",
    ),
    "unknown column": (lambda: evaluate_cohort(times=[6.0], n_bootstrap=20).by_subgroup("x"), DataError, "column"),
    "too many groups": (lambda: evaluate_cohort(times=[6.0], n_bootstrap=20).by_subgroup("age"), DataError, "column"),
    "groups of one": (
        lambda: evaluate_cohort(times=[6.0], n_bootstrap=20).by_subgroup("site", min_size=1),
        SpecError,
        "min_size",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_evaluated_is_refused(case):
    call, error, what = BAD[case]
    with pytest.raises(error, match=rf"^{what}.*: got .*; expected .*\."):
        call()


@pytest.mark.parametrize("draw", [plot_calibration, plot_decision, plot_risk_distribution])
def test_figures_show_the_tables(evaluation, draw):
    ax = Figure().add_subplot()
    assert draw(evaluation, time=12.0, ax=ax) is ax
    if draw is plot_calibration:
        own = evaluation.calibration_curve.query("time == 12")
        np.testing.assert_allclose(ax.lines[-1].get_ydata(), own["observed"])
    elif draw is plot_decision:
        own = evaluation.decision_curve.query("time == 12")
        np.testing.assert_allclose(ax.lines[-1].get_ydata(), own["net_benefit"])
    else:
        own = evaluation.risk_distribution.query("time == 12 and event == 1")
        np.testing.assert_allclose([bar.get_height() for bar in ax.patches[:20]], own["share"])
    assert "12" in ax.get_xlabel()
    with pytest.raises(DataError, match="time"):
        draw(evaluation, time=7.0)


def test_figure_of_a_binary_outcome_has_no_time():
    _, clinical = make_cohort(40)
    risks = mb.Risks(clinical.index, None, np.linspace(0.1, 0.9, 40))
    own = mb.evaluate(risks, clinical, mb.Binary("died"), seed=0, n_bootstrap=20)
    assert plot_calibration(own, ax=Figure().add_subplot()).get_xlabel() == "predicted risk"
