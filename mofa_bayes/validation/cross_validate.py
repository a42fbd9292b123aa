"""cross_validate: factors and risk model fitted without the patients who are then projected and scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.steps import Step
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.errors import FitError
from mofa_bayes.risk import Compiled, RiskModel
from mofa_bayes.risk.inputs import moments_of, read_predictors
from mofa_bayes.spec import FactorModel
from mofa_bayes.validation.fits import Engine, Fits
from mofa_bayes.validation.plan import Plan, make_plan, require_jobs
from mofa_bayes.validation.running import run_folds
from mofa_bayes.validation.scored import Scored
from mofa_bayes.validation.validated import CrossValidation

MODEL = "model"


def cross_validate(
    views: MultiView,
    spec: FactorModel | None,
    risk: RiskModel,
    clinical: pd.DataFrame,
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int | np.random.Generator,
    steps: Mapping[str, Sequence[Step]] | None = None,
    engine: Engine = "vi",
    settings: Ascent | Sampling | None = None,
    options: Mapping[str, Any] | None = None,
    times: Sequence[float] | None = None,
    n_draws: int = 100,
    n_jobs: int = 1,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> CrossValidation:
    """Score every patient by models that were fitted without them.

    In each fold preprocessing, factors and risk model are learned from the training patients alone; the held-out ones
    are projected, whatever views they miss, and scored. Folds are stratified by event.

    Parameters
    ----------
    views, spec
        The cohort and the factor model, as in `mb.fit`.
    risk, clinical
        The risk model, and outcome and covariates of every subject of `views`.
    folds, repeats
        Parts of the cohort, and how often it is parted anew. One repeat costs as many fits as there are folds.
    seed
        Of folds and fits. The result does not depend on `n_jobs`, nor on whether it was resumed.
    steps
        Preparation of views, as in `mb.prepare`, learned anew from the training patients of each fold; `views` are then
        as they were measured.
    engine, settings
        As in `mb.fit`.
    options
        Further arguments of `RiskModel.fit`. Left out, posteriors are approximated around their mode, which takes
        hundredths of a second; `{"sampler": "importance"}` or `{"sampler": "nuts"}` for more exact ones. The responses
        of a MultiContinuous outcome are sampled (`gibbs`), in one chain of 400 draws.
    times
        Horizons to report; the quartiles of the times of events when left out. None for a binary outcome.
    n_draws
        Draws of the parameters of each fold's risk model that are kept.
    n_jobs
        Folds that are fitted at the same time, in processes.
    checkpoint
        A folder where each fold is kept once it is done. Called again with the same arguments, finished folds are read
        from there: an interrupted run goes on to the identical result. It holds risks of patients.
    progress
        Show how many folds are done on a terminal or in Jupyter.

    Raises
    ------
    DataError, FitError, SpecError
        Before anything is fitted, where the cohort cannot be split or data and models do not go together.
    FileError
        The folder cannot be written, or holds folds of another run.
    """
    spec = FactorModel() if spec is None else spec
    if not isinstance(risk, RiskModel):
        raise FitError("risk", got=type(risk).__name__, expected="a RiskModel", do="Write mb.RiskModel(outcome).")
    how = Fits.of(spec, engine, settings, options)
    how.require(views)
    plan = make_plan(views, clinical, risk.outcome, folds=folds, repeats=repeats, times=times, seed=seed, steps=steps)
    read_predictors(plan.clinical, risk.covariates, views.subjects)
    tasks = [
        Task(plan=plan, held=held, risk=risk, how=how, n_draws=n_draws, rng=rng)
        for (_, _, held), rng in zip(plan.folds(), plan.streams(), strict=True)
    ]
    found = run_folds(
        tasks,
        run_fold,
        n_jobs=require_jobs(n_jobs),
        keep=plan.keep(checkpoint, risk, how, n_draws),
        progress=progress,
        title="cross-validating",
    )
    return CrossValidation.of(plan, found, MODEL)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One fold, as it is sent to a process."""

    plan: Plan
    held: np.ndarray
    risk: RiskModel
    how: Fits
    n_draws: int
    rng: np.random.Generator


def run_fold(task: Task, compiled: Compiled) -> dict[str, Scored]:
    """Fit to the training patients, project the held-out ones, and score them."""
    train, held = task.plan.split(task.held)
    factor_rng, risk_rng = task.rng.spawn(2)
    post = task.how.fit_factors(train, factor_rng)
    known, new = (task.how.pad(moments_of(own)) for own in (post, post.project(held)))
    fitted = task.how.fit_risk(task.risk, known, task.plan.clinical, risk_rng, compiled)
    return {MODEL: Scored.of(fitted, new, task.plan.clinical, task.plan.horizons, task.n_draws)}
