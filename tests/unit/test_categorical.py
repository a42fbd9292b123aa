"""Categorical columns: indicators that share a softmax, from the table to the prediction."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

import mofa_bayes as mb
from mofa_bayes.engines.vi.families import FAMILIES
from mofa_bayes.engines.vi.families.base import Values
from mofa_bayes.errors import DataError

N = 160
SUBJECTS = [f"p{n:03d}" for n in range(N)]
KINDS = {"ehr": {"stage": "categorical", "site": "categorical"}}


def make_tables(seed=0, hidden=0.1):
    """Clinical facts of which two are categories that follow the factor of the other view; and that factor."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(N)
    rna = pd.DataFrame(np.outer(z, rng.standard_normal(20)) + rng.standard_normal((N, 20)), SUBJECTS)
    rna.columns = [f"g{d:02d}" for d in range(20)]
    utility = np.column_stack([-2 * z, 0 * z, 2 * z]) + rng.gumbel(size=(N, 3))
    ehr = pd.DataFrame({"age": rng.normal(60, 10, N)}, SUBJECTS)
    ehr["stage"] = np.array(["I", "II", "III"])[utility.argmax(axis=1)]
    ehr["site"] = rng.choice([1.0, 2.0], N)
    complete = ehr.copy()
    ehr["stage"] = ehr["stage"].where(rng.random(N) > hidden)
    return {"rna": rna, "ehr": ehr}, complete, z


@pytest.fixture(scope="module")
def tables():
    return make_tables()


@pytest.fixture(scope="module")
def post(tables):
    views = mb.MultiView.from_frames(tables[0], likelihoods=KINDS)
    return mb.fit(views, mb.FactorModel(n_factors=2), settings=mb.Ascent(mode="fast"), progress=False)


def test_each_level_becomes_a_column_that_knows_its_variable(tables):
    views = mb.MultiView.from_frames(tables[0], likelihoods=KINDS)
    assert views.features("ehr") == ("age", "stage=I", "stage=II", "stage=III", "site=1", "site=2")
    assert views.variables("ehr").tolist() == ["age", *["stage"] * 3, *["site"] * 2]
    assert set(views.likelihoods("ehr").values) == {"gaussian", "categorical"}
    stage = views["ehr"].values[:, 1:4]
    missing = tables[0]["ehr"]["stage"].isna().to_numpy()
    assert np.isnan(stage[missing]).all()
    np.testing.assert_array_equal(stage[~missing].sum(axis=1), 1)


def test_levels_may_be_named_beforehand(tables):
    ehr = tables[0]["ehr"].iloc[:5]
    levels = {"ehr": {"stage": ["0", "I", "II", "III"], "site": [1, 2]}}
    views = mb.MultiView.from_frames({"ehr": ehr}, likelihoods=KINDS, levels=levels, uninformative="keep")
    assert [name for name in views.features("ehr") if name.startswith("stage")] == [
        "stage=0", "stage=I", "stage=II", "stage=III",
    ]  # fmt: skip


def test_bound_touches_the_softmax_where_it_was_made_and_lies_below_elsewhere():
    """Oracle: the log softmax itself, at random points and for random levels."""
    rng = np.random.default_rng(1)
    family = FAMILIES["categorical"]
    members = np.ones((4, 1))
    nothing = np.ones(4)
    curvature = family.curvature(nothing, 1.0)
    for _ in range(20):
        at, level = rng.normal(0, 2, 4), rng.integers(4)
        y = np.eye(4)[level]
        values = Values(y[None], np.ones((1, 4)), np.zeros(1), np.empty((0, 0)), members=members)
        local = family.local(values, at[None], np.square(at)[None], curvature, nothing)

        def bound(eta, local=local):
            return float(local.constant[0] + local.kappa[0] @ eta - curvature @ np.square(eta) / 2)

        gaps = [e[level] - logsumexp(e) - bound(e) for e in (at, *(at + rng.normal(0, 1, (30, 4))))]
        assert min(gaps) > -1e-9
        assert abs(gaps[0]) < 1e-9


