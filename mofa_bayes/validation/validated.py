"""CrossValidation: out-of-fold scores of a cohort, and how good they are."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mofa_bayes.errors import DataError, SpecError
from mofa_bayes.risk.evaluation import Evaluation, Risks, evaluate
from mofa_bayes.risk.evaluation.cohort import Cohort, Interval
from mofa_bayes.risk.evaluation.evaluate import read_resampling
from mofa_bayes.risk.response import Array
from mofa_bayes.validation.plan import Plan
from mofa_bayes.validation.pooling import Repeat, tabulate_folds, tabulate_repeats
from mofa_bayes.validation.running import FoldResult
from mofa_bayes.validation.scored import join_folds


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CrossValidation:
    """Scores of patients by models that never saw them, from `mb.cross_validate`.

    Attributes
    ----------
    plan
        The cohort, its folds and horizons. It keeps the patients' data.
    repeats
        Out-of-fold risks of every patient, with draws, beside outcomes: one entry for each repeat.
    log_scores
        Log predictive density of what happened to each patient, (repeat, N).
    notes
        What the fits warned of, with the number of folds in which they did.
    """

    plan: Plan
    repeats: tuple[Repeat, ...]
    log_scores: Array
    notes: pd.Series

    @classmethod
    def of(cls, plan: Plan, found: Sequence[FoldResult], model: str) -> "CrossValidation":
        """Join the folds of one model."""
        subjects, repeats, log_scores = plan.views.subjects, [], []
        for number, fold_of in enumerate(plan.fold_of):
            own = [
                (held, each) for (repeat, _, held), each in zip(plan.folds(), found, strict=True) if repeat == number
            ]
            risks, log_score = join_folds(
                [each.scored[model] for _, each in own], [held for held, _ in own], subjects, plan.times
            )
            repeats.append(Repeat(make_cohort(plan, risks), fold_of))
            log_scores.append(log_score)
        notes = pd.Series([note for each in found for note in each.notes], dtype=object).value_counts()
        return cls(plan, tuple(repeats), np.stack(log_scores), notes.rename("folds"))

    def risks(self, repeat: int = 0) -> Risks:
        """Out-of-fold risks of all patients in one repeat, with draws; linear predictors compare only within a fold."""
        return self.repeats[self._require_repeat(repeat)].cohort.risks

    def evaluate(
        self,
        *,
        seed: int | np.random.Generator = 0,
        interval: Interval = "patients",
        n_bootstrap: int = 400,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Metrics of the out-of-fold scores with intervals, averaged over repeats.

        Harrell's and Uno's C are computed within folds and averaged over them, because linear predictors of different
        fits are on different scales; all other metrics are of risks, which are pooled. Parameters as in `mb.evaluate`.

        Returns
        -------
        Columns `metric, time, estimate, lower, upper, level`; `log_density` is the mean log predictive density.
        """
        how = read_resampling(self.risks(), interval, n_bootstrap, level, seed)
        return tabulate_repeats(self.repeats, self.log_scores, how)

    def evaluation(
        self,
        repeat: int = 0,
        *,
        seed: int | np.random.Generator = 0,
        interval: Interval = "patients",
        n_bootstrap: int = 400,
        level: float = 0.95,
    ) -> Evaluation:
        """Evaluate the pooled risks of one repeat, for its curves and subgroups; parameters as in `mb.evaluate`.

        Its table ranks patients of different folds against each other by their risk at the last horizon.
        """
        risks = self.risks(repeat)
        pooled = risks if interval != "patients" else risks.mean()
        comparable = Risks(pooled.subjects, None if np.isnan(pooled.times).any() else pooled.times, pooled.risk)
        times = None if np.isnan(self.plan.reported).any() else self.plan.reported.tolist()
        return evaluate(
            comparable,
            self.plan.clinical,
            self.plan.outcome,
            seed=seed,
            times=times,
            interval=interval,
            n_bootstrap=n_bootstrap,
            level=level,
        )

    def by_fold(self) -> pd.DataFrame:
        """Metrics of each fold alone: columns `repeat, fold, n, metric, time, estimate`."""
        return tabulate_folds(self.repeats)

    def to_frame(self, *, level: float = 0.95) -> pd.DataFrame:
        """One row for each repeat, subject and time: columns `repeat, fold, subject, time, risk, lower, upper, level`.

        The interval is over draws of the parameters, given the patient's factors averaged out.
        """
        if not 0 < level < 1:
            raise SpecError("level", got=repr(level), expected="a probability between 0 and 1", do="0.95 is usual.")
        tables = []
        for number, own in enumerate(self.repeats):
            risks = own.cohort.risks
            lower, upper = np.quantile(risks.risk, [(1 - level) / 2, (1 + level) / 2], axis=0)
            columns = {"risk": risks.risk.mean(axis=0), "lower": lower, "upper": upper}
            n_times = len(risks.times)
            tables.append(
                pd.DataFrame(
                    {
                        "repeat": number,
                        "fold": np.repeat(own.fold_of, n_times),
                        "subject": np.repeat(np.asarray(risks.subjects, dtype=object), n_times),
                        "time": np.tile(risks.times, len(risks.subjects)),
                        **{name: values.ravel() for name, values in columns.items()},
                        "level": level,
                    }
                )
            )
        return pd.concat(tables, ignore_index=True)

    def __repr__(self) -> str:
        n_repeats, n_subjects = self.plan.fold_of.shape
        n_folds = len(np.unique(self.plan.fold_of))
        noted = f"; {int(self.notes.sum())} warnings in .notes" if len(self.notes) else ""
        times = f"{n_repeats} times" if n_repeats > 1 else "once"
        return f"<CrossValidation: {n_subjects} subjects in {n_folds} folds, {times}{noted}>"

    def _repr_html_(self) -> str:
        return f"<div><strong>{html.escape(repr(self)[1:-1])}</strong></div>"

    def _require_repeat(self, repeat: int) -> int:
        if not 0 <= repeat < len(self.repeats):
            raise DataError(
                "repeat", got=repr(repeat), expected=f"0 to {len(self.repeats) - 1}", do="Name one that was made."
            )
        return repeat


def make_cohort(plan: Plan, risks: Risks) -> Cohort:
    """Put risks beside outcomes, to be evaluated at the reported horizons."""
    observed = plan.outcome.read(plan.clinical, plan.views.subjects)
    time, event = observed.get("time"), observed["event" if "time" in observed else "outcome"]
    horizons = np.zeros(1, dtype=np.intp)
    if time is not None:
        horizons = np.flatnonzero(np.isin(risks.times, plan.reported))
    is_competing = time is not None and bool(((event > 0) & (event != risks.cause)).any())
    return Cohort(risks, time, event, horizons, is_competing)
