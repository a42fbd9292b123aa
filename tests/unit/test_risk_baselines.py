"""Baselines and responses: hazards integrate to cumulative hazards, cut points stand where events are."""

import numpy as np
import pytest
from scipy import integrate

from mofa_bayes.errors import DataError, SpecError
from mofa_bayes.risk import Binary, Survival
from mofa_bayes.risk.baselines import MSpline, PiecewiseExponential, Weibull

WEIBULL = Weibull(reference=8.0, log_level=-0.5)
PIECEWISE = PiecewiseExponential(cuts=(2.0, 5.0, 11.0), centres=(1.0, 3.5, 8.0, 20.0), log_level=-2.0)
SPLINE = MSpline(knots=(2.0, 5.0, 11.0), end=25.0, log_level=-2.0)
CASES = [
    (SPLINE, {"log_height": np.array([[-1.0, 0.5, -2.0, 0.2, 0.1, -3.0, 1.0], [0.7] * 7])}),
    (WEIBULL, {"intercept": np.array([-0.5, 0.2]), "shape": np.array([1.0, 1.7])}),
    (PIECEWISE, {"log_hazard": np.log([[0.1, 0.3, 0.05, 0.2], [0.1, 0.1, 0.1, 0.1]])}),
]


@pytest.mark.parametrize(("baseline", "parameters"), CASES)
@pytest.mark.parametrize("time", [1e-9, 0.5, 2.0, 4.9, 30.0])
def test_cumulative_hazard_is_the_integral_of_the_hazard(baseline, parameters, time):
    def hazard(t, draw):
        return np.exp(baseline.log_hazards(np, parameters, baseline.design(np.array([t])))[0][draw, 0])

    log_cumulative = baseline.log_hazards(np, parameters, baseline.design(np.array([time])))[1]
    edges = [cut for cut in (2.0, 5.0, 11.0, 25.0) if cut < time]
    for draw in range(2):
        exact = integrate.quad(hazard, 0, time, args=(draw,), points=edges or None, limit=200)[0]
        assert np.exp(log_cumulative[draw, 0]) == pytest.approx(exact, rel=1e-6)


def test_weibull_has_its_textbook_form():
    shape, scale = 1.7, 12.0
    parameters = {"intercept": np.array(shape * np.log(8.0 / scale)), "shape": np.array(shape)}
    time = np.array([1.0, 12.0, 40.0])
    log_hazard, log_cumulative = WEIBULL.log_hazards(np, parameters, WEIBULL.design(time))
    np.testing.assert_allclose(np.exp(log_cumulative), (time / scale) ** shape)
    np.testing.assert_allclose(np.exp(log_hazard), shape / scale * (time / scale) ** (shape - 1))


def test_an_event_at_a_cut_point_belongs_to_the_interval_that_ends_there():
    assert PIECEWISE.design(np.array([1.0, 2.0, 2.1, 11.0, 99.0]))["position"].tolist() == [0, 0, 1, 2, 3]
    exposure = PIECEWISE.design(np.array([4.0, 20.0]))["exposure"]
    np.testing.assert_allclose(exposure, [[2, 2, 0, 0], [2, 3, 6, 9]])


def test_every_interval_holds_about_as_many_events():
    rng = np.random.default_rng(0)
    time, event = rng.exponential(10, size=500), (rng.uniform(size=500) < 0.6).astype(float)
    baseline = PiecewiseExponential.learn(time, event, 8)
    counts = np.bincount(baseline.design(time[event > 0])["position"], minlength=8)
    assert len(counts) == 8
    assert counts.max() - counts.min() <= 2
    assert baseline.coords()["interval"].tolist() == [0.0, *baseline.cuts]


