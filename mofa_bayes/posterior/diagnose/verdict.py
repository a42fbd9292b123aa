"""Diagnosis: the checks of a fit as a table, what they amount to, and what to do."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mofa_bayes.card import render_card
from mofa_bayes.posterior.diagnose.loo import LeaveOneOut
from mofa_bayes.posterior.diagnose.predictive import Predictive

Verdict = Literal["believe", "with care", "do not believe"]
Weight = Literal["grave", "care", "aside"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: a value, what it was held to (NaN where it only informs), and what to do where it failed.

    `weight`: a fit that fails a `grave` check means nothing, one that fails a `care` check is to be read with care, and
    an `aside` is about the check's own figures and not about the fit.
    """

    check: str
    value: float
    threshold: float
    passed: bool
    advice: str = ""
    weight: Weight = "care"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Diagnosis:
    """Whether to believe a fit. Holds nothing of single patients except unnamed Pareto k.

    Attributes
    ----------
    checks
        In the order of the table.
    convergence
        R-hat and effective sample sizes (sampling engines), see `AlignmentReport.table`; None otherwise.
    predictive
        Posterior predictive checks by feature; None without views.
    loo
        Leave-one-subject-out prediction; None without views.
    notes
        What could not be checked, and why.
    """

    engine: str
    checks: tuple[Check, ...]
    convergence: pd.DataFrame | None = None
    predictive: Predictive | None = None
    loo: LeaveOneOut | None = None
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row per check: `check`, `value`, `threshold`, `passed`, `advice` (of those that failed)."""
        rows = [(c.check, c.value, c.threshold, c.passed, "" if c.passed else c.advice) for c in self.checks]
        return pd.DataFrame(rows, columns=["check", "value", "threshold", "passed", "advice"])

    @property
    def verdict(self) -> Verdict:
        """`do not believe` where a grave check failed, `with care` where another did, `believe` otherwise."""
        failed = {check.weight for check in self.checks if not check.passed}
        if "grave" in failed:
            return "do not believe"
        return "with care" if "care" in failed else "believe"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the verdict is not better: one sentence for each check that failed, the grave ones first."""
        failed = [c for w in ("grave", "care") for c in self.checks if not c.passed and c.weight == w]
        return tuple(
            f"{check.check} is {check.value:.3g}"
            + (f" (held to {check.threshold:.3g})" if np.isfinite(check.threshold) else "")
            + f": {check.advice}"
            for check in failed
        )

    def __repr__(self) -> str:
        why = f"; {len(self.reasons)} of {len(self.checks)} checks failed" if self.reasons else ""
        return f"<Diagnosis ({self.engine}): {self.verdict}{why}>"

    def _repr_html_(self) -> str:
        return render_card(
            repr(self), self.table.drop(columns="advice"), index=False, notes=[*self.reasons, *self.notes]
        )
