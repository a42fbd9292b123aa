"""MultiView: labels decide, values are kept as they came, nothing of a patient is shown."""

import logging

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb

IDS = [f"p{n:04d}" for n in range(12)]
NAN = np.nan


def make(ids: list[str] = IDS, columns: str = "abc", seed: int = 0) -> pd.DataFrame:
    values = np.random.default_rng(seed).standard_normal((len(ids), len(columns)))
    return pd.DataFrame(values, index=ids, columns=list(columns))


@pytest.fixture
def rna() -> pd.DataFrame:
    return make()


@pytest.fixture
def ehr() -> pd.DataFrame:
    """A table that lacks the first three subjects, holds a flag, and misses two entries."""
    table = make(IDS[3:], "xy", seed=1).assign(flag=np.tile([0.0, 1.0, NAN], 3))
    table.loc["p0005", "x"] = NAN
    return table


@pytest.fixture
def views(rna: pd.DataFrame, ehr: pd.DataFrame) -> mb.MultiView:
    return mb.MultiView.from_frames({"rna": rna, "ehr": ehr})


def by_label(views: mb.MultiView, view: str) -> pd.DataFrame:
    return pd.DataFrame(views[view].values, index=list(views.subjects), columns=list(views.features(view)))


def test_values_sit_at_their_labels(views: mb.MultiView, rna: pd.DataFrame, ehr: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(by_label(views, "rna"), rna)
    pd.testing.assert_frame_equal(by_label(views, "ehr").loc[ehr.index], ehr)


def test_dims_are_those_of_the_design(views: mb.MultiView) -> None:
    assert views["ehr"].dims == ("subject", "feature_ehr")
    assert views.likelihoods("ehr").dims == ("feature_ehr",)
    assert views["ehr"].name == "ehr"


def test_order_of_subjects_does_not_matter(rna: pd.DataFrame, ehr: pd.DataFrame) -> None:
    one = mb.MultiView.from_frames({"rna": rna, "ehr": ehr})
    other = mb.MultiView.from_frames({"rna": rna[::-1], "ehr": ehr.sample(frac=1, random_state=3)})
    assert other.subjects != one.subjects
    for view in one.names:
        pd.testing.assert_frame_equal(by_label(other, view).loc[list(one.subjects)], by_label(one, view))


def test_a_subject_without_a_view_is_a_row_of_nan(views: mb.MultiView) -> None:
    assert by_label(views, "ehr").loc[IDS[:3]].isna().all(axis=None)
    assert views.has_view("ehr").values.tolist() == [False] * 3 + [True] * 9
    assert views.has_view("rna").values.all()


def test_a_subject_whose_row_is_nan_does_not_have_the_view(rna: pd.DataFrame) -> None:
    rna.loc["p0002"] = NAN
    views = mb.MultiView.from_frames({"rna": rna})
    assert "p0002" in views.subjects
    assert not views.has_view("rna").sel(subject="p0002")


def test_common_subjects_are_those_of_every_view(rna: pd.DataFrame, ehr: pd.DataFrame) -> None:
    views = mb.MultiView.from_frames({"rna": rna, "ehr": ehr}, subjects="common")
    assert set(views.subjects) == set(ehr.index)
    pd.testing.assert_frame_equal(by_label(views, "rna").loc[ehr.index], rna.loc[ehr.index])


def test_new_patients_need_not_share_a_view() -> None:
    views = mb.MultiView.from_frames({"rna": make(["n1"]), "ehr": make(["n2"])}, uninformative="keep")
    assert views.has_view("rna").to_series().to_dict() == {"n1": True, "n2": False}
    assert views.has_view("ehr").to_series().to_dict() == {"n1": False, "n2": True}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("float32", "float32"),
        ("float64", "float64"),
        ("float16", "float64"),
        ("int8", "float64"),
        ("Float32", "float64"),
    ],
)
def test_dtype_is_kept_when_32_or_64_bits_and_widened_otherwise(given: str, kept: str) -> None:
    table = (make() * 10).round().astype(given)
    assert mb.MultiView.from_frames({"rna": table})["rna"].dtype == kept


def test_float32_stays_when_rows_are_added(rna: pd.DataFrame, ehr: pd.DataFrame) -> None:
    views = mb.MultiView.from_frames({"rna": rna, "ehr": ehr.astype("float32")})
    assert views["ehr"].dtype == np.float32
    assert views["rna"].dtype == np.float64


