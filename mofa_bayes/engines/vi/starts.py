"""Several starts: the best ascent of them, and how far they agree."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mofa_bayes.engines.vi.ascend import Fitted, ascend
from mofa_bayes.engines.vi.checkpoint import Checkpoint
from mofa_bayes.engines.vi.climber import Progress
from mofa_bayes.engines.vi.layout import Layout
from mofa_bayes.engines.vi.packed import Array, Index
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.engines.vi.start import jitter, start_factors
from mofa_bayes.spec import FactorModel


@dataclass(frozen=True, slots=True, eq=False)
class Starts:
    """How the starts ended, one row each, in the order they were run.

    Attributes
    ----------
    bound
        Final bound (S,).
    n_factors
        Number of factors kept (S,).
    best
        Which of them was kept.
    match
        For each start and each factor of the best one, the largest |correlation| with a factor of that start (S, K).
    """

    bound: Array
    n_factors: Index
    best: int
    match: Array

    def reorder(self, factors: Index) -> "Starts":
        """Follow a new order of the best start's factors."""
        return replace(self, match=self.match[:, factors])


def ascend_best(
    layout: Layout,
    spec: FactorModel,
    settings: Ascent,
    rng: np.random.Generator,
    progress: Progress | None = None,
    *,
    fingerprint: str = "",
    scores: Array | None = None,
) -> tuple[Fitted, Starts]:
    """Climb from some scores, and from random mixtures of them, and keep the highest.

    Parameters
    ----------
    layout, spec, settings, progress
        As in `ascend`; `settings.n_starts` says how many.
    rng
        Randomness of the starts.
    fingerprint
        What a checkpoint belongs to.
    scores
        Where the first ascent starts (n_subjects, K), rows in canonical order; where left out, as `settings.start`
        says: at the leading singular vectors, or at random.
    """
    first = scores
    if first is None and settings.start == "random":
        first = rng.standard_normal((len(layout.subjects), spec.n_factors))
    if first is None:
        first = start_factors(layout, spec.n_factors, rng)
    best: Fitted | None = None
    bounds, counts, means, chosen = [], [], [], 0
    for number, own in enumerate(rng.spawn(settings.n_starts)):
        scores = first if number == 0 else jitter(first, own)
        fitted = ascend(layout, spec, settings, scores, progress, _checkpoint(settings, number, fingerprint))
        bounds.append(float(fitted.bound[-1]))
        counts.append(fitted.globals.n_factors)
        means.append(_factor_means(fitted))
        if best is None or bounds[-1] > bounds[chosen]:
            best, chosen = fitted, number
    assert best is not None
    match = np.stack([_best_match(means[chosen], other) for other in means])
    return best, Starts(np.array(bounds), np.array(counts, dtype=np.intp), chosen, match)


def _checkpoint(settings: Ascent, number: int, fingerprint: str) -> Checkpoint | None:
    if settings.checkpoint is None:
        return None
    path = Path(settings.checkpoint)
    if number:
        path = path.with_name(f"{path.stem}.{number}{path.suffix}")
    effort = (
        f"{settings.mode}\n{settings.max_iterations}\n{settings.expand}\n{settings.start}\n{settings.drop}\n{number}"
    )
    own = hashlib.sha256(f"{fingerprint}\n{effort}".encode()).hexdigest()
    return Checkpoint(path=path, seconds=settings.checkpoint_seconds, fingerprint=own)


def _factor_means(fitted: Fitted) -> Array:
    means = np.empty((len(fitted.layout.subjects), fitted.globals.n_factors))
    for block, rows in zip(fitted.layout.blocks, fitted.rows, strict=True):
        means[block.rows] = rows.mean
    return means


def _best_match(ours: Array, theirs: Array) -> Array:
    """Largest |correlation| of each column of `ours` with a column of `theirs`."""
    a, b = (own - own.mean(axis=0) for own in (ours, theirs))
    norms = np.outer(np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0))
    result: Array = np.abs(a.T @ b / np.maximum(norms, 1e-300)).max(axis=1)
    return result
