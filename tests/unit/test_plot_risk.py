"""Figures of risks show what was computed: curves and bands, effects, and the parts of a predictor."""

from dataclasses import fields

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from unit.test_competing_risks import make_fitted as make_competing
from unit.test_contributions import ages, make_fitted
from unit.test_risk_predict import make_fitted as make_risk
from unit.test_risk_predict import make_patients

import mofa_bayes as mb
from mofa_bayes.errors import DataError
from mofa_bayes.plot import (
    plot_calibration,
    plot_contributions,
    plot_decision,
    plot_effects,
    plot_risk,
    plot_risk_distribution,
    plot_survival,
)
from mofa_bayes.risk import Evaluation

mpl.use("Agg")
TIMES = [6.0, 12.0, 24.0, 36.0]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def predicted():
    fitted, (moments, covariates) = make_risk(), make_patients(20)
    rng = np.random.default_rng(0)
    clinical = covariates.assign(time=rng.exponential(20, 20) + 0.1, event=1, arm=["a", "b"] * 10)
    return fitted.predict(moments, clinical, times=TIMES), fitted.draw_risks(moments, clinical, times=TIMES), clinical


def test_a_patient_is_drawn_with_the_interval_of_the_scores(predicted):
    scores, _, _ = predicted
    ax = plot_survival(scores, subjects=["p3", "p1"])
    frame = scores.to_frame().set_index("subject")
    lines = {line.get_label(): line for line in ax.get_lines()}
    np.testing.assert_allclose(lines["p3"].get_ydata(), [1, *(1 - frame.loc["p3", "risk"])])
    band = ax.collections[1].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(1 - frame.loc["p1", "upper"].max())
    assert "95%" in ax.get_title()


def test_a_patient_of_risks_has_its_band_over_draws(predicted):
    _, risks, _ = predicted
    ax = plot_survival(risks, subjects=["p0"])
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata()[1:], 1 - risks.risk[:, 0].mean(axis=0))


def test_strata_are_averages_beside_what_was_observed(predicted):
    _, risks, clinical = predicted
    ax = plot_survival(risks, by=clinical["arm"], observed=(clinical, mb.Survival("time", "event")))
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    rows = np.flatnonzero(clinical["arm"] == "b")
    np.testing.assert_allclose(lines["b"][1:], 1 - risks.risk[:, rows].mean(axis=(0, 1)))
    dashed = [line for line in ax.get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) == 2
    own = clinical.loc[clinical["arm"] == "a", "time"]
    assert dashed[0].get_ydata()[-1] == pytest.approx((own > TIMES[-1]).mean())


def test_strata_below_five_patients_are_not_drawn(predicted):
    _, risks, clinical = predicted
    arm = clinical["arm"].mask(np.arange(20) < 3, "rare").mask(np.arange(20) > 13)
    labels = [text.get_text() for text in plot_survival(risks, by=arm).get_legend().get_texts()]
    assert labels == ["a", "b", "missing"]


def test_what_has_no_curves_is_refused(predicted):
    scores, risks, clinical = predicted
    with pytest.raises(DataError, match="draws"):
        plot_survival(scores, by=clinical["arm"])
    with pytest.raises(DataError, match="subjects"):
        plot_survival(scores, subjects=["nobody"])
    with pytest.raises(DataError, match="subjects"):
        plot_survival(scores, subjects=[f"p{n}" for n in range(9)])
    with pytest.raises(DataError, match="strata"):
        plot_survival(risks, by=pd.Series(range(20), index=clinical.index))
    binary, (moments, covariates) = make_risk("binary"), make_patients(3)
    with pytest.raises(DataError, match="horizons"):
        plot_survival(binary.predict(moments, covariates))


def test_patients_of_whom_none_is_named_are_few_and_horizons_are_marked_where_there_are_few(predicted):
    _, risks, _ = predicted
    ax = plot_survival(risks)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["p0", "p1", "p2", "p3"]
    assert {line.get_marker() for line in ax.get_lines()} == {"o"}
    many = mb.Risks(risks.subjects, np.arange(1.0, 21.0), np.tile(np.linspace(0, 0.5, 20), (20, 1)))
    assert {line.get_marker() for line in plot_survival(many).get_lines()} == {""}


