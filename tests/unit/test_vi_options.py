"""What else one may ask of vi: sparse factors, scaled groups, other starts, early dropping, memory, callbacks."""

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.data.simulate import Design
from mofa_bayes.engines.vi.memory import estimate_memory
from mofa_bayes.errors import ConvergenceWarning, DataError, FitError, IgnoredWarning, SpecError
from mofa_bayes.fitting.request import warn_unused

FAST = mb.Ascent(mode="fast")


def best_match(z, post):
    """Largest |correlation| of each true factor with a fitted one."""
    found = post.factor_moments().sel([f"p{n:03d}" for n in range(len(z))]).mean
    return np.abs(np.corrcoef(z.T, found.T)[: z.shape[1], z.shape[1] :]).max(axis=1)


@pytest.fixture(scope="module")
def rare():
    """Two views of 200 subjects, of whom a fifth have each of two factors; the second only in group b."""
    rng = np.random.default_rng(3)
    groups = np.array(["a", "b"] * 100)
    z = rng.standard_normal((200, 2)) * (rng.random((200, 2)) < 0.25)
    z[groups == "a", 1] = 0
    index = [f"p{n:03d}" for n in range(200)]
    frames = {}
    for view, width in (("x", 60), ("y", 40)):
        values = z @ rng.standard_normal((2, width)) + 0.7 * rng.standard_normal((200, width))
        frames[view] = pd.DataFrame(values, index, [f"{view}{d:02d}" for d in range(width)])
    frames["x"] = frames["x"].mask(rng.random((200, 60)) < 0.05)
    return mb.MultiView.from_frames(frames, groups=pd.Series(groups, index)), z


@pytest.fixture(scope="module")
def sparse(rare):
    spec = mb.FactorModel(n_factors=4, factors=mb.SpikeSlabFactors(), loadings=mb.ARD())
    return mb.fit(rare[0], spec, settings=FAST, progress=False)


def test_sparse_factors_are_found_and_say_who_lacks_them(rare, sparse):
    views, z = rare
    assert best_match(z, sparse).min() > 0.95
    active = sparse.tree["posterior"]["factors_active"].mean(("chain", "draw")).sel(subject=list(views.subjects))
    has = np.abs(z) > 0.5
    match = np.abs(np.corrcoef(z.T, sparse.factor_moments().mean.T)[:2, 2:]).argmax(axis=1)
    for k, own in enumerate(match):
        shown = active.values[:, own]
        assert shown[has[:, k]].mean() > 0.9
        assert shown[z[:, k] == 0].mean() < 0.35


def test_sparse_factors_are_drawn_as_such_wherever_they_are_drawn(rare, sparse):
    """Moments and their draws agree with the draws of the fit: in how often a factor is zero, and in its quantiles."""
    moments, drawn = sparse.factor_moments(), sparse.factors().isel(chain=0)
    drawn = drawn.sel(subject=list(moments.subjects)).transpose("draw", "subject", "factor").values
    ours = moments.draw(np.arange(200), 4000, np.random.default_rng(0))
    np.testing.assert_allclose((ours != 0).mean(axis=0), moments.inclusion, atol=0.05)
    np.testing.assert_allclose((drawn != 0).mean(axis=0), moments.inclusion, atol=0.15)
    np.testing.assert_allclose(ours.mean(axis=0), moments.mean, atol=0.1)
    variance = np.diagonal(moments.covariances(), axis1=1, axis2=2)
    np.testing.assert_allclose(ours.var(axis=0), variance, rtol=0.15, atol=0.02)
    levels = [0.05, 0.5, 0.95]
    gap = np.abs(np.quantile(ours, levels, axis=0) - np.quantile(drawn, levels, axis=0))
    assert np.quantile(gap, 0.95) < 0.4
    some = moments.sel(moments.subjects[3:5])
    np.testing.assert_array_equal(some.inclusion, moments.inclusion[3:5])
    np.testing.assert_allclose(sparse.project(rare[0].sel(some.subjects)).inclusion, some.inclusion, atol=0.05)


def test_imputed_intervals_of_sparse_factors_are_those_of_a_mixture(rare, sparse):
    """Without noise, of a subject who may lack each factor: long tails and a narrow middle."""
    views, tree = rare[0], sparse.tree.copy()
    tree["posterior"]["noise_sd_x"] = tree["posterior"]["noise_sd_x"] / 10
    nobody = {view: pd.DataFrame(np.nan, ["q0"], views.features(view)) for view in views.names}
    nobody["y"].iloc[0, 0] = views["y"].values[:, 0].mean()
    new = mb.MultiView.from_frames(nobody, groups=pd.Series(["b"], index=["q0"]), uninformative="keep")
    inner, outer = (mb.Posterior(tree).impute(new, level=level) for level in (0.5, 0.99))
    ratio = (outer["upper_x"] - outer["lower_x"]) / (inner["upper_x"] - inner["lower_x"])
    assert float(ratio.median()) > 2 * 2.576 / 0.674


