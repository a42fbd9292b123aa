"""A cohort to cross-validate, and a stand-in for sampling: risk models that are learned in a millisecond."""

import numpy as np
import pandas as pd
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design
from mofa_bayes.errors import DataError
from mofa_bayes.risk import FittedRisk
from mofa_bayes.risk.inputs import Scaling, moments_of, read_predictors
from mofa_bayes.validation.scored import Scored

SURVIVAL = mb.Survival("time", "event", baseline="weibull")
RISK = mb.RiskModel(SURVIVAL, ["age"])
SPEC = mb.FactorModel(n_factors=2)
TIMES = [2.0, 5.0, 10.0]
N_SUBJECTS = 72


def make_cohort(seed=1):
    """Two views, of which some subjects miss one; a factor that both share drives the hazard."""
    design = Design(
        n_subjects=N_SUBJECTS, n_features={"rna": 30, "ehr": 10}, sharing=[("rna", "ehr"), ("rna",)], absent_view=0.2
    )
    cohort = mb.simulate_cohort(design, seed=seed)
    rng = np.random.default_rng(0)
    waiting = rng.exponential(8 / np.exp(1.2 * cohort.factors["T1"].to_numpy()))
    censored = rng.exponential(20, size=N_SUBJECTS)
    clinical = pd.DataFrame(
        {
            "time": np.minimum(waiting, censored) + 0.01,
            "event": (waiting <= censored).astype(int),
            "died": (waiting <= 6).astype(int),
            "age": rng.normal(60, 10, size=N_SUBJECTS),
        },
        index=list(cohort.views.subjects),
    )
    return cohort.views, clinical


def learn_at_once(how, risk, train, clinical, rng, compiled):
    """Effects are covariances of factors with the outcome among the patients who are given, with some noise."""
    moments = moments_of(train)
    observed = risk.outcome.read(clinical, moments.subjects)
    covariates = read_predictors(clinical, risk.covariates, moments.subjects)
    scaling = Scaling.learn(covariates)
    if "time" in observed:
        target = observed["event"] - observed["time"] * observed["event"].sum() / observed["time"].sum()
    else:
        target = observed["outcome"] - observed["outcome"].mean()
    n_draws, shape = 20, (1, 20)
    effects = target @ moments.mean / len(target) + 0.02 * rng.normal(size=(*shape, len(moments.factors)))
    slopes = target @ ((covariates.to_numpy() - scaling.centre) / scaling.scale**2) / len(target)
    draws = {
        "effect_factors": (("chain", "draw", "factor"), effects),
        "intercept": (("chain", "draw"), 0.02 * rng.normal(size=shape)),
        "shape": (("chain", "draw"), np.ones(shape)),
        "scale": (("chain", "draw"), np.ones(shape)),
    }
    if risk.covariates:
        own = slopes + 0.001 * rng.normal(size=(*shape, len(slopes)))
        draws["effect_covariates"] = (("chain", "draw", "covariate"), own)
    coords = {"factor": list(moments.factors), "covariate": list(risk.covariates), "chain": [0], "draw": range(n_draws)}
    return FittedRisk(
        spec=risk,
        response=risk.outcome.learn(observed),
        tree=xr.DataTree.from_dict({"posterior": xr.Dataset(draws, coords=coords)}),
        scaling=scaling,
        factors=moments.factors,
        n_subjects=len(moments.subjects),
        fingerprint="",
    )


def echo(task, compiled):
    """Score as many patients as the task says; a task below 1 is an error."""
    if task < 1:
        raise DataError("task", got=repr(task), expected="1 or more", do="Correct it.")
    return {"model": Scored(np.full((2, task, 1), 0.5), np.zeros((2, task)), np.full(task, float(task)))}
