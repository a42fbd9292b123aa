"""A model that is saved, moved and loaded by a process that knows nothing else scores the same patients identically."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb

THERE = """
import sys
sys.path[:0] = {paths!r}
import warnings
import pandas as pd
import mofa_bayes as mb
post, risk = mb.load("fit.nc"), mb.load_risk("risk.nc")
tables = {{view: pd.read_parquet(view + ".parquet") for view in ("meth", "rna")}}
clinical = pd.read_parquet("clinical.parquet")
moments = post.project(tables)
risk.predict(moments, clinical, times=[0.5, 1.0]).to_frame().to_parquet("scores.parquet")
pd.DataFrame(moments.mean).add_prefix("F").to_parquet("factors.parquet")
"""


@pytest.mark.parametrize("is_shareable", [False, True], ids=["whole", "shareable"])
def test_a_moved_model_scores_identically(cohort, post, tmp_path, is_shareable):
    rng = np.random.default_rng(0)
    clinical = pd.DataFrame(
        {"time": rng.exponential(size=80) + 0.01, "event": 1, "age": rng.normal(60, 9, 80)}, index=post.subjects
    )
    model = mb.RiskModel(mb.Survival("time", "event", baseline="weibull"), covariates=["age"])
    risk = model.fit(post, clinical, seed=0, n_draws=100, n_tune=50, n_chains=2, sampler="importance", progress=False)
    new = [f"new{n}" for n in range(7)]
    frames = {view: cohort.views[view].to_pandas().dropna(how="all").iloc[:7] for view in ("meth", "rna")}
    tables = {view: frame.set_axis(new, axis=0) for view, frame in frames.items()}
    patients = clinical.iloc[:7].set_axis(new, axis=0)[["age"]]
    moments = post.project(tables)
    here = risk.predict(moments, patients, times=[0.5, 1.0]).to_frame()

    place = tmp_path / "elsewhere"
    place.mkdir()
    post.save(place / "fit.nc", shareable=is_shareable)
    risk.save(place / "risk.nc")
    patients.to_parquet(place / "clinical.parquet")
    for view, table in tables.items():
        table.to_parquet(place / f"{view}.parquet")
    paths = [str(Path(mb.__file__).parents[1])]
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-I", "-c", THERE.format(paths=paths)],
        cwd=place,
        env=kept | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    pd.testing.assert_frame_equal(pd.read_parquet(place / "scores.parquet"), here, check_exact=True)
    np.testing.assert_array_equal(pd.read_parquet(place / "factors.parquet").to_numpy(), moments.mean)
