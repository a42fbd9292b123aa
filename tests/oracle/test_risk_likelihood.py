"""The marginal likelihood against integration done by others: scipy.integrate.quad, brute-force draws, lifelines."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from scipy.special import expit

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import Binary, RiskModel, Survival
from mofa_bayes.risk.baselines import PiecewiseExponential, Weibull
from mofa_bayes.risk.effects import effect_scales
from mofa_bayes.risk.survival import SurvivalResponse

OUTCOMES = {
    "m_spline": Survival("time", "event", n_intervals=3),
    "weibull": Survival("time", "event", baseline="weibull"),
    "piecewise_exponential": Survival("time", "event", baseline="piecewise_exponential", n_intervals=4),
    "binary": Binary("dead"),
}
SHAPE, STEPS, ROUGHNESS, LEVEL, TREND = 1.4, np.array([0.5, -1.0, 0.3]), 0.6, -3.0, 0.4
SPLINE_STEPS = np.array([0.5, -1.0, 0.3, 0.8, -0.2])


def make_cohort(n_subjects=25, seed=0, covariance=None):
    """Two factors, two patterns of observed views, two covariates."""
    rng = np.random.default_rng(seed)
    if covariance is None:
        covariance = np.array([[[0.4, 0.1], [0.1, 0.3]], [[0.9, -0.3], [-0.3, 0.8]]])
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    moments = FactorMoments(
        subjects, ("F1", "F2"), rng.normal(size=(n_subjects, 2)), covariance, np.arange(n_subjects, dtype=np.intp) % 2
    )
    clinical = pd.DataFrame(
        {
            "time": rng.exponential(20, size=n_subjects),
            "event": rng.integers(0, 2, size=n_subjects),
            "dead": rng.integers(0, 2, size=n_subjects),
            "age": rng.normal(60, 10, size=n_subjects),
            "sex": rng.integers(0, 2, size=n_subjects),
        },
        index=list(subjects),
    )
    return moments, clinical


def make_point(kind, effects, standardised):
    """One point of the model's unconstrained space."""
    point = {"effect_factors": np.asarray(effects), "standardised_effects": np.asarray(standardised)}
    own = {
        "m_spline": {
            "level": np.array(LEVEL),
            "roughness_log__": np.log(np.array(ROUGHNESS)),
            "steps": SPLINE_STEPS,
            "trend": np.array(TREND),
        },
        "weibull": {"intercept": np.array(-0.4), "shape_log__": np.log(np.array(SHAPE))},
        "piecewise_exponential": {
            "level": np.array(LEVEL),
            "roughness_log__": np.log(np.array(ROUGHNESS)),
            "steps": STEPS,
            "trend": np.array(TREND),
        },
        "binary": {"intercept": np.array(0.3)},
    }
    return point | own[kind]


def write_density(kind, clinical):
    """p(y_n | predictor) written out by hand, without our formulas."""
    time, event, dead = (clinical[name].to_numpy(dtype=float) for name in ("time", "event", "dead"))
    if kind == "binary":
        return lambda n, predictor: expit(0.3 + predictor) if dead[n] else 1 - expit(0.3 + predictor)
    if kind == "weibull":
        reference = np.exp(np.log(time).mean())
        scale = reference * np.exp(0.4 / SHAPE)

        def density(n, predictor):
            law = stats.weibull_min(SHAPE, scale=scale * np.exp(-predictor / SHAPE))
            return law.pdf(time[n]) if event[n] else law.sf(time[n])

        return density
    hazard, breaks = write_spline(time, event) if kind == "m_spline" else write_steps(time, event)

    def cumulative(t):
        return integrate.quad(hazard, 0, t, points=[cut for cut in breaks if cut < t], limit=200)[0]

    known = [(hazard(t), cumulative(t)) for t in time]

    def follow(n, predictor):
        h, total = known[n]
        return (h * np.exp(predictor)) ** event[n] * np.exp(-total * np.exp(predictor))

    return follow


def shorten(times):
    """Three digits, which is all that is stored of a cut point."""
    return np.array([float(f"{time:.3g}") for time in times])


def write_steps(time, event):
    """A piecewise hazard and where it jumps."""
    cuts = shorten(np.quantile(time[event == 1], [0.25, 0.5, 0.75], method="inverted_cdf"))
    walk = np.array([0.0, *np.cumsum(STEPS)])
    interval = np.array([int(np.sum(t > cuts)) for t in time])
    centres = np.log(shorten([np.median(time[(event == 1) & (interval == j)]) for j in range(4)]))
    bends = walk - np.polyval(np.polyfit(centres, walk, 1), centres)
    hazards = np.exp(LEVEL + TREND * (centres - centres.mean()) + ROUGHNESS * bends)
    return lambda t: hazards[int(np.sum(t > cuts))], cuts


