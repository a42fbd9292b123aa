"""What exact draws cost: `python tests/benchmarks/gibbs_speed.py [--quick | --wide]`.

For each prior, chains on 200 subjects and three views of 100 features that share five factors: effective draws per CPU
second of the worst entry of W W' (loadings as drawn) and of W C W' (C the covariance of the factors drawn, so that the
scale of factors, which the data do not fix, drops out), vi's start and tuning included in the seconds. The entries are
those among 20 features of each view. `--wide` is three views of 2,000 features and ten factors, in processes, with the
time on the wall.

One thread: `OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python tests/benchmarks/gibbs_speed.py`.
"""

import argparse
import resource
import time

import numpy as np
from arviz_stats.base import array_stats

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.data.simulate import Design
from mofa_bayes.engines.gibbs.sample import sample_gibbs
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import lay_out

PRIORS = {
    "ard": mb.ARD(), "spike_slab": mb.SpikeSlab(), "horseshoe": mb.Horseshoe(), "laplace": mb.Laplace(),
    "normal": mb.Normal(),
}  # fmt: skip
N_ENTRIES = 20


def draw_layout(n_features, n_factors, spec, seed=0):
    """200 subjects, three views that share all factors."""
    names = ("a", "b", "c")
    design = Design(
        n_subjects=200,
        n_features=dict.fromkeys(names, n_features),
        sharing=[names[: 2 + k % 2] if k % 3 else names for k in range(n_factors)],
        density=0.5,
    )
    views = mb.simulate_cohort(design, seed=seed).views
    preprocessing = fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})
    return lay_out(views, preprocessing, find_known(views, preprocessing))


def cpu_seconds():
    """Of this process and of those it has waited for."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def products(sampled, n_factors, scaled):
    """Entries of W W' or W C W' among some features, (chain, draw, entry)."""
    found = []
    for chain in sampled.chains:
        own = [chain[name][:, :N_ENTRIES, :n_factors] for name in chain if name.startswith("terms")]
        w = np.concatenate(own, axis=1).astype(np.float64)
        if scaled:
            z = chain["factors"].astype(np.float64)
            z -= z.mean(axis=1, keepdims=True)
            covariance = np.einsum("dnk,dnl->dkl", z, z) / z.shape[1]
            product = w @ covariance @ w.transpose(0, 2, 1)
        else:
            product = w @ w.transpose(0, 2, 1)
        rows, columns = np.tril_indices(w.shape[1])
        found.append(product[:, rows, columns])
    return np.stack(found)


def measure(name, n_features, n_factors, sampling):
    """One line of the table."""
    spec = mb.FactorModel(n_factors=n_factors, loadings=PRIORS[name])
    layout = draw_layout(n_features, n_factors, spec)
    sample_gibbs(
        layout, spec, Sampling(n_draws=4, n_tune=0, n_chains=1, n_jobs=1), np.random.default_rng(0)
    )  # compiles
    begun, cpu = time.perf_counter(), cpu_seconds()
    sampled = sample_gibbs(layout, spec, sampling, np.random.default_rng(1))
    wall, cpu = time.perf_counter() - begun, cpu_seconds() - cpu
    figures = []
    for scaled in (False, True):
        entries = products(sampled, n_factors, scaled)
        ess = array_stats.ess(entries, chain_axis=0, draw_axis=1)
        rhat = array_stats.rhat(entries, chain_axis=0, draw_axis=1)
        figures += [np.min(ess), np.min(ess) / cpu, np.max(rhat)]
    n_sweeps = sampling.n_chains * (sampling.n_tune + sampling.n_draws)
    table = " | ".join(f"{ess:7.0f} | {rate:8.1f} | {rhat:6.3f}" for ess, rate, rhat in (figures[:3], figures[3:]))
    print(f"{name:10s} | {1e3 * cpu / n_sweeps:8.2f} | {cpu:6.1f} | {wall:6.1f} | {table}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer draws")
    parser.add_argument("--wide", action="store_true", help="3 x 2,000 features, ten factors, two processes")
    parser.add_argument("--priors", nargs="+", default=list(PRIORS), choices=PRIORS)
    options = parser.parse_args()
    print(
        "prior      | ms/sweep | cpu s  | wall s | WW' ESS | /cpu s   | R-hat  | WCW'    | /cpu s   | R-hat",
        flush=True,
    )
    n_draws, n_tune = (200, 100) if options.quick else (1000, 500)
    sampling = Sampling(n_draws=n_draws, n_tune=n_tune, n_chains=2, n_jobs=2 if options.wide else 1)
    for name in options.priors:
        measure(name, *((2000, 10) if options.wide else (100, 5)), sampling)


if __name__ == "__main__":
    main()
