"""The graph's density against scipy's, likelihood by likelihood; and without its factors against the whole normal."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import expit, log_softmax

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.errors import FitError
from mofa_bayes.graph import draw_factors_given, score_subjects
from mofa_bayes.graph.ordinal import draw_levels

N = 24
SUBJECTS = [f"p{n:02d}" for n in range(N)]
KINDS = ("gaussian", "student_t", "bernoulli", "poisson", "negative_binomial", "ordinal", "categorical")
PRIORS = {
    "gaussian": mb.ARD(),
    "student_t": mb.ARD(positive=True),
    "bernoulli": mb.Normal(positive=True),
    "poisson": mb.Laplace(),
    "negative_binomial": mb.Horseshoe(),
    "ordinal": mb.Horseshoe(positive=True),
    "categorical": mb.Laplace(positive=True),
    "mixed": mb.SpikeSlab(),
}


def draw_column(kind, rng):
    match kind:
        case "gaussian" | "student_t":
            return rng.standard_normal(N)
        case "bernoulli":
            return rng.permutation(np.arange(N) % 2)
        case "ordinal":
            return rng.permutation(np.arange(N) % 4)
        case _:
            return rng.poisson(3.0, N)


def categories(rng):
    """Two variables of three and two levels; some subjects lack each."""
    table = {name: rng.choice(list(levels), N) for name, levels in (("stage", "abc"), ("sex", "fm"))}
    return pd.DataFrame(table, SUBJECTS).mask(rng.random((N, 2)) < 0.1)


def make_views(*, groups=False, covariates=False, missing=0.1):
    """One view per likelihood, and one that mixes real values of both kinds with categories."""
    rng = np.random.default_rng(4)
    frames, likelihoods = {}, {}
    for kind in KINDS[:-1]:
        table = np.column_stack([draw_column(kind, rng) for _ in range(3)]).astype(float)
        table[rng.random(table.shape) < missing] = np.nan
        frames[kind] = pd.DataFrame(table, SUBJECTS, [f"{kind[:3]}{d}" for d in range(3)])
        likelihoods[kind] = kind
    frames["gaussian"] = frames["gaussian"].iloc[4:]
    frames["categorical"] = categories(rng)
    real = pd.DataFrame(rng.standard_normal((N, 2)), SUBJECTS, ["g", "t"])
    frames["mixed"] = real.join(categories(rng))
    likelihoods |= {"categorical": "categorical"}
    likelihoods |= {"mixed": {"t": "student_t", "stage": "categorical", "sex": "categorical"}}
    return mb.MultiView.from_frames(
        frames,
        likelihoods=likelihoods,
        groups=pd.Series(np.where(np.arange(N) % 3, "A", "B"), SUBJECTS) if groups else None,
        covariates=pd.DataFrame({"age": rng.normal(50, 9, N)}, SUBJECTS) if covariates else None,
        exposures={view: pd.Series(rng.uniform(0.5, 2, N), SUBJECTS) for view in ("poisson", "negative_binomial")},
    )


def model(**more):
    views = {view: mb.ViewModel(loadings=prior) for view, prior in PRIORS.items()}
    return mb.FactorModel(n_factors=2, views=views, intercept_scale=2.0, **more)


@dataclass
class Evaluated:
    """A graph at a point: its density by variable and gradient, and every variable's value there."""

    views: mb.MultiView
    terms: dict[str, np.ndarray]
    gradient: list[np.ndarray]
    values: dict[str, np.ndarray]


