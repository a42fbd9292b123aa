"""Long work with nuts: chains that are cut off, interrupted or refused, and go on as if they had not been."""

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import xarray as xr
from power_cut import power_cut

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design
from mofa_bayes.engines import nuts
from mofa_bayes.engines.vi.checkpoint import Checkpoint
from mofa_bayes.errors import ConvergenceWarning, FileError, FitError

DENSE = mb.FactorModel(n_factors=1, loadings=mb.ARD(), min_variance=0.0)
N_TUNE, N_DRAWS = 130, 8  # the scales that PyMC learns change from the 102nd draw on
BRIEF = {"n_tune": N_TUNE, "n_draws": N_DRAWS, "n_chains": 2, "n_jobs": 1}


@pytest.fixture(scope="module")
def views():
    design = Design(n_subjects=20, n_features={"a": 4, "b": 3}, sharing=[("a", "b")], noise_sd=0.7)
    return mb.simulate_cohort(design, seed=1).views


def sample(views, fingerprint="this one", **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return sample_and_warn(views, fingerprint, **more)


def sample_and_warn(views, fingerprint="this one", **more):
    return nuts.sample_nuts(
        views, DENSE, mb.Sampling(**BRIEF | more), np.random.default_rng(3), fingerprint=fingerprint
    )


@pytest.fixture(scope="module")
def whole(views):
    """The fit that nothing disturbs, and that writes nothing."""
    return sample(views)


@pytest.fixture(scope="module")
def written(views, whole, tmp_path_factory):
    """Checkpoint of a fit that is complete, whose chains ran in processes of their own."""
    path = tmp_path_factory.mktemp("nuts") / "state.npz"
    assert_same(sample(views, n_jobs=2, checkpoint=path), whole)
    return path


def assert_same(one, other):
    xr.testing.assert_identical(one.draws, other.draws)
    xr.testing.assert_identical(one.sample_stats, other.sample_stats)
    xr.testing.assert_identical(one.report, other.report)


@contextmanager
def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    """Press Ctrl-C right after the `after`-th writing of a checkpoint."""
    write, n_written = Checkpoint.write, 0

    def write_and_press(self, state):
        nonlocal n_written
        write(self, state)
        n_written += 1
        if n_written == after:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", write_and_press)
        yield


def test_chains_that_are_cut_off_again_and_again_end_as_those_that_are_not(views, whole, tmp_path, monkeypatch):
    """Bit for bit: cut off at the first step, while scales are learned, when tuning ends, and in the second chain."""
    often = {"checkpoint": tmp_path / "state.npz", "checkpoint_seconds": 0.0}
    for n_written in (1, 109, N_TUNE - 110):
        with power_cut(monkeypatch, n_written):
            sample(views, **often)
    with interrupt(monkeypatch, 5), pytest.warns(ConvergenceWarning, match="5 of 8 draws per chain; 1 of 2 chains"):
        partial = sample_and_warn(views, **often)
    assert not partial.converged
    np.testing.assert_array_equal(
        partial.draws["loadings_a"], whole.draws["loadings_a"].isel(chain=[0], draw=slice(5)), strict=True
    )
    with power_cut(monkeypatch, N_DRAWS - 5 + N_TUNE + 2):
        sample(views, **often)
    assert_same(sample(views, **often), whole)


def test_a_complete_checkpoint_is_read_and_nothing_is_drawn_again(views, whole, written):
    before = written.read_bytes()
    assert_same(sample(views, checkpoint=written), whole)
    assert written.read_bytes() == before


@pytest.mark.parametrize(
    "other", [{"fingerprint": "another"}, {"n_draws": 9}, {"n_tune": 131}, {"target_accept": 0.8}, {"n_chains": 3}]
)
def test_checkpoint_of_another_fit_is_refused_before_anything_is_compiled(views, written, other, monkeypatch):
    monkeypatch.setattr(nuts, "graph", lambda *_, **__: 1 / 0)
    with pytest.raises(FileError, match="another model"):
        sample(views, checkpoint=written, **other)


def test_damaged_checkpoint_is_refused(views, written, tmp_path, monkeypatch):
    monkeypatch.setattr(nuts, "graph", lambda *_, **__: 1 / 0)
    path = tmp_path / "state.npz"
    path.write_bytes(written.read_bytes()[:-200])
    with pytest.raises(FileError, match="start anew"):
        sample(views, checkpoint=path)


def test_a_place_that_cannot_be_written_is_told_by_the_process_that_finds_it(views, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileError, match="Not a directory"):
        sample(views, n_jobs=2, checkpoint=tmp_path / "file" / "x.npz", checkpoint_seconds=0.0)


@pytest.mark.parametrize("enough", [True, False])
def test_interrupt_ends_processes_and_keeps_what_they_drew(views, enough, monkeypatch):
    """Too little to align is no result: then it is the interrupt that it was."""
    until, watch = N_TUNE + 5 if enough else 2, nuts._stop_when

    def press(is_stopped, settings):
        stop = watch(is_stopped, settings)

        def told(*, draw, **_):
            if draw.draw_idx == until:
                os.kill(os.getpid(), signal.SIGINT)
            stop()

        return told

    monkeypatch.setattr(nuts, "_stop_when", press)
    if enough:
        with pytest.warns(ConvergenceWarning, match="nuts stopped after"):
            assert 4 <= sample_and_warn(views, n_jobs=2).draws.sizes["draw"] < N_DRAWS
    else:
        with pytest.raises(KeyboardInterrupt):
            sample(views, n_jobs=2)


@pytest.mark.parametrize("sampler", ["nutpie", "numpyro"])
def test_samplers_that_do_not_tell_their_state_refuse_checkpoints(views, sampler, monkeypatch, tmp_path):
    monkeypatch.setattr(nuts, "find_spec", lambda _: True)
    with pytest.raises(FitError, match="sampler='pymc'"):
        sample(views, sampler=sampler, checkpoint=tmp_path / "state.npz")
