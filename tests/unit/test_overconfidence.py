"""What mean-field inference does not know of its factors: predicted from the fit alone, and said where it matters."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.errors import ConvergenceWarning, ModelWarning
from mofa_bayes.posterior.overconfidence import estimate_attenuation
from mofa_bayes.risk import Continuous, RiskModel

NAMES = [f"p{n:03d}" for n in range(300)]


def simulate(n_features, reliability, seed):
    """One factor of 300 subjects, as certain as asked for, and an outcome that is the factor and noise."""
    rng = np.random.default_rng(seed)
    factor, loadings = rng.standard_normal(300), rng.standard_normal(n_features)
    noise = np.sqrt(np.square(loadings).sum() * (1 - reliability) / reliability)
    values = np.outer(factor, loadings) + noise * rng.standard_normal((300, n_features))
    table = pd.DataFrame(values, NAMES, [f"f{d}" for d in range(n_features)])
    views = mb.MultiView.from_frames({"a": table.iloc[:, ::2], "b": table.iloc[:, 1::2]})
    return views, factor, pd.DataFrame({"score": factor + 0.3 * rng.standard_normal(300)}, NAMES)


def fit(views, engine="vi"):
    spec = mb.FactorModel(n_factors=1, loadings=mb.ARD(), min_variance=0.0)
    settings = mb.Sampling(n_draws=100, n_tune=100, n_chains=1) if engine == "gibbs" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mb.fit(views, spec, engine=engine, settings=settings, progress=False)


def fit_risk(post, clinical):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return RiskModel(Continuous("score")).fit(post, clinical, seed=0, sampler="importance", n_draws=200)


@pytest.mark.parametrize(("n_features", "reliability"), [(20, 0.5), (400, 0.8), (1700, 0.8), (400, 0.95)])
def test_attenuation_is_what_regressing_true_on_fitted_factors_shows(n_features, reliability):
    measured, predicted = [], []
    for seed in range(8):
        views, factor, _ = simulate(n_features, reliability, seed)
        post = fit(views)
        mean = post.factor_moments().sel(NAMES).mean[:, 0]
        slope = abs(np.polyfit(mean, factor / factor.std(), 1)[0])
        measured.append(1 - slope)
        predicted.append(estimate_attenuation(post.tree)[0])
    assert np.mean(predicted) == pytest.approx(np.mean(measured), abs=0.06)


def test_engines_that_draw_know_their_error():
    views, _, _ = simulate(20, 0.5, 0)
    assert estimate_attenuation(fit(views, "gibbs").tree) == 0


def test_effects_that_are_too_small_are_said_to_be():
    views, _, clinical = simulate(400, 0.8, 0)
    with pytest.warns(ModelWarning, match=r"effects of 'F1' are some \d+ % too near to zero.*gibbs"):
        fit_risk(fit(views), clinical)


def test_nothing_is_said_of_factors_that_are_well_known():
    views, _, clinical = simulate(40, 0.95, 0)
    fit_risk(fit(views), clinical)
