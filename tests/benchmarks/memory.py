"""Peak memory of a fit above its input: `python tests/benchmarks/memory.py [--subjects 2000] [--features 20000]`.

Each measurement has a process of its own, which builds the MultiView (its arrays are "the input"), fits a tiny cohort
of the same kind so that imports and compiled code are there, hands freed memory back to the system, and resets the
kernel's high-water mark of resident memory (Linux: /proc/self/clear_refs). What is reported is the mark after the fit
less the resident memory before it, in bytes and as a multiple of the input's. Where a mark cannot be reset, the
process's lifetime maximum less the resident memory before the fit is reported, which can only be larger.

`engine` is preprocessing, layout and ascent; `fit` is `mb.fit` with its default 500 draws, which it keeps.
"""

import argparse
import ctypes
import gc
import json
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from scaling import draw_views
from threadpoolctl import threadpool_limits

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.engines.vi.ascend import ascend
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import lay_out
from mofa_bayes.engines.vi.start import start_factors
from mofa_bayes.errors import ConvergenceWarning


def read_status(name):
    """Read one line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def settle():
    """Give freed memory back and restart the high-water mark; return resident bytes."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return read_status("VmRSS")
    except (OSError, AttributeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_peak():
    try:
        return read_status("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(what, views, n_factors, passes):
    """Fit; return the peak after the layout too, where the engine is run by itself."""
    spec = mb.FactorModel(n_factors=n_factors, min_variance=0)
    settings = mb.Ascent(max_iterations=passes, n_threads=1)
    peaks = {}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if what == "fit":
            kept = mb.fit(views, spec, settings=settings, progress=False)
        else:
            preprocessing = fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})
            layout = lay_out(views, preprocessing, find_known(views, preprocessing))
            peaks["layout_peak"], peaks["layout_kept"] = read_peak(), read_status("VmRSS")
            kept = ascend(layout, spec, settings, start_factors(layout, n_factors, np.random.default_rng(0)))
    peaks["peak"] = read_peak()
    return peaks, kept


def measure(options):
    """Measure in this process; print one line of JSON."""
    shape = (options.subjects, options.features, options.factors)
    views = draw_views(*shape, missing=options.missing)
    run(options.what, draw_views(40, 60, 3, missing=options.missing), 3, 2)
    size = sum(views[view].values.nbytes for view in views.names)
    before = settle()
    peaks, _ = run(options.what, views, options.factors, options.passes)
    print(json.dumps({"input": size, "before": before} | {name: peak - before for name, peak in peaks.items()}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=2000)
    parser.add_argument("--features", type=int, default=20000)
    parser.add_argument("--factors", type=int, default=20)
    parser.add_argument("--passes", type=int, default=3, help="passes after the dense start; they do not change memory")
    parser.add_argument("--what", choices=("engine", "fit"), help=argparse.SUPPRESS)
    parser.add_argument("--missing", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what:
        measure(options)
        return
    print(f"N={options.subjects}, D={options.features}, K={options.factors}, float32")
    print("what    missing  input MB  peak above input MB  times input  (goal)  of which layout: peak, kept")
    for what, missing, goal in (("engine", 0.0, 0.6), ("engine", 0.1, 1.5), ("fit", 0.0, None)):
        sizes = [f"--{name}={getattr(options, name)}" for name in ("subjects", "features", "factors", "passes")]
        command = [sys.executable, __file__, f"--what={what}", f"--missing={missing}", *sizes]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        found = json.loads(done.stdout.splitlines()[-1])
        layout = " ".join(f"{found[k] / found['input']:.2f}" for k in ("layout_peak", "layout_kept") if k in found)
        print(
            f"{what:7s} {missing:7.0%} {found['input'] / 1e6:9.0f} {found['peak'] / 1e6:20.0f} "
            f"{found['peak'] / found['input']:12.2f}  ({'-' if goal is None else f'< {goal}'})  {layout}",
            flush=True,
        )


if __name__ == "__main__":
    main()
