"""Fusion: strategies on the same folds, stacked by what they say of patients left out, compared patient by patient."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy.special import logsumexp
from unit.validating import SURVIVAL, TIMES, learn_at_once, make_cohort

import mofa_bayes as mb
from mofa_bayes.errors import SpecError
from mofa_bayes.plot import plot_fusion
from mofa_bayes.validation.fits import Fits
from mofa_bayes.validation.scored import Scored
from mofa_bayes.validation.stacking import left_out_scores, mix_scores, stack
from mofa_bayes.validation.strategies import predict_left_out

MODELS = ["clinical", "early", "clinical + early", "intermediate", "clinical + intermediate", "late", "clinical + late"]
MODELS += ["stacked"]


def compare(cohort, outcome=SURVIVAL, **options):
    given = {"covariates": ["age"], "folds": 2, "seed": 0, "times": TIMES, "n_bootstrap": 40, "progress": False}
    return mb.compare_fusion(*cohort, outcome, **{**given, **options})


@pytest.fixture(scope="module")
def cohort():
    return make_cohort()


@pytest.fixture(scope="module")
def fusion(cohort):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fits, "fit_risk", learn_at_once)
        return compare(cohort)


def test_every_strategy_is_there_alone_and_with_covariates(fusion):
    assert list(fusion.models) == MODELS
    assert fusion.reference == "clinical"
    assert set(fusion.table["metric"]) == {"c", "integrated_brier", "d_calibration_p", "log_density"}
    assert list(fusion.summary().index) == MODELS


def test_all_models_are_judged_on_the_same_folds(fusion):
    first = fusion.models["clinical"]
    for own in fusion.models.values():
        np.testing.assert_array_equal(own.repeats[0].fold_of, first.repeats[0].fold_of)
        assert own.risks().subjects == first.risks().subjects


def test_views_predict_where_they_carry_the_hazard_and_age_does_not(fusion):
    c = fusion.summary()["c"]
    assert c["intermediate"] > c["clinical"] + 0.1
    assert c["late"] > c["clinical"] + 0.1
    assert c["early"] > c["clinical"]


def test_differences_are_paired_and_above_zero_where_better(fusion):
    table = fusion.table.set_index(["model", "metric"])
    own = table.loc["clinical", ["difference", "difference_lower", "difference_upper"]]
    assert (own.drop(index="d_calibration_p") == 0).all(axis=None)
    one, two = table.loc[("late", "integrated_brier")], table.loc[("clinical", "integrated_brier")]
    assert one["difference"] == pytest.approx(two["estimate"] - one["estimate"])
    assert one["difference_upper"] - one["difference_lower"] < (one["upper"] - one["lower"]) + (
        two["upper"] - two["lower"]
    )
    c = table.xs("c", level="metric")
    assert ((c["difference_lower"] <= c["difference"]) & (c["difference"] <= c["difference_upper"])).all()


def test_concordance_is_that_of_cross_validation(fusion):
    own = fusion.models["intermediate"].evaluate(n_bootstrap=20)
    (c,) = own.loc[own["metric"] == "harrell_c", "estimate"]
    (brier,) = own.loc[own["metric"] == "integrated_brier", "estimate"]
    assert fusion.summary().loc["intermediate", "c"] == pytest.approx(c)
    assert fusion.summary().loc["intermediate", "integrated_brier"] == pytest.approx(brier)


def test_without_covariates_the_first_strategy_is_the_reference(cohort, monkeypatch):
    monkeypatch.setattr(Fits, "fit_risk", learn_at_once)
    fusion = compare(cohort, covariates=(), strategies=["intermediate", "late"])
    assert list(fusion.models) == ["intermediate", "late"]
    assert fusion.reference == "intermediate"
    assert "2 models" in repr(fusion)


def test_a_binary_outcome_is_compared_by_auc(cohort, monkeypatch):
    monkeypatch.setattr(Fits, "fit_risk", learn_at_once)
    fusion = compare(cohort, mb.Binary("died"), times=None, strategies=["early", "intermediate"])
    assert set(fusion.table["metric"]) == {"auc", "brier_score", "log_density"}
    assert fusion.summary().loc["intermediate", "auc"] > 0.6


def test_resumed_comparison_is_identical(fusion, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(Fits, "fit_risk", learn_at_once)
    compare(cohort, checkpoint=tmp_path)
    next(iter(sorted(tmp_path.iterdir()))).unlink()
    pd.testing.assert_frame_equal(compare(cohort, checkpoint=tmp_path).table, fusion.table)


def test_unknown_strategies_are_refused(cohort):
    for wrong in ("early", ["middle"], []):
        with pytest.raises(SpecError, match="strategies"):
            compare(cohort, strategies=wrong)


def test_figure_has_a_panel_for_each_metric_and_a_point_for_each_model(fusion):
    row = plot_fusion(fusion)
    assert [ax.get_title().split(" (")[0] for ax in row] == ["C", "integrated Brier", "log density"]
    assert all(len(ax.collections[-1].get_offsets()) == len(MODELS) for ax in row)
    assert [label.get_text() for label in row[0].get_yticklabels()] == MODELS
    assert "Fusion" in fusion._repr_html_()
    plt.close(row[0].figure)


def test_stacking_reaches_the_top_of_the_simplex():
    """Karush-Kuhn-Tucker: the mean of p_m / mixture is 1 where a weight is positive, and at most 1 elsewhere."""
    rng = np.random.default_rng(0)
    log_scores = rng.normal(size=(300, 4)) - np.array([0.0, 0.1, 0.8, 3.0])
    weights = stack(log_scores)
    assert weights.sum() == pytest.approx(1)
    ratio = np.exp(log_scores - logsumexp(log_scores, axis=1, b=weights)[:, None]).mean(axis=0)
    np.testing.assert_allclose(ratio[weights > 1e-3], 1, atol=1e-3)
    assert (ratio < 1 + 1e-3).all()


def test_stacking_prefers_the_model_that_is_right():
    rng = np.random.default_rng(1)
    y = rng.normal(size=500)
    right, wrong = -(y**2) / 2, -((y - 1.5) ** 2) / 2
    assert stack(np.stack([right, wrong], axis=1))[0] > 0.95


def test_scores_left_out_are_those_of_refits():
    """Normal data with known variance: the density of each from the others is known in closed form."""
    rng = np.random.default_rng(2)
    y = rng.normal(size=30)
    draws = rng.normal(y.mean(), 1 / np.sqrt(30), size=4000)
    log_likelihood = -((y - draws[:, None]) ** 2) / 2 - np.log(2 * np.pi) / 2
    others = (y.sum() - y) / 29
    variance = 1 + 1 / 29
    exact = -((y - others) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2
    np.testing.assert_allclose(left_out_scores(log_likelihood), exact, atol=0.05)


def test_a_mixture_lies_between_its_parts():
    rng = np.random.default_rng(3)
    parts = [
        Scored(np.sort(rng.random((5, 7, 4)), axis=-1), rng.normal(size=(5, 7)), rng.normal(size=7)) for _ in range(2)
    ]
    mixed = mix_scores(parts, np.array([0.3, 0.7]))
    np.testing.assert_allclose(mixed.risk, 0.3 * parts[0].risk + 0.7 * parts[1].risk)
    np.testing.assert_allclose(
        np.exp(mixed.log_score), 0.3 * np.exp(parts[0].log_score) + 0.7 * np.exp(parts[1].log_score)
    )
    order = np.argsort(mixed.risk[0, :, 2])
    assert (np.diff(mixed.predictor[0, order]) >= 0).all()
    only = mix_scores(parts, np.array([1.0, 0.0]))
    np.testing.assert_allclose(only.risk, parts[0].risk)


def test_early_predictor_of_a_training_patient_does_not_know_its_outcome():
    rng = np.random.default_rng(4)
    x, inner = rng.normal(size=(60, 20)), np.arange(60) % 3
    waiting = rng.exponential(np.exp(-x[:, 0]))
    observed = {"time": waiting, "event": np.ones(60)}
    other = {"time": np.where(inner == 0, 7.0, waiting), "event": np.ones(60)}
    before, after = predict_left_out(x, observed, inner)[0], predict_left_out(x, other, inner)[0]
    np.testing.assert_array_equal(before[inner == 0], after[inner == 0])
    assert (before[inner != 0] != after[inner != 0]).all()
