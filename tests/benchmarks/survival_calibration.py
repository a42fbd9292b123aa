"""Are predicted survival probabilities calibrated? `python tests/benchmarks/survival_calibration.py --replicates 100`.

Each replicate draws 300 patients to fit and 300 new ones: one factor with log hazard ratio 1.0, or three factors with
correlation 0.3 and effects 1.0, 0.5 and 0, known with reliability 0.5 or 0.8, and Weibull times, about 35 % censored.
The model is the default one (M-spline baseline). New patients are predicted at 60 horizons. The table shows in how
many replicates D-calibration has p > 0.05, and the calibration slope and the ratio of observed to expected events at
30 months, averaged. The true model's figures stand beside: the test rejects a true model in about 5 %, or less.
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
from mofa_bayes.risk import Compiled, RiskModel, Survival
from mofa_bayes.risk.metrics import (
    calibration_slope,
    d_calibration,
    observed_expected,
    status_at,
    survival_at_own_time,
)
from mofa_bayes.risk.quadrature import hermite_nodes

SHAPE, SCALE, FOLLOW_UP = 1.2, 30.0, (6.0, 72.0)
EFFECTS = {1: np.array([1.0]), 3: np.array([1.0, 0.5, 0.0])}
CORRELATION, HORIZON, N_TIMES = 0.3, 30.0, 60


def simulate(rng, n_subjects, n_factors, reliability):
    """Return the factors' posterior and the clinical table of a cohort."""
    correlation = CORRELATION + (1 - CORRELATION) * np.eye(n_factors)
    root = np.linalg.cholesky(correlation)
    mean = np.sqrt(reliability) * rng.normal(size=(n_subjects, n_factors)) @ root.T
    factors = mean + np.sqrt(1 - reliability) * rng.normal(size=(n_subjects, n_factors)) @ root.T
    predictor = factors @ EFFECTS[n_factors]
    died = SCALE * (rng.exponential(size=n_subjects) / np.exp(predictor)) ** (1 / SHAPE)
    censored = rng.uniform(*FOLLOW_UP, size=n_subjects)
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    clinical = pd.DataFrame(
        {"time": np.minimum(died, censored), "event": (died <= censored).astype(int)}, index=list(subjects)
    )
    names = tuple(f"F{k + 1}" for k in range(n_factors))
    covariance = (1 - reliability) * correlation[None]
    return FactorMoments(subjects, names, mean, covariance, np.zeros(n_subjects, dtype=np.intp)), clinical


def predict_truly(moments, times, n_factors):
    """P(event by t) under the true parameters, averaged over what is not known of the factors, (subject, time)."""
    effects = EFFECTS[n_factors]
    nodes, log_weights = hermite_nodes(40)
    predictor = (moments.mean @ effects)[:, None] + np.sqrt(moments.variance_along(effects))[:, None] * nodes
    survival = np.exp(-np.exp(predictor[..., None]) * (times / SCALE) ** SHAPE)
    return 1 - np.einsum("nqt,q->nt", survival, np.exp(log_weights))


def score(risk, times, clinical):
    """D-calibration's p-value, calibration slope, and observed over expected events."""
    time, event = clinical["time"].to_numpy(), clinical["event"].to_numpy()
    at = np.argmin(abs(times - HORIZON))
    status = status_at(time, event, times[[at]], limit="left")
    return {
        "p_value": float(d_calibration(survival_at_own_time(1 - risk, times, time), event).p_value),
        "slope": float(calibration_slope(risk[:, [at]], status)[0]),
        "observed_expected": float(observed_expected(risk[:, [at]], status)[0]),
    }


def measure(seeds, n_factors, reliability, baseline, sampler):
    """Fit and predict some replicates; two rows for each: the model's and the truth's."""
    rows, compiled = [], Compiled()
    outcome = RiskModel(Survival("time", "event", baseline=baseline))
    for seed in seeds:
        rng = np.random.default_rng([seed, n_factors, int(100 * reliability)])
        train, new = (simulate(rng, 300, n_factors, reliability) for _ in range(2))
        times = np.linspace(0.0, new[1]["time"].max(), N_TIMES + 1)[1:]
        started = time.process_time()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted = outcome.fit(*train, seed=seed, sampler=sampler, compiled=compiled, n_draws=500)
            risk = fitted.draw_risks(new[0], times=times).mean().risk  # what predict averages, without its intervals
        spent = time.process_time() - started
        for kind, own in (("model", risk), ("truth", predict_truly(new[0], times, n_factors))):
            case = {"n_factors": n_factors, "reliability": reliability, "of": kind}
            warned = sum(issubclass(warning.category, ConvergenceWarning) for warning in caught)
            rows.append({**case, **score(own, times, new[1]), "warned": warned, "cpu_seconds": spent})
    return rows


def tabulate(scores):
    """Share of replicates that pass, and means with standard errors."""
    scores = scores.assign(passed=scores["p_value"] > 0.05)
    grouped = scores.groupby(["n_factors", "reliability", "of"], sort=False)
    table = grouped[["passed", "slope", "observed_expected", "warned", "cpu_seconds"]].mean()
    for name in ("slope", "observed_expected", "passed"):
        table.insert(list(table).index(name) + 1, f"{name}_se", grouped[name].std() / np.sqrt(grouped.size()))
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("`")[0])
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 3], choices=[1, 3])
    parser.add_argument("--reliabilities", type=float, nargs="+", default=[0.5, 0.8])
    parser.add_argument("--baseline", default="m_spline")
    parser.add_argument("--sampler", default="importance", choices=["importance", "nuts"])
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"  # inherited by the processes; threads inside them would only collide
    started, rows = time.perf_counter(), []
    shares = np.array_split(np.arange(options.replicates), options.processes)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        futures = [
            pool.submit(measure, seeds.tolist(), n_factors, reliability, options.baseline, options.sampler)
            for n_factors in options.factors
            for reliability in options.reliabilities
            for seeds in shares
        ]
        rows = [row for future in futures for row in future.result()]
    print(f"{options.baseline}, 300 patients to fit and 300 new, {options.replicates} replicates; slope at {HORIZON:g}")
    print(tabulate(pd.DataFrame(rows)).round(3).to_string())
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes, {options.processes} processes")


if __name__ == "__main__":
    main()
