"""One chain: sweeps, draws, checkpoints, and an end in good order."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from mofa_bayes.engines.gibbs.draws import DrawFiles
from mofa_bayes.engines.gibbs.state import Point, Problem, first_point, pose
from mofa_bayes.engines.gibbs.sweep import sweep
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.vi.checkpoint import Checkpoint, fill
from mofa_bayes.engines.vi.layout import Layout
from mofa_bayes.spec import FactorModel

# Called after each sweep with their number so far; the chain ends when it returns True.
Told = Callable[[int], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a chain needs, wherever it runs.

    Attributes
    ----------
    layout, spec, sampling
        Data, model and effort.
    start
        Point to start from; None where a checkpoint is there.
    rng
        Randomness of this chain alone.
    folder
        Where its draws go.
    checkpoint
        Where its state goes, if anywhere.
    seconds
        Its share of the time.
    """

    layout: Layout
    spec: FactorModel
    sampling: Sampling
    start: Point | None
    rng: np.random.Generator
    folder: Path
    checkpoint: Checkpoint | None
    seconds: float


def run_chain(job: Job, told: Told) -> int:
    """Run a chain to its end, or until it is told to stop or its time is up; return how many draws it kept."""
    with threadpool_limits(1, user_api="blas"):
        return _Chain(job).run(told)


class _Chain:
    """The state of one chain: a point, a generator and the number of sweeps, all of the same moment."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.problem: Problem = pose(job.layout, job.spec)
        self.draws = DrawFiles(job.folder, job.sampling.n_draws)
        self.rng = job.rng
        self.n_sweeps = 0
        self.begun = self.written = time.perf_counter()
        stored = None if job.checkpoint is None else job.checkpoint.read()
        if stored is None:
            assert job.start is not None
            self.point = job.start
            self.draws.clear()
        else:
            self.point = fill(first_point(job.layout, job.spec), stored, "/point")
            self.n_sweeps = int(stored["/n_sweeps"])
            self.rng.bit_generator.state = json.loads(str(stored["/generator"]))
            if self.n_kept:
                self.draws.reopen(self.point.record(job.layout, job.spec))

    @property
    def n_kept(self) -> int:
        """Draws kept so far."""
        return max(self.n_sweeps - self.job.sampling.n_tune, 0) // self.job.sampling.thin

    def run(self, told: Told) -> int:
        sampling = self.job.sampling
        n_sweeps = sampling.n_tune + sampling.n_draws * sampling.thin
        is_stopped = False
        while self.n_sweeps < n_sweeps and not is_stopped:
            self.point = sweep(self.problem, self.point, self.rng)
            before = self.n_kept
            self.n_sweeps += 1
            if self.n_kept > before:
                self.draws.keep(before, self.point.record(self.problem.layout, self.problem.spec))
            is_stopped = told(self.n_sweeps) or time.perf_counter() - self.begun > self.job.seconds
            self._write(is_last=is_stopped or self.n_sweeps == n_sweeps)
        self.draws.flush()
        return self.n_kept

    def _write(self, *, is_last: bool) -> None:
        now = time.perf_counter()
        checkpoint = self.job.checkpoint
        if checkpoint is not None and (is_last or now - self.written >= checkpoint.seconds):
            self.draws.flush()
            state = {
                "point": self.point,
                "n_sweeps": self.n_sweeps,
                "generator": json.dumps(self.rng.bit_generator.state),
            }
            checkpoint.write(state)
            self.written = now
