"""Do intervals of a factor's effect cover the truth? `python tests/benchmarks/risk_coverage.py --replicates 200`.

One factor with log hazard ratio 1.0 that is known with reliability 0.5: the posterior of a patient's factor is
N(m, 0.5) with m ~ N(0, 0.5), as a calibrated factor model would give it. Weibull times, about 35 % censored. Every
method is fitted with `RiskModel.fit` to the same cohorts; the table counts how often the 95 % interval holds 1.0.
Nothing is saved.
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
from mofa_bayes.risk import RiskModel, Survival

EFFECT, RELIABILITY = 1.0, 0.5
SHAPE, SCALE, FOLLOW_UP = 1.2, 30.0, (6.0, 72.0)
METHODS = ("marginal", "plugin", "cut")
_BATCH = 50


def simulate(seed, n_subjects=300, effect=EFFECT, reliability=RELIABILITY):
    """Return the factors' posterior and the clinical table of a cohort."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(scale=np.sqrt(reliability), size=n_subjects)
    factor = mean + rng.normal(scale=np.sqrt(1 - reliability), size=n_subjects)
    died = SCALE * (rng.exponential(size=n_subjects) / np.exp(effect * factor)) ** (1 / SHAPE)
    censored = rng.uniform(*FOLLOW_UP, size=n_subjects)
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    clinical = pd.DataFrame(
        {"time": np.minimum(died, censored), "event": (died <= censored).astype(int)}, index=list(subjects)
    )
    covariance = np.full((1, 1, 1), 1 - reliability)
    return FactorMoments(subjects, ("F1",), mean[:, None], covariance, np.zeros(n_subjects, dtype=np.intp)), clinical


def estimate(seed, baseline, methods, sampling):
    """Fit each method to one cohort; one row for each: mean, lower, upper, warnings, seconds."""
    moments, clinical = simulate(seed)
    rows = []
    for method in methods:
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model = RiskModel(Survival("time", "event", baseline=baseline), method=method)
            row = model.fit(moments, clinical, seed=seed, **sampling).effects().iloc[0]
        rows.append(
            {
                "baseline": baseline,
                "method": method,
                **row[["mean", "lower", "upper"]].astype(float),
                "warned": len(caught),
                "censored": 1 - clinical["event"].mean(),
                "seconds": time.perf_counter() - started,
            }
        )
    return rows


def tabulate(estimates):
    """Coverage, bias and width of intervals, by baseline and method."""
    estimates = estimates.assign(
        covered=(estimates["lower"] <= EFFECT) & (estimates["upper"] >= EFFECT),
        bias=estimates["mean"] - EFFECT,
        width=estimates["upper"] - estimates["lower"],
    )
    grouped = estimates.groupby(["baseline", "method"], sort=False)
    table = grouped[["covered", "bias", "width", "warned", "censored", "seconds"]].mean()
    table.insert(1, "covered_se", np.sqrt(table["covered"] * (1 - table["covered"]) / grouped.size()))
    table.insert(3, "bias_se", grouped["bias"].std() / np.sqrt(grouped.size()))
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("`")[0])
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--baselines", nargs="+", default=["weibull"], help="weibull, piecewise_exponential, m_spline")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--sampler", default="nuts", choices=["nuts", "importance"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sampling = {"n_draws": options.draws, "n_tune": 400, "n_chains": 2, "sampler": options.sampler}
    started = time.perf_counter()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"  # inherited by the processes over cohorts; threads inside them would only collide
    tasks = [(options.seed + r, baseline) for baseline in options.baselines for r in range(options.replicates)]
    # Pools are renewed, because code that numba has loaded stays in memory, some 10 MB for each fit. Renewing the
    # processes of one pool (max_tasks_per_child) can hang for good in Python 3.12.
    rows = []
    for start in range(0, len(tasks), _BATCH):
        with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
            batch = tasks[start : start + _BATCH]
            futures = [pool.submit(estimate, seed, baseline, options.methods, sampling) for seed, baseline in batch]
            rows += [row for future in futures for row in future.result()]
    table = tabulate(pd.DataFrame(rows))
    print(
        f"log hazard ratio {EFFECT}, reliability {RELIABILITY}, N = 300, 95 % intervals, {options.replicates} cohorts"
    )
    print(table.round(3).to_string())
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes, {options.processes} processes")


if __name__ == "__main__":
    main()
