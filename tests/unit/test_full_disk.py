"""Disk full, folder absent or read-only: whatever is written says so by FileError and leaves what was there."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.atomic import make_folder, reserve
from mofa_bayes.data.simulate import Cohort, Design
from mofa_bayes.engines.gibbs.draws import DrawFiles
from mofa_bayes.errors import FileError
from mofa_bayes.export import write_csv, write_parquet
from mofa_bayes.plot import plot_variance, save_figure
from mofa_bayes.posterior.build_gibbs import _allocate
from mofa_bayes.posterior.moments import FactorMoments

IDS = tuple(f"q{n}" for n in range(200))
TABLE = pd.DataFrame({"a": np.random.default_rng(0).standard_normal(5000)})
SMALL = 2000
"""Bytes there is room for: fewer than any of the files has."""


@pytest.fixture(scope="module")
def scored() -> tuple:
    rng = np.random.default_rng(0)
    moments = FactorMoments(IDS, ("F1",), rng.standard_normal((200, 1)), 0.2 * np.eye(1)[None], np.zeros(200, np.intp))
    clinical = pd.DataFrame({"y": rng.standard_normal(200)}, index=list(IDS))
    fitted = mb.RiskModel(mb.Continuous("y")).fit(moments, clinical, seed=0, sampler="importance", progress=False)
    return fitted, fitted.predict(moments)


@pytest.fixture(scope="module")
def tiny() -> mb.MultiView:
    design = Design(n_subjects=40, n_features={"a": 12, "b": 8}, sharing=[("a", "b")] * 2, noise_sd=0.7)
    return mb.simulate_cohort(design, seed=3).views


def fit(views: mb.MultiView, engine: str, **more: object) -> mb.Posterior:
    if engine == "vi":
        settings = mb.Ascent(n_threads=1, **more)
    else:
        settings = mb.Sampling(n_chains=1, n_tune=5, n_draws=10, n_jobs=1, **more)
    return mb.fit(views, mb.FactorModel(n_factors=2), engine=engine, settings=settings, seed=0, progress=False)


@pytest.fixture
def writers(
    post: mb.Posterior, cohort: Cohort, tiny: mb.MultiView, scored: tuple
) -> dict[str, Callable[[Path], object]]:
    """What writes a file, by name."""
    fitted, scores = scored
    often = {"checkpoint_seconds": 0.0}
    return {
        "posterior": lambda path: post.save(path),
        "shareable posterior": lambda path: post.save(path, shareable=True),
        "risk model": lambda path: fitted.save(path),
        "scores as Parquet": lambda path: scores.to_parquet(path),
        "scores as CSV": lambda path: scores.to_csv(path),
        "table as Parquet": lambda path: write_parquet(TABLE, path),
        "table as CSV": lambda path: write_csv(TABLE, path),
        "figure": lambda path: save_figure(plot_variance(post), path),
        "checkpoint of vi": lambda path: fit(tiny, "vi", checkpoint=path, **often),
        "checkpoint of gibbs": lambda path: fit(tiny, "gibbs", checkpoint=path, **often),
        "draws of gibbs": lambda path: fit(tiny, "gibbs", folder=path),
    }


NAMES = [
    "posterior", "shareable posterior", "risk model", "scores as Parquet", "scores as CSV", "table as Parquet",
    "table as CSV", "figure", "checkpoint of vi", "checkpoint of gibbs", "draws of gibbs",
]  # fmt: skip


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file can grow past `room` bytes: the system refuses, as it does on a full disk, whoever writes."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(autouse=True)
def _no_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.mark.skipif(os.name != "posix", reason="limits of file sizes are POSIX's")
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_told_and_leaves_what_was_there(name, writers, tmp_path):
    write = writers[name]
    write(tmp_path / "warm")  # compiles, so that no cache of code is written below
    path = tmp_path / "there"
    path.mkdir()
    if name != "draws of gibbs":
        path = path / "x.out"
        if not name.startswith("checkpoint"):
            path.write_bytes(b"what was there")
    with full_disk(300 if "gibbs" in name else SMALL), pytest.raises(FileError):
        write(path)
    if path.is_file():
        assert path.read_bytes() == b"what was there"
    assert [own.name for own in (tmp_path / "there").iterdir() if own.name.endswith(".part")] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_place_that_cannot_be_written_is_told(name, writers, tmp_path):
    """The folder of the file is a file; and, for whom permissions bind, a folder that is read-only."""
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileError):
        writers[name](tmp_path / "file" / "x.out")
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(FileError):
            writers[name](tmp_path / "closed" / "x.out")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileError, match="file"):
        make_folder(tmp_path / "file" / "out")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if mount is None or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_draws_find_a_disk_full_before_they_are_written_to_memory(disk):
    """Without room set aside, the process would be killed by SIGBUS at the first page that has none."""
    files, draw = DrawFiles(disk / "chain0", 100), np.ones(10_000, dtype=np.float32)
    with pytest.raises(FileError, match="room for the draws"):
        files.keep(0, {"factors": draw})


def test_draws_that_are_put_in_order_find_a_disk_full_too(disk, tmp_path, monkeypatch):
    like = np.memmap(tmp_path / "like", dtype=np.float32, mode="w+", shape=(1,))
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    _allocate((1000, 200), like)[:] = 1.0
    with pytest.raises(FileError, match="TMPDIR"):
        _allocate((1000, 1000), like)


def test_room_is_set_aside_where_the_system_cannot_by_writing_and_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    path = tmp_path / "file"
    path.write_bytes(b"what was there")
    with path.open("rb+") as file:
        reserve(file, (1 << 20) + 5)
    assert path.read_bytes() == b"what was there".ljust((1 << 20) + 5, b"\0")
    with full_disk(SMALL), path.open("rb+") as file, pytest.raises(OSError, match="too large"):
        reserve(file, 3 << 20)