def evaluate(views, graph, seed=0):
    """Compile densities, gradient and values together, in Python: half of it runs once."""
    import pytensor
    import pytensor.tensor as pt

    free = [graph.rvs_to_values[rv] for rv in graph.free_RVs]
    smooth = [value for value in free if value.dtype == "float64"]
    names = [rv.name for rv in graph.basic_RVs] + [potential.name for potential in graph.potentials]
    terms = graph.logp(sum=False)
    gradient = pytensor.grad(pt.stack([term.sum() for term in terms]).sum(), smooth, disconnected_inputs="ignore")
    named = graph.replace_rvs_by_values([*graph.free_RVs, *graph.deterministics])
    function = pytensor.function(free, [*terms, *gradient, *named], mode="FAST_COMPILE", on_unused_input="ignore")
    rng = np.random.default_rng(seed)
    start = graph.initial_point()
    point = [start[value.name] for value in free]
    point = [own + 0.3 * rng.standard_normal(own.shape) if own.dtype.kind == "f" else own for own in point]
    found = function(*point)
    n_terms, n_smooth = len(terms), len(smooth)
    return Evaluated(
        views,
        dict(zip(names, found[:n_terms], strict=True)),
        found[n_terms : n_terms + n_smooth],
        {
            rv.name: own
            for rv, own in zip([*graph.free_RVs, *graph.deterministics], found[n_terms + n_smooth :], strict=True)
        },
    )


@pytest.fixture(scope="module", params=["standard", "ard", "spike_slab"])
def evaluated(request):
    """A graph of every likelihood and prior on loadings, under one prior on factors; groups and covariates for ARD."""
    known = request.param == "ard"
    factors = {"standard": mb.StandardFactors(), "ard": mb.ARDFactors(), "spike_slab": mb.SpikeSlabFactors()}
    views = make_views(groups=known, covariates=known)
    return evaluate(views, mb.graph(views, model(factors=factors[request.param])))


def test_density_and_gradient_are_finite_for_every_likelihood_and_prior(evaluated):
    assert all(np.isfinite(own).all() for own in evaluated.gradient)
    assert all(np.isfinite(own).all() for own in evaluated.terms.values())
    assert len(evaluated.terms) > 40


def find_eta(evaluated, view):
    """Eta, noise precision by group, group and exposure of a view, from the values of a point."""
    views, values = evaluated.views, evaluated.values
    group = np.zeros(N, dtype=int) if views.groups is None else (views.groups.values == "B").astype(int)
    intercept = np.atleast_2d(values[f"intercept_{view}"])[group]
    eta = values["factors"] @ values[f"loadings_{view}"].T + intercept
    if views.covariates is not None:
        age = views.covariates.values
        eta = eta + (age - age.mean()) / age.std() @ values[f"effects_{view}"]
    exposure = views.exposure(view)
    return eta, group, np.ones(N) if exposure is None else exposure.values


def score(kind, y, eta, own, exposure):
    """Log density of entries (n, D); `own` is the noise precision or other parameter of each."""
    match kind:
        case "gaussian":
            return stats.norm.logpdf(y, eta, own**-0.5)
        case "student_t":
            return stats.t.logpdf(y, 4.0, eta, own**-0.5)
        case "bernoulli":
            return stats.bernoulli.logpmf(y, expit(eta))
        case "poisson":
            return stats.poisson.logpmf(y, exposure * np.logaddexp(0, eta))
        case "negative_binomial":
            mean = exposure * np.exp(eta)
            return stats.nbinom.logpmf(y, own, own / (own + mean))
        case _:
            cuts = [np.cumsum(np.bincount(column[~np.isnan(column)].astype(int)) + 0.5) for column in y.T]
            cuts = np.stack([stats.norm.ppf(np.concatenate([[0], cut / cut[-1]])) for cut in cuts]) * own[0][:, None]
            level = np.nan_to_num(y).astype(int)
            column = np.arange(y.shape[1])
            low, high = cuts[column, level] - eta, cuts[column, level + 1] - eta
            left = stats.norm.cdf(high) - stats.norm.cdf(low)
            return np.log(np.where(low > 0, stats.norm.sf(low) - stats.norm.sf(high), left))


