"""The panel's Gibbs sampler against its graph: Geweke's joint distribution test, and NUTS on the same data."""

import numpy as np
import pandas as pd
import pymc as pm
import pytest

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import MultiContinuous, RiskModel
from mofa_bayes.risk.panel_gibbs import Chain, Panel, State

RESPONSES = ["a", "b", "c", "d"]
MODEL = RiskModel(MultiContinuous(RESPONSES), covariates=["age"], interactions=[("F1", "age")])


def make_cohort(n_subjects, seed=0):
    """Three factors, two patterns of observed views of which one is sure of a factor, a covariate that moderates."""
    rng = np.random.default_rng(seed)
    covariance = np.array([[[0.5, 0.1, 0], [0.1, 0.4, 0], [0, 0, 0.3]], [[0.9, -0.3, 0], [-0.3, 0.8, 0], [0, 0, 0]]])
    pattern = np.arange(n_subjects) % 2
    mean, age = 0.7 * rng.normal(size=(n_subjects, 3)), rng.normal(size=n_subjects)
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(3))
    factors = mean + np.einsum("nkl,nl->nk", root[pattern], rng.normal(size=mean.shape))
    effects = rng.normal([0.6, 0.0, 0.0], [0.3, 0.4, 0.02], size=(len(RESPONSES), 3))
    outcome = factors @ effects.T + 0.4 * age[:, None] * (1 + factors[:, [0]])
    outcome += 0.7 * rng.normal(size=outcome.shape)
    # some have more responses than there are factors, some fewer, one none
    outcome[rng.uniform(size=outcome.shape) < 0.4] = np.nan
    outcome[0], outcome[1] = np.nan, 1.0
    outcome = 3 + outcome * [1, 10, 0.1, 1]
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    moments = FactorMoments(subjects, ("F1", "F2", "F3"), mean, covariance, pattern)
    return moments, pd.DataFrame(outcome, list(subjects), RESPONSES).assign(age=60 + 10 * age)


def summarise(effects, location, scale, overall, noise, typical, spread):
    """Numbers whose means tell whether a draw is from the prior; arrays may have draws in front."""
    logs = np.log(np.stack([typical_noise := np.exp(typical), spread], axis=-1))
    return np.concatenate(
        [
            location,
            np.square(location),
            np.log(scale),
            np.square(np.log(scale)),
            effects.mean(axis=-2),
            np.square(effects).mean(axis=-2) / (1 + np.square(effects).mean(axis=-2)),
            np.log(overall),
            np.square(np.log(overall)),
            np.log(noise),
            np.square(np.log(noise) - np.log(typical_noise)[..., None]),
            logs,
            np.square(logs),
        ],
        axis=-1,
    )


def draw_prior(model, n_draws):
    """Draw parameters from the graph's prior, in the order of the sampler's terms without the level."""
    names = ("effect_factors", "standardised_effects", "standardised_interactions")
    shared = [f"{name}{part}" for part in ("", "_mean", "_sd") for name in names]
    overall = [f"{name}_overall" for name in (names[0], names[2])]
    wanted = [*shared, *overall, "standardised_noise", "log_noise", "log_noise_sd"]
    values = pm.draw([model[name] for name in wanted], draws=n_draws, random_seed=1)
    drawn = dict(zip(wanted, values, strict=True))
    effects, location, scale = (
        np.concatenate([drawn[f"{name}{part}"] for name in names], axis=-1) for part in ("", "_mean", "_sd")
    )
    of_all = np.stack([drawn[name] for name in overall], axis=-1)
    noise = (drawn[name] for name in ("standardised_noise", "log_noise", "log_noise_sd"))
    return summarise(effects, location, scale, of_all, *noise)


def error_of_mean(values, n_batches=40):
    """Monte Carlo error of the mean of a chain (draw, number), by batch means."""
    batches = np.stack([batch.mean(axis=0) for batch in np.array_split(values, n_batches)])
    return batches.std(axis=0, ddof=1) / np.sqrt(n_batches)


def draw_in_turn(panel, n_sweeps, seed):
    """Alternate a sweep with new outcomes given its point; return what `summarise` says, and squares of factors."""
    rng = np.random.default_rng(seed)
    chain = Chain(panel, State.start(panel, rng), rng)
    seen = []
    for _ in range(n_sweeps):
        state = chain.state
        mean = panel.terms(chain.factors) @ state.effects.T
        panel.outcome[:] = panel.is_known * (mean + state.noise * rng.normal(size=mean.shape))
        chain.square = np.square(panel.outcome).sum(axis=0)
        chain.sweep()
        numbers = state.effects[:, 1:], state.location[1:], state.scale[1:], state.prior[[1, -1]], state.noise
        squares = np.square(chain.factors - panel.mean).mean(axis=0)
        seen.append([*summarise(*numbers, np.array(state.typical), np.array(state.spread)), *squares])
    return np.array(seen)


def test_data_and_parameters_drawn_in_turn_keep_the_prior():
    """Geweke 2004 (JASA 99:799): a wrong step moves some mean away from the prior's."""
    moments, clinical = make_cohort(7)
    prepared = MODEL._prepare(moments, clinical)
    panel = Panel.of(prepared.model, prepared.interactions)
    prior = draw_prior(prepared.model, 40_000)
    variance = np.diagonal(moments.covariances(), axis1=1, axis2=2).mean(axis=0)
    expected = np.append(prior.mean(axis=0), variance)
    found = draw_in_turn(panel, 40_000, seed=2)[1000:]
    error = np.hypot(error_of_mean(found), np.append(prior.std(axis=0) / np.sqrt(len(prior)), np.zeros(3)))
    distance = (found.mean(axis=0) - expected) / error
    assert abs(distance).max() < 4.0, distance.round(1)


@pytest.mark.slow
def test_gibbs_and_nuts_find_the_same_posterior():
    """Means within 4 Monte Carlo errors and sds within 6 %, of every effect and parameter."""
    import arviz as az

    moments, clinical = make_cohort(100, seed=3)
    fits = {
        sampler: az.summary(
            MODEL.fit(moments, clinical, seed=0, sampler=sampler, n_draws=n_draws).tree["posterior"].to_dataset(),
            round_to="none",
        )
        for sampler, n_draws in (("gibbs", 5000), ("nuts", 1000))
    }
    gibbs, nuts = fits["gibbs"], fits["nuts"]
    apart = (gibbs["mean"] - nuts["mean"]) / np.hypot(gibbs["mcse_mean"], nuts["mcse_mean"])
    assert abs(apart).max() < 4.0
    np.testing.assert_allclose(gibbs["sd"] / nuts["sd"], 1.0, atol=0.06)
