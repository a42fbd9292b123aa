"""Importance sampling of risk models: the laws of its parts, agreement with NUTS, and compiled models used again."""

import logging

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy.integrate import trapezoid
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_t, norm
from unit.test_risk_model import OUTCOMES, make_cohort

from mofa_bayes.errors import SpecError
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import Binary, RiskModel, Survival
from mofa_bayes.risk import sample as sample_module
from mofa_bayes.risk.density import Density, Scale
from mofa_bayes.risk.effects import effect_scales
from mofa_bayes.risk.explore import explore
from mofa_bayes.risk.importance import Weighted, resample, sample_weighted, smooth
from mofa_bayes.risk.proposals import DEGREES, Mixture
from mofa_bayes.risk.quadrature import hermite_nodes


def make_density(fall, n_dims, scales=(), **faint):
    """A density without a PyMC model."""
    return Density(None, fall, evaluate=None, start=lambda: np.full(n_dims, 0.3), names=(), scales=scales, **faint)


def make_mixture(seed=0, n_components=3, n_dims=2):
    rng = np.random.default_rng(seed)
    roots = np.tril(rng.normal(size=(n_components, n_dims, n_dims)))
    roots[:, np.arange(n_dims), np.arange(n_dims)] = rng.uniform(0.5, 2, size=(n_components, n_dims))
    return Mixture(rng.dirichlet(np.ones(n_components)), rng.normal(scale=2, size=(n_components, n_dims)), roots)


def test_the_density_of_a_mixture_is_that_of_its_t_distributions():
    mixture, points = make_mixture(), np.random.default_rng(1).normal(size=(50, 2))
    parts = [
        share * multivariate_t(centre, root @ root.T, df=DEGREES).pdf(points)
        for share, centre, root in zip(mixture.shares, mixture.centres, mixture.roots, strict=True)
    ]
    np.testing.assert_allclose(mixture.log_density(points), np.log(np.sum(parts, axis=0)), rtol=1e-10)


def test_points_are_drawn_from_the_density():
    mixture = make_mixture()
    narrow = Mixture(np.ones(1), mixture.centres[:1], 0.7 * mixture.roots[:1])
    points = mixture.draw(40_000, np.random.default_rng(0))
    ratio = np.exp(narrow.log_density(points) - mixture.log_density(points))
    assert ratio.mean() == pytest.approx(1.0, abs=5 * ratio.std() / 200)  # the integral of `narrow`
    assert ratio.std() < 3
    np.testing.assert_allclose(points.mean(axis=0), mixture.shares @ mixture.centres, atol=0.05)


def test_a_refit_comes_to_the_moments_of_weighted_points():
    rng = np.random.default_rng(0)
    mixture = Mixture(np.ones(1), np.zeros((1, 3)), np.eye(3)[None])
    covariance = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 0.7]])
    points = rng.multivariate_normal([1.0, -2.0, 0.5], covariance, size=4000)
    for _ in range(30):
        mixture = mixture.refit(points, np.zeros(len(points)))
    np.testing.assert_allclose(mixture.centres[0], points.mean(axis=0), atol=0.03)
    shrunk = mixture.roots[0] @ mixture.roots[0].T * DEGREES / (DEGREES - 2)
    np.testing.assert_allclose(shrunk, np.cov(points.T), rtol=0.15, atol=0.05)


def test_a_normal_target_gives_its_moments_and_its_integral():
    precision = np.array([[2.0, 0.8], [0.8, 1.0]])
    mean = np.array([1.0, -1.0])

    def fall(point):
        apart = point - mean
        return 0.5 * apart @ precision @ apart - 3.0, precision @ apart

    found = sample_weighted(make_density(fall, 2), 2000, np.random.default_rng(0))
    integral = 3.0 + np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(precision)[1]
    assert found.log_evidence == pytest.approx(integral, abs=4 * found.log_evidence_se)
    assert found.log_evidence_se < 0.02
    assert found.pareto_k < 0.3
    assert found.n_effective >= 2000
    points = found.resample(20_000, np.random.default_rng(1))
    np.testing.assert_allclose(points.mean(axis=0), mean, atol=0.08)
    np.testing.assert_allclose(np.cov(points.T), np.linalg.inv(precision), rtol=0.12, atol=0.06)


def funnel(point):
    """log s with s ~ half-normal(1), and eight x ~ N(0, 0.05 + s^2); minus its log density and gradient."""
    u, x = point[0], point[1:]
    square = np.exp(2 * u)
    variance = 0.05 + square
    value = -norm.logpdf(np.exp(u)) - np.log(2) - u - norm.logpdf(x, scale=np.sqrt(variance)).sum()
    slope = square - 1 + ((1 / variance - x**2 / variance**2) * square).sum()
    return value, np.concatenate([[slope], x / variance])


