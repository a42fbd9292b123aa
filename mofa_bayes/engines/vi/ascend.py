"""The ascent: from a start to the top, with threads, and with what was reached when it is interrupted."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mofa_bayes.engines.vi.checkpoint import Checkpoint
from mofa_bayes.engines.vi.climber import Climber, Progress
from mofa_bayes.engines.vi.globals import Globals
from mofa_bayes.engines.vi.layout import Layout
from mofa_bayes.engines.vi.packed import Array
from mofa_bayes.engines.vi.rows import Rows
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.errors import ConvergenceWarning, warn
from mofa_bayes.spec import FactorModel


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the ascent ends with: rows by block, globals, and the bound and number of factors after each iteration."""

    layout: Layout
    globals: Globals
    rows: tuple[Rows, ...]
    bound: Array
    n_factors: NDArray[np.intp]
    converged: bool
    seconds: float


def ascend(
    layout: Layout,
    spec: FactorModel,
    settings: Ascent,
    scores: Array,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    *,
    keep_interrupted: bool = True,
) -> Fitted:
    """Fit a factor model by coordinate ascent on the evidence lower bound.

    A dense model is fitted first for a few passes, because its rotations find which views share a factor; every other
    model then starts from it. Factors that explain less than `spec.min_variance` of every view are dropped at the end
    and the ascent resumed. An interrupt (Ctrl-C) ends the ascent with what has been reached, if anything.

    Parameters
    ----------
    layout, spec, settings
        Data, model and effort.
    scores
        Factors to start from (n_subjects, K), rows in canonical order; see `start_factors`.
    progress
        Called after each pass with its number and bound; the ascent ends when it returns True.
    checkpoint
        Where to write the state now and then, and to go on from when it is there.
    keep_interrupted
        Whether an interrupt ends the ascent alone; otherwise it goes on to the caller.

    Returns
    -------
    Fitted
        `bound` holds the trace under the model's own priors, constants included. It never falls while `n_factors` stays
        the same; where factors were dropped it is that of a smaller model from there on.
    """
    start = time.perf_counter()
    climber = Climber(layout, spec, settings, progress, checkpoint)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(settings.n_threads or _default_threads()) as pool:
        climber.map = pool.map if settings.n_threads != 1 else map
        why = "raise max_iterations"
        try:
            converged = climber.run(scores)
            if climber.stopped:
                why = "max_seconds or a callback ended it"
        except KeyboardInterrupt:
            if not keep_interrupted or not climber.bounds:
                raise
            converged, why = False, "it was interrupted"
    if not converged:
        warn(
            f"vi stopped after {len(climber.bounds)} iterations before the bound settled: {why}",
            ConvergenceWarning,
        )
    seconds = time.perf_counter() - start
    bound, n_factors = np.asarray(climber.bounds), np.asarray(climber.counts)
    return Fitted(layout, climber.globals, tuple(climber.rows), bound, n_factors, converged, seconds)


def _default_threads() -> int:
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
