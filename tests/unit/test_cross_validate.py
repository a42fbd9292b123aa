"""Cross-validation: no fit sees whom it is judged by, folds are even, and an interrupted run ends as any other."""

import re

import numpy as np
import pandas as pd
import pytest
from unit.validating import N_SUBJECTS, RISK, SPEC, SURVIVAL, TIMES, echo, learn_at_once, make_cohort

import mofa_bayes as mb
from mofa_bayes.errors import DataError, FileError, FitError, SpecError
from mofa_bayes.validation import running
from mofa_bayes.validation.fits import Fits
from mofa_bayes.validation.folds import deal_folds

N_FOLDS = 3


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(Fits, "fit_risk", learn_at_once)


@pytest.fixture(scope="module")
def cohort():
    return make_cohort()


def validate(views, clinical, risk=RISK, **options):
    given = {"folds": N_FOLDS, "seed": 0, "times": TIMES, "progress": False, "settings": mb.Ascent(n_threads=1)}
    return mb.cross_validate(views, SPEC, risk, clinical, **{**given, **options})


def predictor_of(cv):
    return pd.DataFrame(cv.risks().linear_predictor.T, index=list(cv.risks().subjects))


def fold_of(cv):
    return pd.Series(cv.repeats[0].fold_of, index=list(cv.risks().subjects))


def change(views, view, subject, value):
    values = views[view].copy(data=np.array(views[view].values))
    values.loc[{"subject": subject}] = value
    return mb.MultiView(views.dataset.assign({f"values_{view}": values}))


@pytest.fixture
def validated(quick, cohort):
    return validate(*cohort)


def test_strata_are_spread_evenly_and_everyone_is_held_out_once():
    rng = np.random.default_rng(0)
    strata, names = rng.integers(3, size=101), [f"p{n:03d}" for n in range(101)]
    dealt = deal_folds(strata, names, 5, rng)
    for rows in (np.ones(101, dtype=bool), strata == 0, strata == 1, strata == 2):
        counts = np.bincount(dealt[rows], minlength=5)
        assert counts.sum() == rows.sum()
        assert np.ptp(counts) <= 1


def test_folds_do_not_depend_on_the_order_of_patients():
    names, strata = [f"p{n:03d}" for n in range(40)], np.arange(40) % 3
    order = np.random.default_rng(3).permutation(40)
    dealt = deal_folds(strata, names, 4, np.random.default_rng(1))
    shuffled = deal_folds(strata[order], [names[n] for n in order], 4, np.random.default_rng(1))
    np.testing.assert_array_equal(dealt[order], shuffled)


def test_outcomes_of_held_out_patients_do_not_move_their_scores(validated, cohort):
    views, clinical = cohort
    held = fold_of(validated) == 0
    other = clinical.copy()
    other.loc[held, "time"] *= 1e3
    moved = validate(views, other)
    pd.testing.assert_series_equal(fold_of(moved), fold_of(validated))
    before, after = predictor_of(validated), predictor_of(moved)
    pd.testing.assert_frame_equal(after[held], before[held], check_exact=True)
    assert ((after[~held] - before[~held]).abs() > 1e-6).all(axis=None)


def test_views_of_held_out_patients_move_only_their_own_scores(validated, cohort):
    """A sentinel in one patient's view reaches the other folds, which train on it, but nobody in its own."""
    views, clinical = cohort
    sentinel = next(name for name in views.subjects if bool(views.has_view("rna").sel(subject=name)))
    own_fold = fold_of(validated) == fold_of(validated)[sentinel]
    after = predictor_of(validate(change(views, "rna", sentinel, 1e4), clinical))
    before = predictor_of(validated)
    mates = own_fold & (own_fold.index != sentinel)
    pd.testing.assert_frame_equal(after[mates], before[mates], check_exact=True)
    assert ((after[~own_fold] - before[~own_fold]).abs() > 1e-6).all(axis=None)
    assert np.abs(after.loc[sentinel] - before.loc[sentinel]).min() > 1


def test_covariates_of_held_out_patients_move_only_their_own_scores(validated, cohort):
    views, clinical = cohort
    held = fold_of(validated) == 1
    other = clinical.copy()
    other.loc[other.index[held][0], "age"] = 1e4
    before, after = predictor_of(validated), predictor_of(validate(views, other))
    mates = held & (held.index != other.index[held][0])
    pd.testing.assert_frame_equal(after[mates], before[mates], check_exact=True)
    assert (after[~held] != before[~held]).all(axis=None)


