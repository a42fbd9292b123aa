"""Do intervals of factors' effects cover the truth? `python tests/benchmarks/risk_coverage.py --replicates 200`.

Factors that are known with a given reliability r: the posterior of a patient's factors is N(m, (1 - r) C) with
m ~ N(0, r C), as a calibrated factor model would give it; C is 1 for one factor, and has correlations of 0.3 for three.
Outcomes of each family depend on the first factor, by the given effect. Every method is fitted with `RiskModel.fit` to
the same cohorts; the table counts how often 95 % intervals of all factors' effects hold the truth. Nothing is saved.

    --families continuous binary probit ordinal count panel weibull m_spline
    --reliabilities 0.5 0.8 0.95 --effects 0.5 1.0 --factors 1 3
"""

import argparse
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd

from mofa_bayes.errors import ConvergenceWarning
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import Binary, Continuous, Count, MultiContinuous, Ordinal, RiskModel, Survival

EFFECT, RELIABILITY = 1.0, 0.5
SHAPE, SCALE, FOLLOW_UP = 1.2, 30.0, (6.0, 72.0)
METHODS = ("marginal", "plugin", "cut")
CORRELATION = 0.3
LEVELS, CUTS = ("none", "mild", "moderate", "severe"), (-1.0, 0.5, 2.0)
RESPONSES = tuple(f"drug{r}" for r in range(8))
FAMILIES = {
    "continuous": Continuous("value"),
    "binary": Binary("dead"),
    "probit": Binary("ill", link="probit"),
    "ordinal": Ordinal("grade", levels=LEVELS),
    "count": Count("visits", "years"),
    "panel": MultiContinuous(RESPONSES),
}
BASELINES = ("weibull", "piecewise_exponential", "m_spline")
_BATCH = 50


def simulate(seed, n_subjects=300, effect=EFFECT, reliability=RELIABILITY, n_factors=1):
    """Return the factors' posterior and the clinical table of a cohort."""
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(np.full((n_factors, n_factors), CORRELATION) + (1 - CORRELATION) * np.eye(n_factors))
    mean = np.sqrt(reliability) * rng.normal(size=(n_subjects, n_factors)) @ root.T
    factors = mean + np.sqrt(1 - reliability) * rng.normal(size=mean.shape) @ root.T
    predictor = effect * factors[:, 0]
    died = SCALE * (rng.exponential(size=n_subjects) / np.exp(predictor)) ** (1 / SHAPE)
    censored = rng.uniform(*FOLLOW_UP, size=n_subjects)
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    years = rng.uniform(0.5, 3.0, size=n_subjects)
    clinical = {
        "time": np.minimum(died, censored),
        "event": (died <= censored).astype(int),
        "value": predictor + rng.normal(size=n_subjects),
        "dead": (predictor + rng.logistic(size=n_subjects) > 0.5).astype(int),
        "ill": (predictor + rng.normal(size=n_subjects) > 0.3).astype(int),
        "grade": np.array(LEVELS)[np.digitize(predictor + rng.logistic(size=n_subjects), CUTS)],
        "visits": rng.poisson(2 * years * np.exp(predictor) * rng.gamma(4, 1 / 4, size=n_subjects)),
        "years": years,
    }
    panel = predictor[:, None] + rng.normal(size=(n_subjects, len(RESPONSES)))
    panel[rng.uniform(size=panel.shape) < 0.1] = np.nan
    clinical = pd.DataFrame(clinical | dict(zip(RESPONSES, panel.T, strict=True)), index=list(subjects))
    names = tuple(f"F{k + 1}" for k in range(n_factors))
    covariance = (1 - reliability) * (root @ root.T)[None]
    return FactorMoments(subjects, names, mean, covariance, np.zeros(n_subjects, dtype=np.intp)), clinical


def make_outcome(family):
    """The outcome of a family's name; a baseline's name is a survival outcome."""
    return FAMILIES.get(family) or Survival("time", "event", baseline=family)


