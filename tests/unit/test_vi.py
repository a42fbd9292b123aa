"""Laws of the vi engine."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.data.simulate import Design
from mofa_bayes.engines.vi import layout as layout_module
from mofa_bayes.engines.vi.ascend import ascend
from mofa_bayes.engines.vi.gaps import DenseGaps, SparseGaps
from mofa_bayes.engines.vi.kernels import second_moments, solve_rows
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import lay_out
from mofa_bayes.engines.vi.packed import pack, pair_weights, unpack
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.engines.vi.start import start_factors
from mofa_bayes.errors import ConvergenceWarning

PRIORS = {"spike_slab": mb.SpikeSlab(), "ard": mb.ARD()}


def lay(views, scale="feature"):
    preprocessing = fit_preprocessing(views, dict.fromkeys(views.names, scale))
    return lay_out(views, preprocessing, find_known(views, preprocessing))


def climb(views, spec, seed=0, **settings):
    layout = lay(views)
    return ascend(layout, spec, Ascent(**settings), start_factors(layout, spec.n_factors, np.random.default_rng(seed)))


def rises(fitted):
    """Relative rise of the bound between iterations of the same number of factors."""
    same = np.diff(fitted.n_factors) == 0
    return np.diff(fitted.bound)[same] / np.abs(fitted.bound[1:][same])


@pytest.mark.parametrize("expand", [True, False])
@pytest.mark.parametrize("missing", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_bound_never_falls(prior, missing, expand):
    design = Design(
        n_subjects=60,
        n_features={"a": 40, "b": 25, "c": 20},
        sharing=[("a", "b", "c"), ("a", "b"), ("c",)],
        bernoulli={"b": 25, "c": 8},
        absent_view=0.25,
        missing=missing,
    )
    views = mb.simulate_cohort(design, seed=2).views
    fitted = climb(views, mb.FactorModel(n_factors=6, loadings=prior), expand=expand)
    assert len(fitted.bound) > 10
    assert rises(fitted).min() > -1e-8


def test_bound_never_falls_with_a_prior_per_view(cohort):
    spec = mb.FactorModel(n_factors=5, views={"rna": mb.ViewModel(loadings=mb.ARD(), scale="view")})
    assert rises(climb(cohort.views, spec)).min() > -1e-8


def test_rotations_reach_the_same_height_in_fewer_iterations(cohort):
    spec = mb.FactorModel(n_factors=5, loadings=mb.ARD(), min_variance=0.0)
    with_it, without = (climb(cohort.views, spec, expand=expand) for expand in (True, False))
    level = without.bound[-1] - 1e-5 * abs(without.bound[-1])
    assert np.argmax(with_it.bound > level) < np.argmax(without.bound > level)


def test_rescaling_sparse_factors_does_not_end_lower(cohort):
    spec = mb.FactorModel(n_factors=5, min_variance=0.0)
    with_it, without = (climb(cohort.views, spec, expand=expand) for expand in (True, False))
    assert with_it.bound[-1] > without.bound[-1] - 1e-4 * abs(without.bound[-1])


def test_factor_posterior_is_the_exact_conditional_given_loadings_and_noise():
    """Oracle: with loadings known, z | y is a Gaussian that the joint covariance of (z, y) gives directly."""
    design = Design(n_subjects=40, n_features={"a": 12, "b": 9}, sharing=[("a", "b")] * 3, missing=0.2, absent_view=0.3)
    views = mb.simulate_cohort(design, seed=4).views
    post = mb.fit(views, mb.FactorModel(n_factors=3, min_variance=0.0), n_draws=10, progress=False)
    tree = post.tree.copy(deep=True)
    for view in views.names:
        tree["moments"][f"weights_var_{view}"].values[:] = 0.0
    found = mb.Posterior(tree).project(views)
    moments, scaling = tree["moments"], post.preprocessing
    terms = {view: moments[f"weights_mean_{view}"].values for view in views.names}
    loadings = np.concatenate([terms[view][:, :-1] for view in views.names])
    intercept = np.concatenate([terms[view][:, -1] for view in views.names])
    noise = np.concatenate([1 / moments[f"precision_{view}"].values[0] for view in views.names])
    y = np.concatenate([scaling.apply(view, views[view].values) for view in views.names], axis=1)
    for n in range(views.n_subjects):
        seen = ~np.isnan(y[n])
        marginal = loadings[seen] @ loadings[seen].T + np.diag(noise[seen])
        gain = loadings[seen].T @ np.linalg.inv(marginal)
        np.testing.assert_allclose(found.mean[n], gain @ (y[n, seen] - intercept[seen]), rtol=1e-8, atol=1e-10)
        covariance = np.eye(loadings.shape[1]) - gain @ loadings[seen]
        np.testing.assert_allclose(found.covariances()[n], covariance, rtol=1e-7, atol=1e-10)


def test_absent_view_contributes_nothing(cohort, post):
    """A subject without a view is inferred as if the model had never heard of that view."""
    others = [view for view in cohort.views.names if view != "rna"]
    lacking = np.asarray(cohort.views.subjects)[~cohort.views.has_view("rna").values]
    assert len(lacking) > 2
    whole = post.project(cohort.views.sel(lacking))
    without = post.project(cohort.views.keep_views(others).sel(lacking))
    np.testing.assert_array_equal(whole.mean, without.mean)
    np.testing.assert_array_equal(whole.covariances(), without.covariances())


def test_subject_with_nothing_observed_keeps_the_prior(cohort, post):
    frame = pd.DataFrame(np.nan, index=["nobody", "else"], columns=list(cohort.views.features("rna")))
    moments = post.project({"rna": frame})
    np.testing.assert_allclose(moments.mean, 0.0, atol=1e-12)
    np.testing.assert_allclose(
        moments.covariances(), np.broadcast_to(np.eye(len(post.factor_names)), (2, 3, 3)), atol=1e-12
    )


def test_projecting_the_cohort_returns_the_fitted_factors(cohort, post):
    fitted, projected = post.factor_moments(), post.project(cohort.views)
    np.testing.assert_allclose(projected.mean, fitted.mean, atol=5e-3)
    np.testing.assert_allclose(projected.covariances(), fitted.covariances(), atol=5e-3)


def test_order_of_subjects_features_and_views_does_not_matter(cohort, post):
    rng = np.random.default_rng(0)
    frames = {}
    for view in rng.permutation(cohort.views.names):
        table = cohort.views[view].to_pandas()
        table = table[table.notna().any(axis=1)]
        frames[view] = table.iloc[rng.permutation(len(table)), rng.permutation(table.shape[1])]
    likelihoods = {view: cohort.views.likelihoods(view).to_series().to_dict() for view in cohort.views.names}
    shuffled = mb.MultiView.from_frames(frames, likelihoods=likelihoods)
    assert shuffled.fingerprint == cohort.views.fingerprint
    again = mb.fit(shuffled, post.spec, seed=3, n_draws=200, progress=False)
    np.testing.assert_array_equal(again.bound.values, post.bound.values)
    ours, theirs = post.factor_moments(), again.factor_moments().sel(post.subjects)
    np.testing.assert_array_equal(theirs.mean, ours.mean)
    np.testing.assert_array_equal(theirs.covariances(), ours.covariances())
    for view in post.views:
        label = {f"feature_{view}": list(post.features(view))}
        np.testing.assert_array_equal(
            again.tree["moments"][f"weights_mean_{view}"].sel(label).values,
            post.tree["moments"][f"weights_mean_{view}"].values,
        )


def test_same_seed_gives_the_same_posterior_and_another_seed_other_draws(cohort, post):
    again = mb.fit(cohort.views, post.spec, seed=3, n_draws=200, progress=False)
    other = mb.fit(cohort.views, post.spec, seed=4, n_draws=200, progress=False)
    np.testing.assert_array_equal(again.factors().values, post.factors().values)
    assert not np.array_equal(other.factors().values, post.factors().values)


def test_number_of_threads_and_size_of_blocks_do_not_matter(cohort, monkeypatch):
    spec = mb.FactorModel(n_factors=4)
    one, two = (climb(cohort.views, spec, n_threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.bound, two.bound)
    monkeypatch.setattr(layout_module, "MAX_ROWS", 7)
    small = climb(cohort.views, spec)
    assert len(small.layout.blocks) > len(one.layout.blocks)
    np.testing.assert_allclose(small.bound[-1], one.bound[-1], rtol=1e-6)


def test_large_views_are_not_copied_and_give_the_same_answer(monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 40)) * 3 + rng.standard_normal((60, 40)) + 5
    frame = pd.DataFrame(values, [f"p{n:02d}" for n in range(60)], [f"f{d:02d}" for d in range(40)])
    views, spec = mb.MultiView.from_frames({"a": frame}), mb.FactorModel(n_factors=4)
    copied = climb(views, spec)
    monkeypatch.setattr(layout_module, "IN_PLACE_BYTES", 0)
    in_place = climb(views, spec)
    for fitted, shared in ((copied, False), (in_place, True)):
        cells = fitted.layout.blocks[0].cells[0]
        assert np.shares_memory(cells.values.y, views["a"].values) == shared
    np.testing.assert_allclose(in_place.bound[0], copied.bound[0], rtol=1e-9)
    np.testing.assert_allclose(in_place.bound[-1], copied.bound[-1], rtol=1e-6)


def test_sparse_and_dense_gaps_sum_alike():
    rng = np.random.default_rng(0)
    missing = rng.random((300, 20)) < 0.1
    import scipy.sparse as sp

    matrix = sp.csr_array(missing.astype(float))
    few, many = SparseGaps(matrix.tocsc(), matrix.T.tocsr()), DenseGaps(missing, np.arange(missing.shape[1]))
    by_column, by_row = rng.standard_normal((20, 6)), rng.standard_normal((300, 6))
    weights = rng.random(20)
    for gaps in (few, many):
        np.testing.assert_allclose(gaps.over_columns(by_column, weights), (missing * weights) @ by_column)
        total = np.ones((20, 6))
        gaps.take_rows(by_row, total)
        np.testing.assert_allclose(total, 1 - missing.T @ by_row)


def test_packed_algebra_matches_dense_algebra():
    rng = np.random.default_rng(1)
    roots = rng.standard_normal((5, 4, 4))
    matrices = roots @ np.swapaxes(roots, 1, 2) + np.eye(4)
    packed = pack(matrices)
    np.testing.assert_array_equal(unpack(packed, 4), matrices)
    np.testing.assert_allclose((packed[0] * pair_weights(4)) @ packed[1], np.sum(matrices[0] * matrices[1]))
    linear = rng.standard_normal((5, 4))
    mean, covariance = np.empty((5, 4)), np.empty((5, 10))
    log_determinant = solve_rows(packed, linear, mean, covariance)
    np.testing.assert_allclose(unpack(covariance, 4), np.linalg.inv(matrices), rtol=1e-10)
    np.testing.assert_allclose(mean, np.linalg.solve(matrices, linear[..., None])[..., 0], rtol=1e-10)
    np.testing.assert_allclose(log_determinant, -np.linalg.slogdet(matrices)[1])
    expected = mean[:, :, None] * mean[:, None, :] + unpack(covariance, 4)
    np.testing.assert_allclose(unpack(second_moments(mean, covariance), 4), expected)


def test_start_spans_the_leading_singular_vectors_of_a_complete_view():
    rng = np.random.default_rng(3)
    values = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 30)) * 3 + rng.standard_normal((50, 30))
    frame = pd.DataFrame(values, [f"p{n:02d}" for n in range(50)], [f"f{d:02d}" for d in range(30)])
    layout = lay(mb.MultiView.from_frames({"a": frame}), scale="none")
    scores = start_factors(layout, 3, np.random.default_rng(0))
    left = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[0][:, :3]
    cosines = np.linalg.svd(left.T @ scores / np.sqrt(50), compute_uv=False)
    assert cosines.min() > 0.999


def test_factors_that_explain_nothing_are_dropped_and_never_all():
    rng = np.random.default_rng(5)
    index = [f"p{n:03d}" for n in range(200)]
    noise = {v: pd.DataFrame(rng.standard_normal((200, 60)), index, [f"{v}{d}" for d in range(60)]) for v in "ab"}
    spec = mb.FactorModel(n_factors=4, min_variance=0.2)
    fitted = climb(mb.MultiView.from_frames(noise), spec)
    assert fitted.globals.n_factors == 1


def test_factors_dropped_at_the_limit_leave_no_trace_in_the_noise(cohort):
    """Imputed intervals of a view were right 91 % of the time where the ascent ended with the drop itself."""
    spec = mb.FactorModel(n_factors=5, min_variance=0.15)
    with pytest.warns(ConvergenceWarning):
        short = climb(cohort.views, spec, max_iterations=20)
    n_kept = short.globals.n_factors
    assert n_kept < 5
    assert (short.n_factors[:20] == 5).all()
    assert len(short.bound) > 20
    assert (short.n_factors[20:] == n_kept).all()
    long = climb(cohort.views, spec, max_iterations=2000)
    assert long.globals.n_factors == n_kept
    for one, other in zip(short.globals.parts, long.globals.parts, strict=True):
        if one.noise_shape.size:
            np.testing.assert_allclose(one.tau, other.tau, rtol=0.01)


def test_stopping_early_warns_and_returns_what_was_reached(cohort):
    with pytest.warns(ConvergenceWarning, match="3 iterations"):
        post = mb.fit(
            cohort.views,
            mb.FactorModel(n_factors=5, min_variance=0.0),
            settings=mb.Ascent(max_iterations=3),
            n_draws=5,
            progress=False,
        )
    assert len(post.bound) == 3
    assert post.provenance["converged"] == 0


def test_interrupt_returns_the_best_so_far(cohort):
    def stop(iteration, bound):
        if iteration == 40:
            raise KeyboardInterrupt

    layout = lay(cohort.views)
    scores = start_factors(layout, 5, np.random.default_rng(0))
    with pytest.warns(ConvergenceWarning):
        fitted = ascend(layout, mb.FactorModel(n_factors=5), Ascent(), scores, stop)
    assert not fitted.converged
    assert len(fitted.bound) == 30  # 40 passes, of which ten were the dense start


def test_single_precision_gives_the_same_answer(cohort):
    frames = {view: cohort.views[view].to_pandas().astype(np.float32) for view in cohort.views.names}
    narrow = mb.MultiView.from_frames(frames)
    assert narrow["rna"].dtype == np.float32
    spec = mb.FactorModel(n_factors=5)
    single, double = (mb.fit(v, spec, n_draws=5, progress=False) for v in (narrow, cohort.views))
    np.testing.assert_allclose(single.bound[-1], double.bound[-1], rtol=1e-4)
    ours, theirs = single.factor_moments(), double.factor_moments().sel(single.subjects)
    assert np.abs(np.corrcoef(ours.mean.T, theirs.mean.T)[:3, 3:]).max(axis=0).min() > 0.999


def test_inputs_are_left_as_they_were(cohort):
    before = cohort.views.fingerprint
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mb.fit(cohort.views, settings=mb.Ascent(max_iterations=5), n_draws=5, progress=False)
    assert cohort.views.fingerprint == before