def test_a_group_without_a_factor_has_a_small_share_of_it(rare, sparse):
    _, z = rare
    share = sparse.tree["posterior"]["factor_inclusion"].mean(("chain", "draw"))
    own = sparse.factor_names[np.abs(np.corrcoef(z[:, 1], sparse.factor_moments().mean.T)[0, 1:]).argmax()]
    assert share.sel(group="a", factor=own) < 0.15 < share.sel(group="b", factor=own)


def test_bound_never_falls_with_sparse_factors(sparse):
    same = np.diff(sparse.tree["fit"]["n_factors"].values) == 0
    assert (np.diff(sparse.bound.values)[same] > -1e-7 * abs(sparse.bound.values[-1])).all()


def test_projection_returns_the_fitted_sparse_factors(rare, sparse, tmp_path):
    views, _ = rare
    fitted = sparse.factor_moments().mean
    assert np.corrcoef(sparse.project(views).mean.ravel(), fitted.ravel())[0, 1] > 0.98
    sparse.save(tmp_path / "fit.nc")
    np.testing.assert_array_equal(mb.load(tmp_path / "fit.nc").project(views).mean, sparse.project(views).mean)


def test_scaled_groups_make_a_cohort_in_two_units_one(rare):
    """One group measured in other units: with its scale taken off, the fit is that of the same units."""
    views, _ = rare
    groups = views.groups.to_series()
    frames = {view: views[view].to_pandas() for view in views.names}
    factor = np.where(groups == "b", 10.0, 1.0)
    other = {view: frame.mul(factor, axis=0) for view, frame in frames.items()}
    # Scaled by view, a group in other units keeps its own size; by feature, it would set that of everyone.
    spec = mb.FactorModel(n_factors=3, scale="none", scale_groups=True)
    one, two = (
        mb.fit(mb.MultiView.from_frames(own, groups=groups), spec, settings=FAST, progress=False)
        for own in (frames, other)
    )
    a, b = (post.factor_moments().mean for post in (one, two))
    assert np.abs(np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :]).max(axis=1).min() > 0.98
    filled = two.impute(mb.MultiView.from_frames(other, groups=groups))
    hidden = other["x"].isna().to_numpy() & (groups == "b").to_numpy()[:, None]
    known = one.impute(mb.MultiView.from_frames(frames, groups=groups))
    ratio = np.polyfit(known["mean_x"].values[hidden], filled["mean_x"].values[hidden], 1)[0]
    assert 8.5 < ratio < 11.5


def test_scale_of_a_group_is_the_spread_around_its_own_means(rare):
    views, _ = rare
    fitted = fit_preprocessing(views, {"x": "feature", "y": "none"}, scale_groups=True)
    scaled = fitted.apply("y", views["y"].values, views.groups.values)
    for group in ("a", "b"):
        own = scaled[views.groups.values == group]
        np.testing.assert_allclose(np.mean((own - own.mean(axis=0)) ** 2), 1, rtol=1e-6)
    np.testing.assert_allclose(fitted.invert("y", scaled, views.groups.values), views["y"].values, atol=1e-12)


def test_groups_of_unknown_scale_are_refused(rare):
    fitted = fit_preprocessing(rare[0], {"x": "feature", "y": "none"}, scale_groups=True)
    with pytest.raises(DataError, match="scale is not known"):
        fitted.apply("y", rare[0]["y"].values, ["c"] * 200)
    with pytest.raises(DataError, match="groups"):
        fitted.apply("y", rare[0]["y"].values)


@pytest.fixture(scope="module")
def plain():
    design = Design(n_subjects=100, n_features={"a": 60, "b": 40}, sharing=[("a", "b"), ("a",), ("b",)], noise_sd=0.7)
    return mb.simulate_cohort(design, seed=2)


@pytest.mark.parametrize("start", ["svd", "spectral", "random"])
def test_factors_are_found_from_any_start(plain, start):
    settings = mb.Ascent(mode="fast", start=start)
    post = mb.fit(plain.views, mb.FactorModel(n_factors=5), settings=settings, progress=False)
    found = post.factor_moments().sel(list(plain.factors.index)).mean
    r = np.abs(np.corrcoef(plain.factors.to_numpy().T, found.T)[:3, 3:]).max(axis=1)
    assert r.min() > 0.95


