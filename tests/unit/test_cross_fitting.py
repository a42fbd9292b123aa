"""Laws of cross-fitting: the errors that patients share are measured, stored without patients, and widen intervals."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.errors import FitError, ModelWarning
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.shared_error import SharedError
from mofa_bayes.risk.inputs import moments_of

N_FOLDS = 6


def draw_errors(rng, n_folds, sd):
    """What folds make of factors when each has a random error of its own, independent of the others'."""
    offset = rng.normal(scale=sd, size=(n_folds, 2, 3))
    turn = np.eye(3) + rng.normal(scale=sd, size=(n_folds, 3, 3))
    return offset, turn


@pytest.fixture(scope="module")
def calibrated(cohort, post):
    return mb.cross_fit(post, cohort.views, n_folds=N_FOLDS, seed=1, progress=False)


def test_regression_on_the_whole_fit_finds_what_folds_did_to_it():
    rng = np.random.default_rng(0)
    offset, turn = draw_errors(rng, 4, 0.3)
    whole, group_of = rng.normal(size=(50, 3)), np.arange(50) % 2
    folds = offset[:, group_of] + whole @ turn
    found = SharedError.learn(whole, folds, group_of, 2)
    np.testing.assert_allclose(found.offset, offset, atol=1e-12)
    np.testing.assert_allclose(found.turn, turn, atol=1e-12)


