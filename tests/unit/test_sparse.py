"""Sparse regression: it finds what was planted, and says what the exact posterior says where that can be summed."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import invgamma

from mofa_bayes.errors import FitError
from mofa_bayes.risk.metrics import harrell_c
from mofa_bayes.risk.sparse import Bernoulli, PiecewiseExponential, fit_sparse, likelihood_of
from mofa_bayes.risk.sparse.regression import _SLAB_SHAPE

PLANTED = np.array([0.9, -0.7, 0.6])


def draw_survival(x, effects, rng):
    waiting = rng.exponential(5 / np.exp(x[:, : len(effects)] @ effects))
    censored = rng.exponential(12, size=len(x))
    return {"time": np.minimum(waiting, censored), "event": (waiting <= censored).astype(float)}


def draw_outcome(x, effects, rng):
    return {"outcome": (rng.random(len(x)) < 1 / (1 + np.exp(0.4 - x[:, : len(effects)] @ effects))).astype(float)}


DRAW = {"survival": draw_survival, "binary": draw_outcome}


@pytest.mark.parametrize("kind", DRAW)
def test_planted_features_are_found_among_a_thousand(kind):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(600, 1000))
    observed = DRAW[kind](x[:400], PLANTED, rng)
    fit = fit_sparse(x[:400], likelihood_of(observed))
    assert (fit.inclusion_probability[:3] > 0.9).all()
    assert fit.inclusion_probability[3:].sum() < 2
    np.testing.assert_allclose(fit.coefficients[:3], PLANTED, atol=0.35)
    mean, variance = fit.predict(x[400:])
    assert np.corrcoef(mean, x[400:, :3] @ PLANTED)[0, 1] > 0.95
    assert (variance > 0).all()


def test_nothing_is_found_in_noise():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 500))
    fit = fit_sparse(x, likelihood_of(draw_survival(x, np.zeros(1), rng)))
    assert fit.inclusion_probability.sum() < 5
    assert fit.predict(rng.normal(size=(200, 500)))[0].std() < 0.2


def test_many_small_effects_ask_for_many_features():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(500, 200))
    few = fit_sparse(x[:400], likelihood_of(draw_survival(x[:400], PLANTED, rng)))
    effects = 0.12 * rng.normal(size=200)
    observed = draw_survival(x, effects, rng)
    many = fit_sparse(x[:400], likelihood_of({name: own[:400] for name, own in observed.items()}))
    assert many.weight @ many.n_active > few.weight @ few.n_active
    assert harrell_c(many.predict(x[400:])[0], observed["time"][400:], observed["event"][400:]) > 0.65


def log_evidence(kind, observed, x, slab):
    """Laplace approximation of log p(y | these features) and the mode, the baseline's log level under a flat prior."""

    def fall(point):
        eta = point[0] + x @ point[1:]
        if kind == "binary":
            log_p = (observed["outcome"] * eta - np.logaddexp(0, eta)).sum()
        else:
            log_p = (observed["event"] * eta - observed["time"] * np.exp(eta)).sum()
        return -log_p + (point[1:] ** 2).sum() / (2 * slab)

    found = minimize(fall, np.zeros(1 + x.shape[1]), method="BFGS")
    log_determinant = np.linalg.slogdet(found.hess_inv)[1]
    return -found.fun - x.shape[1] * np.log(slab) / 2 + log_determinant / 2, found.x[1:]


@pytest.mark.parametrize("kind", DRAW)
def test_posterior_is_that_of_the_sum_over_all_models(kind):
    """Four features: 16 models at each of several slabs, each integrated by Laplace's method."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(250, 4))
    observed = DRAW[kind](x, np.array([0.5, 0.22, 0.0, 0.0]), rng)
    fit = fit_sparse(x, likelihood_of(observed))
    logs, included, coefficients = [], [], []
    for n_active in fit.n_active:
        share = n_active / 4
        prior = invgamma(_SLAB_SHAPE, scale=_SLAB_SHAPE * min(1 / n_active, 1.0))
        for slab in prior.ppf((np.arange(8) + 0.5) / 8):
            for chosen in product([False, True], repeat=4):
                rows = np.flatnonzero(chosen)
                evidence, mode = log_evidence(kind, observed, x[:, rows], slab)
                mean = np.zeros(4)
                mean[rows] = mode
                logs.append(evidence + len(rows) * np.log(share) + (4 - len(rows)) * np.log(1 - share))
                included.append(chosen)
                coefficients.append(mean)
    weight = np.exp(np.array(logs) - logsumexp(logs))
    np.testing.assert_allclose(fit.inclusion_probability, weight @ np.array(included), atol=0.08)
    np.testing.assert_allclose(fit.coefficients, weight @ np.array(coefficients), atol=0.03)


@pytest.mark.parametrize("kind", DRAW)
def test_expansion_has_the_slope_of_the_expected_log_density(kind):
    rng = np.random.default_rng(6)
    x = rng.normal(size=(40, 2))
    mean, variance = 0.5 * rng.normal(size=40), rng.uniform(0.05, 0.4, size=40)
    likelihood = likelihood_of(DRAW[kind](x, PLANTED[:2], rng)).update(mean, variance)
    found = likelihood.expand(mean, variance)
    step = 1e-5
    for n in range(5):
        shift = step * np.eye(40)[n]
        slope = likelihood.expect(mean + shift, variance) - likelihood.expect(mean - shift, variance)
        assert found.weight[n] * (found.target[n] - mean[n]) == pytest.approx(slope / (2 * step), rel=1e-4, abs=1e-6)
        slope = likelihood.expect(mean, variance + shift) - likelihood.expect(mean, variance - shift)
        assert found.weight[n] == pytest.approx(-slope / step, rel=1e-4)


def test_baseline_is_set_where_events_are_as_many_as_expected():
    rng = np.random.default_rng(7)
    observed = draw_survival(np.zeros((200, 1)), np.zeros(1), rng)
    likelihood = PiecewiseExponential.of(**observed).update(np.full(200, 0.3), np.full(200, 0.2))
    expected = likelihood.exposure @ likelihood.hazard * np.exp(0.4)
    assert expected.sum() == pytest.approx(observed["event"].sum(), rel=0.01)
    bernoulli = Bernoulli.of(np.array([1.0, 0.0, 0.0, 0.0]))
    assert bernoulli.update(np.zeros(4), np.zeros(4)).intercept == pytest.approx(np.log(1 / 3), rel=0.01)


def test_other_outcomes_are_refused():
    with pytest.raises(FitError, match="early"):
        likelihood_of({"outcome": np.array([0.3, 2.0])})