def test_factors_that_explain_nothing_may_be_dropped_on_the_way(plain):
    spec = mb.FactorModel(n_factors=15)
    posts = [
        mb.fit(plain.views, spec, settings=mb.Ascent(mode="fast", drop=drop), progress=False)
        for drop in ("end", "during")
    ]
    assert [len(post.factor_names) for post in posts] == [3, 3]
    first_drop = [int(np.flatnonzero(post.tree["fit"]["n_factors"].values < 15)[0]) for post in posts]
    assert first_drop[1] == min(first_drop)
    assert first_drop[1] < len(posts[1].bound) - 1


def test_a_view_that_lacks_a_factor_is_emptied_of_it_at_once_and_the_bound_is_higher(plain):
    spec = mb.FactorModel(n_factors=5, min_variance=0.0)
    with_moves, without = (
        mb.fit(plain.views, spec, settings=mb.Ascent(expand=expand), progress=False) for expand in (True, False)
    )
    assert len(with_moves.bound) < 0.7 * len(without.bound)
    assert with_moves.bound.values[-1] > without.bound.values[-1] - 1
    inclusion = with_moves.tree["moments"]["inclusion_b"].values
    assert (inclusion.max(axis=0) < 1e-6).any()
    assert np.diff(with_moves.bound.values).min() > -1e-6


def test_a_fit_that_needs_more_memory_than_it_may_take_is_refused_with_the_draws_that_fit(plain):
    needs = estimate_memory(plain.views, mb.FactorModel(n_factors=5), 20_000, 1)
    budget = needs["data"] + needs["parameters"] + needs["draws"] * 0.50001
    with pytest.raises(FitError, match="Take n_draws=10000"):
        mb.fit(
            plain.views,
            mb.FactorModel(n_factors=5),
            n_draws=20_000,
            settings=mb.Ascent(max_memory=budget, n_threads=1),
            progress=False,
        )


def test_more_of_anything_needs_more_memory(plain):
    spec = mb.FactorModel(n_factors=5)
    least = sum(estimate_memory(plain.views, spec, 100, 1).values())
    assert sum(estimate_memory(plain.views, spec, 200, 1).values()) > least
    assert sum(estimate_memory(plain.views, mb.FactorModel(n_factors=9), 100, 1).values()) > least


def test_a_callback_sees_every_pass_and_may_end_the_fit(plain):
    seen = []

    def call(number, bound):
        seen.append((number, bound))
        return number == 12

    with pytest.warns(ConvergenceWarning):
        post = mb.fit(plain.views, mb.FactorModel(n_factors=4), callback=call, progress=False)
    assert [number for number, _ in seen] == list(range(1, 13))
    assert seen[-1][1] == post.bound.values[-1]


@pytest.mark.parametrize("wrong", [{"start": "pca"}, {"drop": "never"}, {"max_memory": 0}, {"max_memory": "4 GB"}])
def test_settings_that_cannot_be_used_are_refused(wrong):
    with pytest.raises(SpecError, match=next(iter(wrong))):
        mb.Ascent(**wrong)


@pytest.mark.parametrize(
    ("engine", "given", "word"),
    [
        ("spectral", {"callback": lambda n, b: None}, "callback"),
        ("gibbs", {"settings": mb.Sampling(target_accept=0.8)}, "target_accept"),
        ("nuts", {"settings": mb.Sampling(thin=2)}, "thin"),
    ],
)
def test_what_an_engine_does_not_use_is_said(engine, given, word):
    settings, callback = given.get("settings"), given.get("callback")
    with pytest.warns(IgnoredWarning, match=f"{engine}.*{word}"):
        warn_unused(engine, settings, callback)


@pytest.mark.parametrize(("kind", "names"), [(mb.Sampling, ("n_draws", "n_jobs", "thin")), (mb.Ascent, ("n_starts",))])
def test_whole_numbers_of_numpy_are_whole_numbers(kind, names):
    settings = kind(**{name: np.int64(5) for name in names})
    assert settings == kind(**dict.fromkeys(names, 5))
    assert all(type(getattr(settings, name)) is int for name in names)
    with pytest.raises(SpecError, match=names[0]):
        kind(**{names[0]: True})


def test_draws_may_be_counted_by_numpy():
    rng = np.random.default_rng(0)
    views = mb.MultiView.from_frames({"a": pd.DataFrame(rng.standard_normal((20, 4))).add_prefix("f")})
    spec, brief = mb.FactorModel(n_factors=1), mb.Ascent(max_iterations=np.int32(500))
    assert mb.fit(views, spec, settings=brief, n_draws=np.int64(7), progress=False).factors().sizes["draw"] == 7