def m_spline(t, knots, j, order):
    """Ramsay's recursion: M_j integrates to 1 over its `order` intervals."""
    width = knots[j + order] - knots[j]
    if width == 0 or not knots[j] <= t < knots[j + order]:
        return 0.0
    if order == 1:
        return 1 / width
    left = (t - knots[j]) * m_spline(t, knots, j, order - 1)
    right = (knots[j + order] - t) * m_spline(t, knots, j + 1, order - 1)
    return order * (left + right) / ((order - 1) * width)


def write_spline(time, event):
    """A sum of M-splines and its knots: 3 intervals, so 6 cubic splines."""
    digit = 10 ** (np.floor(np.log10(time.max())) - 2)
    inner, end = shorten(np.quantile(time[event == 1], [1 / 3, 2 / 3])), np.ceil(time.max() / digit) * digit
    knots = np.array([0.0] * 4 + list(inner) + [end] * 4)
    centres = np.array(
        [
            integrate.quad(lambda t, j=j: np.log(t) * m_spline(t, knots, j, 4), 0, end, points=inner, limit=200)[0]
            for j in range(6)
        ]
    )
    clock = np.array([0, 0, 0, 1, 2, 3, 3, 3]) / 3
    steps = np.sqrt(np.diff([clock[j : j + 3].mean() for j in range(6)]))
    walk = np.array([0.0, *np.cumsum(steps * SPLINE_STEPS)])
    bends = walk - np.polyval(np.polyfit(centres, walk, 1), centres)
    height = np.exp(LEVEL + TREND * (centres - centres.mean()) + ROUGHNESS * bends)
    weights = height * (knots[4:] - knots[:-4]) / 4  # c_j, up to a constant that is H0 at the end
    just_before = end * (1 - 1e-12)
    return lambda t: sum(weights[j] * m_spline(min(t, just_before), knots, j, 4) for j in range(6)), inner


def integrate_normal(function, mean, sd):
    return integrate.quad(
        lambda x: function(mean + sd * x) * stats.norm.pdf(x), -9, 9, epsabs=1e-13, epsrel=1e-11, limit=400
    )[0]


@pytest.fixture(scope="module", params=list(OUTCOMES))
def built(request):
    kind = request.param
    moments, clinical = make_cohort()
    return kind, moments, clinical, RiskModel(OUTCOMES[kind], ["age", "sex"]).build(moments, clinical)


