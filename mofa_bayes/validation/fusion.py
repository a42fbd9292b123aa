"""compare_fusion: early, intermediate and late fusion of views beside clinical covariates, on the same folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mofa_bayes.card import render_card
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.steps import Step
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.errors import SpecError
from mofa_bayes.risk import Binary, RiskModel, Survival
from mofa_bayes.risk.effects import Strength
from mofa_bayes.risk.evaluation.evaluate import read_resampling
from mofa_bayes.risk.inputs import read_predictors
from mofa_bayes.risk.sparse import likelihood_of
from mofa_bayes.spec import FactorModel
from mofa_bayes.validation.fits import Engine, Fits
from mofa_bayes.validation.paired import tabulate_pairs
from mofa_bayes.validation.plan import Plan, make_plan, require_jobs
from mofa_bayes.validation.running import run_folds
from mofa_bayes.validation.strategies import (
    CLINICAL,
    EARLY,
    INTERMEDIATE,
    LATE,
    STACKED,
    FusionTask,
    run_fusion,
)
from mofa_bayes.validation.validated import CrossValidation

STRATEGIES = (EARLY, INTERMEDIATE, LATE, STACKED)
N_FACTORS = 20
SUBJECTS_PER_FACTOR = 6
QUICK = Ascent(mode=1e-5, max_iterations=120, n_threads=1)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Fusion:
    """Strategies side by side, from `mb.compare_fusion`.

    Attributes
    ----------
    table
        One row for each model and metric: `model, metric, estimate, lower, upper, level, difference, difference_lower,
        difference_upper`. Differences are to `reference`, paired by patient, and above 0 where the model is better.
    models
        Out-of-fold scores of each model.
    reference
        What differences are taken to: `clinical`, or the first model where there are no covariates.
    """

    table: pd.DataFrame
    models: Mapping[str, CrossValidation]
    reference: str

    def summary(self) -> pd.DataFrame:
        """Estimates, one row for each model, and the difference of the first metric to the reference."""
        wide = self.table.pivot(index="model", columns="metric", values="estimate")
        wide = wide.loc[list(self.models), self.table["metric"].drop_duplicates().to_list()]
        first = wide.columns[0]
        own = self.table[self.table["metric"] == first].set_index("model")["difference"]
        wide.insert(1, f"{first} over {self.reference}", own)
        return wide.rename_axis(columns=None)

    def __repr__(self) -> str:
        return f"<Fusion: {len(self.models)} models beside {self.reference}, on the same folds>"

    def _repr_html_(self) -> str:
        return render_card(repr(self), self.summary())


def compare_fusion(
    views: MultiView,
    clinical: pd.DataFrame,
    outcome: Survival | Binary,
    *,
    covariates: Sequence[str] = (),
    strategies: Sequence[str] = STRATEGIES,
    spec: FactorModel | None = None,
    strength: Strength | None = None,
    folds: int = 5,
    repeats: int = 1,
    seed: int | np.random.Generator,
    steps: Mapping[str, Sequence[Step]] | None = None,
    engine: Engine = "vi",
    settings: Ascent | Sampling | None = None,
    options: Mapping[str, Any] | None = None,
    times: Sequence[float] | None = None,
    n_draws: int = 100,
    n_bootstrap: int = 400,
    level: float = 0.95,
    n_jobs: int = 1,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Fusion:
    """Compare ways to bring several views into one risk, on the same folds and with the same risk model.

    `clinical`: the covariates alone. `early`: all features side by side, standardised, in a sparse Bayesian regression
    (`mofa_bayes.risk.sparse`) whose predictor, with its variance, is then the one factor of the risk model.
    `intermediate`: the factors of all views together. `late`: factors of each view and a risk model on each, whose
    predictive distributions are stacked. Each is fitted alone and with the covariates (`clinical + ...`). `stacked`:
    clinical and all of the latter, stacked. Nothing of a held-out patient is used before they are scored:
    weights of stacking come from the training patients, each left out in turn.

    Parameters
    ----------
    views, clinical, outcome, covariates
        The cohort, with outcome and covariates of every subject.
    strategies
        Some of `early`, `intermediate`, `late`, `stacked`.
    spec
        Factor model of `intermediate`, and of each view in `late`. Left out, it has 20 factors, or a sixth of the
        number of training patients if that is fewer.
    strength
        Prior scales of effects; see `RiskModel`.
    settings
        As in `mb.fit`. Left out, vi stops when the bound has risen by less than 1e-5 of itself, or after 120 passes:
        scores of held-out patients no longer change then.
    folds, repeats, seed, steps, engine, options, times, n_draws, n_jobs, checkpoint, progress
        As in `mb.cross_validate`.
    n_bootstrap, level
        Resamples of patients, and probability of the intervals.

    Raises
    ------
    DataError, FitError, SpecError, FileError
        As `mb.cross_validate`.
    """
    wanted = _require_strategies(strategies)
    risk = RiskModel(outcome, covariates, strength=strength or Strength())
    plan = make_plan(views, clinical, outcome, folds=folds, repeats=repeats, times=times, seed=seed, steps=steps)
    read_predictors(plan.clinical, risk.covariates, views.subjects)
    if EARLY in wanted:
        likelihood_of(outcome.read(plan.clinical, views.subjects))
    if spec is None:
        n_train = views.n_subjects * (folds - 1) // folds
        spec = FactorModel(n_factors=max(1, min(N_FACTORS, n_train // SUBJECTS_PER_FACTOR)))
    if settings is None and engine == "vi":
        settings = QUICK
    how = Fits.of(spec, engine, settings, options)
    how.require(views)
    tasks = [
        FusionTask(plan=plan, held=held, risk=risk, how=how, strategies=wanted, n_draws=n_draws, rng=rng)
        for (_, _, held), rng in zip(plan.folds(), plan.streams(), strict=True)
    ]
    found = run_folds(
        tasks,
        run_fusion,
        n_jobs=require_jobs(n_jobs),
        keep=plan.keep(checkpoint, risk, how, wanted, n_draws),
        progress=progress,
        title="comparing strategies",
    )
    models = {name: CrossValidation.of(plan, found, name) for name in found[0].scored}
    return _conclude(plan, models, n_bootstrap, level)


def _conclude(plan: Plan, models: Mapping[str, CrossValidation], n_bootstrap: int, level: float) -> Fusion:
    reference = CLINICAL if CLINICAL in models else next(iter(models))
    how = read_resampling(models[reference].risks(), "patients", n_bootstrap, level, plan.seed)
    return Fusion(tabulate_pairs(models, reference, how), models, reference)


def _require_strategies(strategies: Sequence[str]) -> tuple[str, ...]:
    if isinstance(strategies, str) or not strategies or not set(strategies) <= set(STRATEGIES):
        raise SpecError(
            "strategies",
            got=repr(strategies)[:80],
            expected=f"some of {', '.join(STRATEGIES)}",
            do='Write strategies=["intermediate"].',
        )
    return tuple(name for name in STRATEGIES if name in strategies)
