"""Preprocessing: learned once, applied to whoever comes later, undone exactly, flags and counts untouched."""

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.data.preprocess import Preprocessing, fit_preprocessing

SCALES = ("feature", "view", "none")


def make(n: int = 60, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, 4)) * [0.1, 1.0, 5.0, 20.0] + [-3.0, 0.0, 100.0, 1000.0] + shift
    table = pd.DataFrame(values, index=[f"p{i}" for i in range(n)], columns=list("abcd"))
    table = table.mask(rng.random(table.shape) < 0.1)
    return table.assign(flag=rng.integers(0, 2, n).astype(float), count=rng.poisson(4, n).astype(float))


def read(table: pd.DataFrame) -> mb.MultiView:
    return mb.MultiView.from_frames({"lab": table}, likelihoods={"lab": {"count": "poisson", "d": "student_t"}})


@pytest.fixture
def views() -> mb.MultiView:
    return read(make())


def fit(views: mb.MultiView, scale: str) -> Preprocessing:
    return fit_preprocessing(views, dict.fromkeys(views.names, scale))


REAL = slice(0, 4)


@pytest.mark.parametrize("scale", SCALES)
def test_inverting_undoes_applying(views: mb.MultiView, scale: str) -> None:
    own, values = fit(views, scale), views["lab"].values
    np.testing.assert_allclose(own.invert("lab", own.apply("lab", values)), values, rtol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_draws_of_any_leading_shape_are_inverted(views: mb.MultiView, scale: str) -> None:
    own, values = fit(views, scale), views["lab"].values
    stacked = own.invert("lab", np.stack([values, 2 * values])[:, None])
    np.testing.assert_array_equal(stacked[1, 0], own.invert("lab", 2 * values))


@pytest.mark.parametrize("scale", SCALES)
def test_real_features_are_centred_on_what_was_observed(views: mb.MultiView, scale: str) -> None:
    scaled = fit(views, scale).apply("lab", views["lab"].values)
    np.testing.assert_allclose(np.nanmean(scaled[:, REAL], axis=0), 0, atol=1e-10)


def test_each_feature_gets_unit_deviation(views: mb.MultiView) -> None:
    scaled = fit(views, "feature").apply("lab", views["lab"].values)
    np.testing.assert_allclose(np.nanstd(scaled[:, REAL], axis=0), 1)


def test_a_view_gets_unit_mean_square_and_keeps_relative_variances(views: mb.MultiView) -> None:
    before = np.nanvar(views["lab"].values[:, REAL], axis=0)
    after = np.nanvar(fit(views, "view").apply("lab", views["lab"].values)[:, REAL], axis=0)
    assert after.mean() == pytest.approx(1)
    np.testing.assert_allclose(after / after[0], before / before[0])


def test_no_scaling_leaves_the_units(views: mb.MultiView) -> None:
    own, values = fit(views, "none"), views["lab"].values
    np.testing.assert_allclose(np.diff(own.apply("lab", values), axis=0), np.diff(values, axis=0), atol=1e-10)


@pytest.mark.parametrize("scale", SCALES)
def test_flags_and_counts_are_untouched(views: mb.MultiView, scale: str) -> None:
    values = views["lab"].values
    np.testing.assert_array_equal(fit(views, scale).apply("lab", values)[:, 4:], values[:, 4:])


@pytest.mark.parametrize("scale", SCALES)
def test_new_patients_are_measured_with_the_old_centre_and_scale(views: mb.MultiView, scale: str) -> None:
    own, new = fit(views, scale), make(n=20, seed=1, shift=50.0).to_numpy()
    old = views["lab"].values
    scaled, reference = own.apply("lab", new), own.apply("lab", old)
    slope = (np.nanmax(reference[:, REAL], axis=0) - np.nanmin(reference[:, REAL], axis=0)) / (
        np.nanmax(old[:, REAL], axis=0) - np.nanmin(old[:, REAL], axis=0)
    )
    np.testing.assert_allclose(scaled[:, REAL], (new[:, REAL] - np.nanmean(old[:, REAL], axis=0)) * slope, rtol=1e-9)
    assert (np.nanmean(scaled[:, :2], axis=0) > 5 * slope[:2]).all()


def test_a_feature_too_small_for_32_bits_is_not_divided_by_zero() -> None:
    table = pd.DataFrame({"a": [0.0, 1e-45]}, dtype="float32")
    views = mb.MultiView.from_frames({"lab": table})
    for scale in SCALES:
        assert np.isfinite(fit(views, scale).apply("lab", views["lab"].values)).all()


@pytest.mark.parametrize("level", [0.0, 0.1, 1e8 + 0.1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_feature_that_does_not_vary_keeps_scale_one(level: float, dtype: str) -> None:
    table = make()[["a"]].assign(same=level, none=np.nan).astype(dtype)
    views = mb.MultiView.from_frames({"lab": table}, uninformative="keep", likelihoods={"lab": "gaussian"})
    own = fit(views, "feature")
    assert own.dataset["scale_lab"].values[1:].tolist() == [1.0, 1.0]
    scaled = own.apply("lab", views["lab"].values)
    np.testing.assert_allclose(scaled[:, 1], 0, atol=1e-7)
    assert np.isnan(scaled[:, 2]).all()


@pytest.mark.parametrize("scale", SCALES)
def test_a_view_without_real_features_is_untouched(scale: str) -> None:
    views = mb.MultiView.from_frames({"flags": make()[["flag"]]})
    own = fit(views, scale)
    np.testing.assert_array_equal(own.apply("flags", views["flags"].values), views["flags"].values)


@pytest.mark.parametrize("scale", SCALES)
def test_a_view_that_never_varies_stays_finite(scale: str) -> None:
    table = pd.DataFrame({"a": [2.5] * 3, "b": [-1.5] * 3}, index=list("uvw"))
    views = mb.MultiView.from_frames({"lab": table}, uninformative="keep")
    np.testing.assert_array_equal(fit(views, scale).apply("lab", views["lab"].values), 0)


@pytest.mark.parametrize("scale", SCALES)
def test_subjects_without_the_view_change_nothing(views: mb.MultiView, scale: str) -> None:
    table = make()
    absent = pd.DataFrame(np.nan, index=["q1", "q2"], columns=table.columns)
    more = read(pd.concat([absent, table]))
    xr_own, xr_more = fit(views, scale).dataset, fit(more, scale).dataset
    for name in ("center_lab", "scale_lab"):
        np.testing.assert_allclose(xr_more[name].values, xr_own[name].values, rtol=1e-12)


def test_each_view_has_its_own_scaling() -> None:
    table = make()[["a", "b"]]
    views = mb.MultiView.from_frames({"one": table, "two": table})
    own = fit_preprocessing(views, {"one": "feature", "two": "none"}).dataset
    np.testing.assert_allclose(own["scale_one"].values, np.nanstd(table.to_numpy(), axis=0))
    assert own["scale_two"].values.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_keep_their_dtype(dtype: str) -> None:
    views = mb.MultiView.from_frames({"lab": make()[["a", "b"]].astype(dtype)})
    own = fit(views, "feature")
    scaled = own.apply("lab", views["lab"].values)
    assert scaled.dtype == dtype
    assert own.invert("lab", scaled).dtype == dtype


def test_centres_of_narrow_floats_are_summed_in_64_bits() -> None:
    exact = np.random.default_rng(0).normal(1000.0, 1.0, 5000).astype("float32")
    views = mb.MultiView.from_frames({"lab": pd.DataFrame({"a": exact})})
    own = fit(views, "feature").dataset
    assert own["center_lab"].item() == pytest.approx(exact.astype("float64").mean(), rel=1e-12)
    assert own["scale_lab"].item() == pytest.approx(exact.astype("float64").std(), rel=1e-9)


def test_centres_and_scales_are_labelled(views: mb.MultiView) -> None:
    own = fit(views, "feature").dataset
    assert own["center_lab"]["feature_lab"].values.tolist() == list(views.features("lab"))
    assert own["center_lab"].sel(feature_lab="c").item() == pytest.approx(make()["c"].mean())
