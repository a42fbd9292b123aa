"""kill -9 at any moment: what was written last is whole, and leads to the identical result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mofa_bayes as mb

SCRIPT = Path(__file__).parents[1] / "killed.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
@pytest.mark.parametrize("engine", ["vi", "gibbs", pytest.param("nuts", marks=pytest.mark.slow)])
def test_a_fit_that_is_killed_again_and_again_ends_as_one_that_is_not(engine, tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), engine, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert any(own["killed"] and own["files"] for own in report)
    assert all(own["readable"] for own in report)
    whole, resumed = mb.load(tmp_path / "whole.nc"), mb.load(tmp_path / "resumed.nc")
    for name, values in whole.tree["posterior"].data_vars.items():
        np.testing.assert_array_equal(resumed.tree["posterior"][name].values, values.values, err_msg=str(name))
