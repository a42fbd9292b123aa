"""Every likelihood and every prior: the bound rises, factors are found, and held-out values are predicted."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import mofa_bayes as mb
from mofa_bayes.engines.vi.families import FAMILIES
from mofa_bayes.engines.vi.families.base import Values
from mofa_bayes.errors import DataError

N, D, K = 150, 100, 3
SUBJECTS = [f"p{n:03d}" for n in range(N)]


def simulate(likelihood, seed=0, exposure=None):
    """One view of known factors: complete values, what a user sees of them, and the factors."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((N, K))
    w = rng.standard_normal((D, K)) * (rng.random((D, K)) < 0.6)
    eta = z @ w.T + rng.normal(0, 0.5, D)
    exposure = np.ones(N) if exposure is None else exposure
    y = {
        "gaussian": lambda: eta + rng.standard_normal(eta.shape),
        "student_t": lambda: eta + rng.standard_t(3, eta.shape),
        "bernoulli": lambda: rng.random(eta.shape) < expit(1.5 * eta),
        "poisson": lambda: rng.poisson(exposure[:, None] * np.logaddexp(0, eta + 2)),
        "negative_binomial": lambda: rng.poisson(rng.gamma(3, 1 / 3, eta.shape) * exposure[:, None] * np.exp(eta + 1)),
        "ordinal": lambda: np.digitize(eta + rng.standard_normal(eta.shape), [-1, 0, 1.5]),
        "categorical": lambda: draw_levels(z, rng),
    }[likelihood]()
    complete = pd.DataFrame(np.asarray(y, dtype=float), SUBJECTS, [f"f{d:03d}" for d in range(D)])
    hidden = rng.random(complete.shape) < 0.08
    return complete, complete.mask(hidden), hidden, z


def draw_levels(z, rng):
    """Three levels whose utilities have loadings of their own."""
    utility = np.einsum("nk,ldk->nld", z, 1.5 * rng.standard_normal((3, D, K)) * (rng.random((3, D, K)) < 0.6))
    return (utility + rng.gumbel(size=utility.shape)).argmax(axis=1)


def indicate(complete, hidden):
    """Levels as the indicators that they become in a view."""
    whole = mb.MultiView.from_frames({"v": complete}, likelihoods={"v": "categorical"})
    position = {name: d for d, name in enumerate(complete.columns)}
    columns = [position[name] for name in whole.variables("v")]
    return whole["v"].to_pandas(), hidden[:, columns]


def rises(post):
    bound, counts = post.bound.values, post.tree["fit"]["n_factors"].values
    same = np.diff(counts) == 0
    return np.diff(bound)[same] / np.abs(bound[1:][same])


@pytest.fixture(scope="module", params=list(FAMILIES))
def fitted(request):
    complete, seen, hidden, z = simulate(request.param)
    views = mb.MultiView.from_frames({"v": seen}, likelihoods={"v": request.param})
    settings = mb.Ascent(mode="fast")
    post = mb.fit(views, mb.FactorModel(n_factors=5), settings=settings, progress=False)
    return request.param, views, complete, hidden, z, post


def test_bound_never_falls_under_any_likelihood(fitted):
    *_, post = fitted
    assert rises(post).min() > -1e-8


def test_factors_are_found_under_any_likelihood(fitted):
    *_, z, post = fitted
    found = post.factor_moments().mean
    r = np.abs(np.corrcoef(z.T, found.T)[:K, K:]).max(axis=1)
    assert r.min() > 0.9


def test_hidden_values_are_predicted_better_than_by_their_mean(fitted):
    likelihood, views, complete, hidden, _, post = fitted
    filled = post.impute(views)
    if likelihood == "categorical":
        complete, hidden = indicate(complete, hidden)
    truth = complete.to_numpy()[hidden]
    error = np.mean((filled["mean_v"].values[hidden] - truth) ** 2)
    by_mean = np.broadcast_to(views["v"].mean("subject", skipna=True).values, hidden.shape)[hidden]
    assert error < 0.85 * np.mean((by_mean - truth) ** 2)


