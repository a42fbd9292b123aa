"""The whole coverage benchmark, as the README quotes it: twenty minutes on two cores."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "risk_coverage.py"


def run_benchmark(n_replicates):
    """Coverage of the 95 % interval by method, from the table that the command prints."""
    command = [sys.executable, str(SCRIPT), "--replicates", str(n_replicates)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = [line.replace("weibull", "").split() for line in table.splitlines()]
    return {row[0]: float(row[1]) for row in words if row and row[0] in ("marginal", "plugin", "cut")}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_marginal_intervals_cover_and_the_comparators_do_not():
    covered = run_benchmark(200)
    assert 0.93 <= covered["marginal"] <= 0.97
    assert covered["plugin"] < 0.8
    assert covered["cut"] < 0.2