def test_nullable_columns_are_read_as_numbers_with_nan() -> None:
    table = pd.DataFrame(
        {
            "count": pd.array([1, None, 3], dtype="Int64"),
            "flag": pd.array([True, None, False], dtype="boolean"),
            "lab": pd.array([0.5, None, 2.5], dtype="Float64"),
            "plain": [True, False, True],
        },
        index=["u", "v", "w"],
    )
    views = mb.MultiView.from_frames({"ehr": table})
    expected = np.array([[1, 1, 0.5, 1], [NAN, NAN, NAN, 0], [3, 0, 2.5, 1]])
    np.testing.assert_array_equal(views["ehr"].values, expected)
    assert views.likelihoods("ehr").values.tolist() == ["gaussian", "bernoulli", "gaussian", "bernoulli"]


def test_labels_become_text() -> None:
    table = pd.DataFrame([[1.0, 2.0], [3.0, 5.0]], index=[7, 10], columns=[0, 1])
    other = pd.DataFrame([[1.0], [2.0]], index=["10", "7"], columns=["x"])
    views = mb.MultiView.from_frames({"rna": table, "ehr": other}, likelihoods={"rna": {1: "gaussian"}})
    assert set(views.subjects) == {"7", "10"}
    assert views.features("rna") == ("0", "1")
    assert by_label(views, "ehr").loc["7", "x"] == 2.0


def test_the_users_tables_are_never_changed(rna: pd.DataFrame, ehr: pd.DataFrame) -> None:
    groups, covariates = pd.Series("site", index=IDS), make(IDS, "q", seed=5)
    before = [x.copy(deep=True) for x in (rna, ehr, groups, covariates)]
    views = mb.MultiView.from_frames({"rna": rna, "ehr": ehr}, groups=groups, covariates=covariates)
    views.sel(IDS[2:5]).keep_views(["ehr"]).summary()
    for now, then in zip((rna, ehr), before, strict=False):
        pd.testing.assert_frame_equal(now, then)
    pd.testing.assert_series_equal(groups, before[2])
    pd.testing.assert_frame_equal(covariates, before[3])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_changing_the_users_table_afterwards_changes_nothing(rna: pd.DataFrame, dtype: str) -> None:
    rna = rna.astype(dtype)
    covariates = make(IDS, "q", seed=5)
    views = mb.MultiView.from_frames({"rna": rna}, covariates=covariates)
    before, known = views["rna"].values.copy(), views.covariates.values.copy()
    rna.iloc[:, :] = -1.0
    covariates.iloc[:, :] = -1.0
    np.testing.assert_array_equal(views["rna"].values, before)
    np.testing.assert_array_equal(views.covariates.values, known)


def test_values_are_read_only(rna: pd.DataFrame, ehr: pd.DataFrame) -> None:
    covariates, groups = make(IDS, "q", seed=5), pd.Series("site", index=IDS)
    views = mb.MultiView.from_frames({"rna": rna, "ehr": ehr}, covariates=covariates, groups=groups)
    for own in (views, views.sel(IDS[4:8]), views.keep_views(["ehr"])):
        for array in (own["ehr"], own.likelihoods("ehr"), own.covariates, own.groups):
            with pytest.raises(ValueError, match="read-only"):
                array.values[0] = array.values[1]


def test_zeros_and_ones_are_guessed_bernoulli_and_all_else_gaussian() -> None:
    table = pd.DataFrame(
        {
            "flag": [0, 1, 1],
            "holed": [0, NAN, 1],
            "count": [0, 1, 2],
            "half": [0, 0.5, 1],
            "signed": [-1, 0, 1],
            "ones": [1, 1, 1],
            "empty": [NAN, NAN, NAN],
        },
        index=["u", "v", "w"],
    )
    views = mb.MultiView.from_frames({"ehr": table}, uninformative="keep")
    guessed = views.likelihoods("ehr").to_series()
    assert set(guessed.index[guessed == "bernoulli"]) == {"flag", "holed", "ones"}
    assert set(guessed.index[guessed == "gaussian"]) == {"count", "half", "signed", "empty"}