OWN = {"negative_binomial": "dispersion", "ordinal": "cut_scale"} | dict.fromkeys(
    ("gaussian", "student_t"), "noise_precision"
)


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_density_of_a_view_is_that_of_scipy(evaluated, kind):
    eta, group, exposure = find_eta(evaluated, kind)
    y = evaluated.views[kind].values
    if kind in ("gaussian", "student_t"):
        # The model's scale: standard deviations about the mean of each feature.
        y = (y - np.nanmean(y, axis=0)) / np.nanstd(y, axis=0)
    own = np.ones(y.shape)
    if kind in OWN:
        parameter = np.atleast_2d(evaluated.values[f"{OWN[kind]}_{kind}"])
        own = parameter[group] if len(parameter) > 1 else np.broadcast_to(parameter, y.shape)
    # Ordinal levels are filled too where they are missing, and left out with the rest.
    with np.errstate(divide="ignore"):
        entries = score(kind, y if kind == "ordinal" else np.nan_to_num(y), eta, own, exposure[:, None])
    expected = entries[~np.isnan(y)].sum()
    np.testing.assert_allclose(evaluated.terms[f"{kind}_{kind}"].sum(), expected, rtol=1e-6)


@pytest.mark.parametrize("view", ["categorical", "mixed"])
def test_density_of_categories_is_a_softmax_over_the_columns_of_each_variable(evaluated, view):
    eta, _, _ = find_eta(evaluated, view)
    y, variable = evaluated.views[view].values, evaluated.views.variables(view)
    expected = 0.0
    for name in ("stage", "sex"):
        own = variable == name
        expected += np.nansum(y[:, own] * log_softmax(eta[:, own], axis=1))
    np.testing.assert_allclose(evaluated.terms[f"categorical_{view}"].sum(), expected, rtol=1e-6)


def test_log_mass_is_finite_with_its_gradient_far_in_both_tails():
    import pytensor
    import pytensor.tensor as pt

    from mofa_bayes.graph.ordinal import log_mass

    low, high = pt.vector("low"), pt.vector("high")
    mass = log_mass(low, high)
    function = pytensor.function([low, high], [mass, *pytensor.grad(mass.sum(), [low, high])], mode="FAST_COMPILE")
    limits = np.array(
        [[-1e3, -30], [-1e3, 0.0], [-1e3, 40.0], [-0.5, 1e3], [30.0, 1e3], [20.0, 21.0], [-21.0, -20.0], [-1e3, 1e3]]
    )
    found, *gradients = function(*limits.T)
    usual = np.array([1, 2, 3, 7])
    expected = np.log(stats.norm.cdf(limits[usual, 1]) - stats.norm.cdf(limits[usual, 0]))
    np.testing.assert_allclose(found[usual], expected, atol=1e-12)
    np.testing.assert_allclose(found[[0, 4]], stats.norm.logcdf(-30), rtol=1e-12)
    np.testing.assert_allclose(found[5], found[6], rtol=1e-12)
    assert np.isfinite(gradients).all()


@pytest.mark.parametrize(("view", "sign"), [("negative_binomial", 1.0), ("ordinal", 2.0)])
def test_horseshoe_has_the_density_of_its_loadings_whatever_its_coordinates(evaluated, view, sign):
    """log p(w | l, alpha) = log p(v) - log |dw/dv|: a normal of precision alpha / l^2, or its positive half."""
    w, slab, local, alpha = (evaluated.values[f"{name}_{view}"] for name in ("loadings", "slab", "local", "ard"))
    found = evaluated.terms[f"slab_{view}"]
    if sign == 2.0:
        found = found - np.log(slab)  # PyMC samples the logarithm of a positive variable
    expected = stats.norm.logpdf(w, 0, local / np.sqrt(alpha)) + np.log(sign)
    np.testing.assert_allclose(found - np.log(w / slab), expected, rtol=1e-8, atol=1e-8)


