"""Laws of the spectral engine."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.data.simulate import Design
from mofa_bayes.engines.spectral.combine import combine
from mofa_bayes.engines.spectral.coverage import inflation, pairwise_inflation
from mofa_bayes.engines.spectral.decompose import decompose, start_scores
from mofa_bayes.engines.spectral.kernels import shuffle_rows
from mofa_bayes.engines.spectral.rank import find_spectrum
from mofa_bayes.engines.spectral.regress import learn_precision, regress
from mofa_bayes.engines.spectral.subspace import lead, top_of_noise
from mofa_bayes.engines.spectral.tables import gaussianise, make_table, tabulate
from mofa_bayes.engines.vi.varimax import _rotate_directly, varimax
from mofa_bayes.errors import FitError, IgnoredWarning
from mofa_bayes.testing import recover

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from spectral_calibration import COVERAGE_DESIGNS, measure_coverage, measure_rank

SHARING = [("rna", "meth", "ehr"), ("rna", "meth", "ehr"), ("rna", "meth"), ("meth", "ehr"), ("rna",), ("meth",)]
DESIGN = Design(
    n_subjects=300, n_features={"rna": 400, "meth": 200, "ehr": 50}, sharing=SHARING, absent_view=0.2, missing=0.05
)


def fit(views, n_factors=10, **options):
    return mb.fit(views, mb.FactorModel(n_factors=n_factors), engine="spectral", progress=False, **options)


@pytest.fixture(scope="module")
def large():
    return mb.simulate_cohort(DESIGN, seed=0)


@pytest.fixture(scope="module")
def found(large):
    return fit(large.views)


def table(values, missing=None, view="a"):
    """A view of all subjects; columns are centred over what is observed."""
    observed = np.ones(values.shape, dtype=bool) if missing is None else ~missing
    values = np.where(observed, values, np.nan)
    values = np.nan_to_num(values - np.nanmean(values, axis=0))
    return make_table(view, tuple(f"f{d}" for d in range(values.shape[1])), np.arange(len(values)), values, missing)


def noisy(rng, n=200, n_features=300, n_factors=3, strength=1.0):
    signal = rng.standard_normal((n, n_factors)) @ rng.standard_normal((n_factors, n_features)) * strength
    return signal + rng.standard_normal((n, n_features))


# The whole engine


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_true_factor_is_found_though_views_and_entries_are_missing(seed):
    cohort = mb.simulate_cohort(DESIGN, seed=seed)
    post = fit(cohort.views)
    result = recover(cohort, post)
    assert len(post.factor_names) == len(SHARING)
    assert result.factors["r"].min() > 0.97
    assert result.factors["found"].is_unique
    assert 0.93 < result.coverage < 0.97


def test_sharing_and_variance_explained_are_near_the_truth(large, found):
    names = recover(large, found).factors["found"]
    table = mb.sharing(found)
    for name, views in zip(names, SHARING, strict=True):
        assert table.loc[name, "views"] == "+".join(view for view in found.views if view in views)
    total = mb.variance_explained(found)["total"].mean(("chain", "draw")).to_series()
    for view in large.views.names:
        signal = (large.factors.to_numpy() @ large.loadings[view].T).var(axis=0)
        truth = np.mean(signal / large.complete[view].var().to_numpy())
        assert abs(total[view] - truth) < 0.03


def test_small_mixed_cohort_is_recovered_and_its_binary_features_warn(cohort):
    with pytest.warns(IgnoredWarning, match="4 features of likelihood bernoulli") as caught:
        post = fit(cohort.views, 5)
    assert len([w for w in caught if w.category is IgnoredWarning]) == 1
    assert recover(cohort, post).factors["r"].min() > 0.9
    assert set(post.likelihoods("ehr").values) == {"gaussian"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        projected = post.project(cohort.views)
    np.testing.assert_allclose(projected.mean, post.factor_moments().mean, atol=1e-10)
    np.testing.assert_allclose(projected.covariances(), post.factor_moments().covariances(), atol=1e-10)


def test_posterior_is_like_every_other(found, large, tmp_path):
    assert found.is_aligned
    assert found.active("rna") is None
    for view in large.views.names:
        n_features = len(large.views.features(view))
        assert found.loadings(view).shape == (1, 500, n_features, 6)
        assert found.noise_sd(view).shape == found.intercepts(view).shape == (1, 500, n_features)
        mean = found.loadings(view).mean(("chain", "draw")).values
        stored = found.tree["moments"][f"weights_mean_{view}"].values[:, :-1]
        np.testing.assert_allclose(mean, stored, atol=0.05)
    assert found.factors().shape == (1, 500, 300, 6)
    fitted, drawn = found.factor_moments(), found.factors().std(("chain", "draw")).values
    np.testing.assert_allclose(drawn, np.sqrt(np.diagonal(fitted.covariances(), axis1=1, axis2=2)), rtol=0.2)
    largest = np.concatenate([found.tree["moments"][f"weights_mean_{view}"].values[:, :-1] for view in found.views])
    assert (largest.max(axis=0) > -largest.min(axis=0)).all()
    found.save(tmp_path / "fit.nc")
    again = mb.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.factors().values, found.factors().values)
    assert len(mb.biomarkers(again, "rna", fdr=0.05)) > 500
    assert {"eigenvalues", "cut", "squares_rna", "threshold_rna"} <= set(again.tree["fit"].data_vars)


def test_draws_of_loadings_have_the_widened_spread(found):
    """Draws keep the regression's covariance, times rho^2; the moments that q(z) uses do not."""
    moments = found.tree["moments"]
    for view in found.views:
        rho = float(moments[f"inflation_{view}"])
        assert 1 < rho < 2
        variance = np.diagonal(moments[f"weights_cov_{view}"].values, axis1=1, axis2=2)
        drawn = found.loadings(view).values[0].astype(float).var(axis=0)
        np.testing.assert_allclose((drawn / variance[:, :-1]).mean(), rho**2, rtol=0.02)
        intercept = found.intercepts(view).values[0].astype(float).var(axis=0)
        np.testing.assert_allclose((intercept / variance[:, -1]).mean(), 1.0, rtol=0.02)


