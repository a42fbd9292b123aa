"""Pooling folds without mixing up their fits: ranks within folds, probabilities over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.risk.evaluation.cohort import Cohort, Replicates, estimate_of, replicate
from mofa_bayes.risk.evaluation.evaluation import Resampling, tabulate_panels
from mofa_bayes.risk.evaluation.panel import Panel, compute_panel, rank_panel
from mofa_bayes.risk.response import Array


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """One partition of the cohort: out-of-fold risks beside outcomes, and the fold of each patient (N,)."""

    cohort: Cohort
    fold_of: NDArray[np.intp]


def tabulate_repeats(repeats: Sequence[Repeat], log_scores: Array, how: Resampling) -> pd.DataFrame:
    """Metrics of out-of-fold risks with intervals, averaged over repeats.

    Risks are probabilities, and those of different fits are compared and pooled as such. A linear predictor means
    nothing outside its own fit: Harrell's and Uno's C are computed within each fold and averaged over folds.
    Resamples of patients are the same for all repeats. `log_scores` (repeat, N) become `log_density`, which has no
    interval over draws, since they are averaged over these.
    """
    streams = [
        replicate(own.cohort, how.interval, how.n_replicates, np.random.default_rng(how.seed)) for own in repeats
    ]
    blocks = [_compute_all(repeats, log_scores, together) for together in zip(*streams, strict=True)]
    estimate = _compute_all(repeats, log_scores, [estimate_of(own.cohort) for own in repeats])
    return tabulate_panels(estimate, blocks, how.level)


def _compute_all(repeats: Sequence[Repeat], log_scores: Array, replicates: Sequence[Replicates]) -> Panel:
    panels = [_compute(own, each) for own, each in zip(repeats, replicates, strict=True)]
    average = {key: np.mean([own[key] for own in panels], axis=0) for key in panels[0]}
    weights = replicates[0].weights
    shares = np.ones(log_scores.shape[1]) if weights is None else weights
    if replicates[0].risk.ndim == 2:
        average["log_density", np.nan] = shares @ log_scores.mean(axis=0) / log_scores.shape[1]
    return average


def tabulate_folds(repeats: Sequence[Repeat]) -> pd.DataFrame:
    """Metrics of each fold alone: columns `repeat, fold, n, metric, time, estimate`; what cannot be seen is NaN."""
    tables = []
    for number, own in enumerate(repeats):
        for fold in np.unique(own.fold_of):
            cohort = own.cohort.take(np.flatnonzero(own.fold_of == fold))
            panel = compute_panel(cohort, estimate_of(cohort))
            rows = [(number, int(fold), len(cohort.event), *key, float(value)) for key, value in panel.items()]
            tables.append(pd.DataFrame(rows, columns=["repeat", "fold", "n", "metric", "time", "estimate"]))
    return pd.concat(tables, ignore_index=True)


def rank_within_folds(own: Repeat, replicates: Replicates) -> Panel:
    """Harrell's and Uno's C within folds, averaged over those with a comparable pair; each (...)."""
    panels = []
    for fold in np.unique(own.fold_of):
        rows = np.flatnonzero(own.fold_of == fold)
        weights = None if replicates.weights is None else replicates.weights[..., rows]
        of_fold = Replicates(replicates.risk[..., rows, :], replicates.ranks[..., rows], weights)
        panels.append(rank_panel(own.cohort.take(rows), of_fold))
    return {key: _mean([panel[key] for panel in panels]) for key in panels[0]}


def _compute(own: Repeat, replicates: Replicates) -> Panel:
    panel = compute_panel(own.cohort, replicates)
    return panel if own.cohort.time is None else panel | rank_within_folds(own, replicates)


def _mean(values: Sequence[Array]) -> Array:
    """Mean over folds, leaving out those without a comparable pair."""
    stacked = np.stack(values)
    is_known = ~np.isnan(stacked)
    total: Array = np.where(is_known, stacked, 0.0).sum(axis=0)
    return np.where(is_known.any(axis=0), total / np.maximum(is_known.sum(axis=0), 1), np.nan)