def test_intervals_of_hidden_values_cover(fitted):
    likelihood, views, complete, hidden, _, post = fitted
    if likelihood in ("bernoulli", "categorical"):
        pytest.skip("the interval of such an entry is that of its probability")
    filled = post.impute(views)
    truth = complete.to_numpy()[hidden]
    inside = (truth >= filled["lower_v"].values[hidden]) & (truth <= filled["upper_v"].values[hidden])
    assert 0.91 < inside.mean() <= 0.995  # intervals of whole numbers hold at least their level


def test_projection_returns_the_fitted_factors_under_any_likelihood(fitted):
    _, views, _, _, _, post = fitted
    np.testing.assert_allclose(post.project(views).mean, post.factor_moments().mean, atol=0.15)


def test_posterior_survives_its_file(fitted, tmp_path):
    _, views, _, _, _, post = fitted
    post.save(tmp_path / "fit.nc")
    back = mb.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(back.project(views).mean, post.project(views).mean)


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_exposure_is_taken_off(likelihood):
    """Counts that differ between subjects by exposure alone have no factor once it is given."""
    rng = np.random.default_rng(4)
    exposure = rng.uniform(0.3, 3.0, N)
    rate = exposure[:, None] * np.exp(rng.normal(1.5, 0.3, D))
    if likelihood == "negative_binomial":
        rate = rate * rng.gamma(4, 1 / 4, rate.shape)
    counts = pd.DataFrame(rng.poisson(rate), SUBJECTS, [f"f{d:03d}" for d in range(D)])
    shares = []
    for exposures in (None, {"v": pd.Series(exposure, SUBJECTS)}):
        views = mb.MultiView.from_frames(
            {"v": counts.astype(float)}, likelihoods={"v": likelihood}, exposures=exposures
        )
        post = mb.fit(views, mb.FactorModel(n_factors=2), settings=mb.Ascent(mode="fast"), progress=False)
        shares.append(float(mb.variance_explained(post)["total"].mean()))
    assert shares[0] > 0.2
    assert shares[1] < 0.05


def test_ordinal_values_of_new_subjects_beyond_the_known_levels_are_refused():
    _, seen, _, _ = simulate("ordinal")
    views = mb.MultiView.from_frames({"v": seen}, likelihoods={"v": "ordinal"})
    post = mb.fit(views, mb.FactorModel(n_factors=3), progress=False)
    new = seen.iloc[:3].copy()
    new.iloc[0, 0] = 4.0
    with pytest.raises(DataError, match="ordinal"):
        post.project({"v": new})


@pytest.mark.parametrize("likelihood", sorted(FAMILIES.keys() - {"categorical"}))
def test_local_bound_touches_at_its_point_and_lies_below_elsewhere(likelihood):
    """Oracle: the quadratic bound against the log density itself, at certain eta."""
    from scipy import stats

    y, r, scale = 2.0, 3.0, 1.3
    if likelihood == "bernoulli":
        y = 1.0
    levels = np.array([[-np.inf, -0.5, 0.2, 0.9, np.inf]])
    family = FAMILIES[likelihood]
    exact = {
        "gaussian": lambda e: stats.norm.logpdf(y, e) + np.log(2 * np.pi) / 2 + y**2 / 2,
        "student_t": lambda e: stats.t.logpdf(y, 4, e) + np.log(2 * np.pi) / 2,
        "bernoulli": lambda e: stats.bernoulli.logpmf(y, expit(e)),
        "poisson": lambda e: stats.poisson.logpmf(y, np.logaddexp(0, e)),
        "negative_binomial": lambda e: stats.nbinom.logpmf(y, r, r / (r + np.exp(e))),
        "ordinal": lambda e: np.log(stats.norm.cdf(0.9 * scale - e) - stats.norm.cdf(0.2 * scale - e)),
    }[likelihood]
    values = Values(np.array([[y]]), np.ones((1, 1)), np.zeros(1), levels)
    curvature = family.curvature(np.array([4.0]), 1.0)
    nuisance = np.array([scale if likelihood == "ordinal" else r])
    tau = curvature if likelihood == "poisson" else np.ones(1)
    grid = np.linspace(-4, 4, 81)
    for at in (-2.0, 0.3, 2.5):
        local = family.local(values, np.array([[at]]), np.array([[at**2]]), tau, nuisance)
        weight = float(curvature[0]) if local.omega is None else float(local.omega[0, 0])
        extra = float(local.squares[0]) / 2 if local.squares.size else 0.0
        bound = float(local.constant[0]) + float(local.kappa[0, 0]) * grid - weight * grid**2 / 2 - extra
        gap = np.array([exact(e) for e in grid]) - bound
        assert gap.min() > -1e-6
        assert abs(np.interp(at, grid, gap)) < 2e-3