def test_order_of_subjects_features_and_views_does_not_matter(large, found):
    rng = np.random.default_rng(0)
    frames = {}
    for view in rng.permutation(large.views.names):
        frame = large.views[view].to_pandas()
        frame = frame[frame.notna().any(axis=1)]
        frames[view] = frame.iloc[rng.permutation(len(frame)), rng.permutation(frame.shape[1])]
    again = fit(mb.MultiView.from_frames(frames))
    ours, theirs = found.factor_moments(), again.factor_moments().sel(found.subjects)
    np.testing.assert_array_equal(theirs.mean, ours.mean)
    np.testing.assert_array_equal(theirs.covariances(), ours.covariances())
    subjects = {"subject": list(found.subjects)}
    np.testing.assert_array_equal(again.factors().sel(subjects).values, found.factors().values)
    for view in found.views:
        label = {f"feature_{view}": list(found.features(view))}
        np.testing.assert_array_equal(again.loadings(view).sel(label).values, found.loadings(view).values)


def test_same_seed_gives_the_same_posterior_and_another_seed_other_draws(large, found):
    again, other = fit(large.views), fit(large.views, seed=1)
    np.testing.assert_array_equal(again.factors().values, found.factors().values)
    assert not np.array_equal(other.factors().values, found.factors().values)
    np.testing.assert_allclose(other.factor_moments().mean, found.factor_moments().mean, atol=1e-8)


def test_noiseless_data_are_reproduced_exactly():
    rng = np.random.default_rng(0)
    index = [f"p{n:02d}" for n in range(60)]
    factors = rng.standard_normal((60, 3))
    frames = {
        view: pd.DataFrame(factors @ rng.standard_normal((3, d)), index, [f"{view}{j}" for j in range(d)])
        for view, d in (("a", 40), ("b", 25), ("c", 5))
    }
    views = mb.MultiView.from_frames(frames)
    spec = mb.FactorModel(n_factors=8, noise=mb.Gamma(shape=1e-3, rate=1e-9))
    post = mb.fit(views, spec, engine="spectral", n_draws=10, progress=False)
    assert len(post.factor_names) == 3
    scores = post.factor_moments().mean
    for view in views.names:
        terms = post.tree["moments"][f"weights_mean_{view}"].values
        back = post.preprocessing.invert(view, scores @ terms[:, :-1].T + terms[:, -1])
        np.testing.assert_allclose(back, views[view].values, atol=1e-5)
    assert float(mb.variance_explained(post)["total"].min()) > 0.9999


