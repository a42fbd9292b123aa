"""All chains: started, run side by side or one after the other, ended in good order, and read back."""

import hashlib
import os
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from mofa_bayes.engines.gibbs.augment import AUGMENTATIONS
from mofa_bayes.engines.gibbs.chain import Job, run_chain
from mofa_bayes.engines.gibbs.draws import Draws, bytes_per_draw, read_draws, remove
from mofa_bayes.engines.gibbs.start import start_chains
from mofa_bayes.engines.gibbs.state import first_point
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.vi.checkpoint import Checkpoint
from mofa_bayes.engines.vi.layout import Layout
from mofa_bayes.errors import ConvergenceWarning, FitError
from mofa_bayes.spec import ARDFactors, FactorModel, StandardFactors

# Called now and then with the sweeps done and those there are to do, of all chains together.
Progress = Callable[[int, int], object]
_POLL_SECONDS = 0.2
_STOP = "stop"


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """What the chains end with.

    Attributes
    ----------
    layout
        The data's order.
    chains
        Draws of each chain by name, the same number of each; names are numbered by part and view (`Point.record`).
    completed
        Whether every chain ran to its end.
    seconds
        Wall time, vi's start included.
    """

    layout: Layout
    chains: tuple[Draws, ...]
    completed: bool
    seconds: float


def sample_gibbs(
    layout: Layout,
    spec: FactorModel,
    sampling: Sampling,
    rng: np.random.Generator,
    progress: Progress | None = None,
    *,
    fingerprint: str = "",
) -> Sampled:
    """Draw from the exact posterior of a factor model.

    Parameters
    ----------
    layout, spec, sampling
        Data, model and effort.
    rng
        Randomness; each chain has a stream of its own, so that neither their number nor processes change a chain.
    progress
        Called now and then with the number of sweeps done and to do.
    fingerprint
        What a checkpoint belongs to.

    Raises
    ------
    FitError
        The engine cannot sample this model, or no draw was kept in the time given.

    Warns
    -----
    ConvergenceWarning
        Chains were stopped before their end.
    """
    require_supported(layout, spec)
    begun = time.perf_counter()
    start_rng, *own = rng.spawn(1 + sampling.n_chains)
    root, is_temporary = _make_folder(sampling)
    try:
        jobs = _make_jobs(layout, spec, sampling, own, root, fingerprint)
        if not all(job.checkpoint is not None and job.checkpoint.path.exists() for job in jobs):
            points = start_chains(layout, spec, start_rng, sampling.n_chains)
            jobs = [replace(job, start=point) for job, point in zip(jobs, points, strict=True)]
        kept = _run(jobs, root, progress)
        chains = _read(jobs, min(kept))
    finally:
        if is_temporary:
            remove(root)
    completed = min(kept) == sampling.n_draws
    if not completed:
        warnings.warn(
            f"gibbs stopped after {min(kept)} of {sampling.n_draws} draws per chain", ConvergenceWarning, stacklevel=2
        )
    return Sampled(layout, chains, completed, time.perf_counter() - begun)


def require_supported(layout: Layout, spec: FactorModel) -> None:
    """Raise FitError where likelihood, prior or weights have no exact conditional here; nothing has been computed."""
    unsupported = sorted({part.likelihood for part in layout.parts} - set(AUGMENTATIONS))
    if unsupported:
        raise FitError(
            "likelihoods in engine 'gibbs'",
            got=", ".join(unsupported),
            expected=f"among {', '.join(AUGMENTATIONS)}",
            do="Use engine='vi', or declare another likelihood for these columns.",
        )
    if not isinstance(spec.factors, StandardFactors | ARDFactors):
        raise FitError(
            "prior on factors in engine 'gibbs'",
            got=type(spec.factors).__name__,
            expected="StandardFactors() or ARDFactors()",
            do="Use engine='vi', or one of these.",
        )
    if any(block.weights is not None for block in layout.blocks):
        raise FitError(
            "weights of subjects in engine 'gibbs'",
            got="views with weights",
            expected="views without",
            do="Use engine='vi': a weighted likelihood is not a generative model, and has no posterior to draw from.",
        )


def _make_folder(sampling: Sampling) -> tuple[Path, bool]:
    if sampling.checkpoint is not None:
        path = Path(sampling.checkpoint)
        root = path.with_name(f"{path.stem}.draws")
    elif sampling.folder is not None:
        root = Path(sampling.folder)
    else:
        return Path(tempfile.mkdtemp(prefix="mofa_bayes_")), True
    root.mkdir(parents=True, exist_ok=True)
    return root, False


def _make_jobs(
    layout: Layout,
    spec: FactorModel,
    sampling: Sampling,
    streams: Sequence[np.random.Generator],
    root: Path,
    fingerprint: str,
) -> list[Job]:
    share = count_jobs(sampling) / sampling.n_chains
    return [
        Job(
            layout=layout,
            spec=spec,
            sampling=sampling,
            start=None,
            rng=rng,
            folder=root / f"chain{number}",
            checkpoint=_checkpoint(sampling, number, fingerprint),
            seconds=sampling.max_seconds * min(share, 1.0),
        )
        for number, rng in enumerate(streams)
    ]


def _checkpoint(sampling: Sampling, number: int, fingerprint: str) -> Checkpoint | None:
    if sampling.checkpoint is None:
        return None
    path = Path(sampling.checkpoint)
    if number:
        path = path.with_name(f"{path.stem}.{number}{path.suffix}")
    effort = f"{sampling.n_draws}\n{sampling.n_tune}\n{sampling.thin}\n{number}"
    own = hashlib.sha256(f"{fingerprint}\n{effort}".encode()).hexdigest()
    return Checkpoint(path=path, seconds=sampling.checkpoint_seconds, fingerprint=own)


def count_jobs(sampling: Sampling) -> int:
    """Count the chains that run at the same time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(sampling.n_jobs or cores, sampling.n_chains)


def _run(jobs: Sequence[Job], root: Path, progress: Progress | None) -> list[int]:
    """Run all chains; an interrupt ends them after their current sweep. Returns the number of draws each kept."""
    sampling = jobs[0].sampling
    total = len(jobs) * (sampling.n_tune + sampling.n_draws * sampling.thin)
    run = _run_here if count_jobs(sampling) == 1 else _run_in_processes
    with _interrupts() as interrupted:
        kept = run(jobs, root, lambda done: progress is not None and progress(done, total) is True, interrupted)
    if min(kept) > 0:
        return kept
    if interrupted():
        raise KeyboardInterrupt
    raise FitError(
        "max_seconds",
        got=f"{sampling.max_seconds:g}, in which not every chain kept a draw",
        expected="time for n_tune sweeps and more",
        do="Allow more time, or ask for fewer n_tune.",
    )


Stop = Callable[[], bool]
Report = Callable[[int], bool]


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


@contextmanager
def _interrupts() -> Iterator[Stop]:
    """Take the first Ctrl-C as a wish to end in good order; a second one interrupts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)
    came: list[int] = []

    def note(number: int, frame: object) -> None:  # noqa: ARG001
        came.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)


def _read(jobs: Sequence[Job], n_kept: int) -> tuple[Draws, ...]:
    job = jobs[0]
    size = bytes_per_draw(first_point(job.layout, job.spec).record(job.layout, job.spec)) * n_kept * len(jobs)
    return tuple(read_draws(own.folder, n_kept, in_memory=size <= job.sampling.max_memory) for own in jobs)