PRIORS = {
    "normal": mb.Normal(),
    "laplace": mb.Laplace(),
    "horseshoe": mb.Horseshoe(),
    "spike_slab_positive": mb.SpikeSlab(positive=True),
    "ard_positive": mb.ARD(positive=True),
    "laplace_positive": mb.Laplace(positive=True),
}


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_every_prior_raises_the_bound_and_finds_what_it_admits(prior):
    rng = np.random.default_rng(3)
    z = rng.standard_normal((N, 2))
    w = rng.standard_normal((D, 2)) * (rng.random((D, 2)) < 0.4)
    w = np.abs(w) if prior.positive else w
    frame = pd.DataFrame(z @ w.T + 0.7 * rng.standard_normal((N, D)), SUBJECTS, [f"f{d:03d}" for d in range(D)])
    frame = frame.mask(rng.random(frame.shape) < 0.05)
    post = mb.fit(mb.MultiView.from_frames({"v": frame}), mb.FactorModel(n_factors=4, loadings=prior), progress=False)
    assert rises(post).min() > -1e-8
    if prior.positive:
        assert (post.loadings("v").values >= 0).all()
    found = post.factor_moments().mean
    fitted = np.linalg.lstsq(found - found.mean(axis=0), z - z.mean(axis=0))[0]
    residual = z - z.mean(axis=0) - (found - found.mean(axis=0)) @ fitted
    assert 1 - (residual**2).sum() / ((z - z.mean(axis=0)) ** 2).sum() > 0.85


def test_positive_loadings_are_found_without_regard_to_sign():
    rng = np.random.default_rng(6)
    z = rng.standard_normal((N, 2))
    w = np.abs(rng.standard_normal((D, 2))) * (rng.random((D, 2)) < 0.4)
    frame = pd.DataFrame(z @ w.T + 0.5 * rng.standard_normal((N, D)), SUBJECTS, [f"f{d:03d}" for d in range(D)])
    spec = mb.FactorModel(n_factors=2, loadings=mb.SpikeSlab(positive=True))
    post = mb.fit(mb.MultiView.from_frames({"v": frame}), spec, progress=False)
    r = np.corrcoef(z.T, post.factor_moments().mean.T)[:2, 2:]
    assert r.max(axis=1).min() > 0.9


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_factors_are_found_whatever_the_unit_of_exposure(likelihood):
    """Person-years or person-days: what is counted per unit changes, what is found does not."""
    rng = np.random.default_rng(1)
    relative = rng.uniform(0.5, 2.0, N)
    complete, _, _, z = simulate(likelihood, exposure=relative)
    for unit in (1.0, 365.0):
        exposures = {"v": pd.Series(relative * unit, SUBJECTS)}
        views = mb.MultiView.from_frames({"v": complete}, likelihoods={"v": likelihood}, exposures=exposures)
        spec = mb.FactorModel(n_factors=3)
        if likelihood == "poisson" and unit > 1:
            continue  # softplus is not a logarithm: another unit is another model
        post = mb.fit(views, spec, settings=mb.Ascent(mode="fast"), progress=False)
        r = np.abs(np.corrcoef(z.T, post.factor_moments().mean.T)[:K, K:]).max(axis=1)
        assert r.min() > 0.9


def test_new_subjects_need_their_exposure():
    exposure = np.random.default_rng(1).uniform(0.5, 2.0, N)
    complete, *_ = simulate("poisson", exposure=exposure)
    exposures = {"v": pd.Series(exposure, SUBJECTS)}
    views = mb.MultiView.from_frames({"v": complete}, likelihoods={"v": "poisson"}, exposures=exposures)
    post = mb.fit(views, mb.FactorModel(n_factors=3), settings=mb.Ascent(mode="fast"), progress=False)
    with pytest.raises(DataError, match="exposures"):
        post.project({"v": complete})
    np.testing.assert_allclose(post.project(views).mean, post.factor_moments().mean, atol=0.15)
