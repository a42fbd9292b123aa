"""Seconds that alignment takes on one core, with R-hat before and after, for dense and sparse loadings."""

import argparse
import resource
import time

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

import mofa_bayes as mb


def simulate(n_chains, n_draws, n_subjects, n_features, n_factors, sparse, seed=0):
    """Draw chains around one truth, with a new random rotation, or sign and order, every quarter of a chain."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n_subjects, n_factors))
    w = rng.standard_normal((n_features, n_factors)) * (rng.random((n_features, n_factors)) < 0.3)
    factors = np.empty((n_chains, n_draws, n_subjects, n_factors), dtype=np.float32)
    loadings = np.empty((n_chains, n_draws, n_features, n_factors), dtype=np.float32)
    for c, s in np.ndindex(n_chains, n_draws):
        if s % (n_draws // 4) == 0:
            turn = np.eye(n_factors)[rng.permutation(n_factors)] * rng.choice([-1.0, 1.0], n_factors)
            if not sparse:
                turn = np.linalg.qr(rng.standard_normal((n_factors, n_factors)))[0]
        factors[c, s] = (z + 0.1 * rng.standard_normal(z.shape)) @ turn
        loadings[c, s] = (w + 0.1 * rng.standard_normal(w.shape)) @ turn
    dims = ("chain", "draw")
    return xr.Dataset(
        {"factors": ((*dims, "subject", "factor"), factors), "loadings_x": ((*dims, "feature_x", "factor"), loadings)}
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--factors", type=int, default=30)
    options = parser.parse_args()
    print(f"{options.draws} draws in 2 chains, p={options.features}, k={options.factors}, N=200")
    for sparse in (False, True):
        draws = simulate(2, options.draws // 2, 200, options.features, options.factors, sparse)
        mb.align(draws.isel(draw=slice(20), feature_x=slice(40)), sparse=sparse)  # imports
        cpu, wall = time.process_time(), time.perf_counter()
        with threadpool_limits(1):
            _, report = mb.align(draws, sparse=sparse)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        rows = report.table.set_index(["quantity", "stage"])["rhat_99"]
        print(
            f"{report.freedom:15s} {cpu:6.2f} CPU s, {wall:6.2f} s; {report.n_iterations} passes; 99 % of R-hats of "
            f"loadings below {rows['loadings_x', 'before']:.2f} before, {rows['loadings_x', 'after']:.4f} after"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()
