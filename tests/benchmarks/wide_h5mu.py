"""A wide h5mu file from disk to new patients' factors: `python tests/benchmarks/wide_h5mu.py [--subjects 1000]`.

Three modalities of float32 (rna, meth, protein), a tenth of the patients without one of them. Each measurement has a
process of its own: it reads the file, fits vi with K factors and projects 100 new patients, and says wall and processor
seconds of each step and the largest resident memory of its life, imports and compiled code included. Less than 3 GB is
asked for at 1,000 patients and 20,000 features.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

SHARES = {"rna": 0.6, "meth": 0.35, "protein": 0.05}
N_NEW = 100
GOAL = 3.0


def write(path, options):
    """Draw a cohort and new patients of it, a modality at a time, and write both."""
    import anndata
    import mudata

    rng = np.random.default_rng(0)
    n = options.subjects + N_NEW
    factors = rng.standard_normal((n, options.factors)).astype(np.float32)
    names = np.array([f"s{i:05d}" for i in range(n)])
    parts = {"old": {}, "new": {}}
    lacks = rng.integers(0, 3, n)
    is_partial = rng.random(n) < 0.1
    for m, (view, share) in enumerate(SHARES.items()):
        width = int(share * options.features)
        loadings = rng.standard_normal((options.factors, width), dtype=np.float32)
        loadings *= rng.random(loadings.shape, dtype=np.float32) < 0.3
        values = factors @ loadings + 2 * rng.standard_normal((n, width), dtype=np.float32)
        kept = ~(is_partial & (lacks == m))
        for name, rows in (("old", slice(0, options.subjects)), ("new", slice(options.subjects, n))):
            own = anndata.AnnData(values[rows][kept[rows]])
            own.obs_names = names[rows][kept[rows]]
            own.var_names = [f"{view}{d}" for d in range(width)]
            parts[name][view] = own
    for name, own in parts.items():
        mudata.MuData(own).write(path / f"{name}.h5mu")


def measure(options):
    """Read, fit and project in this process; print one line of JSON."""
    import mofa_bayes as mb

    found, begun = {}, None

    def tick(name=None):
        nonlocal begun
        now = np.array([time.perf_counter(), time.process_time()])
        if name is not None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
            found[name] = [*(now - begun).tolist(), peak]
        begun = np.array([time.perf_counter(), time.process_time()])

    warnings.simplefilter("ignore")
    tick()
    views = mb.read_mudata(Path(options.folder) / "old.h5mu")
    tick("read")
    settings = mb.Ascent(n_threads=options.threads)
    post = mb.fit(views, mb.FactorModel(n_factors=options.factors), settings=settings, seed=0, progress=False)
    tick("fit")
    moments = post.project(mb.read_mudata(Path(options.folder) / "new.h5mu", uninformative="keep"))
    tick("project")
    print(json.dumps(found | {"patients": len(moments.subjects), "factors": len(moments.factors)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=1000)
    parser.add_argument("--features", type=int, default=20000)
    parser.add_argument("--factors", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        measure(options)
        return
    with tempfile.TemporaryDirectory() as temporary:
        write(Path(temporary), options)
        sizes = [f"--{name}={getattr(options, name)}" for name in ("subjects", "features", "factors", "threads")]
        command = [sys.executable, __file__, f"--folder={temporary}", *sizes]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"N={options.subjects}, D={options.features}, K={options.factors}, float32, {options.threads} threads")
    print("step      wall s  processor s  peak GB so far")
    for name in ("read", "fit", "project"):
        print(f"{name:8s} {found[name][0]:7.1f} {found[name][1]:12.1f} {found[name][2]:15.2f}")
    word = "holds" if found["project"][2] < GOAL else "FAILS"
    print(f"{found['patients']} new patients, {found['factors']} factors; {word}: < {GOAL:g} GB")


if __name__ == "__main__":
    main()
