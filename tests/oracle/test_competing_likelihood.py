"""Competing risks against integration done by others: dense grids over the factors, scipy.integrate over time."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import CompetingRisks, RiskModel
from mofa_bayes.risk.baselines import MSpline, PiecewiseExponential, Weibull
from mofa_bayes.risk.competing import CompetingResponse
from mofa_bayes.risk.competing_graph import log_joint_marginal
from mofa_bayes.risk.competing_predict import average_incidences
from mofa_bayes.risk.joint import JointPredictor, find_root
from mofa_bayes.risk.quadrature import root_of
from mofa_bayes.risk.survival import SurvivalResponse

CAUSES = ("relapse", "death", "other")
SHAPES, LEVELS = np.array([1.4, 0.8, 1.1]), np.array([-0.5, -1.0, -1.4])
N = 12


def make_response(n_causes):
    parts = tuple(SurvivalResponse(Weibull(12.0, 0.0), 40.0) for _ in range(n_causes))
    parameters = {}
    for cause, shape, level in zip(CAUSES[:n_causes], SHAPES, LEVELS, strict=False):
        parameters |= {f"intercept_{cause}": np.array(level), f"shape_{cause}": np.array(shape)}
    return CompetingResponse(tuple(range(1, n_causes + 1)), CAUSES[:n_causes], parts), parameters


def make_cohort(n_factors, n_causes, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(2, n_factors, n_factors)) * 0.4
    moments = FactorMoments(
        tuple(f"p{n}" for n in range(N)),
        tuple(f"F{k}" for k in range(n_factors)),
        rng.normal(size=(N, n_factors)),
        root @ root.swapaxes(1, 2) + 0.1 * np.eye(n_factors),
        np.arange(N, dtype=np.intp) % 2,
    )
    time = rng.uniform(0.5, 35, size=N)
    cause = rng.permutation(np.arange(N) % (n_causes + 1))
    entry = np.where(np.arange(N) % 3 == 0, 0.4 * time, 0.0)
    effects = rng.normal(scale=0.6, size=(n_causes, n_factors))
    return moments, {"time": time, "event": cause.astype(float), "entry": entry}, effects


def average_densely(function, mean, covariance):
    """E f(x) for x ~ N(mean, covariance) by a fine trapezoid grid in as many dimensions."""
    line = np.linspace(-7, 7, {1: 4001, 2: 241, 3: 61}[len(mean)])
    grid = np.stack(np.meshgrid(*[line] * len(mean), indexing="ij"), axis=-1).reshape(-1, len(mean))
    weights = stats.norm.pdf(grid).prod(axis=1)
    return float(weights @ function(mean + grid @ root_of(covariance)) / weights.sum())


def write_marginal(observed, n, mean, covariance):
    """log p(y | alive at entry) by hand: densities of Weibull laws, averaged over the predictors."""
    time, cause, entry = observed["time"][n], int(observed["event"][n]), observed["entry"][n]
    n_causes = len(mean)

    def density(x):
        scale = 12.0 * np.exp(-(LEVELS[:n_causes] + x) / SHAPES[:n_causes])
        alive = np.prod([stats.weibull_min(SHAPES[c], scale=scale[:, c]).sf(time) for c in range(n_causes)], axis=0)
        hazard = SHAPES[:n_causes] / scale * (time / scale) ** (SHAPES[:n_causes] - 1)
        return alive * hazard[:, cause - 1] if cause else alive

    def entered(x):
        return np.exp(-(np.exp(LEVELS[:n_causes] + x) * (entry / 12.0) ** SHAPES[:n_causes]).sum(axis=1))

    return np.log(average_densely(density, mean, covariance) / average_densely(entered, mean, covariance))


@pytest.mark.parametrize(("n_factors", "n_causes"), [(1, 2), (4, 2), (4, 3)])
def test_the_marginal_likelihood_is_the_integral_over_all_predictors(n_factors, n_causes):
    moments, observed, effects = make_cohort(n_factors, n_causes)
    response, parameters = make_response(n_causes)
    covariances = np.einsum("ck,pkl,dl->pcd", effects, moments.covariance, effects)[moments.pattern]
    mean = moments.mean @ effects.T
    exact = [write_marginal(observed, n, mean[n], covariances[n]) for n in range(N)]
    turned = root_of(moments.covariance) @ effects.T
    root = find_root(np, turned, n_factors, n_causes)
    columns = [mean[:, c] for c in range(n_causes)]
    design = response.design(observed)
    coarse, fine = (
        log_joint_marginal(np, response, columns, root, moments.pattern, parameters, design, n_nodes)
        for n_nodes in (20, 60)
    )
    assert np.abs(coarse - exact).max() < 0.05
    assert np.abs(coarse - exact).mean() < 0.01
    np.testing.assert_allclose(fine, exact, atol=5e-5 if n_causes == 2 else 5e-4)


@pytest.mark.parametrize(("n_factors", "n_causes"), [(1, 2), (3, 2), (4, 3)])
def test_the_root_squares_to_the_covariance_of_the_predictors(n_factors, n_causes):
    moments, _, effects = make_cohort(n_factors, n_causes)
    root = find_root(np, root_of(moments.covariance) @ effects.T, n_factors, n_causes)
    known = [[np.broadcast_to(entry, 2) for entry in row] + [np.zeros(2)] * (n_causes - len(row)) for row in root]
    matrix = np.array(known).transpose(2, 0, 1)
    exact = np.einsum("ck,pkl,dl->pcd", effects, moments.covariance, effects)
    np.testing.assert_allclose(matrix @ matrix.swapaxes(1, 2), exact, atol=1e-10)


@pytest.mark.parametrize("is_late", [False, True])
def test_the_graph_has_that_likelihood_and_a_finite_gradient_where_effects_are_zero_or_parallel(is_late):
    moments, observed, effects = make_cohort(3, 2)
    clinical = pd.DataFrame({**observed, "cause": observed["event"]}, index=list(moments.subjects))
    outcome = CompetingRisks(
        "time", "cause", {1: "relapse", 2: "death"}, baseline="weibull", entry="entry" if is_late else None
    )
    model = RiskModel(outcome).build(moments, clinical)
    gradient = model.compile_dlogp(mode="FAST_COMPILE")
    density = model.compile_logp(vars=model.potentials, mode="FAST_COMPILE")
    point = model.initial_point()
    for own in (np.zeros((2, 3)), np.outer([1.0, -0.5], [0.4, 0.2, -0.7]), effects):
        point = point | {"effect_factors": own}
        assert np.isfinite(gradient(point)).all()
    response = outcome.learn(outcome.read(clinical, moments.subjects))
    parameters = {
        f"{name}_{cause}": np.asarray(value)
        for cause in response.causes
        for name, value in (
            ("intercept", point[f"intercept_{cause}"]),
            ("shape", np.exp(point[f"shape_{cause}_log__"])),
        )
    }
    exact = log_joint_marginal(
        np,
        response,
        list((moments.mean @ effects.T).T),
        find_root(np, root_of(moments.covariance) @ effects.T, 3, 2),
        moments.pattern,
        parameters,
        response.design(outcome.read(clinical, moments.subjects)),
        20,
    )
    assert float(density(point)) == pytest.approx(exact.sum(), rel=1e-9)


BASELINES = {
    "weibull": (Weibull(12.0, 0.0), {"intercept": np.array([-0.3]), "shape": np.array([0.6])}),
    "steep": (Weibull(12.0, 0.0), {"intercept": np.array([-0.9]), "shape": np.array([2.5])}),
    "steps": (PiecewiseExponential((4.0, 11.0), (2.0, 7.0, 15.0), 0.0), {"log_hazard": np.log([[0.02, 0.1, 0.04]])}),
    "other steps": (PiecewiseExponential((3.0,), (2.0, 7.0), 0.0), {"log_hazard": np.log([[0.1, 0.02]])}),
    "spline": (MSpline((4.0, 11.0), 40.0, 0.0), {"log_height": np.array([[-4.0, -3.5, -2.0, -2.5, -3.0, -2.8]])}),
}
TIMES = np.array([0.5, 5.0, 20.0, 44.0])


def combine(*kinds):
    parts, parameters = [], {}
    for cause, kind in zip(CAUSES, kinds, strict=False):
        baseline, own = BASELINES[kind]
        parts.append(SurvivalResponse(baseline, 45.0))
        parameters |= {f"{name}_{cause}": value for name, value in own.items()}
    return CompetingResponse(tuple(range(1, len(kinds) + 1)), CAUSES[: len(kinds)], tuple(parts)), parameters


@pytest.mark.parametrize(
    ("kinds", "tolerance"),
    [
        (("steps", "other steps"), 1e-9),
        (("weibull", "weibull"), 1e-9),
        (("weibull", "steep"), 1.5e-6),
        (("weibull", "steep", "steps"), 1.5e-6),
        (("spline", "steps"), 3e-6),
        (("spline", "steep"), 3e-6),
    ],
)
def test_incidences_are_integrals_over_time_and_add_up(kinds, tolerance):
    response, parameters = combine(*kinds)
    predictors = [np.array([[[0.0, 1.2]]]), np.array([[[0.5, -1.0]]]), np.array([[[-0.5, 0.3]]])][: len(kinds)]
    incidence = response.incidence(predictors, parameters, TIMES)[0, 0]
    assert incidence.shape == (2, 4, len(kinds))
    assert (np.diff(incidence, axis=1) > 0).all()

    def hazards(t, node):
        values = [
            part.baseline.log_hazards(np, own, part.baseline.design(np.array([t])))
            for part, own in zip(response.parts, response._split(parameters), strict=True)
        ]
        ratios = [np.exp(predictor[0, 0, node]) for predictor in predictors]
        pairs = [(np.exp(h[0, 0]) * r, np.exp(total[0, 0]) * r) for (h, total), r in zip(values, ratios, strict=True)]
        return [pair[0] for pair in pairs], np.exp(-sum(pair[1] for pair in pairs))

    def rate(u, node, c):  # at t = u^4, for hazards that rise without end at 0
        own, alive = hazards(u**4, node)
        return own[c] * alive * 4 * u**3

    breaks = np.array([3.0, 4.0, 11.0, 40.0]) ** 0.25
    for node in range(2):
        alive = [hazards(t, node)[1] for t in TIMES]
        np.testing.assert_allclose(incidence[node].sum(axis=1), 1 - np.array(alive), atol=1e-12)
        for t in (1, 3):
            end = TIMES[t] ** 0.25
            inner = [point for point in breaks if point < end]
            exact = [
                integrate.quad(rate, 0, end, args=(node, c), points=inner, limit=300, epsabs=1e-11)[0]
                for c in range(len(kinds))
            ]
            np.testing.assert_allclose(incidence[node, t], exact, atol=tolerance)


def test_average_incidences_are_those_of_drawn_factors():
    moments, _, effects = make_cohort(4, 2)
    response, parameters = combine("weibull", "steep")
    predictor = JointPredictor.combine(moments, effects[None], np.zeros((1, N, 2)))
    averages = average_incidences(response, predictor, parameters, TIMES, 20)[0]
    rng = np.random.default_rng(4)
    for n in range(3):
        z = rng.multivariate_normal(moments.mean[n], moments.covariances()[n], size=40_000)
        drawn = response.incidence([(z @ b)[None, None] for b in effects], parameters, TIMES)[0, 0]
        standard_error = drawn.std(axis=0) / 200
        assert (np.abs(averages[n] - drawn.mean(axis=0)) < 4.5 * standard_error + 5e-4).all()
