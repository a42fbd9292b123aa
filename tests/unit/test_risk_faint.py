"""Importance sampling where views hardly show a factor: its effect is a frailty, of either sign."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from unit.test_risk_importance import make_density

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import Binary, CompetingRisks, Compiled, Continuous, Count, RiskModel
from mofa_bayes.risk.explore import explore
from mofa_bayes.risk.importance import sample_weighted

KNOWN = 0.7
"""Variance of the means of the first factor; those of the second do not vary."""


def make_cohort(n_subjects=150, seed=0):
    """Two factors of which the second is not seen; both matter."""
    rng = np.random.default_rng(seed)
    mean = np.stack([rng.normal(scale=np.sqrt(KNOWN), size=n_subjects), np.zeros(n_subjects)], axis=1)
    predictor = mean[:, 0] + rng.normal(scale=np.sqrt(1 - KNOWN), size=n_subjects) + 0.8 * rng.normal(size=n_subjects)
    died, other, censored = rng.exponential(size=(3, n_subjects)) * np.array([20, 40, 40])[:, None]
    died *= np.exp(-predictor)
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    clinical = pd.DataFrame(
        {
            "dead": (rng.uniform(size=n_subjects) < 1 / (1 + np.exp(-predictor))).astype(int),
            "score": predictor + 0.5 * rng.normal(size=n_subjects),
            "visits": rng.poisson(np.exp(predictor)),
            "first": np.minimum.reduce([died, other, censored]),
            "cause": np.argmin([censored, died, other], axis=0),
        },
        index=list(subjects),
    )
    covariance = np.diag([1 - KNOWN, 1.0])[None]
    return FactorMoments(subjects, ("F1", "F2"), mean, covariance, np.zeros(n_subjects, dtype=np.intp)), clinical


def density_of(outcome, moments, clinical, compiled=None):
    """The density as `RiskModel.fit` compiles it."""
    model = RiskModel(outcome)
    prepared = model._prepare(moments, clinical)
    return (compiled or Compiled()).density_of(model, prepared.model, prepared.names)


def integrate(fall, edges, place=None):
    """Log integral of a density over a box, and the points of its grid with their shares of it.

    The second coordinate starts at 0, where its prior is narrow, in quadratic steps: the density is symmetric in it.
    `place` turns points of the grid into those of the density, and says by how much it stretches there.
    """
    axes = [np.linspace(low, high, n_points) for low, high, n_points in edges]
    axes[1] = edges[1][1] * np.linspace(0, 1, edges[1][2]) ** 2
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    steps = np.meshgrid(*(np.gradient(axis) for axis in axes), indexing="ij")
    logs = np.log(np.prod(steps, axis=0).ravel() * np.where(points[:, 1] > 0, 2.0, 1.0))
    if place is not None:
        points, stretch = place(points)
        logs += np.log(stretch)
    logs -= np.array([fall(point)[0] for point in points])
    return logsumexp(logs), points, np.exp(logs - logsumexp(logs))


def place_on_circles(points):
    """Effect r sin(a) and noise r cos(a), whose squares are known by their sum alone, of (.., a, .., r)."""
    angle, radius = points[:, 1], points[:, 3]
    placed = points.copy()
    placed[:, 1], placed[:, 3] = radius * np.sin(angle), np.log(radius * np.cos(angle))
    return placed, 1 / np.cos(angle)


def hidden_frailty(point):
    """f, normal around -1.2 or 1.2, and a ~ N(0.5 f^2, 0.2^2); minus the log density and its gradient."""
    f, a = point
    apart, step = (f - np.array([-1.2, 1.2])) / 0.4, (a - 0.5 * f**2) / 0.2
    logs = norm.logpdf(apart) - np.log(0.8)
    own = np.exp(logs - logsumexp(logs))
    slope = (own * apart).sum() / 0.4 - step * f / 0.2
    return -logsumexp(logs) - norm.logpdf(step) + np.log(0.2), np.array([slope, step / 0.2])


def test_a_faint_effect_is_looked_for_on_both_sides():
    density = make_density(hidden_frailty, 2)
    one_sided = sample_weighted(density, 500, np.random.default_rng(0))
    assert one_sided.log_evidence == pytest.approx(np.log(0.5), abs=0.05)  # what this test is for
    density = make_density(hidden_frailty, 2, faint=lambda: np.array([0]))
    found = sample_weighted(density, 500, np.random.default_rng(0))
    assert found.is_reliable
    assert found.log_evidence == pytest.approx(0.0, abs=4 * found.log_evidence_se)
    assert found.log_evidence_se < 0.05
    assert found.weights @ (found.points[:, 0] > 0) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(
    ("outcome", "edges", "place"),
    [
        (Binary("dead"), [(-0.6, 3.0, 15), (0.0, 6.0, 25), (-1.2, 1.6, 15)], None),
        (Continuous("score"), [(0.2, 1.2, 11), (0.0, 1.57, 25), (-0.4, 0.35, 11), (0.4, 1.1, 11)], place_on_circles),
        (Count("visits"), [(0.3, 1.5, 10), (0.0, 1.8, 25), (-0.6, 0.9, 10), (-7.0, 1.0, 31)], None),
    ],
    ids=["binary", "continuous", "count"],
)
def test_the_evidence_is_the_integral_when_a_factor_is_not_seen(outcome, edges, place):
    density = density_of(outcome, *make_cohort())
    assert list(density.faint()) == [1]
    integral, points, weights = integrate(density.fall, edges, place)
    found = sample_weighted(density, 1000, np.random.default_rng(0))
    assert found.is_reliable
    assert found.log_evidence_se < 0.05
    assert found.log_evidence == pytest.approx(integral, abs=4 * found.log_evidence_se)
    effect = abs(points[:, 1])
    sd = np.sqrt(weights @ effect**2 - (weights @ effect) ** 2)
    assert found.weights @ abs(found.points[:, 1]) == pytest.approx(weights @ effect, abs=4 * sd / np.sqrt(1000))


def test_faint_effects_are_those_of_factors_whose_means_hardly_vary():
    moments, clinical = make_cohort()
    compiled = Compiled()
    assert list(density_of(Binary("dead"), moments, clinical, compiled).faint()) == [1]
    seen = moments.mean + np.random.default_rng(0).normal(size=moments.mean.shape)
    known = FactorMoments(moments.subjects, moments.factors, seen, 0.3 * np.eye(2)[None], moments.pattern)
    assert list(density_of(Binary("dead"), known, clinical, compiled).faint()) == []
    competing = CompetingRisks("first", "cause", causes={1: "death", 2: "other"}, baseline="weibull")
    density = density_of(competing, moments, clinical)
    assert list(density.faint()) == [1, 3]  # the second factor's, of either cause
    held = explore(density).centres[:, [1, 3]]
    assert (held > 0).any(axis=0).all()
    assert (held < 0).any(axis=0).all()