def test_more_factors_than_the_limit_keep_those_that_explain_most(large, caplog):
    with caplog.at_level("INFO", logger="mofa_bayes"):
        post = fit(large.views, 3)
    assert len(post.factor_names) == 3
    assert "found 6 factors; kept the 3 that explain most" in caplog.text
    whole = mb.variance_explained(fit(large.views))["by_factor"].mean(("chain", "draw")).sum("view").values
    kept = mb.variance_explained(post)["total"].mean(("chain", "draw")).sum().item()
    assert kept > np.sort(whole)[::-1][:3].sum() - 0.02


def test_noise_alone_keeps_one_factor_and_says_so(caplog):
    rng = np.random.default_rng(5)
    index = [f"p{n:03d}" for n in range(100)]
    frames = {v: pd.DataFrame(rng.standard_normal((100, 60)), index, [f"{v}{d}" for d in range(60)]) for v in "ab"}
    post = fit(mb.MultiView.from_frames(frames))
    assert len(post.factor_names) == 1
    assert "stands out from noise" in caplog.text


def test_settings_and_other_engines_are_refused_or_warned(large):
    with pytest.warns(IgnoredWarning, match="settings"):
        fit(large.views, settings=mb.Ascent(), n_draws=5)
    with pytest.raises(FitError, match="spectral"):
        mb.fit(large.views, engine="magic")


def test_start_scores_hold_the_factors_and_are_filled_up(large):
    preprocessing = fit_preprocessing(large.views, dict.fromkeys(large.views.names, "feature"))
    scores = start_scores(large.views, preprocessing, 9, np.random.default_rng(0))
    assert scores.shape == (300, 9)
    np.testing.assert_allclose(scores[:, :6].T @ scores[:, :6] / 300, np.eye(6), atol=1e-10)
    order = np.argsort(large.views.subjects)
    truth = large.factors.to_numpy()[order][:, :4]  # carried by two views or more, so known of nearly everyone
    explained = scores[:, :6] @ np.linalg.lstsq(scores[:, :6], truth, rcond=None)[0]
    assert np.diag(np.corrcoef(explained.T, truth.T)[:4, 4:]).min() > 0.95


# Rank


def test_weak_factors_are_counted_where_an_information_criterion_sees_none():
    ranks = pd.DataFrame([measure_rank(seed) for seed in range(10)])
    assert (ranks["spectral"] == 5).sum() >= 9
    assert (ranks["bai_ng_2"] == 5).sum() == 0


def test_strong_factors_do_not_hide_weak_ones():
    rng = np.random.default_rng(1)
    strengths = np.array([3, 3, 2, 0.4, 0.4])
    values = rng.standard_normal((100, 5)) @ (strengths[:, None] * rng.standard_normal((5, 1000)))
    values += rng.standard_normal(values.shape)
    values /= values.std(axis=0)
    assert find_spectrum(table(values), 20, rng).n_factors == 5


def test_noise_has_no_factors():
    rng = np.random.default_rng(2)
    designs = [(80, 60), (60, 200), (200, 12)]
    counts = [find_spectrum(table(rng.standard_normal(d)), 10, rng).n_factors for d in designs for _ in range(20)]
    assert np.mean(np.array(counts) > 0) < 0.05


@pytest.mark.parametrize("shape", [(50, 80), (80, 50)])
def test_every_way_to_singular_vectors_agrees(shape, monkeypatch):
    rng = np.random.default_rng(3)
    own = table(noisy(rng, *shape))
    left, singular, _ = np.linalg.svd(own.values, full_matrices=False)
    exact = lead(own, 3, rng)
    monkeypatch.setattr("mofa_bayes.engines.spectral.subspace._SMALL", 10)
    for vectors, squares in (exact, lead(own, 3, rng)):
        np.testing.assert_allclose(squares, singular[:3] ** 2, rtol=1e-6)
        np.testing.assert_allclose(np.abs(np.diag(vectors.T @ left[:, :3])), 1, atol=1e-5)


@pytest.mark.parametrize("shape", [(90, 150), (150, 90), (70, 20)])
def test_every_way_to_the_top_of_noise_agrees(shape, monkeypatch):
    rng = np.random.default_rng(4)
    own = table(noisy(rng, *shape))
    vectors, _ = lead(own, 3, rng)
    exact = top_of_noise(own, vectors, np.uint64(7))
    monkeypatch.setattr("mofa_bayes.engines.spectral.subspace._SMALL", 10)
    large = top_of_noise(own, vectors, np.uint64(7))
    np.testing.assert_allclose(large, exact, rtol=0.03)
    # What is left is noise of unit variance, about (sqrt(n) + sqrt(D))^2, less what three vectors took.
    left = (shape[0] - 3) * (shape[1] - 3) / (shape[0] * shape[1])
    np.testing.assert_allclose(exact, left * (np.sqrt(shape[0]) + np.sqrt(shape[1])) ** 2, rtol=0.15)


