"""What the survival likelihoods are for: late entry, bounds and any course of the hazard do not bias what is learnt.

Maximum likelihood by the formulas that are sampled, in cohorts large enough to tell a bias from chance.
"""

import numpy as np
import pytest
from scipy.optimize import minimize

from mofa_bayes.risk.baselines import MSpline, Weibull
from mofa_bayes.risk.survival import SurvivalResponse

N, RELIABILITY, EFFECT, SHAPE, SCALE = 3000, 0.5, 1.0, 1.2, 30.0


def simulate(seed, n_subjects=N):
    """Posterior means of a factor known with reliability 0.5, and times of the event."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(scale=np.sqrt(RELIABILITY), size=n_subjects)
    factor = mean + rng.normal(scale=np.sqrt(1 - RELIABILITY), size=n_subjects)
    return rng, mean, SCALE * (rng.exponential(size=n_subjects) / np.exp(EFFECT * factor)) ** (1 / SHAPE)


def maximise(response, name_parameters, mean, observed, start):
    """Maximum likelihood of (effect, baseline's parameters)."""
    design = response.design(observed)
    sd = np.sqrt(1 - RELIABILITY)

    def fall(point):
        spread = np.full(len(mean), abs(point[0]) * sd)
        return -response.log_marginal(np, point[0] * mean, spread, name_parameters(point[1:]), design, 12).sum()

    return minimize(fall, start, method="L-BFGS-B").x


def as_weibull(point):
    return {"intercept": np.asarray(point[0]), "shape": np.asarray(np.exp(point[1]))}


def fit_weibull(mean, observed):
    response = SurvivalResponse(Weibull(SCALE, 0.0), 80.0)
    effect, level, log_shape = maximise(response, as_weibull, mean, observed, np.array([0.5, 0.0, 0.0]))
    return effect, level, np.exp(log_shape)


def test_late_entry_biases_nothing_and_would_if_it_were_ignored():
    rng, mean, died = simulate(1, 3 * N)
    entry = np.where(rng.uniform(size=len(died)) < 0.3, 0.0, rng.uniform(0, 40, size=len(died)))
    censored = entry + rng.uniform(6, 72, size=len(died))
    seen = np.flatnonzero(died > entry)[:N]
    observed = {"time": np.minimum(died, censored)[seen], "event": (died <= censored)[seen] * 1.0}
    effect, level, shape = fit_weibull(mean[seen], {**observed, "entry": entry[seen]})
    assert effect == pytest.approx(EFFECT, abs=0.15)
    assert level == pytest.approx(0.0, abs=0.15)
    assert shape == pytest.approx(SHAPE, abs=0.1)
    _, level, shape = fit_weibull(mean[seen], observed)
    assert shape > SHAPE + 0.1
    assert level < -0.3


def test_events_between_visits_bias_nothing_and_would_if_put_at_the_visit():
    rng, mean, died = simulate(5)
    visit = rng.uniform(10, 30, size=N)  # each patient's own distance of visits
    left = rng.uniform(20, 90, size=N)
    after = np.ceil(died / visit) * visit
    is_seen = after <= left
    lower = np.where(is_seen, after - visit, np.floor(left / visit) * visit)
    observed = {"lower": np.where(lower + is_seen == 0, 0.1, lower), "upper": np.where(is_seen, after, np.inf)}
    effect, level, shape = fit_weibull(mean, observed)
    assert effect == pytest.approx(EFFECT, abs=0.15)
    assert level == pytest.approx(0.0, abs=0.12)
    assert shape == pytest.approx(SHAPE, abs=0.1)
    at_visit = {"time": np.where(is_seen, after, np.maximum(lower, 0.1)), "event": is_seen * 1.0}
    assert fit_weibull(mean, at_visit)[2] > SHAPE + 0.15


def test_a_spline_follows_a_hazard_that_rises_and_falls():
    rng, mean, _ = simulate(3)
    factor = mean + rng.normal(scale=np.sqrt(1 - RELIABILITY), size=N)
    grid = np.linspace(0, 80, 4001)
    hazard = 0.01 + 0.08 * np.exp(-(((grid - 15) / 8) ** 2))
    cumulative = np.concatenate([[0.0], np.cumsum((hazard[1:] + hazard[:-1]) / 2 * np.diff(grid))])
    died = np.interp(rng.exponential(size=N) / np.exp(EFFECT * factor), cumulative, grid, right=999.0)
    censored = rng.uniform(20, 75, size=N)
    observed = {"time": np.minimum(died, censored), "event": (died <= censored) * 1.0}
    baseline = MSpline.learn(observed["time"], observed["event"], 5)
    response = SurvivalResponse(baseline, 75.0)
    start = np.concatenate([[0.5], np.full(8, -3.5)])
    effect, *heights = maximise(response, lambda own: {"log_height": own}, mean, observed, start)
    assert effect == pytest.approx(EFFECT, abs=0.15)
    times = np.array([5.0, 15.0, 25.0, 40.0])
    log_hazard, log_cumulative = baseline.log_hazards(np, {"log_height": np.array(heights)}, baseline.design(times))
    np.testing.assert_allclose(np.exp(log_cumulative), np.interp(times, grid, cumulative), rtol=0.2)
    assert log_hazard[1] > log_hazard[[0, 2, 3]].max() + 0.3
