"""Strategies of fusion in one fold: each learns from the training patients alone, and scores the held-out ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import Compiled, RiskModel
from mofa_bayes.risk.inputs import moments_of
from mofa_bayes.risk.response import Array
from mofa_bayes.risk.sparse import fit_sparse, likelihood_of
from mofa_bayes.validation.fits import Fits
from mofa_bayes.validation.folds import deal_folds, read_strata
from mofa_bayes.validation.plan import Plan
from mofa_bayes.validation.scored import Scored
from mofa_bayes.validation.stacking import left_out_scores, mix_scores, stack

CLINICAL, EARLY, INTERMEDIATE, LATE, STACKED = "clinical", "early", "intermediate", "late", "stacked"
_N_INNER = 5
_LEAST_SPREAD = 0.05
"""Least sd of the predictor that is brought to 1, as factors have: a sparse model that finds nothing stays near 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FusionTask:
    """One fold of a comparison, as it is sent to a process.

    Attributes
    ----------
    risk
        The risk model with clinical covariates.
    strategies
        Names of what is wanted, as in `mb.compare_fusion`.
    """

    plan: Plan
    held: NDArray[np.intp]
    risk: RiskModel
    how: Fits
    strategies: tuple[str, ...]
    n_draws: int
    rng: np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Scores of held-out patients, and what the model says of each training patient when left out, (N,)."""

    held: Scored
    left_out: Array


def run_fusion(task: FusionTask, compiled: Compiled) -> dict[str, Scored]:
    """Score the held-out patients by every strategy."""
    train, held = task.plan.split(task.held)
    fold = _Fold(task, train, held, compiled)
    found: dict[str, Scored] = {}
    pool: list[Candidate] = []
    if task.risk.covariates:
        pool.append(fold.fit(_nothing(train), _nothing(held), with_clinical=True))
        found[CLINICAL] = pool[0].held
    for name, sources in fold.sources():
        alone = [fold.fit(*source, with_clinical=False) for source in sources]
        found[name] = _mix(alone)
        both = alone
        if task.risk.covariates:
            both = [fold.fit(*source, with_clinical=True) for source in sources]
            found[f"{CLINICAL} + {name}"] = _mix(both)
        pool += both
    if STACKED in task.strategies:
        found[STACKED] = _mix(pool)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    task: FusionTask
    train: MultiView
    held: MultiView
    compiled: Compiled

    def sources(self) -> Iterator[tuple[str, list[tuple[FactorMoments, FactorMoments]]]]:
        """Yield strategies with what they know of training and held-out patients: one pair, or one for each view."""
        wanted, how = self.task.strategies, self.task.how
        if EARLY in wanted:
            yield EARLY, [score_early(self.task.plan, self.train, self.held, self._spawn())]
        if INTERMEDIATE in wanted:
            yield INTERMEDIATE, [_find_factors(how, self.train, self.held, self._spawn())]
        if LATE in wanted:
            one_by_one = ((self.train.keep_views([view]), self.held.keep_views([view])) for view in self.train.names)
            yield LATE, [_find_factors(how, *own, self._spawn()) for own in one_by_one]

    def fit(self, train: FactorMoments, held: FactorMoments, *, with_clinical: bool) -> Candidate:
        """Fit a risk model to training patients and score both."""
        task, clinical = self.task, self.task.plan.clinical
        train, held = task.how.pad(train), task.how.pad(held)
        risk = task.risk if with_clinical else replace(task.risk, covariates=())
        fitted = task.how.fit_risk(risk, train, clinical, self._spawn(), self.compiled)
        scored = Scored.of(fitted, held, clinical, task.plan.horizons, task.n_draws)
        own = fitted.log_likelihood(train, clinical).stack(s=("chain", "draw")).transpose("s", "subject").values
        return Candidate(scored, left_out_scores(own))

    def _spawn(self) -> np.random.Generator:
        return self.task.rng.spawn(1)[0]


def score_early(
    plan: Plan, train: MultiView, held: MultiView, rng: np.random.Generator
) -> tuple[FactorMoments, FactorMoments]:
    """Reduce all features to one number for each patient: the predictor of a sparse regression, with its variance.

    That of a training patient comes from a regression on the others, in inner folds. Were their own outcomes in it, the
    risk model that follows would take it for a much better predictor than it is.
    """
    subjects, x, x_held = train.subjects, *_concatenate(train, held)
    observed = plan.outcome.read(plan.clinical, subjects)
    inner = deal_folds(read_strata(plan.outcome, plan.clinical, subjects), subjects, _N_INNER, rng)
    own_mean, own_variance = predict_left_out(x, observed, inner)
    mean, variance = fit_sparse(x, likelihood_of(observed)).predict(x_held)
    scale = max(float(own_mean.std()), _LEAST_SPREAD)
    return (
        _single(subjects, own_mean / scale, own_variance / scale**2),
        _single(held.subjects, mean / scale, variance / scale**2),
    )


def predict_left_out(x: Array, observed: Mapping[str, Array], fold_of: NDArray[np.intp]) -> tuple[Array, Array]:
    """Mean and variance of each patient's sparse predictor by a regression on the other folds, each (N,)."""
    moments = np.empty((2, len(x)))
    for fold in np.unique(fold_of):
        rest, own = fold_of != fold, fold_of == fold
        likelihood = likelihood_of({name: values[rest] for name, values in observed.items()})
        moments[:, own] = fit_sparse(x[rest], likelihood).predict(x[own])
    return moments[0], moments[1]


def _find_factors(
    how: Fits, train: MultiView, held: MultiView, rng: np.random.Generator
) -> tuple[FactorMoments, FactorMoments]:
    post = how.fit_factors(train, rng)
    return moments_of(post), moments_of(post.project(held))


def _mix(candidates: Sequence[Candidate]) -> Scored:
    """Stack candidates by what they say of training patients whom they were not fitted to."""
    if len(candidates) == 1:
        return candidates[0].held
    weights = stack(np.stack([own.left_out for own in candidates], axis=1))
    return mix_scores([own.held for own in candidates], weights)


def _concatenate(train: MultiView, held: MultiView) -> tuple[Array, Array]:
    """All features side by side, standardised by the training patients, at their mean where missing, (N, D) each."""
    tables: Mapping[str, list[Array]] = {"train": [], "held": []}
    for view in train.names:
        values = train[view].values.astype(np.float64)
        new = held[view].sel({f"feature_{view}": list(train.features(view))}).values.astype(np.float64)
        center, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        for name, own in (("train", values), ("held", new)):
            tables[name].append(np.nan_to_num((own - center) / scale, nan=0.0))
    return np.concatenate(tables["train"], axis=1), np.concatenate(tables["held"], axis=1)


def _single(subjects: tuple[str, ...], mean: Array, variance: Array) -> FactorMoments:
    rows = np.arange(len(subjects))
    return FactorMoments(subjects, ("sparse",), mean[:, None], np.maximum(variance, 0.0)[:, None, None], rows)


def _nothing(views: MultiView) -> FactorMoments:
    """Make a factor that is zero for everyone, which leaves a risk model with clinical covariates alone."""
    rows = np.zeros(views.n_subjects, dtype=np.intp)
    return FactorMoments(views.subjects, ("none",), np.zeros((views.n_subjects, 1)), np.zeros((1, 1, 1)), rows)