@pytest.mark.parametrize("kind", ["gaussian", "student_t", "poisson", "negative_binomial", "ordinal"])
def test_a_likelihood_may_be_declared_for_a_whole_view(kind: str) -> None:
    table = pd.DataFrame({"n": [0, 1, NAN], "m": [4, 2, 7]}, index=["u", "v", "w"])
    views = mb.MultiView.from_frames({"ehr": table}, likelihoods={"ehr": kind})
    assert views.likelihoods("ehr").values.tolist() == [kind, kind]


@pytest.mark.parametrize("wrap", [dict, pd.Series], ids=["mapping", "series"])
def test_a_likelihood_may_be_declared_for_some_columns(views: mb.MultiView, ehr: pd.DataFrame, wrap: type) -> None:
    declared = mb.MultiView.from_frames({"ehr": ehr}, likelihoods={"ehr": wrap({"flag": "gaussian"})})
    assert declared.likelihoods("ehr").values.tolist() == ["gaussian"] * 3
    assert views.likelihoods("ehr").values.tolist() == ["gaussian", "gaussian", "bernoulli"]


def test_dropping_keeps_what_informs_and_logs_how_many(rna: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    table = rna.assign(same=4.0, none=NAN, once=[1.0] + [NAN] * 11)
    with caplog.at_level(logging.INFO, logger="mofa_bayes"):
        views = mb.MultiView.from_frames({"rna": table}, uninformative="drop")
    assert views.features("rna") == ("a", "b", "c")
    assert "3" in caplog.text
    assert not any(name in caplog.text for name in IDS)


def test_keeping_keeps_every_column(rna: pd.DataFrame) -> None:
    views = mb.MultiView.from_frames({"rna": rna.assign(same=4.0, none=NAN)}, uninformative="keep")
    assert views.features("rna") == ("a", "b", "c", "same", "none")


def test_selection_is_by_label_and_in_the_order_asked(views: mb.MultiView, rna: pd.DataFrame) -> None:
    wanted = ["p0009", "p0000", "p0004"]
    chosen = views.sel(wanted)
    assert chosen.subjects == tuple(wanted)
    np.testing.assert_array_equal(chosen["rna"].values, rna.loc[wanted].to_numpy())
    assert chosen.likelihoods("ehr").identical(views.likelihoods("ehr"))
    assert views.sel(pd.Index(wanted)).fingerprint == chosen.fingerprint


def test_selection_carries_groups_and_covariates(rna: pd.DataFrame) -> None:
    groups, covariates = pd.Series(IDS[::-1], index=IDS), pd.DataFrame({"age": range(12)}, index=IDS[::-1]).iloc[::-1]
    chosen = mb.MultiView.from_frames({"rna": rna}, groups=groups, covariates=covariates).sel(["p0011", "p0001"])
    assert chosen.groups.values.tolist() == ["p0000", "p0010"]
    assert chosen.covariates.sel(covariate="age").values.tolist() == [0.0, 10.0]


def test_groups_and_covariates_may_hold_more_subjects_in_any_order(rna: pd.DataFrame) -> None:
    more = [*IDS[::-1], "q1", "q2"]
    views = mb.MultiView.from_frames(
        {"rna": rna}, groups=pd.Series(range(14), index=more), covariates=pd.DataFrame({"n": range(14)}, index=more)
    )
    assert views.covariates.sel(covariate="n").values.tolist() == list(range(11, -1, -1))
    assert views.groups.values.tolist() == [str(n) for n in range(11, -1, -1)]


def test_keeping_views_keeps_every_subject(views: mb.MultiView) -> None:
    seen = views.keep_views(["ehr"])
    assert seen.names == ("ehr",)
    assert seen.subjects == views.subjects
    assert seen["ehr"].identical(views["ehr"])
    assert "feature_rna" not in seen.dataset.coords
    assert views.names == ("rna", "ehr")


def test_missing_tells_whole_rows_from_scattered_entries(views: mb.MultiView) -> None:
    table = views.missing()
    assert table.loc["rna"].tolist() == [12, 0, 0.0]
    assert table.loc["ehr", ["n_subjects", "n_subjects_absent"]].tolist() == [9, 3]
    assert table.loc["ehr", "fraction_missing_within"] == pytest.approx(4 / 27)


def test_summary_counts_features_by_likelihood(views: mb.MultiView) -> None:
    table = views.summary()
    assert table["n_features"].to_dict() == {"rna": 3, "ehr": 3}
    assert table.loc["ehr", "likelihoods"] == "gaussian 2, bernoulli 1"


def test_missing_and_summary_survive_a_view_that_nobody_has(views: mb.MultiView) -> None:
    table = views.sel(IDS[:3]).summary()
    assert table.loc["ehr", ["n_subjects", "n_subjects_absent", "fraction_missing_within"]].tolist() == [0, 3, 0.0]


def test_nothing_of_a_patient_is_shown() -> None:
    table = pd.DataFrame({"crp": [987.125, 13.5, 44.75], "il6": [1.0, NAN, 77.375]}, index=["anna", "bert", "cleo"])
    views = mb.MultiView.from_frames({"lab": table}, groups=pd.Series(["siteA", "siteB", "siteB"], index=table.index))
    shown = repr(views) + views._repr_html_() + views.summary().to_string()
    assert "lab" in shown
    secret = ["anna", "bert", "cleo", "987", "13.5", "44.75", "77.37", "siteA"]
    assert [word for word in secret if word in shown] == []


def test_repr_is_one_line_and_html_one_table(views: mb.MultiView) -> None:
    assert "\n" not in repr(views)
    assert views._repr_html_().count("<table") == 1


def test_fingerprint_does_not_depend_on_order(rna: pd.DataFrame, ehr: pd.DataFrame, views: mb.MultiView) -> None:
    shuffled = mb.MultiView.from_frames({"ehr": ehr.iloc[::-1, ::-1], "rna": rna.iloc[[5, *range(5), *range(6, 12)]]})
    assert shuffled.subjects != views.subjects
    assert shuffled.fingerprint == views.fingerprint


def test_fingerprint_does_not_depend_on_order_in_a_cohort_of_many_blocks() -> None:
    ids = [f"p{n:04d}" for n in range(700)]
    table = make(ids)
    one, other = (mb.MultiView.from_frames({"rna": x}) for x in (table, table.sample(frac=1, random_state=1)))
    assert one.fingerprint == other.fingerprint


def test_fingerprint_does_not_depend_on_the_bits_of_nan_and_zero(rna: pd.DataFrame) -> None:
    rna.iloc[0, 0], rna.iloc[1, 0] = NAN, 0.0
    same = rna.copy()
    same.iloc[0, 0], same.iloc[1, 0] = -NAN, -0.0
    one, other = (mb.MultiView.from_frames({"rna": x}) for x in (rna, same))
    assert one["rna"].values.tobytes() != other["rna"].values.tobytes()
    assert one.fingerprint == other.fingerprint


def test_fingerprint_does_not_depend_on_the_width_of_floats(rna: pd.DataFrame) -> None:
    narrow = rna.astype("float32")
    one, other = (mb.MultiView.from_frames({"rna": x}) for x in (narrow, narrow.astype("float64")))
    assert one.fingerprint == other.fingerprint


def test_fingerprint_sees_every_change(rna: pd.DataFrame, ehr: pd.DataFrame, views: mb.MultiView) -> None:
    value, hole = rna.copy(), rna.copy()
    value.iloc[3, 1] += 1e-9
    hole.iloc[3, 1] = NAN
    swapped = rna.copy()
    swapped.iloc[[0, 1]] = rna.iloc[[1, 0]].to_numpy()
    changed = [
        {"rna": value, "ehr": ehr},
        {"rna": hole, "ehr": ehr},
        {"rna": swapped, "ehr": ehr},
        {"rna": rna.rename(columns={"a": "z"}), "ehr": ehr},
        {"rna": rna.rename(index={"p0000": "q"}), "ehr": ehr},
        {"dna": rna, "ehr": ehr},
        {"rna": rna},
    ]
    prints = [mb.MultiView.from_frames(frames).fingerprint for frames in changed]
    declared = mb.MultiView.from_frames({"rna": rna, "ehr": ehr}, likelihoods={"ehr": {"flag": "gaussian"}})
    assert len({views.fingerprint, declared.fingerprint, *prints}) == len(changed) + 2


def test_views_live_in_one_dataset_that_netcdf_can_hold(views: mb.MultiView) -> None:
    assert isinstance(views.dataset, xr.Dataset)
    assert all(index.nlevels == 1 for index in views.dataset.indexes.values())
    assert set(views.dataset.data_vars) == {"values_rna", "likelihood_rna", "values_ehr", "likelihood_ehr"}