def estimate(seed, baseline, methods, sampling, effect=EFFECT, reliability=RELIABILITY, n_factors=1):
    """Fit each method to one cohort; a row for each method and effect: truth, mean, lower, upper, warnings, seconds."""
    moments, clinical = simulate(seed, effect=effect, reliability=reliability, n_factors=n_factors)
    rows = []
    for method in methods:
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model = RiskModel(make_outcome(baseline), method=method)
            table = model.fit(moments, clinical, seed=seed, **sampling).effects()
        truth = np.where(table["term"] == "F1", effect, 0.0)
        shared = {
            "baseline": baseline,
            "method": method,
            "effect": effect,
            "reliability": reliability,
            "factors": n_factors,
            "warned": len(caught),
            "censored": 1 - clinical["event"].mean(),
            "seconds": time.perf_counter() - started,
        }
        own = table[["mean", "lower", "upper"]].astype(float).assign(truth=truth, term=table["term"], seed=seed)
        rows += [{**shared, **row} for row in own.to_dict("records")]
    return rows


def tabulate(estimates, by=("baseline", "method")):
    """Coverage, bias and width of intervals, by baseline and method."""
    truth = estimates.get("truth", EFFECT)
    estimates = estimates.assign(
        covered=(estimates["lower"] <= truth) & (estimates["upper"] >= truth),
        bias=estimates["mean"] - truth,
        width=estimates["upper"] - estimates["lower"],
    )
    grouped = estimates.groupby(list(by), sort=False)
    table = grouped[["covered", "bias", "width", "warned", "censored", "seconds"]].mean()
    table.insert(1, "covered_se", np.sqrt(table["covered"] * (1 - table["covered"]) / grouped.size()))
    table.insert(3, "bias_se", grouped["bias"].std() / np.sqrt(grouped.size()))
    return table


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.split("`")[0])
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--baselines", nargs="+", default=["weibull"], help="weibull, piecewise_exponential, m_spline")
    parser.add_argument("--families", nargs="+", help=f"in place of baselines: {', '.join([*FAMILIES, *BASELINES])}")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--reliabilities", nargs="+", type=float, default=[RELIABILITY])
    parser.add_argument("--effects", nargs="+", type=float, default=[EFFECT])
    parser.add_argument("--factors", nargs="+", type=int, default=[1], help="1, or more, correlated by 0.3")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--sampler", default="nuts", choices=["nuts", "importance"])
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    options = read_options()
    sampling = {"n_draws": options.draws, "n_tune": 400, "n_chains": 2, "sampler": options.sampler}
    started = time.perf_counter()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"  # inherited by the processes over cohorts; threads inside them would only collide
    tasks = [
        (options.seed + r, family, options.methods, sampling, effect, reliability, n_factors)
        for family in options.families or options.baselines
        for effect in options.effects
        for reliability in options.reliabilities
        for n_factors in options.factors
        for r in range(options.replicates)
    ]
    # Pools are renewed, because code that numba has loaded stays in memory, some 10 MB for each fit. Renewing the
    # processes of one pool (max_tasks_per_child) can hang for good in Python 3.12.
    rows = []
    for start in range(0, len(tasks), _BATCH):
        with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(estimate, *task) for task in tasks[start : start + _BATCH]]
            rows += [row for future in futures for row in future.result()]
    estimates = pd.DataFrame(rows)
    settings = {"effect": options.effects, "reliability": options.reliabilities, "factors": options.factors}
    several = [name for name, values in settings.items() if len(values) > 1]
    by = ["baseline", "method", *several]
    if options.factors != [1]:
        estimates = estimates.assign(of=np.where(estimates["truth"] == 0, "null", "effect"))
        by.append("of")
    shown = ", ".join(f"{name} {'/'.join(f'{value:g}' for value in values)}" for name, values in settings.items())
    print(f"{shown}; N = 300, 95 % intervals, {options.replicates} cohorts")
    print(tabulate(estimates, by).round(3).to_string())
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes, {options.processes} processes")


if __name__ == "__main__":
    main()