def test_a_scale_among_the_parameters_is_explored_over_its_prior():
    found = sample_weighted(make_density(funnel, 9, (Scale(0, 1.0),)), 1000, np.random.default_rng(0))
    assert found.log_evidence == pytest.approx(0.0, abs=4 * found.log_evidence_se)
    assert found.is_reliable
    scale = np.exp(found.points[:, 0])
    assert found.weights @ (scale < 0.674) == pytest.approx(0.5, abs=0.07)


def test_several_scales_get_nodes_of_their_own():
    def fall(point):
        a, slope_a = funnel(point[:5])
        b, slope_b = funnel(point[5:])
        return a + b, np.concatenate([slope_a, slope_b])

    mixture = explore(make_density(fall, 10, (Scale(0, 1.0), Scale(5, 1.0))))
    assert len(np.unique(mixture.centres[:, [0, 5]], axis=0)) == len(mixture.shares) > 6


def test_a_target_with_heavy_tails_is_not_reliable():
    def fall(point):  # Cauchy in two dimensions
        square = 1 + point @ point
        return 1.5 * np.log(square), 3 * point / square

    found = sample_weighted(make_density(fall, 2), 5000, np.random.default_rng(0))
    calm = smooth(np.random.default_rng(0).normal(scale=0.1, size=1000))[1]
    assert found.pareto_k > calm
    assert not Weighted(found.points, found.weights, 0.0, 0.0, 0.71, found.proposal).is_reliable


def test_points_are_taken_as_often_as_their_weights_say():
    weights = np.random.default_rng(0).dirichlet(np.ones(20))
    counts = np.bincount(resample(weights, 1000, np.random.default_rng(1)), minlength=20)
    assert counts.sum() == 1000
    assert (abs(counts - 1000 * weights) < 1).all()


def test_the_evidence_of_a_binary_outcome_is_the_integral_over_its_two_parameters():
    moments, clinical = make_cohort(60)
    moments = FactorMoments(
        moments.subjects, ("F1",), moments.mean[:, :1], moments.covariance[:, :1, :1], moments.pattern
    )
    model = RiskModel(Binary("dead"))
    fitted = model.fit(moments, clinical, seed=0, sampler="importance")
    effect, intercept = np.linspace(-4, 5, 161), np.linspace(-5, 5, 151)
    nodes, log_weights = hermite_nodes(20)
    y = clinical["dead"].to_numpy()
    at = effect[:, None, None] * moments.mean[:, 0, None] + np.sqrt(0.3) * np.abs(effect)[:, None, None] * nodes
    probability = expit(at[:, None] + intercept[:, None, None])
    given = np.log(np.where(y[:, None] == 1, probability, 1 - probability))
    likelihood = logsumexp(given + log_weights, axis=-1).sum(axis=-1)
    prior_effect = norm.pdf(effect[:, None], scale=effect_scales(1.0)).mean(axis=1)
    prior = prior_effect[:, None] * norm.pdf(intercept, fitted.response.centre, 2.5)
    posterior = np.exp(likelihood - likelihood.max()) * prior
    integral = trapezoid(trapezoid(posterior, intercept), effect)
    attributes = fitted.tree.attrs
    assert attributes["log_evidence"] == pytest.approx(
        np.log(integral) + likelihood.max(), abs=4 * attributes["log_evidence_se"]
    )
    mean = trapezoid(trapezoid(posterior, intercept) * effect, effect) / integral
    sd = fitted.effects()["sd"][0]
    assert fitted.effects()["mean"][0] == pytest.approx(mean, abs=4 * sd / np.sqrt(attributes["n_effective"]))


def compare(model, moments, clinical, **sampling):
    """Largest difference of means and of interval limits from NUTS, in Monte Carlo standard errors."""
    exact = model.fit(moments, clinical, seed=1, **sampling)
    fast = model.fit(moments, clinical, seed=1, sampler="importance")
    assert fast.tree.attrs["sampler"] == "importance"
    assert exact.tree.attrs["sampler"] == "nuts"
    worst = []
    for name, draws in exact.tree["posterior"].data_vars.items():
        own = fast.tree["posterior"][name].values.reshape(-1, *draws.shape[2:])
        effective = 1 / (1 / az.ess(draws, method="tail") + 1 / fast.tree.attrs["n_effective"])
        sd = draws.std(("chain", "draw"))
        error = abs(own.mean(axis=0) - draws.mean(("chain", "draw"))) / (sd / np.sqrt(effective))
        worst.append(float(error.max()))
        for level in (0.025, 0.975):
            limit = draws.quantile(level, ("chain", "draw"))
            width = np.sqrt(level * (1 - level) / effective)
            levels = xr.DataArray((own < limit.values).mean(axis=0), dims=limit.dims)
            worst.append(float((abs(levels - level) / width).max()))
    return max(worst)


