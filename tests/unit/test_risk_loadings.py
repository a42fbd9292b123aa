"""Risk under draws of the loadings: weights by evidence, and each effect predicts with the factors of its own draw."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from unit.test_risk_model import make_cohort

import mofa_bayes as mb
from mofa_bayes.errors import ConvergenceWarning, DataError, ModelWarning
from mofa_bayes.posterior.drawn_moments import DrawnMoments
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import Binary, Compiled, RiskModel
from mofa_bayes.risk.importance import Weighted
from mofa_bayes.risk.loadings import PLACE, pool, warn_uneven

MODEL = RiskModel(Binary("dead"))
SHORT = {"n_draws": 500, "n_chains": 2, "sampler": "importance"}


@pytest.fixture(scope="module")
def compiled():
    return Compiled()


@pytest.fixture(scope="module")
def cohort():
    moments, clinical = make_cohort(150)
    return FactorMoments(
        moments.subjects, ("F1",), moments.mean[:, :1], moments.covariance[:, :1, :1], moments.pattern
    ), clinical


def blur(moments, share, seed):
    """Moments of which a share is noise, as under a draw of loadings that is off."""
    noise = np.random.default_rng(seed).normal(size=moments.mean.shape) * moments.mean.std()
    mean = np.sqrt(1 - share**2) * moments.mean + share * noise
    return FactorMoments(moments.subjects, moments.factors, mean, moments.covariance, moments.pattern)


@pytest.fixture(scope="module")
def drawn(cohort):
    return DrawnMoments.of(
        np.arange(5) * 7, tuple(blur(cohort[0], share, n) for n, share in enumerate((0, 0.1, 0.2, 1, 1)))
    )


@pytest.fixture(scope="module")
def fitted(drawn, cohort, compiled):
    return MODEL.fit(drawn, cohort[1], seed=0, compiled=compiled, **SHORT)


def make_weighted(evidence, pareto_k=0.1):
    points = np.random.default_rng(0).normal(size=(50, 2))
    return Weighted(points, np.full(50, 0.02), evidence, 0.01, pareto_k, None)


def test_draws_of_one_posterior_give_what_the_posterior_gives(cohort, compiled):
    moments, clinical = cohort
    same = MODEL.fit(DrawnMoments.of(np.arange(20), (moments,) * 20), clinical, seed=0, compiled=compiled, **SHORT)
    plain = MODEL.fit(moments, clinical, seed=0, compiled=compiled, **SHORT)
    assert same.effects()["mean"][0] == pytest.approx(plain.effects()["mean"][0], abs=0.15 * plain.effects()["sd"][0])
    assert same.effects()["sd"][0] == pytest.approx(plain.effects()["sd"][0], rel=0.1)
    assert same.tree.attrs["log_evidence"] == pytest.approx(plain.tree.attrs["log_evidence"], abs=0.05)
    assert same.tree.attrs["loadings_n_effective"] > 19


def test_draws_are_weighted_by_their_evidence(fitted, drawn, cohort, compiled):
    evidence = np.array(
        [MODEL.fit(own, cohort[1], seed=0, compiled=compiled, **SHORT).tree.attrs["log_evidence"] for own in drawn.each]
    )
    weights = np.exp(evidence - logsumexp(evidence))
    counts = [(fitted.tree["posterior"][PLACE].values == place).mean() for place in drawn.places]
    np.testing.assert_allclose(counts, weights, atol=0.05)
    assert counts[3] + counts[4] < 0.01
    assert fitted.tree.attrs["log_evidence"] == pytest.approx(logsumexp(evidence) - np.log(5), abs=0.1)


def test_each_effect_predicts_with_the_factors_of_its_own_draw(fitted, drawn):
    posterior = fitted.tree["posterior"].to_dataset().stack(point=("chain", "draw"))
    at = dict(zip(drawn.places, drawn.each, strict=True))
    lines = [
        at[int(place)].mean[:, 0] * effect
        for place, effect in zip(posterior[PLACE].values, posterior["effect_factors"].values[0], strict=True)
    ]
    scores = fitted.predict(drawn)
    np.testing.assert_allclose(scores.linear_predictor["mean"], np.mean(lines, axis=0))
    variance = np.var(lines, axis=0) + 0.3 * np.mean(posterior["effect_factors"].values[0] ** 2)
    np.testing.assert_allclose(scores.linear_predictor["sd"] ** 2, variance)


def test_moments_without_draws_predict_too(fitted, drawn, cohort):
    own, mixed = (fitted.predict(post).to_frame()["risk"] for post in (drawn, cohort[0]))
    assert np.corrcoef(own, mixed)[0, 1] > 0.98


def test_draws_of_another_number_are_refused(fitted, drawn):
    with pytest.raises(DataError, match="n_draws that the fit had"):
        fitted.predict(DrawnMoments.of(drawn.places + 1, drawn.each))


def test_weights_on_few_draws_warn():
    with pytest.warns(ModelWarning, match="fit_joint"):
        warn_uneven(pool([make_weighted(value) for value in np.random.default_rng(0).standard_cauchy(size=100)]))
    with pytest.warns(ConvergenceWarning, match="single draws"):
        warn_uneven(pool([make_weighted(0.01 * n, pareto_k=0.9) for n in range(100)]))


@pytest.fixture(scope="module")
def posterior():
    cohort = mb.simulate_cohort(
        mb.Design(n_subjects=60, n_features={"rna": 20, "lab": 8}, sharing=[["rna", "lab"]], absent_view=0.2), seed=0
    )
    post = mb.fit(cohort.views, mb.FactorModel(n_factors=1), seed=0, n_draws=40, progress=False)
    return cohort.views, post


def test_factors_are_inferred_under_single_draws_of_everything_else(posterior):
    views, post = posterior
    drawn = post.project_draws(views, n_draws=10)
    assert repr(drawn) == "<DrawnMoments: 60 subjects, 1 factors, 10 draws>"
    assert drawn.subjects == post.subjects
    tree, place, subject = post.tree["posterior"], int(drawn.places[3]), 5
    precision, pull = 1.0, 0.0
    for view in post.views:
        values = views[view].sel(subject=post.subjects[subject]).values
        known = np.isfinite(values)
        scaled = post.preprocessing.apply(view, values[None])[0]
        own = tree.to_dataset().isel(chain=0, draw=place)
        w, mu, tau = (own[f"{what}_{view}"].values for what in ("loadings", "intercept", "noise_sd"))
        precision += (w[known, 0] ** 2 / tau[known] ** 2).sum()
        pull += (w[known, 0] * (scaled - mu)[known] / tau[known] ** 2).sum()
    assert drawn.each[3].mean[subject, 0] == pytest.approx(pull / precision, rel=1e-5)
    assert drawn.each[3].covariances()[subject, 0, 0] == pytest.approx(1 / precision, rel=1e-5)


def test_on_average_draws_give_subjects_the_factors_of_the_fit():
    design = mb.Design(n_subjects=150, n_features={"rna": 40, "lab": 20}, sharing=[["rna", "lab"]])
    views = mb.simulate_cohort(design, seed=0).views
    spec = mb.FactorModel(n_factors=1, loadings=mb.ARD(), min_variance=0.0)
    settings = mb.Sampling(n_draws=500, n_tune=300, n_chains=2, n_jobs=1)
    post = mb.fit(views, spec, engine="gibbs", seed=0, settings=settings, progress=False)
    drawn = post.project_draws(views, n_draws=200)
    own = post.factor_moments()
    assert np.polyfit(own.mean[:, 0], drawn.mean[:, 0], 1)[0] == pytest.approx(1.0, abs=0.01)
    assert (drawn.mean**2).mean() + drawn.covariances().mean() == pytest.approx(1.0, abs=0.03)


def test_too_few_draws_are_refused(posterior):
    views, post = posterior
    with pytest.raises(DataError, match="from 2 up"):
        post.project_draws(views, n_draws=1)


def test_a_posterior_fits_and_predicts_by_draws(posterior, compiled):
    views, post = posterior
    z = post.factor_moments().mean[:, 0]
    dead = (np.random.default_rng(0).uniform(size=len(z)) < 1 / (1 + np.exp(-1.5 * z))).astype(int)
    clinical = pd.DataFrame({"dead": dead}, index=list(post.subjects))
    fitted = MODEL.fit(post.project_draws(views, n_draws=10), clinical, seed=0, compiled=compiled, **SHORT)
    assert fitted.effects()["lower"][0] > 0
    new = post.project_draws(views.sel(list(post.subjects[:7])).keep_views(["lab"]), n_draws=10)
    assert fitted.predict(new).to_frame()["risk"].between(0, 1).all()
