"""What diagnose computes against exact densities: scipy, quadrature over factors and precisions, and the PyMC graph."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import bernoulli, gamma, multivariate_normal, nbinom, norm, poisson, t

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design
from mofa_bayes.posterior import outcomes
from mofa_bayes.posterior.diagnose.draws import read_draws
from mofa_bayes.posterior.diagnose.pointwise import log_scales, subject_log_likelihood
from mofa_bayes.posterior.diagnose.variational import _log_prior, log_ratios
from mofa_bayes.posterior.likelihoods import Own, draw_values, log_density
from mofa_bayes.posterior.outcomes import Cells

UNIT = mb.Gamma(shape=1.0, rate=1.0)


def make_views(*, known=False, flags=0, n_subjects=40, n_factors=2):
    design = Design(
        n_subjects=n_subjects,
        n_features={"a": 6, "b": 4 + flags},
        sharing=[("a", "b")] * n_factors,
        noise_sd=0.7,
        bernoulli={"b": flags},
        absent_view=0.2,
        missing=0.1,
    )
    cohort = mb.simulate_cohort(design, seed=2)
    if not known:
        return cohort.views
    frames = {view: cohort.views[view].to_pandas().dropna(how="all") for view in cohort.views.names}
    subjects = list(cohort.views.subjects)
    ages = pd.DataFrame({"age": np.random.default_rng(0).normal(50, 9, n_subjects)}, index=subjects)
    groups = pd.Series(["x", "y"] * (n_subjects // 2), index=subjects)
    return mb.MultiView.from_frames(frames, groups=groups, covariates=ages)


def fit(views, prior=None, **more):
    spec = mb.FactorModel(n_factors=2, min_variance=0.0, loadings=prior or mb.ARD(precision=UNIT), **more)
    return mb.fit(views, spec, n_draws=60, progress=False)


def test_gaussian_subjects_have_the_density_of_their_marginal_normal():
    views = make_views(known=True)
    post = fit(views, factors=mb.ARDFactors())
    model = read_draws(post, views, 60)
    found = subject_log_likelihood(model)
    standardised = post.preprocessing.standardise(views.covariates.values)
    for s in (0, 17):
        beta = post.tree["posterior"]["factor_precision"].values[0, s]
        for n in range(views.n_subjects):
            g = model.group_of[n]
            mean, covariance, seen = [], [], []
            values = []
            for view in views.names:
                own = post.tree["posterior"].to_dataset().isel(chain=0, draw=s)
                w = own[f"loadings_{view}"].values.astype(float)
                effects = own[f"effects_{view}"].values.astype(float)
                mean.append(own[f"intercept_{view}"].values[g] + standardised[n] @ effects)
                covariance.append((w, own[f"noise_sd_{view}"].values[g].astype(float) ** 2))
                row = post.preprocessing.apply(view, views[view].values)[n]
                values.append(row)
                seen.append(~np.isnan(row))
            w = np.concatenate([each for each, _ in covariance])
            whole = w / beta[g] @ w.T + np.diag(np.concatenate([each for _, each in covariance]))
            seen, mean, values = np.concatenate(seen), np.concatenate(mean), np.concatenate(values)
            expected = multivariate_normal.logpdf(values[seen], mean[seen], whole[np.ix_(seen, seen)])
            np.testing.assert_allclose(found[s, n], expected, rtol=1e-7)


def test_laplace_is_near_the_integral_over_factors():
    views = make_views(flags=20, n_factors=1)
    spec = mb.FactorModel(n_factors=1, min_variance=0.0, loadings=mb.ARD(precision=UNIT))
    post = mb.fit(views, spec, n_draws=10, progress=False)
    model = read_draws(post, views, 10)
    found = subject_log_likelihood(model)
    view = next(own for own in model.views if own.view == "b")
    for n in range(8):

        def density(z, n=n):
            total = norm.pdf(z)
            for own in model.views:
                eta = own.intercepts[0, 0] + own.loadings[0, :, 0] * z
                seen = ~np.isnan(own.values[n])
                flag = own.likelihoods == "bernoulli"
                sd = own.precision[0, 0] ** -0.5
                total *= np.prod(norm.pdf(own.values[n], eta, sd)[seen & ~flag])
                p = 1 / (1 + np.exp(-eta))
                total *= np.prod(np.where(own.values[n] == 1, p, 1 - p)[seen & flag])
            return total

        expected = np.log(quad(density, -8, 8, points=[0], limit=200)[0])
        assert abs(found[0, n] - expected) < 0.02
    assert (view.likelihoods == "bernoulli").sum() == 20


def test_laplace_of_categories_is_near_the_integral_over_factors():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(40)
    names = [f"p{n:02d}" for n in range(40)]
    levels = {f"c{j}": np.argmax(np.outer(z, rng.normal(size=3)) + rng.gumbel(size=(40, 3)), axis=1) for j in range(8)}
    table = pd.DataFrame({name: np.array(list("abc"))[own] for name, own in levels.items()}, index=names)
    table.iloc[3, 2] = None
    real = pd.DataFrame(
        np.outer(z, [1.0, -1.0, 0.5]) + 0.7 * rng.standard_normal((40, 3)), index=names, columns=list("xyz")
    )
    views = mb.MultiView.from_frames({"a": real, "b": table}, likelihoods={"b": "categorical"})
    spec = mb.FactorModel(n_factors=1, min_variance=0.0, loadings=mb.ARD(precision=UNIT))
    post = mb.fit(views, spec, n_draws=5, progress=False)
    model = read_draws(post, views, 5)
    found = subject_log_likelihood(model)
    view = model.views[1]
    for n in (0, 3):

        def density(x, n=n):
            total = norm.pdf(x)
            own = model.views[0]
            eta = own.intercepts[0, 0] + own.loadings[0, :, 0] * x
            total *= np.prod(norm.pdf(own.values[n], eta, own.precision[0, 0] ** -0.5))
            eta = view.intercepts[0, 0] + view.loadings[0, :, 0] * x
            for variable in np.unique(view.code):
                columns = view.code == variable
                y = view.values[n, columns]
                if np.isfinite(y).all():
                    total *= np.exp(eta[columns][y == 1][0]) / np.exp(eta[columns]).sum()
            return total

        expected = np.log(quad(density, -8, 8, points=[0], limit=200)[0])
        assert abs(found[0, n] - expected) < 0.03


def test_drawn_categories_are_one_of_each_variable_with_their_probabilities():
    code = np.array([0, 1, 0, 1, 1])
    eta = np.tile([0.3, -1.0, 1.2, 0.4, 0.0], (30_000, 1))
    own = Own(np.ones((1, 1)), np.ones(5), np.zeros((1, 1)), np.empty((5, 0)), code)
    drawn = draw_values("categorical", eta, own, np.random.default_rng(0))
    for variable in (0, 1):
        columns = code == variable
        np.testing.assert_array_equal(drawn[:, columns].sum(axis=1), 1.0)
        expected = np.exp(eta[0, columns]) / np.exp(eta[0, columns]).sum()
        np.testing.assert_allclose(drawn[:, columns].mean(axis=0), expected, atol=0.015)
    value = log_density("categorical", drawn, eta, own)[0]
    np.testing.assert_allclose(value[0].sum(), multinomial_log(drawn[0], eta[0], code))


def multinomial_log(y, eta, code):
    return sum(eta[(code == v) & (y == 1)][0] - np.log(np.exp(eta[code == v]).sum()) for v in np.unique(code))


def test_change_of_scale_is_that_of_real_features():
    views = make_views(flags=5)
    post = fit(views)
    found = log_scales(read_draws(post, views, 5))
    expected = np.zeros(views.n_subjects)
    for view in views.names:
        real = views.likelihoods(view).values == "gaussian"
        seen = ~np.isnan(views[view].values[:, real])
        expected += seen @ np.log(post.preprocessing.scale(view)[real])
    np.testing.assert_allclose(found, expected)


def test_scaled_groups_are_read_on_their_scale():
    views = make_views(known=True)
    post = fit(views, scale_groups=True)
    model = read_draws(post, views, 5)
    for view in model.views:
        own = views[view.view].values
        whole = view.values * view.scale[model.group_of] + view.center
        np.testing.assert_allclose(whole, own, atol=1e-6)
        assert not np.allclose(view.scale[0], view.scale[1])


FAMILIES = {
    "gaussian": (lambda y, eta, own: norm.logpdf(y, eta, own.precision**-0.5), lambda eta, own: eta),
    "student_t": (lambda y, eta, own: t.logpdf(y, 4, eta, own.precision**-0.5), lambda eta, own: eta),
    "bernoulli": (
        lambda y, eta, own: bernoulli.logpmf(y, 1 / (1 + np.exp(-eta))),
        lambda eta, own: 1 / (1 + np.exp(-eta)),
    ),
    "poisson": (
        lambda y, eta, own: poisson.logpmf(y, np.exp(own.log_exposure) * np.logaddexp(0, eta)),
        lambda eta, own: np.exp(own.log_exposure) * np.logaddexp(0, eta),
    ),
    "negative_binomial": (
        lambda y, eta, own: nbinom.logpmf(
            y, own.nuisance, own.nuisance / (own.nuisance + np.exp(eta + own.log_exposure))
        ),
        lambda eta, own: np.exp(eta + own.log_exposure),
    ),
    "ordinal": (
        lambda y, eta, own: np.log(
            norm.cdf(own.limits[0, y.astype(int) + 1] - eta) - norm.cdf(own.limits[0, y.astype(int)] - eta)
        ),
        lambda eta, own: sum(1 - norm.cdf(cut - eta) for cut in own.limits[0, 1:3]),
    ),
}


@pytest.mark.parametrize("likelihood", FAMILIES)
def test_likelihoods_are_those_of_scipy_with_their_derivatives(likelihood):
    logpdf, mean = FAMILIES[likelihood]
    rng = np.random.default_rng(0)
    own = Own(
        np.full((6, 1), 1.7),
        np.array([2.3]),
        np.full((6, 1), 0.4),
        np.array([[-np.inf, -0.5, 0.8, np.inf, np.nan]]),
        np.zeros(1, dtype=int),
    )
    eta = rng.normal(size=(6, 1))
    y = draw_values(likelihood, eta, own, rng)
    value, slope, curvature = log_density(likelihood, y, eta, own)
    np.testing.assert_allclose(value, logpdf(y, eta, own), rtol=1e-8)
    step = 1e-4
    up, down = (log_density(likelihood, y, eta + h, own) for h in (step, -step))
    np.testing.assert_allclose(slope, (up[0] - down[0]) / (2 * step), rtol=1e-5, atol=1e-7)
    if likelihood != "student_t":
        np.testing.assert_allclose(curvature, -(up[1] - down[1]) / (2 * step), rtol=1e-5, atol=1e-7)
    many = draw_values(likelihood, np.broadcast_to(eta[:1], (20_000, 1)), _repeat(own), rng)
    expected = np.asarray(mean(eta[:1], own))[0, 0]
    assert abs(many.mean() - expected) < 5 * many.std() / np.sqrt(20_000)


@pytest.mark.parametrize("likelihood", [*FAMILIES, "categorical"])
def test_predictions_of_cells_are_those_of_their_likelihood(likelihood):
    rng = np.random.default_rng(0)
    eta, size = rng.normal(-0.7, 0.5, (3, 4)), np.full(4, 2.3)
    levels = np.tile([-np.inf, -0.5, 0.8, np.inf, np.nan], (4, 1))
    cells = Cells(likelihood, eta, np.full(4, 0.6), size, levels, np.full(4, 1.5))
    y = np.array([0.0, 1.0, 1.0, 0.0])
    if likelihood == "categorical":
        np.testing.assert_allclose(outcomes.log_density(cells, y), y * eta)
        np.testing.assert_allclose(outcomes.draw(cells, rng), np.exp(eta))
        return
    logpdf, mean = FAMILIES[likelihood]
    own = Own(np.full(4, 1 / 0.6), size, np.log(np.full(4, 1.5)), levels * 2.3, np.zeros(4, dtype=int))
    np.testing.assert_allclose(outcomes.log_density(cells, y), logpdf(y, eta, own), rtol=1e-8)
    np.testing.assert_allclose(outcomes.expect(cells), mean(eta, own), rtol=1e-10)
    many = replace(cells, eta=np.repeat(eta[:1], 20_000, axis=0))
    drawn = outcomes.draw(many, rng)
    assert (np.abs(drawn.mean(axis=0) - mean(eta[0], own)) <= 5 * drawn.std(axis=0) / np.sqrt(20_000) + 1e-12).all()


def _repeat(own):
    return Own(own.precision[:1], own.nuisance, own.log_exposure[:1], own.limits, own.code)


@pytest.mark.parametrize("prior", [mb.ARD(precision=UNIT), mb.Laplace(rate=UNIT), mb.Normal(scale=0.6)])
def test_prior_of_loadings_is_the_integral_over_what_stands_above(prior):
    w = np.array([0.3, -0.8, 0.1])
    conditional = {
        "ard": lambda a: np.prod(norm.pdf(w, 0, a**-0.5)) * gamma.pdf(a, 1, scale=1),
        "laplace": lambda a: np.prod(a / 2 * np.exp(-a * np.abs(w))) * gamma.pdf(a, 1, scale=1),
    }
    if prior.kind == "normal":
        expected = norm.logpdf(w, 0, 0.6).sum()
    else:
        expected = np.log(quad(conditional[prior.kind], 0, np.inf)[0])
    found = _log_prior(SimpleNamespace(loadings=w[None, :, None], active=None), prior)
    np.testing.assert_allclose(found, [expected], rtol=1e-7)


def test_prior_of_sparse_loadings_integrates_share_and_precision():
    w, active = np.array([0.3, 0.0, -0.8, 0.0]), np.array([True, False, True, False])
    share = quad(lambda p: p**2 * (1 - p) ** 2, 0, 1)[0]
    slab = quad(lambda a: np.prod(norm.pdf(w[active], 0, a**-0.5)) * gamma.pdf(a, 1, scale=1), 0, np.inf)[0]
    view = SimpleNamespace(loadings=w[None, :, None], active=active[None, :, None])
    np.testing.assert_allclose(_log_prior(view, mb.SpikeSlab(precision=UNIT)), [np.log(share * slab)], rtol=1e-7)


@pytest.mark.parametrize(
    "prior", [mb.Normal(scale=0.7), mb.ARD(precision=UNIT), mb.SpikeSlab(precision=UNIT), mb.Laplace(rate=UNIT)]
)
@pytest.mark.parametrize("known", [False, True])
def test_mean_log_ratio_is_at_least_the_bound_and_near_it(prior, known):
    """Integrating factors and scales out of p and q can only raise E_q[log p - log q], and here by little."""
    views = make_views(known=known)
    post = fit(views, prior, factors=mb.ARDFactors(precision=UNIT) if known else mb.StandardFactors())
    model = read_draws(post, views, 60)
    ratio = log_ratios(post, model, subject_log_likelihood(model))
    error = ratio.std() / np.sqrt(len(ratio))
    bound = float(post.bound[-1])
    assert ratio.mean() > bound - 4 * error
    assert ratio.mean() < bound + 12


def test_joint_density_is_that_of_the_graph():
    """log p(y, globals) + log p(z | y, globals) is the graph's log density, whatever z."""
    import pymc as pm
    from pymc.logprob.basic import transformed_conditional_logp

    views = make_views()
    post = fit(views, mb.Normal(scale=0.7))
    model = read_draws(post, views, 60)
    graph = mb.graph(views, post.spec)
    rvs = graph.basic_RVs
    values = {rv: graph.rvs_to_values[rv] if rv in graph.observed_RVs else rv.clone() for rv in rvs}
    free = [rv for rv in rvs if rv not in graph.observed_RVs]
    terms = transformed_conditional_logp(rvs, rvs_to_values=values, rvs_to_transforms={})
    logp = pm.pytensorf.compile([values[rv] for rv in free], sum(term.sum() for term in terms))
    z = np.random.default_rng(0).standard_normal((views.n_subjects, 2))
    point, ours, precision, linear = {"factors": z}, 0.0, np.tile(np.eye(2), (views.n_subjects, 1, 1)), 0.0
    for view in model.views:
        w, mu, tau = (own[0].astype(float) for own in (view.loadings, view.intercepts[:, 0], view.precision[:, 0]))
        point |= {f"slab_{view.view}": w / 0.7, f"intercept_{view.view}": mu, f"noise_precision_{view.view}": tau}
        ours += norm.logpdf(w / 0.7).sum() + norm.logpdf(mu, 0, post.spec.intercept_scale).sum()
        ours += gamma.logpdf(tau, post.spec.noise.shape, scale=1 / post.spec.noise.rate).sum()
        seen = ~np.isnan(view.values)
        precision += np.einsum("nd,d,dk,dl->nkl", seen, tau, w, w)
        linear = linear + np.where(seen, view.values - mu, 0.0) * tau @ w
    for n in range(views.n_subjects):
        covariance = np.linalg.inv(precision[n])
        ours += multivariate_normal.logpdf(z[n], covariance @ linear[n], covariance)
    ours += subject_log_likelihood(model)[0].sum()
    np.testing.assert_allclose(ours, logp(*(point[rv.name] for rv in free)), rtol=1e-8)