def test_importance_sampling_and_nuts_agree():
    moments, clinical = make_cohort()
    model = RiskModel(OUTCOMES["piecewise"], ["age", "sex"])
    assert compare(model, moments, clinical, n_draws=1000, n_tune=400, n_chains=2) < 4


@pytest.mark.slow
@pytest.mark.parametrize("n_factors", [1, 10])
@pytest.mark.parametrize("kind", ["weibull", "piecewise", "binary"])
def test_importance_sampling_and_nuts_agree_with_many_factors(kind, n_factors):
    outcomes = OUTCOMES | {"piecewise": Survival("time", "event")}
    moments, clinical = make_cohort(300)
    noise = np.random.default_rng(5).normal(scale=np.sqrt(0.7), size=(300, 8))
    mean = np.concatenate([moments.mean, noise], axis=1)[:, :n_factors]
    names = tuple(f"F{k + 1}" for k in range(n_factors))
    moments = FactorMoments(moments.subjects, names, mean, 0.3 * np.eye(n_factors)[None], moments.pattern)
    assert compare(RiskModel(outcomes[kind], ["age"]), moments, clinical, n_draws=2000) < 4.5  # of some 70 numbers


@pytest.fixture(scope="module")
def binary():
    model = RiskModel(Binary("dead"), ["age"])
    return model, model.compile(*make_cohort())


def test_compiled_code_serves_other_patients_and_gives_what_a_fit_of_its_own_gives(binary):
    model, compiled = binary
    other = make_cohort(180, seed=7, reliability=0.5)
    reused = model.fit(*other, seed=3, sampler="importance", compiled=compiled)
    assert repr(compiled) == "<Compiled: 1 risk models>"
    alone = model.fit(*other, seed=3, sampler="importance")
    xr.testing.assert_identical(reused.tree["posterior"].to_dataset(), alone.tree["posterior"].to_dataset())
    assert reused.tree.attrs == alone.tree.attrs


def test_another_structure_is_compiled_beside(binary):
    model, compiled = binary
    moments, clinical = make_cohort()
    single = FactorMoments(
        moments.subjects, ("F2",), moments.mean[:, 1:], moments.covariance[:, 1:, 1:], moments.pattern
    )
    n_before = len(compiled.densities)
    fitted = model.fit(single, clinical, seed=0, sampler="importance", compiled=compiled)
    assert len(compiled.densities) == n_before + 1
    assert fitted.effects()["term"].tolist() == ["F2", "age"]


def test_the_tree_of_importance_sampling_is_like_that_of_nuts(binary):
    model, compiled = binary
    fitted = model.fit(*make_cohort(), seed=0, sampler="importance", compiled=compiled, n_draws=500, n_chains=2)
    assert set(fitted.tree.children) == {"posterior"}
    posterior = fitted.tree["posterior"].to_dataset()
    assert dict(posterior.sizes) == {"chain": 2, "draw": 500, "factor": 2, "covariate": 1}
    assert posterior["factor"].values.tolist() == ["F1", "F2"]
    assert fitted.tree.attrs["n_effective"] > 240
    assert fitted.predict(*make_cohort()).to_frame()["risk"].between(0, 1).all()


def test_the_normal_approximation_is_near_importance_sampling(binary):
    model, compiled = binary
    found = {
        sampler: model.fit(*make_cohort(), seed=0, sampler=sampler, compiled=compiled).effects().set_index("term")
        for sampler in ("importance", "laplace")
    }
    apart = found["laplace"]["mean"] - found["importance"]["mean"]
    assert (apart.abs() < 0.5 * found["importance"]["sd"]).all()
    assert (found["laplace"]["sd"] / found["importance"]["sd"]).between(0.7, 1.3).all()


def test_uneven_weights_hand_over_to_nuts(binary, monkeypatch, caplog):
    model, compiled = binary

    def refuse(*arguments):
        found = sample_weighted(*arguments)
        return Weighted(found.points, found.weights, 0.0, 0.0, 0.83, found.proposal)

    monkeypatch.setattr(sample_module, "sample_weighted", refuse)
    monkeypatch.setattr(sample_module, "warn_unconverged", lambda tree: None)  # of 20 draws
    with caplog.at_level(logging.WARNING, logger="mofa_bayes.risk.sample"):
        fitted = model.fit(
            *make_cohort(), seed=0, sampler="importance", compiled=compiled, n_draws=20, n_tune=20, n_chains=1
        )
    assert "Pareto k is 0.83" in caplog.text
    assert fitted.tree.attrs["sampler"] == "nuts"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"sampler": "hmc"}, "nuts, gibbs"), ({"sampler": "gibbs"}, "MultiContinuous"), ({"compiled": 1}, "int")],
)
def test_unknown_samplers_are_refused(arguments, message):
    with pytest.raises(SpecError, match=message):
        RiskModel(Binary("dead")).fit(*make_cohort(), seed=0, **arguments)