def evaluate(model, point):
    return float(model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")(point))


@pytest.mark.parametrize("effects", [(0.0, 0.0), (0.8, -0.5), (-1.2, 0.9)])
def test_marginal_likelihood_is_the_integral_over_factors(built, effects):
    kind, moments, clinical, model = built
    density = write_density(kind, clinical)
    covariates = clinical[["age", "sex"]].to_numpy(dtype=float)
    standardised = (covariates - covariates.mean(0)) / covariates.std(0)
    mean = standardised @ [0.7, -0.2] + moments.mean @ effects
    sd = np.sqrt([np.array(effects) @ moments.covariance[n % 2] @ effects for n in range(len(mean))])
    exact = sum(np.log(integrate_normal(lambda x, n=n: density(n, x), mean[n], sd[n])) for n in range(len(mean)))
    point = make_point(kind, effects, [0.7, -0.2])
    # 20 nodes err by 0.0003 nats a patient where the predictor has sd 1.6; that this is the quadrature's error, and not
    # the formula's, more nodes show
    assert evaluate(model, point) == pytest.approx(exact, abs=0.01)
    finer = RiskModel(OUTCOMES[kind], ["age", "sex"], n_nodes=100).build(moments, clinical)
    assert evaluate(finer, point) == pytest.approx(exact, abs=2e-6)


def test_marginal_likelihood_is_the_average_over_drawn_factors(built):
    kind, moments, clinical, model = built
    density = write_density(kind, clinical)
    rng = np.random.default_rng(1)
    effects = np.array([0.8, -0.5])
    total, variance = 0.0, 0.0
    for n, subject_mean in enumerate(moments.mean):
        draws = rng.multivariate_normal(subject_mean, moments.covariance[n % 2], size=20_000) @ effects
        values = density(n, draws)
        total += np.log(values.mean())
        variance += values.var() / len(values) / values.mean() ** 2
    assert abs(evaluate(model, make_point(kind, effects, [0.0, 0.0])) - total) < 4 * np.sqrt(variance)


def test_without_uncertainty_marginal_is_plugin(built):
    kind, *_ = built
    moments, clinical = make_cohort(covariance=np.zeros((2, 2, 2)))
    densities = [
        RiskModel(OUTCOMES[kind], ["age", "sex"], method=method).build(moments, clinical)
        for method in ("marginal", "plugin")
    ]
    point = make_point(kind, [0.8, -0.5], [0.7, -0.2])
    marginal, plugin = (evaluate(model, point) for model in densities)
    assert marginal == pytest.approx(plugin, abs=1e-6)


def test_with_uncertainty_marginal_is_not_plugin(built):
    kind, moments, clinical, model = built
    plugin = RiskModel(OUTCOMES[kind], ["age", "sex"], method="plugin").build(moments, clinical)
    point = make_point(kind, [0.8, -0.5], [0.7, -0.2])
    assert abs(evaluate(model, point) - evaluate(plugin, point)) > 0.1


def test_density_and_gradient_are_finite_where_no_factor_has_an_effect(built):
    kind, _, _, model = built
    density, gradient = model.compile_logp(mode="FAST_COMPILE"), model.compile_dlogp(mode="FAST_COMPILE")
    for point in (model.initial_point(), make_point(kind, [0.0, 0.0], [0.0, 0.0])):
        assert np.isfinite(density(point))
        assert np.isfinite(gradient(point)).all()


def test_gradient_at_zero_effects_is_that_of_finite_differences(built):
    kind, _, _, model = built
    density = model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")
    gradient = model.compile_dlogp(mode="FAST_COMPILE")
    zero = make_point(kind, [0.0, 0.0], [0.0, 0.0])
    steps = [1e-4 * np.array(step) for step in ((1.0, 0.0), (0.0, 1.0))]
    differences = [
        float(density(zero | {"effect_factors": s}) - density(zero | {"effect_factors": -s})) / 2e-4 for s in steps
    ]
    # the prior of the effects is symmetric, so it adds nothing to the slope at zero
    place = [variable.name for variable in model.value_vars].index("effect_factors")
    offset = sum(int(np.size(zero[variable.name])) for variable in model.value_vars[:place])
    np.testing.assert_allclose(gradient(zero)[offset : offset + 2], differences, rtol=1e-4, atol=1e-4)


def test_factor_prior_is_a_normal_with_a_half_normal_scale(built):
    kind, _, _, model = built
    log_prior = model.compile_logp(vars=[model["effect_factors"]], mode="FAST_COMPILE")
    for effect in (0.3, 1.0, 2.0):
        exact = integrate.quad(lambda s, b=effect: stats.norm.pdf(b, scale=s) * 2 * stats.norm.pdf(s), 0, 12)[0]
        got = float(log_prior(make_point(kind, [effect, effect], [0.0, 0.0])))
        assert got == pytest.approx(2 * np.log(exact), abs=0.5 if effect == 2.0 else 0.15)  # 12 scales end at 1.9
    assert effect_scales(2.0) == pytest.approx(2 * effect_scales(1.0))


def lifelines_data():
    rng = np.random.default_rng(5)
    time, censored = rng.weibull(1.3, size=200) * 20, rng.uniform(5, 40, size=200)
    return np.minimum(time, censored), (time <= censored).astype(float)


def log_likelihood(baseline, parameters, time, event):
    response = SurvivalResponse(baseline, float(time.max()))
    design = response.design({"time": time, "event": event})
    return float(response.log_likelihood(np, np.zeros((len(time), 1)), parameters, design).sum())


def test_weibull_likelihood_is_that_of_lifelines():
    from lifelines import WeibullFitter

    time, event = lifelines_data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitter = WeibullFitter().fit(time, event)
    baseline = Weibull.learn(time, event, 1)
    intercept = fitter.rho_ * np.log(baseline.reference / fitter.lambda_)
    parameters = {"intercept": np.array(intercept), "shape": np.array(fitter.rho_)}
    assert log_likelihood(baseline, parameters, time, event) == pytest.approx(fitter.log_likelihood_, rel=1e-9)


def test_piecewise_likelihood_is_that_of_lifelines():
    from lifelines import PiecewiseExponentialFitter

    time, event = lifelines_data()
    cuts = (4.05, 9.55, 17.15)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitter = PiecewiseExponentialFitter(list(cuts)).fit(time, event)
    log_hazard = -np.log([getattr(fitter, f"lambda_{j}_") for j in range(4)])  # lifelines' lambda is a mean time
    parameters = {"log_hazard": log_hazard}
    baseline = PiecewiseExponential(cuts, (2.0, 7.0, 13.0, 25.0), 0.0)
    assert log_likelihood(baseline, parameters, time, event) == pytest.approx(fitter.log_likelihood_, rel=1e-9)
