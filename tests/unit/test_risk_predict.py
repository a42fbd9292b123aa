"""Predictions from a posterior written by hand: averages, intervals, the split of variance, and their invariances."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
from scipy.special import expit

from mofa_bayes.errors import DataError, FileError, FitError, SpecError
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import Binary, ExtrapolationWarning, FittedRisk, RiskModel, Survival
from mofa_bayes.risk.baselines import Weibull
from mofa_bayes.risk.binary import BinaryResponse
from mofa_bayes.risk.inputs import Scaling
from mofa_bayes.risk.kernels import split_blocks
from mofa_bayes.risk.survival import SurvivalResponse

TIMES = [12.0, 36.0]
N_DRAWS = 400
SHARES = ["share_factors", "share_parameters", "share_outcome"]
COLUMNS = ["subject", "time", "risk", "lower", "upper", "level", *SHARES]


def make_fitted(kind="survival", method="marginal", spread=0.2, seed=0):
    """A fitted model whose draws are known: 2 chains of 200, two factors, one covariate."""
    rng = np.random.default_rng(seed)
    shape = (2, N_DRAWS // 2)
    draws = {
        "effect_factors": (("chain", "draw", "factor"), [0.9, -0.4] + spread * rng.normal(size=(*shape, 2))),
        "effect_covariates": (("chain", "draw", "covariate"), 0.03 + 0.05 * spread * rng.normal(size=(*shape, 1))),
        "intercept": (("chain", "draw"), -0.8 + spread * rng.normal(size=shape)),
    }
    if kind == "survival":
        draws["shape"] = (("chain", "draw"), np.exp(0.2 + 0.3 * spread * rng.normal(size=shape)))
        draws["scale"] = (("chain", "draw"), np.ones(shape))
    coords = {"factor": ["F1", "F2"], "covariate": ["age"], "chain": [0, 1], "draw": np.arange(shape[1])}
    outcome = Survival("time", "event", baseline="weibull") if kind == "survival" else Binary("dead")
    response = SurvivalResponse(Weibull(20.0, 0.0), 60.0) if kind == "survival" else BinaryResponse(0.0)
    return FittedRisk(
        spec=RiskModel(outcome, ["age"], method=method),
        response=response,
        tree=xr.DataTree.from_dict({"posterior": xr.Dataset(draws, coords=coords)}),
        scaling=Scaling(("age",), np.array([60.0]), np.array([10.0])),
        factors=("F1", "F2"),
        n_subjects=100,
        fingerprint="abc",
    )


def make_patients(n_subjects=6, scale=1.0, seed=1):
    rng = np.random.default_rng(seed)
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    covariance = scale * np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.8, 0.0], [0.0, 0.9]]])
    moments = FactorMoments(
        subjects, ("F1", "F2"), rng.normal(size=(n_subjects, 2)), covariance, np.arange(n_subjects, dtype=np.intp) % 2
    )
    return moments, pd.DataFrame({"age": rng.normal(60, 10, size=n_subjects)}, index=list(subjects))


def draw_risks(fitted, moments, clinical, rng, n_each=500):
    """Brute force: draw factors, take the conditional risk; shape (draw, n_each, subject, time)."""
    draws = fitted.tree["posterior"].to_dataset().stack(s=("chain", "draw")).transpose("s", ...)
    root = np.linalg.cholesky(moments.covariances() + 1e-300 * np.eye(2))
    noise = rng.normal(size=(N_DRAWS, n_each, len(moments.subjects), 2))
    factors = moments.mean + np.einsum("nkl,sjnl->sjnk", root, noise)
    predictor = np.einsum("sjnk,sk->sjn", factors, draws["effect_factors"].values)
    predictor += (draws["effect_covariates"].values @ (clinical.to_numpy() - 60.0).T)[:, None]
    intercept = draws["intercept"].values[:, None, None]
    if "shape" not in draws:
        return expit(intercept + predictor)[..., None]
    cumulative = np.stack(
        [np.exp(intercept + predictor) * (t / 20.0) ** draws["shape"].values[:, None, None] for t in TIMES], -1
    )
    return 1 - np.exp(-cumulative)


@pytest.mark.parametrize("kind", ["survival", "binary"])
def test_prediction_is_what_drawing_factors_gives(kind):
    fitted, (moments, clinical) = make_fitted(kind), make_patients()
    risks = draw_risks(fitted, moments, clinical, np.random.default_rng(2))
    table = fitted.predict(moments, clinical, times=TIMES if kind == "survival" else None, level=0.9).to_frame()
    pooled = risks.reshape(-1, *risks.shape[2:])
    np.testing.assert_allclose(table["risk"], pooled.mean(0).ravel(), atol=0.003)
    lower, upper = np.quantile(pooled, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(table["lower"], lower.ravel(), atol=0.006)
    np.testing.assert_allclose(table["upper"], upper.ravel(), atol=0.006)
    total = (pooled.mean(0) * (1 - pooled.mean(0))).ravel()
    n_each = risks.shape[1]
    within = risks.var(1, ddof=1).mean(0).ravel()
    between = risks.mean(1).var(0).ravel() - within / n_each
    np.testing.assert_allclose(table["share_factors"], within / total, atol=0.005)
    np.testing.assert_allclose(table["share_parameters"], between / total, atol=0.005)


@pytest.mark.parametrize("kind", ["survival", "binary"])
def test_shares_split_the_whole_variance(kind):
    fitted, (moments, clinical) = make_fitted(kind), make_patients()
    table = fitted.predict(moments, clinical, times=TIMES if kind == "survival" else None).to_frame()
    assert list(table.columns) == COLUMNS
    np.testing.assert_allclose(table[SHARES].sum(axis=1), 1.0, atol=1e-12)
    assert (table[SHARES] > 0).all(axis=None)
    # the outcome's share is E[r (1 - r)] / (E r (1 - E r)), by itself and not only as what is left
    risks = draw_risks(fitted, moments, clinical, np.random.default_rng(3)).reshape(-1, len(table))
    mean = risks.mean(0)
    np.testing.assert_allclose(table["share_outcome"], (risks * (1 - risks)).mean(0) / (mean * (1 - mean)), atol=0.01)


def test_known_factors_leave_no_share_and_plugin_believes_them_known():
    moments, clinical = make_patients(scale=0.0)
    known = make_fitted().predict(moments, clinical, times=TIMES).to_frame()
    assert known["share_factors"].abs().max() < 1e-12
    uncertain, _ = make_patients()
    plugin = make_fitted(method="plugin").predict(uncertain, clinical, times=TIMES).to_frame()
    pd.testing.assert_frame_equal(plugin, known, atol=1e-9)


def test_known_parameters_leave_no_share():
    moments, clinical = make_patients()
    table = make_fitted(spread=0.0).predict(moments, clinical, times=TIMES).to_frame()
    assert table["share_parameters"].abs().max() < 1e-12
    assert table["share_factors"].min() > 0.01


def test_less_known_factors_give_wider_intervals_and_a_larger_share():
    tables = []
    for scale in (0.1, 1.0, 4.0):
        moments, clinical = make_patients(scale=scale)
        tables.append(make_fitted().predict(moments, clinical, times=TIMES).to_frame())
    for narrow, wide in pairwise(tables):
        assert (wide["upper"] - wide["lower"] > narrow["upper"] - narrow["lower"]).all()
        assert (wide["share_factors"] > narrow["share_factors"]).all()


def test_predictions_do_not_depend_on_the_order_or_company_of_subjects():
    fitted, (moments, clinical) = make_fitted(), make_patients()
    whole = fitted.predict(moments, clinical, times=TIMES).to_frame().set_index(["subject", "time"])
    some = moments.sel(["p4", "p0", "p3"])
    part = fitted.predict(some, clinical.sample(frac=1, random_state=0), times=TIMES).to_frame()
    assert part["subject"].tolist() == ["p4", "p4", "p0", "p0", "p3", "p3"]
    part = part.set_index(["subject", "time"])
    pd.testing.assert_frame_equal(part, whole.loc[part.index], atol=1e-12)


def test_risk_rises_with_time_and_stays_within_its_interval():
    moments, clinical = make_patients(40)
    dataset = make_fitted().predict(moments, clinical, times=[1.0, 12.0, 36.0, 60.0]).dataset
    assert (dataset["risk"].diff("time") > 0).all()
    assert ((dataset["lower"] < dataset["risk"]) & (dataset["risk"] < dataset["upper"])).all()
    assert ((dataset["lower"] >= 0) & (dataset["upper"] <= 1)).all()


def test_a_risk_without_variance_is_all_outcome():
    moments, clinical = make_patients()
    table = make_fitted().predict(moments, clinical, times=[1e-290]).to_frame()
    np.testing.assert_allclose(table[SHARES].sum(axis=1), 1.0)
    assert np.isfinite(table[["risk", *SHARES]]).all(axis=None)


def test_the_linear_predictor_ranks_as_the_effects_say():
    fitted, (moments, clinical) = make_fitted(), make_patients()
    table = fitted.predict(moments, clinical, times=TIMES).linear_predictor
    posterior = fitted.tree["posterior"]
    effects = posterior["effect_factors"].mean(("chain", "draw")).values
    slope = float(posterior["effect_covariates"].mean())
    expected = moments.mean @ effects + slope * (clinical["age"].to_numpy() - 60)
    assert list(table.columns) == ["subject", "mean", "sd"]
    np.testing.assert_allclose(table["mean"], expected, atol=1e-10)
    known = np.sqrt(moments.variance_along(effects))
    assert (table["sd"] > known).all()


def test_rows_that_lack_covariates_are_named():
    fitted, (moments, clinical) = make_fitted(), make_patients()
    with pytest.raises(DataError, match=r"no row for 2 of 6 subjects .*'p1', 'p4'"):
        fitted.predict(moments, clinical.drop(index=["p1", "p4"]), times=TIMES)
    with pytest.raises(DataError, match="no column 'age'"):
        fitted.predict(moments, clinical.rename(columns={"age": "years"}), times=TIMES)
    with pytest.raises(DataError, match="clinical table: got none"):
        fitted.predict(moments, times=TIMES)
    clinical.iloc[2, 0] = np.nan
    with pytest.raises(DataError, match="1 missing values in columns 'age'"):
        fitted.predict(moments, clinical, times=TIMES)


def test_other_factors_are_refused():
    moments, clinical = make_patients()
    renamed = FactorMoments(moments.subjects, ("F1", "F3"), moments.mean, moments.covariance, moments.pattern)
    swapped = FactorMoments(moments.subjects, ("F2", "F1"), moments.mean, moments.covariance, moments.pattern)
    for other in (renamed, swapped):
        with pytest.raises(DataError, match="factors"):
            make_fitted().predict(other, clinical, times=TIMES)


class Posterior:
    """What risk models need of a posterior."""

    def __init__(self, moments, is_aligned=True):
        self.moments, self.is_aligned, self.fingerprint = moments, is_aligned, "f00d"

    def factor_moments(self):
        return self.moments


def test_a_posterior_serves_as_its_moments_do_unless_it_is_not_aligned():
    fitted, (moments, clinical) = make_fitted(), make_patients()
    scores = fitted.predict(Posterior(moments), clinical, times=TIMES)
    pd.testing.assert_frame_equal(scores.to_frame(), fitted.predict(moments, clinical, times=TIMES).to_frame())
    assert scores.provenance["fingerprint_predicted"] == "f00d"
    with pytest.raises(FitError, match="not aligned"):
        fitted.predict(Posterior(moments, is_aligned=False), clinical, times=TIMES)


@pytest.mark.parametrize("source", [None, np.zeros((3, 2))])
def test_something_else_than_a_posterior_is_refused(source):
    with pytest.raises(DataError, match="posterior"):
        make_fitted().predict(source, times=TIMES)


def test_moments_without_factors_or_with_holes_are_refused():
    moments, clinical = make_patients()
    empty = FactorMoments(moments.subjects, (), np.zeros((6, 0)), np.zeros((2, 0, 0)), moments.pattern)
    holed = FactorMoments(moments.subjects, moments.factors, moments.mean * np.nan, moments.covariance, moments.pattern)
    with pytest.raises(DataError, match="0 factors"):
        make_fitted().predict(empty, clinical, times=TIMES)
    with pytest.raises(DataError, match="not finite"):
        make_fitted().predict(holed, clinical, times=TIMES)


def test_a_horizon_beyond_follow_up_warns():
    moments, clinical = make_patients()
    with pytest.warns(ExtrapolationWarning, match="Horizons 72 lie beyond"):
        make_fitted().predict(moments, clinical, times=[36, 72])


@pytest.mark.parametrize("level", [0, 1, 95, "0.95"])
def test_a_level_is_a_probability(level):
    moments, clinical = make_patients()
    with pytest.raises(SpecError, match="level"):
        make_fitted().predict(moments, clinical, times=TIMES, level=level)
    with pytest.raises(SpecError, match="level"):
        make_fitted().effects(level=level)


def test_a_binary_outcome_has_one_row_for_each_subject_and_no_time():
    moments, clinical = make_patients()
    table = make_fitted("binary").predict(moments, clinical).to_frame()
    assert list(table.columns) == COLUMNS
    assert table["time"].isna().all()
    assert len(table) == 6


def test_effects_are_the_draws_summarised():
    fitted = make_fitted()
    table = fitted.effects(level=0.8)
    draws = fitted.tree["posterior"]["effect_factors"].values.reshape(-1, 2)
    assert list(table.columns) == [
        "term", "mean", "sd", "lower", "upper", "level", "probability_positive", "hazard_ratio",
    ]  # fmt: skip
    assert table["term"].tolist() == ["F1", "F2", "age"]
    np.testing.assert_allclose(table["mean"][:2], draws.mean(0))
    np.testing.assert_allclose(table["lower"][:2], np.quantile(draws, 0.1, axis=0))
    np.testing.assert_allclose(table["hazard_ratio"][:2], np.exp(np.median(draws, axis=0)))
    assert table["probability_positive"].tolist()[:2] == [(draws[:, 0] > 0).mean(), (draws[:, 1] > 0).mean()]
    assert "odds_ratio" in make_fitted("binary").effects()


def test_parquet_carries_the_table_and_its_provenance(tmp_path):
    fitted, (moments, clinical) = make_fitted(), make_patients()
    scores = fitted.predict(moments, clinical, times=TIMES)
    path = tmp_path / "scores.parquet"
    path.write_text("an older file")
    scores.to_parquet(path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), scores.to_frame())
    note = json.loads(pq.read_schema(path).metadata[b"mofa_bayes"])
    assert note["fingerprint_fitted"] == "abc"
    assert note["times"] == TIMES
    assert note["level"] == 0.95
    assert note["method"] == "marginal"
    assert note["version"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.parquet"]


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    moments, clinical = make_patients()
    scores = make_fitted().predict(moments, clinical, times=TIMES)
    with pytest.raises(FileError, match="No such file"):
        scores.to_parquet(tmp_path / "nowhere" / "scores.parquet")
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileError, match="Is a directory"):
        scores.to_parquet(tmp_path / "taken")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_reprs_show_no_patient():
    fitted, (moments, clinical) = make_fitted(), make_patients()
    scores = fitted.predict(moments, clinical, times=TIMES)
    for text in (repr(scores), repr(fitted), fitted._repr_html_(), fitted.summary().to_string()):
        assert not any(subject in text for subject in moments.subjects)
        assert f"{scores.dataset['risk'].values[0, 0]:.3g}" not in text
    assert repr(scores) == "<Scores: 6 subjects at 12, 36>"
    assert scores.summary().index.tolist() == TIMES


def test_log_likelihood_of_each_subject_follows_its_outcome():
    fitted, (moments, clinical) = make_fitted("binary"), make_patients()
    dead = np.array([0, 1, 0, 1, 1, 0])
    values = fitted.log_likelihood(moments, clinical.assign(dead=dead))
    risk = fitted.predict(moments, clinical).dataset["risk"].values[:, 0]
    assert values.dims == ("chain", "draw", "subject")
    averaged = np.exp(values).mean(("chain", "draw")).values
    np.testing.assert_allclose(averaged, np.where(dead == 1, risk, 1 - risk), atol=1e-9)


@pytest.mark.parametrize(("n_rows", "cells"), [(0, 10), (7, 1), (5, 3_000_000), (3, 90_000_000)])
def test_blocks_cover_every_row_once(n_rows, cells):
    covered = [row for block in split_blocks(n_rows, cells) for row in range(n_rows)[block]]
    assert covered == list(range(n_rows))
