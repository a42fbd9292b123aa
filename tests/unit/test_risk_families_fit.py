"""Fits of measured, counted and graded outcomes: what a simulation holds is found, and graphs can be drawn from."""

import numpy as np
import pandas as pd
import pymc as pm
import pytest

import mofa_bayes as mb
from mofa_bayes.errors import DataError, ModelWarning
from mofa_bayes.posterior.moments import FactorMoments

QUICK = {"n_draws": 400, "n_tune": 400, "n_chains": 2}
LEVELS = ["low", "mid", "high"]
OUTCOMES = {
    "continuous": mb.Continuous("weight"),
    "count": mb.Count("visits", "years"),
    "ordinal": mb.Ordinal("grade", levels=LEVELS),
    "logit": mb.Binary("dead"),
    "probit": mb.Binary("dead", link="probit"),
    "weibull": mb.Survival("time", "event", baseline="weibull"),
    "piecewise": mb.Survival("time", "event", n_intervals=4),
    "panel": mb.MultiContinuous(["weight", "height", "glucose"]),
}
# draws of a variable that is written in Python; and 800 draws are few for R-hat
pytestmark = [
    pytest.mark.filterwarnings("ignore:Numba will use object mode"),
    pytest.mark.filterwarnings("ignore::mofa_bayes.errors.ConvergenceWarning"),
]