def test_shuffling_permutes_every_row_on_its_own_and_evenly():
    values = np.tile(np.arange(5, dtype=np.float32), (20_000, 1))
    shuffle_rows(values, np.uint64(1))
    np.testing.assert_array_equal(np.sort(values, axis=1), np.tile(np.arange(5), (20_000, 1)))
    counts = np.stack([np.bincount(values[:, j].astype(int), minlength=5) for j in range(5)])
    assert np.abs(counts / 20_000 - 0.2).max() < 0.015
    assert abs(np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]) < 0.03


# The joint subspace


def test_shared_direction_is_counted_once_and_specific_ones_each():
    rng = np.random.default_rng(6)
    basis = np.linalg.qr(rng.standard_normal((200, 4)))[0]
    tilted = basis[:, :1] + 0.5 * np.linalg.qr(rng.standard_normal((200, 1)))[0]
    second = np.linalg.qr(np.column_stack([tilted, basis[:, 2]]))[0]
    rows = [np.arange(200)] * 2
    joint = combine([basis[:, :2], second], rows, 200, rng)
    assert joint.vectors.shape == (200, 3)
    assert joint.eigenvalues[0] > 0.9
    np.testing.assert_allclose(joint.vectors.T @ joint.vectors, np.eye(3), atol=1e-10)


def test_absent_rows_are_filled_from_other_views_and_stay_zero_where_nothing_is_known():
    rng = np.random.default_rng(7)
    truth = np.linalg.qr(rng.standard_normal((200, 3)))[0]
    half = np.arange(120)
    first = np.linalg.qr(truth[half][:, [0, 1]])[0]  # one shared, one specific; 80 subjects lack it
    second = truth[:, [0, 2]]
    joint = combine([first, second], [half, np.arange(200)], 200, rng)
    assert joint.vectors.shape[1] == 3
    inside = joint.vectors @ (joint.vectors.T @ truth[:, [0, 2]])
    np.testing.assert_allclose(inside, truth[:, [0, 2]], atol=0.02)
    specific = joint.vectors - truth[:, [0, 2]] @ (truth[:, [0, 2]].T @ joint.vectors)
    left, values, _ = np.linalg.svd(specific, full_matrices=False)
    assert np.linalg.norm(left[120:, 0]) < 0.1
    assert values[0] > 0.9


# Regression and its intervals


def test_regression_is_the_textbook_posterior():
    """Oracle: normal-inverse-gamma formulas written out per feature, over the rows where it was observed."""
    rng = np.random.default_rng(8)
    missing = rng.random((40, 7)) < 0.2
    missing[:, :2] = False
    own = table(noisy(rng, 40, 7, 2), missing)
    factors, precision, noise = rng.standard_normal((40, 2)), np.array([0.5, 2.0, 0.04]), mb.Gamma(shape=2.0, rate=3.0)
    got = regress(factors, own, precision, noise)
    for d in range(7):
        seen = ~missing[:, d]
        x, y = np.column_stack([factors, np.ones(40)])[seen], own.values[seen, d]
        scale = np.linalg.inv(x.T @ x + np.diag(precision))
        mean = scale @ x.T @ y
        np.testing.assert_allclose(got.scale[got.scale_of[d]], scale, rtol=1e-10)
        np.testing.assert_allclose(got.mean[d], mean, rtol=1e-9)
        np.testing.assert_allclose(got.shape[d], 2 + seen.sum() / 2)
        rate = 3 + (y @ y - mean @ np.linalg.inv(scale) @ mean) / 2
        np.testing.assert_allclose(got.rate[d], rate, rtol=1e-9)
        np.testing.assert_allclose(got.variance[d], rate / (1 + seen.sum() / 2))


def test_learned_precision_tells_carried_factors_from_absent_ones():
    rng = np.random.default_rng(9)
    factors = rng.standard_normal((300, 3))
    loadings = rng.standard_normal((400, 3)) * [2.0, 0.5, 0.0]
    own = table(factors @ loadings.T + rng.standard_normal((300, 400)))
    precision = learn_precision(factors, own, 5.0)
    np.testing.assert_allclose(precision[:2], [1 / 4, 4], rtol=0.25)
    assert precision[2] > 1000
    np.testing.assert_allclose(precision[3], 1 / 25)