@pytest.mark.parametrize(
    ("time", "event", "n_cuts"),
    [([1.0, 2.0, 3.0], [1.0, 0.0, 0.0], 0), ([3.0] * 6, [1.0] * 6, 0), ([1.0, 1.0, 2.0, 3.0], [1.0] * 4, 2)],
)
def test_few_or_tied_events_give_fewer_intervals_and_none_is_empty(time, event, n_cuts):
    time, event = np.array(time), np.array(event)
    baseline = PiecewiseExponential.learn(time, event, 10)
    assert len(baseline.cuts) == n_cuts
    position = baseline.design(time[event > 0])["position"]
    assert set(position) == set(range(n_cuts + 1))


def test_a_piecewise_model_with_one_interval_builds_and_has_a_finite_density():
    import pymc as pm

    with pm.Model(coords={"interval": [0.0]}) as model:
        parameters = PiecewiseExponential((), (5.0,), -1.0).draw_parameters()
    assert parameters["log_hazard"].eval().shape == (1,)
    assert np.isfinite(model.compile_logp(mode="FAST_COMPILE")(model.initial_point()))


def test_time_units_only_shift_the_log_hazard():
    rng = np.random.default_rng(3)
    time, event = rng.exponential(10, size=50), np.ones(50)
    for baseline in (MSpline, Weibull, PiecewiseExponential):
        months, years = baseline.learn(time, event, 5), baseline.learn(time / 12, event, 5)
        expected = months.log_level + (0.0 if baseline is Weibull else np.log(12))
        assert years.log_level == pytest.approx(expected)


def test_binary_likelihood_stays_finite_far_out():
    response = Binary("dead").learn({"outcome": np.array([0.0, 1.0])})
    design = response.design({"outcome": np.array([0.0, 1.0])})
    values = response.log_likelihood(np, np.array([[800.0], [800.0]]), {"intercept": np.array(0.0)}, design)
    np.testing.assert_allclose(values, [[-800.0], [0.0]], atol=1e-12)


@pytest.mark.parametrize("times", [None, [], [0.0, 12], [-1], [12, 12], [60, 12], [np.nan], [np.inf], "soon", [[1, 2]]])
def test_horizons_are_positive_finite_and_increasing(times):
    response = Survival("time", "event").learn({"time": np.array([1.0, 2.0]), "event": np.array([1.0, 1.0])})
    with pytest.raises(DataError, match="times"):
        response.require_times(times)


def test_horizons_pass_as_numbers_and_are_refused_by_a_binary_outcome():
    response = Survival("time", "event").learn({"time": np.array([1.0, 2.0]), "event": np.array([1.0, 1.0])})
    assert response.require_times([1, 3]).tolist() == [1.0, 3.0]
    assert response.is_beyond(np.array([1.0, 3.0])).tolist() == [False, True]
    binary = Binary("dead").learn({"outcome": np.array([0.0, 1.0])})
    assert np.isnan(binary.require_times(None)).all()
    with pytest.raises(DataError, match="no horizon"):
        binary.require_times([12])


@pytest.mark.parametrize(
    "arguments",
    [{"baseline": "cox"}, {"n_intervals": 0}, {"n_intervals": 2.5}, {"n_intervals": True}],
)
def test_a_survival_outcome_refuses_what_it_does_not_know(arguments):
    with pytest.raises(SpecError):
        Survival("time", "event", **arguments)


@pytest.mark.parametrize("columns", [("time", "time"), (1, "event")])
def test_a_survival_outcome_needs_two_columns(columns):
    with pytest.raises(SpecError, match="columns"):
        Survival(*columns)


def test_a_piecewise_hazard_without_roughness_is_a_weibull_hazard_in_steps():
    """What sparse intervals are smoothed towards: a line in log time, whose slope is the shape minus 1."""
    import pymc as pm

    with pm.Model(coords=PIECEWISE.coords()) as model:
        PIECEWISE.draw_parameters()
    values = {"level": -2.0, "roughness": 0.0, "trend": 0.5, "steps": np.array([1.0, -2.0, 0.7])}
    log_hazard = pm.draw(pm.do(model, values)["log_hazard"], mode="FAST_COMPILE")
    slope = np.diff(log_hazard) / np.diff(np.log(PIECEWISE.centres))
    np.testing.assert_allclose(slope, 0.5)
    assert log_hazard.mean() == pytest.approx(-2.0)