def test_levels_are_drawn_with_the_probabilities_of_their_density():
    limits = np.tile([-1e3, -0.5, 1.0, 1e3], (40_000, 1))
    drawn = draw_levels(np.full(40_000, 0.3), limits, np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(shares, np.diff(stats.norm.cdf(limits[0] - 0.3)), atol=0.01)


def make_real(*, groups=False, covariates=False):
    """Two gaussian views: the first whole where it is there, a few subjects lacking one feature of the second."""
    rng = np.random.default_rng(7)
    z = rng.standard_normal((N, 2))
    a = z @ rng.standard_normal((2, 5)) + rng.normal(0, 0.5, (N, 5))
    b = z @ rng.standard_normal((2, 3)) + rng.normal(0, 0.5, (N, 3))
    b[:4, 1] = np.nan
    return mb.MultiView.from_frames(
        {
            "a": pd.DataFrame(a, SUBJECTS, [f"a{d}" for d in range(5)]).iloc[:-5],
            "b": pd.DataFrame(b, SUBJECTS, [f"b{d}" for d in range(3)]).iloc[2:],
        },
        groups=pd.Series(np.where(np.arange(N) % 3, "A", "B"), SUBJECTS) if groups else None,
        covariates=pd.DataFrame({"age": rng.normal(50, 9, N)}, SUBJECTS) if covariates else None,
    )


def draw_point(views, spec, n_draws=3, seed=3):
    """Draws of everything but the factors, as a sampler would give them."""
    rng = np.random.default_rng(seed)
    groups = () if views.groups is None else ("group",)
    sizes = {"factor": spec.n_factors, "covariate": 1, "group": 2} | {
        f"feature_{view}": len(views.features(view)) for view in views.names
    }
    found = {}

    def draw(name, *dims):
        shape = (2, n_draws, *(sizes[dim] for dim in dims))
        found[name] = (("chain", "draw", *dims), rng.standard_normal(shape))

    for view in views.names:
        feature = f"feature_{view}"
        draw(f"loadings_{view}", feature, "factor")
        draw(f"intercept_{view}", *groups, feature)
        draw(f"noise_sd_{view}", *groups, feature)
        found[f"noise_sd_{view}"] = (found[f"noise_sd_{view}"][0], np.exp(0.3 * found[f"noise_sd_{view}"][1]))
        if views.covariates is not None:
            draw(f"effects_{view}", "covariate", feature)
    if spec.factors.is_learned:
        draw("factor_precision", "group", "factor")
        found["factor_precision"] = (found["factor_precision"][0], np.exp(found["factor_precision"][1]))
    return xr.Dataset(found, coords={"factor": [f"F{k + 1}" for k in range(spec.n_factors)]})


def whole_normal(views, spec, point):
    """Values, their mean (N, D) and covariance (N, D, D), their covariance with factors, and that of factors."""
    preprocessing = fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})
    group = np.zeros(N, dtype=int) if views.groups is None else (views.groups.values == "B").astype(int)
    w = np.concatenate([point[f"loadings_{view}"].values for view in views.names])
    mean = np.concatenate([np.atleast_2d(point[f"intercept_{view}"].values)[group] for view in views.names], axis=1)
    if views.covariates is not None:
        age = preprocessing.standardise(views.covariates.values)
        mean = mean + age @ np.concatenate([point[f"effects_{view}"].values for view in views.names], axis=1)
    noise = np.concatenate([np.atleast_2d(point[f"noise_sd_{view}"].values)[group] for view in views.names], axis=1)
    spread = np.ones((N, spec.n_factors))
    if "factor_precision" in point:
        spread = 1 / point["factor_precision"].values[group]
    covariance = np.einsum("dk,nk,ek->nde", w, spread, w) + noise[:, :, None] ** 2 * np.eye(len(w))
    y = np.concatenate([preprocessing.apply(view, views[view].values) for view in views.names], axis=1)
    return y, mean, covariance, w * spread[:, None, :], spread


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "groups"])
def real(request):
    views = make_real(groups=request.param, covariates=request.param)
    spec = mb.FactorModel(
        n_factors=2, loadings=mb.ARD(), factors=mb.ARDFactors() if request.param else mb.StandardFactors()
    )
    return views, spec, draw_point(views, spec)


def test_subjects_are_scored_by_their_own_multivariate_normal(real):
    views, spec, draws = real
    scores = score_subjects(draws, views, spec)
    for chain, draw in ((0, 1), (1, 2)):
        y, mean, covariance, *_ = whole_normal(views, spec, draws.isel(chain=chain, draw=draw))
        for n in range(N):
            seen = ~np.isnan(y[n])
            expected = stats.multivariate_normal.logpdf(y[n, seen], mean[n, seen], covariance[n][np.ix_(seen, seen)])
            np.testing.assert_allclose(scores.values[chain, draw, n], expected, rtol=1e-9)


