"""Long work with nuts: chains that are cut off, interrupted, refused, and go on as if they had not been."""

import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest
import xarray as xr
from power_cut import power_cut

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design
from mofa_bayes.engines import nuts
from mofa_bayes.errors import ConvergenceWarning, FileError, FitError

DENSE = mb.FactorModel(n_factors=1, loadings=mb.ARD(), min_variance=0.0)
N_TUNE, N_DRAWS = 6, 5
BRIEF = {"n_tune": N_TUNE, "n_draws": N_DRAWS, "n_chains": 2, "n_jobs": 1}


@pytest.fixture(scope="module")
def views():
    design = Design(n_subjects=20, n_features={"a": 4, "b": 3}, sharing=[("a", "b")], noise_sd=0.7)
    return mb.simulate_cohort(design, seed=1).views


def sample(views, fingerprint="this one", seed=3, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return nuts.sample_nuts(
            views, DENSE, mb.Sampling(**BRIEF | more), np.random.default_rng(seed), fingerprint=fingerprint
        )


@pytest.fixture(scope="module")
def whole(views):
    """The fit that nothing disturbs, and that writes nothing."""
    return sample(views)


def assert_same(one, other):
    xr.testing.assert_identical(one.draws, other.draws)
    xr.testing.assert_identical(one.sample_stats, other.sample_stats)
    xr.testing.assert_identical(one.report, other.report)


TOTAL = N_TUNE + N_DRAWS


@pytest.mark.parametrize("after", [1, N_TUNE - 1, N_TUNE, N_TUNE + 1, TOTAL - 1, TOTAL, TOTAL + N_TUNE, 2 * TOTAL])
def test_chain_that_is_cut_off_goes_on_to_the_same_draws_bit_for_bit(views, whole, after, tmp_path, monkeypatch):
    """Cut while it tunes, at its end, between, and after the draws; in the first chain and the second."""
    often = {"checkpoint": tmp_path / "state.npz", "checkpoint_seconds": 0.0}
    with power_cut(monkeypatch, after):
        sample(views, **often)
    assert_same(sample(views, **often), whole)


def test_processes_and_checkpoints_change_nothing(views, whole, tmp_path):
    path = tmp_path / "state.npz"
    assert_same(sample(views, n_jobs=2, checkpoint=path), whole)
    written = path.read_bytes()
    assert_same(sample(views, n_jobs=2, checkpoint=path), whole)  # complete: nothing is drawn again
    assert path.read_bytes() == written
