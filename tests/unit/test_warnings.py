"""Warnings point at the user's line, from wherever inside the package they come."""

import ast
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.errors import MofaBayesWarning

PACKAGE = Path(mb.__file__).parent


@pytest.fixture(scope="module")
def views():
    rng = np.random.default_rng(0)
    index = [f"p{n}" for n in range(40)]
    z = rng.standard_normal((40, 2))
    frames = {
        view: pd.DataFrame(z @ rng.standard_normal((2, n)) + rng.standard_normal((40, n)), index).add_prefix(view)
        for view, n in (("a", 12), ("b", 9))
    }
    return mb.MultiView.from_frames(frames)


@pytest.fixture(scope="module")
def post(views):
    return mb.fit(views, mb.FactorModel(n_factors=2), engine="spectral", n_draws=20, progress=False)


def project_more(views, post):
    frames = {view: views[view].to_pandas() for view in views.names}
    frames["a"] = frames["a"].assign(another=1.0)
    post.project(frames | {"c": frames["b"]})


def align_apart(_, post):
    """Chains of which the second has loadings at random."""
    own, rng = post.tree["posterior"].to_dataset().isel(chain=0, drop=True), np.random.default_rng(1)
    names = [f"loadings_{view}" for view in post.views]
    other = own.assign({name: xr.ones_like(own[name]) * rng.standard_normal(own[name].shape[1:]) for name in names})
    mb.align(xr.concat([own, other], "chain"))


CASES = {
    "spectral, unused prior": lambda views, _: mb.fit(
        views, mb.FactorModel(n_factors=2, factors=mb.ARDFactors()), engine="spectral", progress=False
    ),
    "vi, unsettled": lambda views, _: mb.fit(
        views, mb.FactorModel(n_factors=2), settings=mb.Ascent(max_iterations=2), n_draws=10, progress=False
    ),
    "projection": project_more,
    "alignment": align_apart,
}


@pytest.mark.parametrize("call", CASES.values(), ids=CASES)
def test_a_warning_points_at_the_callers_line(call, views, post):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call(views, post)
    ours = [own for own in found if issubclass(own.category, MofaBayesWarning)]
    assert ours
    assert {own.filename for own in ours} == {__file__}


def test_all_warnings_go_through_the_one_that_knows_the_callers_line():
    """No call of `warnings.warn` anywhere else in the package."""
    calls = [
        path.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn"
    ]
    assert calls == ["errors.py"]