def test_preparation_is_learned_from_training_patients(quick, cohort):
    views, clinical = cohort
    steps = {"rna": [mb.steps.QuantileNormal()]}
    before = validate(views, clinical, steps=steps)
    own = fold_of(before) == 0
    sentinel = own.index[own][0]
    after = predictor_of(validate(change(views, "rna", sentinel, 1e4), clinical, steps=steps))
    mates = own & (own.index != sentinel)
    pd.testing.assert_frame_equal(after[mates], predictor_of(before)[mates], check_exact=True)
    assert ((predictor_of(before) - predictor_of(validate(views, clinical))).abs() > 1e-6).any(axis=None)
    with pytest.raises(SpecError):
        validate(views, clinical, steps={"unknown": [mb.steps.QuantileNormal()]})


def test_the_same_seed_gives_the_same_result_and_another_seed_another(validated, cohort):
    same, other = validate(*cohort), validate(*cohort, seed=1)
    pd.testing.assert_frame_equal(same.to_frame(), validated.to_frame(), check_exact=True)
    assert not fold_of(other).equals(fold_of(validated))


def test_an_interrupted_run_is_resumed_to_the_identical_result(validated, cohort, tmp_path, monkeypatch):
    done = []

    def learn(how, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return learn_at_once(how, *rest)

    monkeypatch.setattr(Fits, "fit_risk", learn)
    with pytest.raises(KeyboardInterrupt):
        validate(*cohort, checkpoint=tmp_path / "folds")
    assert len(list((tmp_path / "folds").iterdir())) == 2
    done.clear()
    resumed = validate(*cohort, checkpoint=tmp_path / "folds")
    assert len(done) == N_FOLDS - 2
    pd.testing.assert_frame_equal(resumed.to_frame(), validated.to_frame(), check_exact=True)
    np.testing.assert_array_equal(resumed.log_scores, validated.log_scores)
    done.clear()
    validate(*cohort, checkpoint=tmp_path / "folds")
    assert not done


def test_folds_of_another_run_or_damaged_ones_are_refused(quick, cohort, tmp_path):
    views, clinical = cohort
    validate(views, clinical, checkpoint=tmp_path)
    with pytest.raises(FileError, match="other data"):
        validate(views, clinical, checkpoint=tmp_path, seed=1)
    with pytest.raises(FileError, match="other data"):
        validate(views, clinical.assign(age=clinical["age"] + 1), checkpoint=tmp_path)
    (tmp_path / "fold-0001.npz").write_bytes(b"no archive")
    with pytest.raises(FileError, match="reading it"):
        validate(views, clinical, checkpoint=tmp_path)


def test_concordance_is_that_of_folds_and_ignores_how_their_predictors_are_shifted(validated):
    table = validated.evaluate(n_bootstrap=20)
    by_fold = validated.by_fold()
    own = by_fold[by_fold["metric"] == "harrell_c"]
    assert len(own) == N_FOLDS
    assert own["n"].sum() == N_SUBJECTS
    (estimate,) = table.loc[table["metric"] == "harrell_c", "estimate"]
    assert estimate == pytest.approx(own["estimate"].mean())
    assert estimate > 0.65
    risks = validated.repeats[0].cohort.risks
    moved = mb.Risks(
        risks.subjects, risks.times, risks.risk, risks.linear_predictor + 100.0 * fold_of(validated).values
    )
    pooled = mb.evaluate(moved.mean(), validated.plan.clinical, SURVIVAL, seed=0, n_bootstrap=20).table
    (mixed_up,) = pooled.loc[pooled["metric"] == "harrell_c", "estimate"]
    assert mixed_up != pytest.approx(estimate, abs=0.02)


def test_table_holds_every_metric_with_an_interval(validated):
    table = validated.evaluate(n_bootstrap=30).set_index("metric")
    assert {"uno_c", "auc", "integrated_brier", "calibration_slope", "d_calibration_p"} <= set(table.index)
    assert table.loc["log_density", "estimate"] == pytest.approx(validated.log_scores.mean())
    bounded = table.loc[["harrell_c", "integrated_brier", "log_density"]]
    assert (bounded["lower"] < bounded["estimate"]).all()
    assert (bounded["estimate"] < bounded["upper"]).all()
    assert set(table.loc["auc", "time"]) == set(TIMES)
    by_draws = validated.evaluate(n_bootstrap=20, interval="posterior").set_index("metric")
    assert np.isfinite(by_draws.loc["harrell_c", ["lower", "upper"]].astype(float)).all()


def test_repeats_part_the_cohort_anew_and_are_averaged(quick, cohort):
    cv = validate(*cohort, repeats=2)
    assert (cv.repeats[0].fold_of != cv.repeats[1].fold_of).any()
    own = cv.by_fold().query("metric == 'harrell_c'").groupby("repeat")["estimate"].mean()
    table = cv.evaluate(n_bootstrap=20)
    (estimate,) = table.loc[table["metric"] == "harrell_c", "estimate"]
    assert estimate == pytest.approx(own.mean())
    assert list(cv.to_frame()["repeat"].unique()) == [0, 1]
    with pytest.raises(DataError, match="repeat"):
        cv.risks(2)


def test_frame_and_repr(validated):
    frame = validated.to_frame()
    assert list(frame.columns) == ["repeat", "fold", "subject", "time", "risk", "lower", "upper", "level"]
    assert len(frame) == N_SUBJECTS * len(validated.plan.times)
    assert ((frame["lower"] <= frame["risk"]) & (frame["risk"] <= frame["upper"])).all()
    assert repr(validated) == f"<CrossValidation: {N_SUBJECTS} subjects in 3 folds, once>"
    assert re.search("72 subjects", validated._repr_html_())
    counts = validated.summary()
    assert counts["n_held_out"].sum() == N_SUBJECTS
    assert counts["n_events"].sum() == validated.plan.clinical["event"].sum()
    with pytest.raises(SpecError, match="level"):
        validated.to_frame(level=1.0)
    assert len(validated.evaluation(n_bootstrap=20).decision_curve)


def test_horizons_are_quartiles_of_event_times_when_none_are_given(quick, cohort):
    cv = validate(*cohort, times=None)
    clinical = cohort[1]
    expected = np.quantile(clinical.loc[clinical["event"] == 1, "time"], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(cv.plan.reported, expected)
    assert len(cv.plan.times) > 10


def test_a_binary_outcome_is_validated_without_horizons(quick, cohort):
    cv = validate(*cohort, mb.RiskModel(mb.Binary("died"), ["age"]), times=None)
    table = cv.evaluate(n_bootstrap=20).set_index("metric")
    assert table.loc["auc", "estimate"] > 0.6
    assert np.isnan(cv.to_frame()["time"]).all()


def test_what_fits_warn_of_is_kept(quick, cohort):
    cv = validate(*cohort, settings=mb.Ascent(max_iterations=2, n_threads=1))
    assert cv.notes.iloc[0] == N_FOLDS
    assert "before the bound settled" in cv.notes.index[0]
    assert "3 warnings" in repr(cv)


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"folds": 1}, FitError, "folds"),
        ({"folds": 40}, FitError, "rarest"),
        ({"repeats": 0}, FitError, "repeats"),
        ({"n_jobs": 0}, FitError, "n_jobs"),
        ({"times": [1e6]}, FitError, "longest"),
        ({"settings": mb.Ascent(checkpoint="x.npz")}, FitError, "checkpoint"),
        ({"risk": "cox"}, FitError, "RiskModel"),
        ({"risk": mb.RiskModel(mb.Continuous("age"))}, FitError, "validated"),
        ({"risk": mb.RiskModel(mb.Survival.interval("time", "age"))}, FitError, "validated"),
        ({"risk": mb.RiskModel(SURVIVAL, ["weight"])}, DataError, "weight"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_fitted(cohort, monkeypatch, options, error, what):
    monkeypatch.setattr(Fits, "fit_factors", lambda *args: pytest.fail("something was fitted"))
    with pytest.raises(error, match=what):
        validate(*cohort, **options)


def test_views_must_be_views(cohort):
    with pytest.raises(FitError, match="MultiView"):
        validate({"rna": cohort[0]["rna"].to_pandas()}, cohort[1])


def test_risk_models_are_fitted_for_real(cohort):
    cv = validate(*cohort, folds=2, n_draws=40)
    assert cv.risks().risk.shape[0] == 40
    (estimate,) = cv.evaluate(n_bootstrap=20).query("metric == 'harrell_c'")["estimate"]
    assert estimate > 0.65


def test_processes_return_folds_in_order_and_errors_as_they_are():
    options = {"n_jobs": 2, "keep": None, "progress": False, "title": "echo"}
    found = running.run_folds([3, 1, 2], echo, **options)
    assert [len(own.scored["model"].log_score) for own in found] == [3, 1, 2]
    with pytest.raises(DataError, match="task"):
        running.run_folds([1, 0], echo, **options)


def test_progress_is_shown_where_somebody_watches(monkeypatch, capsys):
    monkeypatch.setattr("mofa_bayes.watch.is_watched", lambda: True)
    running.run_folds([1, 2], echo, n_jobs=1, keep=None, progress=True, title="echoing")
    assert "echoing" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_give_the_same_result(cohort):
    here, there = validate(*cohort, folds=2), validate(*cohort, folds=2, n_jobs=2)
    pd.testing.assert_frame_equal(here.to_frame(), there.to_frame(), check_exact=True)
