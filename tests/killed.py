"""Fits that are killed, in processes of their own: `python killed.py ENGINE FOLDER`. The parent is the test.

Written to FOLDER: `report.json`, with what was found after each kill, and the two fits, `whole.nc` without a break and
`resumed.nc` after all kills.
"""

import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design

N_KILLS = 3


def fit(engine: str, checkpoint: Path | None) -> mb.Posterior:
    design = Design(n_subjects=40, n_features={"a": 12, "b": 8}, sharing=[("a", "b")] * 2, noise_sd=0.7, missing=0.1)
    views = mb.simulate_cohort(design, seed=3).views
    settings: mb.Ascent | mb.Sampling
    if engine == "vi":
        settings = mb.Ascent(n_threads=1, checkpoint=checkpoint, checkpoint_seconds=0.0)
    else:
        n_tune, n_draws = (15, 25) if engine == "gibbs" else (120, 200)
        settings = mb.Sampling(
            n_chains=2, n_tune=n_tune, n_draws=n_draws, n_jobs=1, checkpoint=checkpoint, checkpoint_seconds=0.0
        )
    spec = mb.FactorModel(n_factors=3) if engine != "nuts" else mb.FactorModel(n_factors=2, loadings=mb.ARD())
    return mb.fit(views, spec, engine=engine, settings=settings, seed=1, progress=False)


def kill_one(engine: str, checkpoint: Path, seconds: float) -> bool:
    """Fit in a child until `seconds` after its first checkpoint, then kill it; say whether it was still at work."""
    child = os.fork()
    if child == 0:
        fit(engine, checkpoint)
        os._exit(0)
    ended = 0
    while not ended and not checkpoint.exists():
        time.sleep(0.001)
        ended, _ = os.waitpid(child, os.WNOHANG)
    time.sleep(seconds)
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)
    return False


def main() -> None:
    engine, folder = sys.argv[1], Path(sys.argv[2])
    checkpoint = folder / "state.npz"
    warnings.simplefilter("ignore")
    fit(engine, None)  # compiles
    begun = time.perf_counter()
    fit(engine, None).save(folder / "whole.nc")
    seconds = time.perf_counter() - begun
    rng, found = random.Random(), []
    for _ in range(N_KILLS):
        was_killed = kill_one(engine, checkpoint, rng.uniform(0.0, seconds / N_KILLS))
        files = [path for path in folder.glob("state*.npz") if not path.name.startswith(".")]
        readable = True
        for path in files:
            with np.load(path, allow_pickle=False) as stored:
                readable &= "fingerprint" in stored and all(stored[name] is not None for name in stored.files)
        found.append({"killed": was_killed, "files": len(files), "readable": bool(readable)})
    fit(engine, checkpoint).save(folder / "resumed.nc")
    (folder / "report.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