def make_cohort(n_subjects=200, n_factors=3, seed=0, reliability=0.7):
    """Factors known with reliability 0.7, of which the first matters, twice as much under treatment."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(scale=np.sqrt(reliability), size=(n_subjects, n_factors))
    factors = mean + rng.normal(scale=np.sqrt(1 - reliability), size=mean.shape)
    arm = rng.integers(0, 2, size=n_subjects)
    predictor = factors[:, 0] * (0.6 + 0.6 * arm)
    waiting, censored = 20 * rng.exponential(size=n_subjects) * np.exp(-predictor), rng.uniform(5, 60, size=n_subjects)
    years = rng.uniform(0.5, 3, size=n_subjects)
    clinical = {
        "weight": 80 + 10 * (predictor + rng.normal(size=n_subjects)),
        "height": 1.7 + 0.1 * (0.5 * predictor + rng.normal(size=n_subjects)),
        "glucose": 500 + 100 * rng.normal(size=n_subjects),
        "visits": rng.poisson(2 * years * np.exp(predictor) * rng.gamma(4, 1 / 4, size=n_subjects)),
        "years": years,
        "grade": np.array(LEVELS)[np.digitize(predictor + rng.logistic(size=n_subjects), [-0.5, 1.0])],
        "dead": (predictor + rng.normal(size=n_subjects) > 0).astype(int),
        "time": np.minimum(waiting, censored),
        "event": (waiting <= censored).astype(int),
        "arm": arm,
    }
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    names = tuple(f"F{k + 1}" for k in range(n_factors))
    covariance = (1 - reliability) * np.eye(n_factors)[None]
    moments = FactorMoments(subjects, names, mean, covariance, np.zeros(n_subjects, dtype=np.intp))
    return moments, pd.DataFrame(clinical, index=list(subjects))


@pytest.mark.parametrize("kind", list(OUTCOMES))
def test_every_graph_draws_outcomes_of_its_own_kind(kind):
    moments, clinical = make_cohort(30)
    model = mb.RiskModel(OUTCOMES[kind], ["arm"]).build(moments, clinical)
    with model:
        tree = pm.sample_prior_predictive(20, random_seed=1, compile_kwargs={"mode": "FAST_COMPILE"})
    drawn = tree["prior_predictive"]["outcome"].values[0]
    assert drawn.shape == (20, 30, 3) if kind == "panel" else (20, 30)
    assert np.isfinite(drawn).all()
    if kind in ("logit", "probit", "ordinal"):
        assert set(np.unique(drawn)) <= {0.0, 1.0, 2.0}
    if kind == "count":
        assert (drawn == np.floor(drawn)).all()
    if kind in ("weibull", "piecewise"):
        assert ((drawn >= 0) & (drawn <= 1.01 * clinical["time"].max())).all()  # the end of follow-up is rounded up


def test_an_effect_that_depends_on_treatment_is_found_and_predicted():
    moments, clinical = make_cohort(400)
    model = mb.RiskModel(OUTCOMES["continuous"], ["arm"], interactions=[("F1", "arm")])
    fitted = model.fit(moments, clinical, seed=1, **QUICK)
    table = fitted.effects(level=0.999).set_index("term")
    assert table.index.tolist() == ["F1", "F2", "F3", "arm", "F1 x arm"]
    truth = pd.Series({"F1": 10 * (0.6 + 0.6 * clinical["arm"].mean()), "F2": 0.0, "arm": 0.0, "F1 x arm": 6.0})
    found = table.loc[truth.index]
    assert ((found["lower"] < truth) & (truth < found["upper"])).all()
    assert table.loc["F1 x arm", "lower"] > 0
    scores = fitted.predict(moments, clinical).dataset
    width = (scores["upper"] - scores["lower"]).values[:, 0]
    treated = clinical["arm"].to_numpy() == 1
    assert width[treated].mean() > 1.5 * width[~treated].mean()  # the unknown part of F1 counts twice under treatment
    with pytest.raises(DataError, match="'F9'"):
        mb.RiskModel(OUTCOMES["continuous"], ["arm"], interactions=[("F9", "arm")]).build(moments, clinical)


def test_selective_priors_make_irrelevant_factors_vanish_without_divergences():
    moments, clinical = make_cohort(200, n_factors=15)
    irrelevant, relevant = {}, {}
    for prior in ("normal", "ard", "horseshoe"):
        fitted = mb.RiskModel(OUTCOMES["continuous"], prior=prior).fit(moments, clinical, seed=1, **QUICK)
        effects = abs(fitted.tree["posterior"]["effect_factors"]).mean(("chain", "draw")).values
        irrelevant[prior], relevant[prior] = effects[1:].sum(), effects[0]
        assert int(fitted.tree["sample_stats"]["diverging"].sum()) == 0
    assert irrelevant["ard"] < 0.9 * irrelevant["normal"]
    assert irrelevant["horseshoe"] < 0.6 * irrelevant["normal"]
    assert min(relevant.values()) > 0.9 * relevant["normal"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["count", "ordinal", "probit"])
def test_a_fit_finds_what_matters_and_what_does_not(kind):
    moments, clinical = make_cohort(600)
    fitted = mb.RiskModel(OUTCOMES[kind], ["arm"]).fit(moments, clinical, seed=1, **QUICK)
    table = fitted.effects(level=0.999).set_index("term")
    assert table.loc["F1", "lower"] < 0.9 < table.loc["F1", "upper"]
    assert table.loc["F1", "lower"] > 0.3
    assert (table.loc[["F2", "F3"], "lower"] < 0).all()
    assert (table.loc[["F2", "F3"], "upper"] > 0).all()


def test_a_panel_finds_each_response_and_shares_among_them():
    moments, clinical = make_cohort(200)
    clinical.loc[clinical.index[:40], "height"] = np.nan
    fitted = mb.RiskModel(OUTCOMES["panel"]).fit(moments, clinical, seed=1)
    assert fitted.tree.attrs["sampler"] == "gibbs"
    table = fitted.effects(level=0.999).set_index(["response", "term"])
    assert table.loc[("weight", "F1"), "lower"] > 4
    assert table.loc[("height", "F1"), "lower"] < 0.045 < table.loc[("height", "F1"), "upper"]
    assert table.loc[("glucose", "F1"), "lower"] < 0 < table.loc[("glucose", "F1"), "upper"]
    posterior = fitted.tree["posterior"].to_dataset()
    assert posterior["effect_factors"].dims == ("chain", "draw", "response", "factor")
    scores = fitted.predict(moments, clinical).dataset.sel(response="height")
    known = clinical["height"].notna().to_numpy()
    inside = (scores["predictive_lower"] <= clinical["height"]) & (clinical["height"] <= scores["predictive_upper"])
    assert 0.9 < inside.values[known].mean() < 0.99


def test_a_normal_approximation_of_a_panel_is_said_to_be_none():
    moments, clinical = make_cohort(60)
    with pytest.warns(ModelWarning, match="sampler='laplace' are far too wide"):
        mb.RiskModel(OUTCOMES["panel"]).fit(moments, clinical, seed=0, sampler="laplace", n_draws=20, n_chains=1)
