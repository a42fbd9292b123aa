"""Laws of preparation: it can be undone, learns from the cohort alone, and follows the model to new patients."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mofa_bayes as mb
from mofa_bayes import steps
from mofa_bayes.data.steps.preparation import read_step, read_steps
from mofa_bayes.errors import DataError, SpecError

N = 60
IDS = [f"p{n:02d}" for n in range(N)]


@pytest.fixture(scope="module")
def tables():
    """Counts of very different depth, shares, and flags; a shared factor in all."""
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((N, 1))
    depth = rng.lognormal(0, 0.7, (N, 1))
    rate = np.exp(2 + 0.5 * factor @ rng.standard_normal((1, 12)) + 0.3 * rng.standard_normal((N, 12)))
    shares = 1 / (1 + np.exp(-(factor @ rng.standard_normal((1, 6)) + 0.5 * rng.standard_normal((N, 6)))))
    rna = pd.DataFrame(rng.poisson(depth * rate).astype(float), index=IDS).add_prefix("g")
    rna["flag"] = (rng.random(N) < 0.5).astype(float)
    meth = pd.DataFrame(shares, index=IDS).add_prefix("cg").mask(rng.random((N, 6)) < 0.1)
    return {"rna": rna, "meth": meth}


PLAN = {"rna": [steps.CPM(1e4), steps.Log1p(), steps.TopVariance(8)], "meth": [steps.Logit(), steps.Winsorise(3.0)]}


@pytest.fixture(scope="module")
def prepared(tables):
    return mb.prepare(mb.MultiView.from_frames(tables), PLAN)


@pytest.fixture(scope="module")
def fitted(prepared):
    return mb.fit(prepared, mb.FactorModel(n_factors=2), n_draws=40, progress=False)


INVERTIBLE = [steps.CPM(), steps.Log1p(), steps.Arcsinh(), steps.Standardise(), steps.Standardise(robust=True),
              steps.QuantileNormal()]  # fmt: skip


@pytest.mark.parametrize("step", INVERTIBLE, ids=repr)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_is_done_is_undone(step, seed):
    rng = np.random.default_rng(seed)
    values = rng.lognormal(1, 1, (30, 4))
    values[rng.random(values.shape) < 0.1] = np.nan
    totals = np.nansum(values, axis=1, keepdims=True)
    learned = step.learn(values)
    back = step.invert(step.apply(values, learned, totals), learned, totals)
    np.testing.assert_allclose(back, values, rtol=1e-8, atol=1e-9)


def test_logit_is_undone_between_its_margins():
    values = np.array([[0.2, 0.001], [0.999, np.nan], [1.0, 0.5]])
    step = steps.Logit(0.01)
    back = step.invert(step.apply(values, step.learn(values), values), {}, values)
    np.testing.assert_allclose(back, np.clip(values, 0.01, 0.99), rtol=1e-12)


def test_ranks_become_normal_scores_and_knots_are_nobodys_values():
    rng = np.random.default_rng(1)
    values = rng.standard_cauchy((500, 2))
    step = steps.QuantileNormal()
    learned = step.learn(values)
    scores = step.apply(values, learned, values)
    assert abs(scores[:, 0].mean()) < 0.05
    assert np.quantile(scores[:, 0], 0.9) == pytest.approx(1.2816, abs=0.06)
    assert (np.argsort(scores[:, 0]) == np.argsort(values[:, 0])).all()
    assert not np.isin(learned["at"], values).any()


def test_winsorising_pulls_outliers_in_and_leaves_the_rest():
    values = np.append(np.linspace(-1, 1, 99), 1e6)[:, None]
    step = steps.Winsorise(4.0)
    found = step.apply(values, step.learn(values), values)
    np.testing.assert_array_equal(found[:99], values[:99])
    assert found[99, 0] < 5


def test_selection_keeps_what_varies():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((50, 4)) * [1.0, 3.0, 0.1, 2.0]
    assert steps.TopVariance(2).learn(values)["kept"].tolist() == [0, 1, 0, 1]
    values[:, 0], values[1:, 1] = 7.0, np.nan
    assert steps.DropConstant().learn(values)["kept"].tolist() == [0, 0, 1, 1]


def test_steps_act_on_real_columns_in_order(tables, prepared):
    assert len(prepared.features("rna")) == 9
    assert "flag" in prepared.features("rna")
    counts = tables["rna"].drop(columns="flag")
    expected = np.log1p(counts.div(counts.sum(axis=1), axis=0) * 1e4)
    feature = next(name for name in prepared.features("rna") if name != "flag")
    np.testing.assert_allclose(
        prepared["rna"].sel(feature_rna=feature).values, expected[feature].loc[list(prepared.subjects)]
    )
    assert prepared["meth"].isnull().values.sum() == tables["meth"].isna().to_numpy().sum()


def test_views_are_not_changed_and_parts_of_them_stay_prepared(tables, prepared):
    raw = mb.MultiView.from_frames(tables)
    before = raw.fingerprint
    mb.prepare(raw, PLAN)
    assert raw.fingerprint == before
    assert raw.preparation is None
    for part in (prepared.sel(prepared.subjects[:9]), prepared.keep_views(["rna"]), prepared.drop_uninformative()):
        assert part.preparation is prepared.preparation
    assert "total_meth" not in prepared.keep_views(["rna"]).dataset


def test_new_patients_are_prepared_with_what_the_cohort_taught(tables, prepared, fitted):
    """A patient of the fit, read anew as measured, projects as the prepared one does; alone or in company."""
    new = {"rna": tables["rna"].iloc[:4]}
    measured = fitted.project(new)
    ready = fitted.project(prepared.sel(IDS[:4]).keep_views(["rna"]))
    np.testing.assert_allclose(measured.sel(IDS[:4]).mean, ready.sel(IDS[:4]).mean, atol=1e-9)
    alone = fitted.project({"rna": tables["rna"].iloc[[2]]})
    np.testing.assert_allclose(alone.mean[0], measured.sel([IDS[2]]).mean[0], atol=1e-9)


def test_a_saved_posterior_prepares_as_before(tables, fitted, tmp_path):
    fitted.save(tmp_path / "fit.nc", shareable=True)
    back = mb.load(tmp_path / "fit.nc")
    new = {"rna": tables["rna"].iloc[:4], "meth": tables["meth"].iloc[:4]}
    np.testing.assert_array_equal(back.project(new).mean, fitted.project(new).mean)
    said = json.loads(back.tree["preparation"].attrs["steps"])
    assert [own["kind"] for own in said["rna"]] == ["cpm", "log1p", "top_variance"]


def test_imputed_values_are_on_the_scale_of_measurement(tables, prepared, fitted):
    raw = mb.MultiView.from_frames(tables)
    for views in (raw, prepared):
        filled = fitted.impute(views)
        assert filled["mean_meth"].min() >= 0
        assert filled["mean_meth"].max() <= 1
        assert (filled["lower_meth"] <= filled["upper_meth"]).all()
    filled = fitted.impute(raw)
    seen = raw["meth"].notnull()
    np.testing.assert_array_equal(filled["mean_meth"].values[seen], raw["meth"].values[seen])
    counts = filled["mean_rna"].drop_sel(feature_rna="flag")
    np.testing.assert_allclose(counts.values, raw["rna"].sel(feature_rna=counts["feature_rna"].values).values)


def test_views_prepared_otherwise_are_refused(tables, prepared, fitted):
    raw = mb.MultiView.from_frames(tables)
    other = mb.prepare(raw, {"rna": [steps.Log1p()]})
    with pytest.raises(DataError, match="another way"):
        fitted.project(other)
    with pytest.raises(DataError, match="prepared already"):
        mb.prepare(prepared, PLAN)
    plain = mb.fit(raw.keep_views(["meth"]), mb.FactorModel(n_factors=1), n_draws=5, progress=False)
    with pytest.raises(DataError, match="were not prepared"):
        plain.project(prepared)


@pytest.mark.parametrize(
    ("plan", "error", "said"),
    [
        ({"none": []}, SpecError, "none"),
        ({"rna": ["log1p"]}, SpecError, "log1p"),
        ([], SpecError, "mapping"),
        ({"rna": [steps.Logit()]}, DataError, "outside its range"),
        ({"meth": [steps.Standardise(), steps.Log1p()]}, DataError, "outside its range"),
    ],
)
def test_unsuitable_steps_are_refused(tables, plan, error, said):
    with pytest.raises(error, match=said):
        mb.prepare(mb.MultiView.from_frames(tables), plan)


@pytest.mark.parametrize(
    "make",
    [
        lambda: steps.CPM(0), lambda: steps.Arcsinh(-1), lambda: steps.Logit(0.6), lambda: steps.Winsorise(True),
        lambda: steps.TopVariance(0), lambda: steps.DropConstant(2.0), lambda: read_step("unknown"),
        lambda: read_step(3),
        lambda: read_step({"kind": "cpm", "goal": 2}), lambda: read_steps({"rna": "log1p"}), lambda: read_steps([]),
    ],
)  # fmt: skip
def test_bad_options_are_refused(make):
    with pytest.raises(SpecError):
        make()


def test_steps_are_read_from_a_table():
    read = read_steps({"rna": ["cpm", {"kind": "top_variance", "n_features": 7}]})
    assert read == {"rna": [steps.CPM(), steps.TopVariance(7)]}


def test_order_of_patients_does_not_matter(tables, prepared):
    shuffled = {view: table.sample(frac=1.0, random_state=3) for view, table in tables.items()}
    again = mb.prepare(mb.MultiView.from_frames(shuffled), PLAN)
    assert again.fingerprint == prepared.fingerprint