def test_bends_leave_level_and_trend_to_themselves():
    """Whatever the steps, the line fitted to the log hazard has the level and the trend that were drawn."""
    import pymc as pm

    with pm.Model(coords=PIECEWISE.coords()) as model:
        PIECEWISE.draw_parameters()
    values = {"level": -2.0, "roughness": 0.8, "trend": 0.5, "steps": np.array([1.0, -2.0, 0.7])}
    log_hazard = pm.draw(pm.do(model, values)["log_hazard"], mode="FAST_COMPILE")
    log_time = np.log(PIECEWISE.centres)
    slope, level = np.polyfit(log_time - log_time.mean(), log_hazard, 1)
    assert (slope, level) == pytest.approx((0.5, -2.0))
    assert np.ptp(log_hazard - level - slope * (log_time - log_time.mean())) > 0.3


def draw_heights(baseline, **values):
    import pymc as pm

    with pm.Model(coords=baseline.coords()) as model:
        baseline.draw_parameters()
    known = {"level": -2.0, "roughness": 0.0, "trend": 0.0, **values}
    return pm.draw(pm.do(model, known)["log_height"], mode="FAST_COMPILE", draws=4000, random_seed=0)


def test_equal_heights_are_a_constant_hazard_even_beyond_the_end():
    design = SPLINE.design(np.array([1e-100, 1.0, 24.0, 25.0, 80.0]))
    log_hazard, log_cumulative = SPLINE.log_hazards(np, {"log_height": np.full(7, -1.3)}, design)
    np.testing.assert_allclose(log_hazard, -1.3)
    np.testing.assert_allclose(log_cumulative, -1.3 + np.log([1e-100, 1.0, 24.0, 25.0, 80.0]))


@pytest.mark.parametrize(("shape", "distance"), [(0.8, 0.07), (1.0, 1e-9), (1.2, 0.05), (2.0, 0.15)])
def test_a_spline_hazard_without_roughness_is_nearly_a_weibull_hazard(shape, distance):
    rng = np.random.default_rng(1)
    time = 30 * rng.weibull(shape, size=400)
    baseline = MSpline.learn(time, np.ones(400), 10)
    parameters = {"log_height": draw_heights(baseline, trend=shape - 1)[0]}
    seen = np.quantile(time, np.linspace(0.02, 0.98, 60))
    ratio = baseline.log_hazards(np, parameters, baseline.design(seen))[0] - (shape - 1) * np.log(seen)
    assert np.ptp(ratio) < 2 * distance


def test_how_much_a_spline_hazard_bends_hardly_depends_on_its_knots():
    rng = np.random.default_rng(1)
    time, spread = 30 * rng.weibull(1.2, size=400), {}
    for n_intervals in (10, 20, 30):
        baseline = MSpline.learn(time, np.ones(400), n_intervals)
        heights = draw_heights(baseline, roughness=1.5)
        design = baseline.design(np.quantile(time, [0.1, 0.5, 0.9]))
        log_hazard = baseline.log_hazards(np, {"log_height": heights}, design)[0]
        spread[n_intervals] = (log_hazard[:, 2] - 2 * log_hazard[:, 1] + log_hazard[:, 0]).std()
    # a walk whose steps did not know their distance would bend by factors of 1.4 and 1.7
    assert spread[20] == pytest.approx(spread[10], rel=0.2)
    assert spread[30] == pytest.approx(spread[10], rel=0.2)


@pytest.mark.parametrize("time", [[3.0] * 6, [1.0, 1.0, 2.0, 3.0], [5.0], [1e-7, 1.0, 1.0 + 1e-9, 40.0]])
def test_few_or_tied_events_give_splines_of_some_width(time):
    baseline = MSpline.learn(np.array(time), np.ones(len(time)), 10)
    assert (baseline._widths() > 0).all()
    assert np.isfinite(draw_heights(baseline, trend=0.3, roughness=1.0)).all()