def test_integrated_graph_is_the_normal_of_everything_that_was_observed(real):
    views, spec, _ = real
    graph = mb.graph(views, spec, integrate=True)
    evaluated = evaluate(views, graph)
    assert all(np.isfinite(own).all() for own in evaluated.gradient)
    y, mean, covariance, *_ = whole_normal(
        views, spec, {name: xr.DataArray(own) for name, own in evaluated.values.items()}
    )
    expected = 0.0
    for n in range(N):
        seen = ~np.isnan(y[n])
        expected += stats.multivariate_normal.logpdf(y[n, seen], mean[n, seen], covariance[n][np.ix_(seen, seen)])
    found = sum(own for name, own in evaluated.terms.items() if name.startswith("pattern_"))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert "factors" not in graph.named_vars


def test_factors_given_the_rest_have_the_conditional_moments(real):
    views, spec, draws = real
    one = draws.isel(chain=[0], draw=[0]).isel(draw=np.zeros(4000, dtype=int))
    found = draw_factors_given(one, views, spec, np.random.default_rng(0))
    y, mean, covariance, cross, spread = whole_normal(views, spec, draws.isel(chain=0, draw=0))
    for n in (0, 3, 10, N - 1):
        seen = ~np.isnan(y[n])
        gain = np.linalg.solve(covariance[n][np.ix_(seen, seen)], cross[n, seen]).T
        expected = gain @ (y[n, seen] - mean[n, seen])
        variance = np.diag(spread[n]) - gain @ cross[n, seen]
        own = found.values[0, :, n]
        assert (np.abs(own.mean(axis=0) - expected) < 5 * np.sqrt(np.diag(variance) / 4000)).all()
        np.testing.assert_allclose(np.cov(own.T), variance, atol=0.12 * np.abs(variance).max())


def test_chunks_of_draws_do_not_change_scores(real, monkeypatch):
    views, spec, draws = real
    expected = score_subjects(draws, views, spec)
    monkeypatch.setattr("mofa_bayes.graph.conditional._CHUNK_NUMBERS", 1)
    xr.testing.assert_allclose(score_subjects(draws, views, spec), expected)


def test_a_subject_of_whom_nothing_is_known_has_the_prior(real):
    views, spec, draws = real
    values = views.dataset.copy(deep=True)
    for view in views.names:
        values[f"values_{view}"] = values[f"values_{view}"].where(values["subject"] != SUBJECTS[5])
    hidden = mb.MultiView(values)
    many = draws.isel(chain=[0], draw=np.zeros(3000, dtype=int))
    found = draw_factors_given(many, hidden, spec, np.random.default_rng(1)).sel(subject=SUBJECTS[5]).values[0]
    own = np.ones(2)
    if "factor_precision" in draws:
        own = draws["factor_precision"].values[0, 0, 0]
    np.testing.assert_allclose(found.var(axis=0), 1 / own, rtol=0.15)
    assert (score_subjects(draws, hidden, spec).sel(subject=SUBJECTS[5]) == 0).all()


def test_integration_is_refused_where_it_cannot_be_done():
    spec = mb.FactorModel(n_factors=2)
    with pytest.raises(FitError, match="not gaussian"):
        mb.graph(make_views(), spec, integrate=True)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.standard_normal((80, 6)), [f"s{n}" for n in range(80)], list("abcdef"))
    scattered = mb.MultiView.from_frames({"a": table.mask(rng.random(table.shape) < 0.3)})
    with pytest.raises(FitError, match="patterns"):
        mb.graph(scattered, spec, integrate=True)
    with pytest.raises(FitError, match="prior on factors"):
        mb.graph(make_real(), mb.FactorModel(n_factors=2, factors=mb.SpikeSlabFactors()), integrate=True)
