"""All chains of a posterior: where they start, what they belong to, and their draws when they have ended."""

import hashlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mofa_bayes.engines.gibbs.augment import AUGMENTATIONS
from mofa_bayes.engines.gibbs.chain import Job
from mofa_bayes.engines.gibbs.draws import Draws, bytes_per_draw, read_draws, remove
from mofa_bayes.engines.gibbs.running import Progress, count_jobs, run_chains
from mofa_bayes.engines.gibbs.start import start_chains
from mofa_bayes.engines.gibbs.state import first_point
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.vi.checkpoint import Checkpoint
from mofa_bayes.engines.vi.layout import Layout
from mofa_bayes.errors import ConvergenceWarning, FitError, warn
from mofa_bayes.spec import ARDFactors, FactorModel, StandardFactors


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """What the chains end with.

    Attributes
    ----------
    layout
        The data's order.
    chains
        Draws of each chain by name, the same number of each; names are numbered by part and view (`Point.record`).
        Where chains were stopped, those chains and so many draws of each as are most draws together.
    numbers
        Which of the chains these are, from 0.
    completed
        Whether every chain ran to its end.
    seconds
        Wall time, vi's start included.
    """

    layout: Layout
    chains: tuple[Draws, ...]
    numbers: tuple[int, ...]
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
        Called now and then with the number of sweeps done and to do; the chains end when it returns True.
    fingerprint
        What a checkpoint belongs to.

    Raises
    ------
    FitError
        The engine cannot sample this model, or too few draws were kept in the time given.

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
        kept = run_chains(jobs, root, progress)
        n_kept, numbers = _choose(kept)
        chains = _read([jobs[number] for number in numbers], n_kept)
    finally:
        if is_temporary:
            remove(root)
    completed = min(kept) == sampling.n_draws
    if not completed:
        warn(
            f"gibbs stopped after {min(kept)} to {max(kept)} of {sampling.n_draws} draws per chain; "
            f"{len(chains)} of {len(kept)} chains are kept, cut to the shortest of them",
            ConvergenceWarning,
        )
    return Sampled(layout, chains, numbers, completed, time.perf_counter() - begun)


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


def _choose(kept: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Choose the number of draws, and the chains that have it, which are most draws together."""
    n_kept = max(kept, key=lambda least: least * sum(own >= least for own in kept))
    return n_kept, tuple(number for number, own in enumerate(kept) if own >= n_kept)


def _read(jobs: Sequence[Job], n_kept: int) -> tuple[Draws, ...]:
    job = jobs[0]
    record = first_point(job.layout, job.spec).record(job.layout, job.spec)
    in_memory = bytes_per_draw(record) * n_kept * len(jobs) <= job.sampling.max_memory
    return tuple(read_draws(own.folder, record, n_kept, in_memory=in_memory) for own in jobs)
