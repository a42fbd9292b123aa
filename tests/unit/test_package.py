"""Importing the package costs nothing, and its public names are what they say."""

import subprocess
import sys

import pytest

import mofa_bayes as mb

HEAVY = ("pymc", "pytensor", "arviz", "xarray", "pandas", "numba", "scipy", "matplotlib", "sksurv", "rich", "typer")


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_takes_under_half_a_second_and_nothing_heavy():
    code = (
        "import sys, time; start = time.perf_counter(); import mofa_bayes; spent = time.perf_counter() - start;"
        f"print(spent, sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    spent, loaded = run_python(code).split(" ", 1)
    assert float(spent) < 0.5
    assert loaded == "[]"


@pytest.mark.parametrize("module", ["spec", "data.multiview", "posterior", "explain", "risk", "plot", "fitting"])
def test_pymc_and_matplotlib_wait_until_they_are_needed(module):
    code = f"import sys, mofa_bayes.{module}; print(sorted({{'pymc', 'arviz', 'matplotlib'}} & set(sys.modules)))"
    assert run_python(code) == "[]"


@pytest.mark.parametrize("name", mb.__all__)
def test_public_name_is_there_and_documented(name):
    assert name in dir(mb)
    assert getattr(mb, name).__doc__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = mb.no_such_thing


def test_graph_is_a_call_whichever_way_it_was_imported(cohort):
    import mofa_bayes.graph.model

    spec = mb.FactorModel(n_factors=2)
    assert mb.graph is mofa_bayes.graph
    assert "factors" in mb.graph(cohort.views, spec).named_vars