def test_competing_risks_are_drawn_by_cause():
    fitted, (moments, covariates) = make_competing(), make_patients(6)
    scores = fitted.predict(moments, covariates, times=[12.0, 36.0])
    for draw in (plot_risk, plot_survival):
        with pytest.raises(DataError, match=r'2 causes \(.*expected those of one.*scores.of_cause\("relapse"\)'):
            draw(scores)
    own = scores.of_cause("death")
    drawn = plot_risk(own, time=36.0).collections[-1].get_offsets()[:, 1]
    np.testing.assert_allclose(drawn, np.sort(own.dataset["risk"].sel(time=36.0)))


def test_forest_has_a_row_for_each_effect_and_marks_those_away_from_zero():
    fitted = make_risk()
    table = fitted.effects(level=0.9)
    ax = plot_effects(fitted, level=0.9)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(table["term"])
    offsets = ax.collections[-1].get_offsets()
    np.testing.assert_allclose(offsets[:, 0], table["mean"])
    colors = ax.collections[-1].get_facecolors()
    is_clear = ((table["lower"] > 0) | (table["upper"] < 0)).to_numpy()
    assert len({tuple(color) for color in colors[is_clear]}) == 1
    assert "hazard ratio" in ax.get_xlabel()
    texts = [text.get_text() for text in ax.texts]
    numbers = np.array([text.strip("]").replace(" [", ", ").split(", ") for text in texts[:-1]], dtype=float)
    ratios = np.column_stack([table["hazard_ratio"], np.exp(table[["lower", "upper"]])])
    assert (np.abs(numbers - ratios) < 0.051 * np.ptp(ratios[:, 1:], axis=1, keepdims=True)).all()
    assert texts[-1] == "hazard ratio"


def test_forest_of_competing_risks_names_the_cause_of_each_effect():
    labels = [label.get_text() for label in plot_effects(make_competing()).get_yticklabels()]
    assert labels == [f"{cause}: {term}" for cause in ("relapse", "death") for term in ("F1", "F2", "age")]


def test_bars_of_contributions_sum_to_the_last(cohort, post):
    fitted = make_fitted(post.factor_names)
    table = fitted.contributions(post, cohort.views, ages(cohort.views.subjects))
    subject = table.loc[~table["is_seen"], "subject"].iloc[0]
    ax = plot_contributions(table, subject)
    widths = [bar.get_width() for bar in ax.patches]
    assert sum(widths[:-1]) == pytest.approx(widths[-1])
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[-1] == "together"
    assert any(label.endswith("(absent)") for label in labels)
    with pytest.raises(DataError, match="subject"):
        plot_contributions(table, "nobody")


def test_a_curve_of_rare_events_fills_its_figure():
    rng = np.random.default_rng(0)
    died = (np.arange(80) % 16 == 0).astype(int)
    risks = mb.Risks([f"p{n}" for n in range(80)], None, 0.02 + 0.06 * rng.random(80))
    own = mb.evaluate(
        risks, pd.DataFrame({"died": died}, index=risks.subjects), mb.Binary("died"), seed=0, n_bootstrap=20
    )
    assert plot_decision(own).get_xlim()[1] < 0.15
    ax = plot_risk_distribution(own)
    assert ax.get_xlim()[1] < 0.15
    assert sum(ax.get_ylim()) == 0


def test_a_benefit_of_none_is_drawn():
    risks = mb.Risks([f"p{n}" for n in range(150)], None, np.linspace(0.001, 0.002, 150))
    clinical = pd.DataFrame({"died": np.arange(150) == 149}, index=risks.subjects).astype(int)
    own = mb.evaluate(risks, clinical, mb.Binary("died"), seed=0, n_bootstrap=20)
    bottom, top = plot_decision(own).get_ylim()
    assert bottom < 0 < top


@pytest.mark.parametrize("draw", [plot_calibration, plot_decision, plot_risk_distribution])
def test_an_evaluation_without_curves_is_refused(draw):
    none = pd.DataFrame()
    own = Evaluation(**{field.name: none for field in fields(Evaluation)})
    with pytest.raises(DataError, match="one without curves"):
        draw(own)
