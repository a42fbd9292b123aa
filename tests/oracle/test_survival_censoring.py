"""Late entry and events between bounds against lifelines where factors are known, and scipy.integrate where not."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import RiskModel, Survival
from mofa_bayes.risk.baselines import MSpline, PiecewiseExponential, Weibull
from mofa_bayes.risk.survival import SurvivalResponse

N = 40
BASELINES = {
    "weibull": (Weibull(12.0, -0.5), {"intercept": np.array(-0.3), "shape": np.array(1.4)}),
    "piecewise_exponential": (
        PiecewiseExponential((4.0, 11.0), (2.0, 7.0, 15.0), -2.0),
        {"log_hazard": np.log([0.02, 0.1, 0.04])},
    ),
    "m_spline": (MSpline((4.0, 11.0), 40.0, -2.0), {"log_height": np.array([-4.0, -3.5, -2.0, -2.5, -3.0, -2.8])}),
}


def make_cohort(seed=0):
    """Events, censoring, and bounds of every kind; a third entered late."""
    rng = np.random.default_rng(seed)
    time, event = rng.uniform(1.0, 35.0, size=N), rng.integers(0, 2, size=N).astype(float)
    entry = np.where(np.arange(N) % 3 == 0, rng.uniform(0.1, 0.9, size=N) * time, 0.0)
    kind = np.arange(N) % 4  # between bounds, exact, right-censored, left-censored
    lower = np.where(kind == 3, 0.0, time)
    upper = np.where(kind == 2, np.inf, np.where(kind == 1, time, time + rng.uniform(1e-3, 9.0, size=N)))
    return {"time": time, "event": event}, {"lower": lower, "upper": upper}, entry


def survival_of(kind):
    """S(t | predictor) and h(t | predictor) by numerical integration of the hazard."""
    baseline, parameters = BASELINES[kind]

    def hazard(t):
        return float(np.exp(baseline.log_hazards(np, parameters, baseline.design(np.array([t])))[0][0]))

    def cumulative(t):
        breaks = [cut for cut in (4.0, 11.0, 40.0) if cut < t]
        return integrate.quad(hazard, 0, t, points=breaks or None, epsabs=1e-13, epsrel=1e-11, limit=300)[0]

    return hazard, cumulative


def average(function, mean, sd):
    return integrate.quad(lambda x: function(mean + sd * x) * stats.norm.pdf(x), -9, 9, epsabs=1e-14, limit=300)[0]


@pytest.mark.parametrize("kind", list(BASELINES))
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("has_bounds", [False, True])
def test_the_marginal_likelihood_is_a_ratio_of_integrals(kind, is_late, has_bounds):
    right, between, entry = make_cohort()
    observed = dict(between if has_bounds else right)
    if is_late:
        observed["entry"] = entry
        if has_bounds:
            observed["lower"] = np.maximum(observed["lower"], entry)
    baseline, parameters = BASELINES[kind]
    response = SurvivalResponse(baseline, 45.0)
    rng = np.random.default_rng(1)
    mean, sd = rng.normal(size=N), rng.uniform(0.1, 1.0, size=N)
    values = response.log_marginal(np, mean, sd, parameters, response.design(observed), 60)
    hazard, cumulative = survival_of(kind)
    for n in range(0, N, 3):
        start = cumulative(entry[n]) if is_late else 0.0
        if has_bounds:
            first, last = cumulative(observed["lower"][n]), observed["upper"][n]
            h = hazard(last) if last == observed["lower"][n] else 0.0
            total = cumulative(last) if np.isfinite(last) else np.inf
            is_event = last == observed["lower"][n]
        else:
            first, h = cumulative(observed["time"][n]), hazard(observed["time"][n])
            total, is_event = np.inf, observed["event"][n] == 1

        def density(x, first=first, total=total, h=h, is_event=is_event):
            e = np.exp(x)
            return h * e * np.exp(-first * e) if is_event else np.exp(-first * e) - np.exp(-total * e)

        exact = np.log(average(density, mean[n], sd[n]))
        exact -= np.log(average(lambda x, start=start: np.exp(-start * np.exp(x)), mean[n], sd[n]))
        assert values[n] == pytest.approx(exact, abs=2e-6), n


@pytest.mark.parametrize("kind", list(BASELINES))
def test_short_intervals_have_the_density_times_their_length(kind):
    baseline, parameters = BASELINES[kind]
    response, time = SurvivalResponse(baseline, 45.0), np.array([0.5, 6.0, 30.0])
    exact = response.design({"time": time, "event": np.ones(3)})
    predictor = np.array([[0.4], [-8.0], [2.0]])
    densities = response.log_likelihood(np, predictor, parameters, exact)
    for length in (1e-3, 1e-5, 1e-7):
        between = response.design({"lower": time, "upper": time + length})
        values = response.log_likelihood(np, predictor, parameters, between)
        np.testing.assert_allclose(values, densities + np.log(length), atol=1e-6 + 3 * length)


def lifelines_cohort():
    rng = np.random.default_rng(5)
    died, entry = rng.weibull(1.3, size=900) * 20, rng.uniform(0, 15, size=900)
    died, entry = (values[died > entry][:300] for values in (died, entry))
    censored = entry + rng.uniform(1, 40, size=300)
    return np.minimum(died, censored), (died <= censored).astype(float), entry


def weibull_at(fitter, time):
    baseline = Weibull.learn(time, np.ones(len(time)), 1)
    intercept = fitter.rho_ * np.log(baseline.reference / fitter.lambda_)
    return SurvivalResponse(baseline, float(time.max())), {
        "intercept": np.array(intercept),
        "shape": np.array(fitter.rho_),
    }


def score(response, parameters, observed):
    zero = np.zeros(len(next(iter(observed.values()))))
    return float(response.log_marginal(np, zero, zero, parameters, response.design(observed), 1).sum())


def test_late_entry_has_the_likelihood_of_lifelines():
    from lifelines import WeibullFitter

    time, event, entry = lifelines_cohort()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitter = WeibullFitter().fit(time, event, entry=entry)
    observed = {"time": time, "event": event, "entry": entry}
    assert score(*weibull_at(fitter, time), observed) == pytest.approx(fitter.log_likelihood_, rel=1e-9)
    late = observed.pop("entry") > 0
    assert late.all()
    assert score(*weibull_at(fitter, time), observed) < fitter.log_likelihood_ - 50


def test_bounds_have_the_likelihood_of_lifelines():
    from lifelines import WeibullFitter

    time, event, _ = lifelines_cohort()
    lower = np.where(np.arange(300) % 5 == 0, 0.0, np.floor(time))
    upper = np.where(event == 1, np.floor(time) + 1.0, np.inf)
    lower = np.where(np.isinf(upper), np.maximum(lower, 0.5), lower)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitter = WeibullFitter().fit_interval_censoring(lower, upper)
    observed = {"lower": lower, "upper": upper}
    assert score(*weibull_at(fitter, time), observed) == pytest.approx(fitter.log_likelihood_, rel=1e-9)


@pytest.mark.parametrize("baseline", ["weibull", "piecewise_exponential", "m_spline"])
@pytest.mark.parametrize("has_bounds", [False, True])
def test_the_graph_has_the_density_of_the_response_and_a_finite_gradient(baseline, has_bounds):
    right, between, entry = make_cohort()
    lower, upper = np.maximum(between["lower"], entry), between["upper"]
    subjects = tuple(f"p{n}" for n in range(N))
    rng = np.random.default_rng(3)
    moments = FactorMoments(
        subjects, ("F1", "F2"), rng.normal(size=(N, 2)), 0.4 * np.eye(2)[None], np.zeros(N, dtype=np.intp)
    )
    clinical = pd.DataFrame({**right, "lower": lower, "upper": upper, "entry": entry}, index=list(subjects))
    settings = {"baseline": baseline, "n_intervals": 3, "entry": "entry"}
    outcome = Survival.interval("lower", "upper", **settings) if has_bounds else Survival("time", "event", **settings)
    model = RiskModel(outcome).build(moments, clinical)
    for effects in ([0.0, 0.0], [0.7, -0.4]):
        point = model.initial_point() | {"effect_factors": np.array(effects)}
        assert np.isfinite(model.compile_dlogp(mode="FAST_COMPILE")(point)).all()
    response = outcome.learn(outcome.read(clinical, subjects))
    values = model.compile_fn(
        model.replace_rvs_by_values([model[name] for name in response.parameters]),
        inputs=model.value_vars, mode="FAST_COMPILE", on_unused_input="ignore",
    )(point)  # fmt: skip
    parameters = dict(zip(response.parameters, values, strict=True))
    effects = np.array(effects)
    pointwise = response.log_marginal(
        np, moments.mean @ effects, np.sqrt(moments.variance_along(effects)), parameters,
        response.design(outcome.read(clinical, subjects)), 20,
    )  # fmt: skip
    built = float(model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")(point))
    assert built == pytest.approx(pointwise.sum(), rel=1e-9)
