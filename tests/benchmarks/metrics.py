"""Metrics over draws beside scikit-survival's; coverage of bootstrap intervals, and D-calibration of the truth."""

import argparse
import time

import numpy as np
import pandas as pd
from sksurv.metrics import brier_score, concordance_index_censored, concordance_index_ipcw, cumulative_dynamic_auc

import mofa_bayes as mb
from mofa_bayes.risk import metrics

TIMES = np.array([5.0, 10.0, 20.0])
GRID = np.linspace(0.5, 40.0, 80)


def simulate(n_subjects, rng):
    """Exponential survival, about 35 % censored, and the true linear predictor."""
    predictor = rng.normal(size=n_subjects)
    waiting, censored = rng.exponential(12 / np.exp(predictor)), rng.exponential(25, size=n_subjects)
    return np.minimum(waiting, censored) + 1e-3, waiting <= censored, predictor


def risk_of(predictor, times):
    return -np.expm1(-np.exp(predictor)[..., None] * times / 12)


def compare_speed(n_subjects, n_draws, rng):
    seen, event, predictor = simulate(n_subjects, rng)
    draws = predictor + 0.3 * rng.normal(size=(n_draws, n_subjects))
    both = np.array(list(zip(event, seen, strict=True)), dtype=[("event", bool), ("time", float)])
    status = metrics.status_at(seen, event, TIMES)
    pairs = {
        "Harrell's C": (
            lambda own: metrics.harrell_c(own, seen, event),
            lambda one: concordance_index_censored(event, seen, one)[0],
        ),
        "Uno's C": (
            lambda own: metrics.uno_c(own, seen, event, tau=20.0),
            lambda one: concordance_index_ipcw(both, both, one, tau=20.0)[0],
        ),
        "AUC at 3 times": (
            lambda own: metrics.auc(own[..., None], status),
            lambda one: cumulative_dynamic_auc(both, both[seen < 25], one[seen < 25], TIMES)[0],
        ),
        "Brier at 3 times": (
            lambda own: metrics.brier_score(risk_of(own, TIMES), status),
            lambda one: brier_score(both, both, 1 - risk_of(one, TIMES), TIMES)[1],
        ),
    }
    print(f"{n_subjects} subjects, {n_draws} draws; CPU ms per draw, ours and scikit-survival's")
    for name, (ours, theirs) in pairs.items():
        ours(draws[:2])
        start = time.process_time()
        ours(draws)
        middle = time.process_time()
        for one in draws[:20]:
            theirs(one)
        end = time.process_time()
        print(f"{name:18s} {1e3 * (middle - start) / n_draws:8.3f} {1e3 * (end - middle) / 20:8.3f}")


def check_coverage(n_subjects, n_replicates, n_bootstrap, rng):
    """Intervals of `mb.evaluate` against each metric of a cohort of 100,000."""
    seen, event, predictor = simulate(100_000, rng)
    risk, status = risk_of(predictor, TIMES), metrics.status_at(seen, event, TIMES, limit="left")
    truth = {
        "harrell_c": [metrics.harrell_c(predictor, seen, event)],
        "auc": metrics.auc(risk, status),
        "brier_score": metrics.brier_score(risk, status),
        "calibration_slope": np.ones(3),
        "calibration_intercept": np.zeros(3),
        "observed_expected": np.ones(3),
    }
    inside, p_values = {name: [] for name in truth}, []
    start = time.process_time()
    for _ in range(n_replicates):
        seen, event, predictor = simulate(n_subjects, rng)
        names = [f"p{i}" for i in range(n_subjects)]
        clinical = pd.DataFrame({"time": seen, "event": event.astype(int)}, index=names)
        times = GRID[: np.searchsorted(GRID, seen.max())]
        risks = mb.Risks(names, times, risk_of(predictor, times), predictor)
        found = mb.evaluate(
            risks, clinical, mb.Survival("time", "event"), times=TIMES, seed=rng, n_bootstrap=n_bootstrap
        ).table.set_index("metric")
        for name, values in truth.items():
            own = found.loc[[name]]
            inside[name].append((own["lower"].to_numpy() <= values) & (values <= own["upper"].to_numpy()))
        p_values.append(found.loc["d_calibration_p", "estimate"])
    seconds = time.process_time() - start
    print(
        f"\n95 % bootstrap intervals, {n_replicates} cohorts of {n_subjects}, {n_bootstrap} resamples; {seconds:.0f} s"
    )
    for name, held in inside.items():
        print(f"{name:22s} {np.mean(held):.3f}")
    print(f"{'D-calibration p > 0.05':22s} {np.mean(np.array(p_values) > 0.05):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=500)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--bootstrap", type=int, default=400)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    compare_speed(options.subjects, options.draws, rng)
    check_coverage(options.subjects, options.replicates, options.bootstrap, rng)


if __name__ == "__main__":
    main()