def test_bound_never_falls_with_categories(post):
    assert np.diff(post.bound.values).min() > -1e-8 * abs(post.bound.values[-1])


def test_hidden_levels_are_predicted_with_probabilities_that_sum_to_one(tables, post):
    frames, complete, _ = tables
    views = mb.MultiView.from_frames(frames, likelihoods=KINDS)
    filled = post.impute(views)
    stage = filled["mean_ehr"].sel(feature_ehr=["stage=I", "stage=II", "stage=III"]).values
    np.testing.assert_allclose(stage.sum(axis=1), 1, atol=1e-6)
    hidden = frames["ehr"]["stage"].isna().to_numpy()
    guessed = np.array(["I", "II", "III"])[stage[hidden].argmax(axis=1)]
    usual = complete["stage"][~hidden].mode()[0]
    assert (guessed == complete["stage"][hidden]).mean() > (complete["stage"][hidden] == usual).mean() + 0.1


def test_new_patients_are_projected_from_levels_as_written(tables, post):
    frames, _, z = tables
    new = post.project({"ehr": frames["ehr"].iloc[:40]})
    fitted = post.project({"ehr": frames["ehr"]}).sel(SUBJECTS[:40])
    np.testing.assert_allclose(new.mean, fitted.mean, atol=1e-4)
    assert np.abs(np.corrcoef(new.mean.T, z[:40])[-1, :-1]).max() > 0.5


def test_a_new_patient_alone_need_not_show_every_level(tables, post):
    frames, *_ = tables
    one = frames["ehr"].dropna().iloc[[0]]
    alone = post.project({"ehr": one})
    together = post.project({"ehr": frames["ehr"]}).sel([str(one.index[0])])
    np.testing.assert_allclose(alone.mean, together.mean, atol=1e-4)


def test_the_posterior_survives_its_file_with_categories(tables, post, tmp_path):
    post.save(tmp_path / "fit.nc")
    back = mb.load(tmp_path / "fit.nc")
    new = {"ehr": tables[0]["ehr"].iloc[:7]}
    np.testing.assert_array_equal(back.project(new).mean, post.project(new).mean)


WRONG = {
    "unknown level": ({"stage": pd.Series(["I", "IV"] * 20)}, {"ehr": {"stage": ["I", "II"]}}, "IV"),
    "too many levels": ({"stage": pd.Series([f"code {n}" for n in range(40)])}, None, "40 levels"),
    "levels as text": ({"stage": pd.Series(["I", "II"] * 20)}, {"ehr": {"stage": "I"}}, "levels"),
    "a taken name": (
        {"stage": pd.Series(["I", "II"] * 20), "stage=I": pd.Series([0.0, 1.0] * 20)}, None, "stage=I",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_categories_that_cannot_be_used_are_refused(case):
    columns, levels, word = case
    table = pd.DataFrame(columns).set_axis([f"p{n}" for n in range(40)], axis=0)
    with pytest.raises(DataError, match=word):
        mb.MultiView.from_frames({"ehr": table}, likelihoods={"ehr": {"stage": "categorical"}}, levels=levels)


def test_a_level_that_the_fit_does_not_know_is_refused(post):
    new = pd.DataFrame({"age": [50.0], "stage": ["IV"], "site": [1.0]}, ["p999"])
    with pytest.raises(DataError, match="IV"):
        post.project({"ehr": new})


def test_many_unknown_levels_are_counted_not_shown():
    """They may be identifiers."""
    table = pd.DataFrame({"stage": [f"PAT{n:03d}" for n in range(40)]}, [f"p{n}" for n in range(40)])
    with pytest.raises(DataError, match="40 of them") as raised:
        mb.MultiView.from_frames(
            {"ehr": table}, likelihoods={"ehr": "categorical"}, levels={"ehr": {"stage": ["I", "II"]}}
        )
    assert "PAT" not in str(raised.value)


def test_levels_of_a_column_that_is_not_categorical_are_refused(tables):
    with pytest.raises(DataError, match="nosuch"):
        mb.MultiView.from_frames(tables[0], likelihoods=KINDS, levels={"ehr": {"nosuch": [1, 2]}})
