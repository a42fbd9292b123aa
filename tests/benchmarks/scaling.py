"""What a pass of vi costs: `python tests/benchmarks/scaling.py [--quick]`.

Three questions, one table each. How many times the two matrix products per view that a pass cannot do without (Y'Z and
Y (tau W), in the data's precision, timed alone in the same process) does a pass cost? How does its cost grow with the
number of subjects and of features (slopes of the log-log fit; 1 is linear)? What does a second thread bring at 20,000
features?

Times are minima over many passes, because a busy machine can only make a pass slower; one thread's are of the
processor, two threads' of the wall, so the last table needs a machine with two free cores.
"""

import argparse
import os
import time
import warnings

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.engines.vi.ascend import ascend
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import lay_out
from mofa_bayes.engines.vi.start import start_factors
from mofa_bayes.errors import ConvergenceWarning

PASSES = 30


def draw_views(n_subjects, n_features, n_factors, dtype=np.float32, missing=0.0, seed=0):
    """Two views, two thirds and one third of the features, of signal and noise of unit size."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n_subjects, n_factors), dtype=np.float32)
    frames = {}
    for name, width in (("a", n_features - n_features // 3), ("b", n_features // 3)):
        loadings = rng.standard_normal((n_factors, width), dtype=np.float32) * (rng.random((n_factors, width)) < 0.5)
        table = (factors @ loadings.astype(np.float32)) / np.float32(np.sqrt(n_factors / 2))
        table += rng.standard_normal(table.shape, dtype=np.float32)
        if missing:
            table[rng.random(table.shape, dtype=np.float32) < missing] = np.nan
        frames[name] = pd.DataFrame(table.astype(dtype, copy=False), index=[f"p{n:05d}" for n in range(n_subjects)])
        frames[name].columns = [f"f{d:06d}" for d in range(width)]
    return mb.MultiView.from_frames(frames)


def time_passes(views, n_factors, n_threads, clock, passes=PASSES):
    """Seconds of each sparse pass, and of each pass of the dense start before them, their rotations included."""
    spec = mb.FactorModel(n_factors=n_factors, min_variance=0)
    ticks = []
    preprocessing = fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})
    layout = lay_out(views, preprocessing, find_known(views, preprocessing))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        settings = mb.Ascent(max_iterations=passes, mode=1e-12, n_threads=n_threads)
        scores = start_factors(layout, n_factors, np.random.default_rng(0))
        fitted = ascend(layout, spec, settings, scores, lambda *_: ticks.append(clock()))
    n_dense = len(ticks) - len(fitted.bound)
    steps = np.diff(ticks)
    return steps[n_dense:], steps[: max(n_dense - 1, 0)]


def time_products(views, n_factors, repeats=10):
    """Least seconds of Y'Z and Y (tau W) over all views, whole matrices, one thread."""
    rng = np.random.default_rng(0)
    total = 0.0
    with threadpool_limits(1):
        for view in views.names:
            table = np.ascontiguousarray(views[view].values)
            z = rng.standard_normal((table.shape[0], n_factors)).astype(table.dtype)
            w = rng.standard_normal((table.shape[1], n_factors)).astype(table.dtype)
            for left, right in ((table.T, z), (table, w)):
                seconds = []
                for _ in range(repeats):
                    begun = time.process_time()
                    left @ right
                    seconds.append(time.process_time() - begun)
                total += min(seconds)
    return total


def cost(n_subjects, n_features, n_factors, dtype=np.float32):
    """One line of the first table."""
    views = draw_views(n_subjects, n_features, n_factors, dtype)
    products = time_products(views, n_factors)
    sparse, dense = time_passes(views, n_factors, 1, time.process_time)
    products = min(products, time_products(views, n_factors))
    print(
        f"{n_subjects:5d} | {n_features:6d} | {n_factors:3d} | {np.dtype(dtype).name} | {1e3 * products:8.2f} | "
        f"{1e3 * sparse.min():8.2f} | {1e3 * np.median(sparse):8.2f} | {sparse.min() / products:5.2f} | "
        f"{1e3 * dense.min():8.2f} | {dense.min() / products:5.2f}",
        flush=True,
    )
    return sparse.min()


def slope(sizes, seconds):
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, and no second thread")
    options = parser.parse_args()
    time_passes(draw_views(60, 90, 3), 3, 1, time.process_time, 3)  # compiles
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("    N |      D |   K | dtype   | products ms | pass ms (min, median) | ratio | dense start pass ms | ratio")
    rows = [(300, 1600, 12), (500, 6500, 20), (500, 6500, 50), (2000, 20000, 20)]
    for n, d, k in rows[: 2 if options.quick else 4]:
        cost(n, d, k)
    cost(500, 6500, 20, np.float64)
    by_rows, by_columns = ((250, 500, 1000, 2000, 4000), (1000, 2000, 4000, 8000, 16000))
    if options.quick:
        by_rows, by_columns = by_rows[:3], by_columns[:3]
    slope_n = slope(by_rows, [cost(n, 4000, 20) for n in by_rows])
    slope_d = slope(by_columns, [cost(1000, d, 20) for d in by_columns])
    print(f"slope of a pass's cost in N (D=4,000): {slope_n:.2f}; in D (N=1,000): {slope_d:.2f}")
    if options.quick:
        return
    views = draw_views(2000, 20000, 20)
    least = {1: [], 2: []}
    for n_threads in (1, 2, 1, 2):
        sparse, dense = time_passes(views, 20, n_threads, time.perf_counter, 20)
        least[n_threads].append((sparse.min(), dense.min()))
    one, two = (np.min(least[n_threads], axis=0) for n_threads in (1, 2))
    print(
        f"two threads at N=2,000, D=20,000, K=20: {one[0] / two[0]:.2f}x ({1e3 * one[0]:.0f} -> {1e3 * two[0]:.0f} ms "
        f"a pass), dense start {one[1] / two[1]:.2f}x; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