def test_inflation_in_tiles_is_the_direct_formula():
    rng = np.random.default_rng(10)
    loadings, variance = rng.standard_normal((300, 4)), rng.uniform(0.5, 2, 300)
    loadings[5] = 0
    direct = np.empty((300, 300))
    for j in range(300):
        for k in range(300):
            l_j, l_k, s_j, s_k = loadings[j], loadings[k], variance[j], variance[k]
            if j == k:
                direct[j, j] = np.sqrt(1 + l_j @ l_j / (2 * s_j))
            elif j == 5 or k == 5:
                direct[j, k] = 1.0
            else:
                top = (l_j @ l_j) * (l_k @ l_k) + (l_j @ l_k) ** 2
                direct[j, k] = np.sqrt(1 + top / (s_j * (l_k @ l_k) + s_k * (l_j @ l_j)))
    tiles = [pairwise_inflation(loadings, variance, slice(start, start + 128)) for start in range(0, 300, 128)]
    np.testing.assert_allclose(np.concatenate(tiles), direct, rtol=1e-12)
    np.testing.assert_allclose(inflation(loadings, variance, rng), direct.mean(), rtol=1e-12)


def test_inflation_of_a_wide_view_is_estimated_well_and_by_seed(monkeypatch):
    rng = np.random.default_rng(11)
    loadings, variance = rng.standard_normal((1200, 5)), rng.uniform(0.5, 2, 1200)
    whole = inflation(loadings, variance, rng)
    monkeypatch.setattr("mofa_bayes.engines.spectral.coverage._MAX_FEATURES", 300)
    one, two = (inflation(loadings, variance, np.random.default_rng(0)) for _ in range(2))
    assert one == two
    np.testing.assert_allclose(one, whole, rtol=0.02)


def test_intervals_of_shared_structure_cover():
    """A short version of tests/benchmarks/spectral_calibration.py."""
    design = COVERAGE_DESIGNS[0]
    rows = [measure_coverage(design, seed, n_draws=300) for seed in range(12)]
    for kind in ("within", "diagonal", "across"):
        assert 0.925 < np.mean([row[kind] for row in rows]) < 0.975
        assert np.mean([row[f"{kind}_bare"] for row in rows]) < 0.92


def test_rotation_from_moments_is_varimax():
    rng = np.random.default_rng(12)
    sparse = [rng.standard_normal((d, 5)) * (rng.random((d, 5)) < 0.3) for d in (300, 80)]
    mixed = [own @ np.linalg.qr(rng.standard_normal((5, 5)))[0] for own in sparse]
    np.testing.assert_allclose(varimax(mixed), _rotate_directly(mixed), atol=1e-5)


# Tables


def test_tables_are_the_scaled_views_over_their_own_rows(cohort):
    with pytest.warns(IgnoredWarning):
        views = gaussianise(cohort.views)
    preprocessing = fit_preprocessing(views, dict.fromkeys(views.names, "feature"))
    order = np.argsort(views.subjects)
    for own in tabulate(views, preprocessing):
        frame = views[own.view].to_pandas().iloc[order].loc[:, list(own.features)]
        present = frame[frame.notna().any(axis=1)]
        np.testing.assert_array_equal(own.rows, np.flatnonzero(frame.notna().any(axis=1)))
        scaled = (present - present.mean()) / present.std(ddof=0)
        np.testing.assert_allclose(own.values, scaled.fillna(0), atol=1e-9)
        np.testing.assert_array_equal(own.missing, present.isna())
        np.testing.assert_allclose(own.standardise().values, own.values, atol=1e-9)


def test_views_with_few_subjects_and_decomposition_without_them():
    """A view of three subjects tells nothing of rank, and does not stop the others."""
    rng = np.random.default_rng(13)
    wide = table(noisy(rng, 60, 80, 2))
    tiny = make_table("b", ("x", "y"), np.arange(3), rng.standard_normal((3, 2)), None)
    got = decompose([wide, tiny], mb.FactorModel(n_factors=5), 60, rng)
    assert got.n_factors == 2
    assert got.regressions[1].mean.shape == (2, 3)
    assert np.isfinite(got.regressions[1].mean).all()
