"""Running chains: side by side in processes or one after the other here, until their end or until told to stop."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from mofa_bayes.engines.gibbs.chain import Job, run_chain
from mofa_bayes.engines.sampling import LEAST_DRAWS, Sampling
from mofa_bayes.errors import FitError
from mofa_bayes.interrupts import noting_interrupts

# Called now and then with the sweeps done and those there are to do, of all chains together.
Progress = Callable[[int, int], object]
Stop = Callable[[], bool]
Report = Callable[[int], bool]
_POLL_SECONDS = 0.2
_STOP = "stop"


def count_jobs(sampling: Sampling) -> int:
    """Count the chains that run at the same time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(sampling.n_jobs or cores, sampling.n_chains)


def run_chains(jobs: Sequence[Job], root: Path, progress: Progress | None) -> list[int]:
    """Run all chains; an interrupt ends them after their current sweep.

    Parameters
    ----------
    jobs
        One per chain.
    root
        Folder through which processes talk.
    progress
        Called now and then; the chains end when it returns True.

    Returns
    -------
    Number of draws each chain kept; 0 where they are too few to align.

    Raises
    ------
    FitError
        No chain kept enough draws in the time given, or a process died.
    KeyboardInterrupt
        Interrupted before enough draws were kept.
    """
    sampling = jobs[0].sampling
    total = len(jobs) * (sampling.n_tune + sampling.n_draws * sampling.thin)
    run = _run_here if count_jobs(sampling) == 1 else _run_in_processes
    with noting_interrupts() as interrupted:
        kept = run(jobs, root, lambda done: progress is not None and progress(done, total) is True, interrupted)
    if max(kept) >= LEAST_DRAWS:
        return [own if own >= LEAST_DRAWS else 0 for own in kept]
    if interrupted():
        raise KeyboardInterrupt
    raise FitError(
        "max_seconds",
        got=f"{sampling.max_seconds:g} s, in which no chain kept {LEAST_DRAWS} draws",
        expected="time for n_tune sweeps and more",
        do="Allow more time, or ask for fewer n_tune.",
    )


def _run_here(jobs: Sequence[Job], root: Path, report: Report, interrupted: Stop) -> list[int]:  # noqa: ARG001
    kept, done = [], 0
    for job in jobs:
        last = 0

        def told(n_sweeps: int, done: int = done) -> bool:
            nonlocal last
            last = n_sweeps
            return report(done + n_sweeps) or interrupted()

        kept.append(run_chain(job, told))
        done += last
    return kept


def _run_in_processes(jobs: Sequence[Job], root: Path, report: Report, interrupted: Stop) -> list[int]:
    """Run chains in processes, which say how far they are, and are told to stop, by files in `root`."""
    stop, counts = root / _STOP, [root / f"sweeps{number}" for number in range(len(jobs))]
    stop.unlink(missing_ok=True)
    n_jobs, context = count_jobs(jobs[0].sampling), get_context("spawn")
    try:
        with ProcessPoolExecutor(n_jobs, mp_context=context, initializer=_ignore_interrupts) as pool:
            futures = [pool.submit(_run_apart, job, own, stop) for job, own in zip(jobs, counts, strict=True)]
            try:
                waiting = set(futures)
                while waiting:
                    _, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
                    if report(sum(_read_count(own) for own in counts)) or interrupted():
                        stop.touch()
                return [future.result() for future in futures]
            except BaseException:
                stop.touch()
                raise
    except BrokenProcessPool as error:
        raise FitError(
            "processes of the chains",
            got="one that died",
            expected="processes that can import the calling script and have room for the draws",
            do='Call fit under `if __name__ == "__main__":` in a script, or use Sampling(n_jobs=1).',
        ) from error
    finally:
        for path in (stop, *counts):
            path.unlink(missing_ok=True)


def _run_apart(job: Job, count: Path, stop: Path) -> int:
    """Run a chain in a process of its own."""
    last = time.perf_counter()

    def told(n_sweeps: int) -> bool:
        nonlocal last
        now = time.perf_counter()
        if now - last < _POLL_SECONDS / 2:
            return False
        last = now
        count.write_text(str(n_sweeps))
        return stop.exists()

    return run_chain(job, told)


def _read_count(path: Path) -> int:
    try:
        return int(path.read_text() or 0)
    except FileNotFoundError:
        return 0


def _ignore_interrupts() -> None:
    """Leave Ctrl-C, which a terminal sends to every process, to the one that started the chains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