def test_jackknife_of_a_mean_is_its_standard_error_from_the_means_of_folds():
    """Each fold finds the mean without its part: the law that fixes the factor (G - 1) / G."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=400)
    n_folds = 40
    parts = values.reshape(n_folds, -1)
    without = np.array([np.delete(parts, g, axis=0).mean() for g in range(n_folds)])
    error = SharedError(without[:, None, None], np.tile(np.zeros((1, 1)), (n_folds, 1, 1)))
    moments = FactorMoments(("p",), ("F1",), np.zeros((1, 1)), np.zeros((1, 1, 1)), np.zeros(1, dtype=np.intp))
    wide = error.widen(moments, np.zeros(1, dtype=np.intp))
    se = parts.mean(axis=1).std(ddof=1) / np.sqrt(n_folds)
    quantiles = 2.0226909 / 1.9599640  # of t with 39 degrees of freedom, and of the normal
    assert np.sqrt(wide.covariance[0, 0, 0]) == pytest.approx(se * quantiles, rel=1e-6)


def test_folds_that_agree_widen_nothing():
    error = SharedError(np.zeros((5, 1, 2)), np.tile(np.eye(2), (5, 1, 1)))
    covariance = np.array([[[0.5, 0.1], [0.1, 0.2]]])
    moments = FactorMoments(("p", "q"), ("F1", "F2"), np.ones((2, 2)), covariance, np.zeros(2, dtype=np.intp))
    wide = error.widen(moments, np.zeros(2, dtype=np.intp))
    np.testing.assert_allclose(wide.covariances(), moments.covariances())


def test_intervals_of_new_patients_grow_and_their_means_stay(cohort, calibrated):
    table = cohort.views["rna"].to_pandas().dropna(how="all").iloc[:7]
    wide = calibrated.project({"rna": table})
    narrow = wide.given_loadings
    np.testing.assert_array_equal(wide.mean, narrow.mean)
    gap = wide.covariances() - narrow.covariances()
    assert (np.linalg.eigvalsh(gap) > -1e-12).all()
    assert np.einsum("nkk->nk", gap).max() > 0
    assert wide.sel(wide.subjects[:2]).given_loadings.subjects == wide.subjects[:2]


def test_table_of_inflation_names_what_was_seen_and_grows_with_what_is_known(calibrated):
    table = calibrated.inflation
    assert list(table.columns) == list(calibrated.factor_names)
    assert (table.to_numpy() >= 1).all()
    first = calibrated.factor_names[0]  # in all views: the more is seen, the more the loadings' error stands out
    assert table.loc["rna + meth + ehr", first] > table.loc["ehr", first]


def test_factors_of_the_fit_and_the_file_are_kept(calibrated, post, cohort, tmp_path):
    np.testing.assert_array_equal(calibrated.factor_moments().mean, post.factor_moments().mean)
    calibrated.save(tmp_path / "fit.nc")
    table = cohort.views["rna"].to_pandas().dropna(how="all").iloc[:3]
    back = mb.load(tmp_path / "fit.nc").project({"rna": table})
    np.testing.assert_array_equal(back.covariance, calibrated.project({"rna": table}).covariance)


def test_what_is_stored_has_no_subjects(calibrated):
    stored = calibrated.tree["cross_fits"].to_dataset()
    assert set(stored.dims) == {"fold", "group", "factor", "factor_bis", "seen"}


def test_same_seed_same_folds_and_order_of_patients_does_not_matter(cohort, post, calibrated):
    views = cohort.views.sel(list(cohort.views.subjects)[::-1])
    again = mb.cross_fit(post, views, n_folds=N_FOLDS, seed=1, progress=False)
    np.testing.assert_allclose(
        again.tree["cross_fits"]["turn"].values, calibrated.tree["cross_fits"]["turn"].values, atol=1e-8
    )


def test_risk_models_take_loadings_as_they_are(cohort, calibrated):
    table = cohort.views["rna"].to_pandas().dropna(how="all").iloc[:3]
    wide = calibrated.project({"rna": table})
    assert moments_of(wide) is wide.given_loadings


def test_groups_have_offsets_of_their_own():
    rng = np.random.default_rng(3)
    subjects = [f"s{n}" for n in range(60)]
    signal = rng.normal(size=(60, 1)) @ rng.normal(size=(1, 20))
    table = pd.DataFrame(signal + rng.normal(size=(60, 20)), index=subjects, columns=[f"x{d}" for d in range(20)])
    groups = pd.Series(np.where(np.arange(60) < 25, "a", "b"), index=subjects)
    views = mb.MultiView.from_frames({"x": table}, groups=groups)
    post = mb.fit(views, mb.FactorModel(n_factors=1), progress=False, n_draws=10)
    found = mb.cross_fit(post, views, n_folds=5, progress=False)
    assert found.tree["cross_fits"]["offset"].sizes == {"fold": 5, "group": 2, "factor": 1}
    assert list(found.inflation.index) == ["x"]


def test_a_factor_that_hangs_on_few_patients_is_named():
    rng = np.random.default_rng(5)
    subjects = [f"s{n}" for n in range(40)]
    values = rng.normal(size=(40, 30)) + 2 * rng.normal(size=(40, 1)) @ rng.normal(size=(1, 30))
    values[0] += 15 * rng.normal(size=30)  # one patient makes a factor of its own
    views = mb.MultiView.from_frames({"x": pd.DataFrame(values, index=subjects, columns=[f"x{d}" for d in range(30)])})
    post = mb.fit(views, mb.FactorModel(n_factors=2), progress=False, n_draws=10)
    with pytest.warns(ModelWarning, match="hang on a few"):
        mb.cross_fit(post, views, n_folds=5, progress=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda post, views: mb.cross_fit(post, views.sel(views.subjects[:70])), "other views than those"),
        (lambda post, views: mb.cross_fit(post, None), "NoneType"),
        (lambda post, views: mb.cross_fit(post, views, n_folds=2), "n_folds"),
        (lambda post, views: mb.cross_fit(post, views, n_folds=True), "n_folds"),
        (lambda post, views: mb.cross_fit(post, views, n_folds=41), "half the number of subjects"),
        (lambda post, views: post.inflation, "mb.cross_fit"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_fitted(cohort, post, change, said):
    with pytest.raises(FitError, match=re.escape(said)):
        change(post, cohort.views)


def test_draws_need_no_cross_fit(cohort, post):
    tree = xr.DataTree.from_dict({name: child.to_dataset() for name, child in post.tree.children.items()})
    tree.attrs = {**post.tree.attrs, "engine": "gibbs"}
    with pytest.raises(FitError, match="hold the error"):
        mb.cross_fit(mb.Posterior(tree), cohort.views)
