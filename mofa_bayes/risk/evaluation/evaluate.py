"""Evaluate: hold risks against what happened, once for all metrics."""

from collections.abc import Mapping, Sequence
from typing import Protocol, get_args

import numpy as np
import pandas as pd

from mofa_bayes.data.tables import require_frame
from mofa_bayes.errors import DataError, SpecError
from mofa_bayes.risk.evaluation.cohort import Cohort, Interval, estimate_of, replicate
from mofa_bayes.risk.evaluation.curves import CalibrationCurve, DecisionCurve, tabulate_distribution
from mofa_bayes.risk.evaluation.evaluation import Evaluation, Resampling, tabulate_panels
from mofa_bayes.risk.evaluation.measured import read_measurements
from mofa_bayes.risk.evaluation.panel import compute_panel
from mofa_bayes.risk.evaluation.risks import Array, Risks
from mofa_bayes.risk.response import RISK
from mofa_bayes.risk.scores import Scores
from mofa_bayes.seeds import make_rng


class Outcome(Protocol):
    """Columns of a clinical table that hold an outcome: `Survival`, `Binary`."""

    def read(self, clinical: pd.DataFrame, subjects: Sequence[str]) -> Mapping[str, Array]:
        """Return `outcome`, or `time` and `event` (0 where censored, else the cause), each (subject,)."""
        ...


def evaluate(
    scores: Scores | Risks,
    clinical: pd.DataFrame,
    outcome: Outcome,
    *,
    seed: int | np.random.Generator,
    times: Sequence[float] | None = None,
    interval: Interval = "patients",
    n_bootstrap: int = 400,
    level: float = 0.95,
) -> Evaluation:
    """Evaluate risks by discrimination, calibration, proper scores and net benefit, each with an interval.

    Survival metrics weigh patients for censoring, which is estimated in the same cohort and taken to be independent of
    the risk. With competing risks the risks are of one cause, incidences and net benefit are Aalen-Johansen's, and who
    had another event never has this one. Patients whose outcome was used in the fit make every metric look better than
    it is.

    What is measured or counted has R squared, RMSE, CRPS, log score, coverage of the predictive interval and linear
    calibration for each response, a count also the Poisson deviance; CRPS and log score are those of a normal (or
    negative binomial) distribution with the predictive mean and sd. A grade has the ranked probability score, the log
    score and the AUC of being above each level. There are no curves then, and no horizons.

    Parameters
    ----------
    scores
        From `FittedRisk.predict` or `FittedRisk.draw_risks`, or `Risks` of any model.
    clinical
        Outcome, and columns for subgroups, indexed by subject.
    outcome
        Which columns hold the outcome: that of the risk model.
    seed
        Seed or generator of the resampling.
    times
        Horizons to report, among those of `scores`; all when left out. The others still serve integrated metrics; with
        10 or more horizons the density score, CRPS and D-calibration are computed too.
    interval
        `patients`: bootstrap over patients, what another cohort of this size could show. `posterior`: over the draws
        of `scores`, what is uncertain in the model, for these patients. `both`: each draw on its own resample.
    n_bootstrap
        Replicates.
    level
        Probability of the intervals.

    Raises
    ------
    DataError
        The outcome cannot be read, or a horizon is not one of `scores` or not before the longest follow-up.
    SpecError
        An option is not acceptable, or `interval` needs draws that `scores` do not have.
    """
    if isinstance(scores, Scores) and scores.labels is not RISK:
        measured = read_measurements(scores, require_frame("clinical table", clinical), outcome, interval)
        resampling = read_resampling(None, interval, n_bootstrap, level, seed)
        table = measured.tabulate(n_bootstrap, level, np.random.default_rng(resampling.seed))
        none = pd.DataFrame()
        return Evaluation(
            table=table,
            calibration_curve=none,
            decision_curve=none,
            risk_distribution=none,
            resampling=resampling,
            cohort=measured,
            clinical=clinical,
        )
    risks = _read_risks(scores)
    resampling = read_resampling(risks, interval, n_bootstrap, level, seed)
    cohort = _read_cohort(risks, clinical, outcome, times)
    calibration, decision = CalibrationCurve(cohort), DecisionCurve(cohort)
    own = estimate_of(cohort)
    panels, curves, worths = [], [], []
    for block in replicate(cohort, interval, n_bootstrap, np.random.default_rng(resampling.seed)):
        panels.append(compute_panel(cohort, block))
        curves.append(calibration.compute(block))
        worths.append(decision.compute(block))
    return Evaluation(
        table=tabulate_panels(compute_panel(cohort, own), panels, level),
        calibration_curve=calibration.tabulate(calibration.compute(own), np.concatenate(curves), level),
        decision_curve=decision.tabulate(decision.compute(own), np.concatenate(worths), level),
        risk_distribution=tabulate_distribution(cohort),
        resampling=resampling,
        cohort=cohort,
        clinical=clinical,
    )


def _read_risks(scores: object) -> Risks:
    if isinstance(scores, Risks):
        return scores
    if isinstance(scores, Scores):
        scores.require_one_cause()
        values = scores.dataset.transpose("subject", "time")
        subjects = [str(name) for name in values["subject"].values]
        arrays = (values[name].values for name in ("time", "risk", "linear_predictor"))
        return Risks(subjects, *arrays, cause=int(values["code"]) if "code" in values.coords else 1)
    raise DataError(
        "scores",
        got=type(scores).__name__,
        expected="Scores, or Risks",
        do="Pass fitted.predict(posterior, clinical, times=...), or mb.Risks(subjects, times, risk) of another model.",
    )


def read_resampling(
    risks: Risks | None, interval: Interval, n_bootstrap: int, level: float, seed: int | np.random.Generator
) -> Resampling:
    """Check how intervals are asked for, and fix the seed of the resampling; raise SpecError otherwise."""
    if interval not in get_args(Interval):
        raise SpecError("interval", got=repr(interval), expected=f"one of {', '.join(get_args(Interval))}",
                        do="Choose one of these.")  # fmt: skip
    if interval != "patients" and risks is not None and not risks.has_draws:
        raise SpecError("interval", got=f"{interval!r} for scores without draws", expected="scores with draws",
                        do="Pass fitted.draw_risks(posterior, clinical, times=...).")  # fmt: skip
    if not isinstance(n_bootstrap, int) or isinstance(n_bootstrap, bool) or n_bootstrap < 20:
        raise SpecError("n_bootstrap", got=repr(n_bootstrap), expected="20 replicates or more", do="400 is usual.")
    if not isinstance(level, int | float) or not 0 < level < 1:
        raise SpecError("level", got=repr(level), expected="a probability between 0 and 1", do="0.95 is usual.")
    own = int(make_rng(seed).integers(2**62))
    return Resampling(interval=interval, n_replicates=n_bootstrap, seed=own, level=level)


def _read_cohort(risks: Risks, clinical: pd.DataFrame, outcome: Outcome, times: Sequence[float] | None) -> Cohort:
    observed = outcome.read(require_frame("clinical table", clinical), risks.subjects)
    if "entry" in observed or "upper" in observed:
        raise DataError(
            "outcome",
            got="late entry or events between bounds",
            expected="events and censoring of patients followed from time 0, which is what the metrics are defined for",
            do='Evaluate in patients with Survival("time", "event").',
        )
    time, event = observed.get("time"), observed["event" if "time" in observed else "outcome"]
    if np.isnan(risks.times).any() == (time is not None):
        raise DataError(
            "scores",
            got="risks at horizons" if time is None else "risks without horizons",
            expected="risks without horizons" if time is None else "risks at horizons",
            do="Pass scores of a model with this outcome.",
        )
    horizons = _find_horizons(risks.times, times, time)
    is_competing = time is not None and bool(((event > 0) & (event != risks.cause)).any())
    return Cohort(risks, time, event, horizons, is_competing)


def _find_horizons(known: Array, asked: Sequence[float] | None, time: Array | None) -> np.ndarray:
    """Positions of the horizons to report."""
    if time is None and asked is not None:
        raise DataError("times", got=repr(asked)[:80], expected="none, because a binary outcome has no horizon",
                        do="Leave times out.")  # fmt: skip
    wanted = known if asked is None else np.unique(np.asarray(asked, dtype=np.float64))
    shown = ", ".join(f"{own:g}" for own in known[:8])
    if time is None:
        return np.zeros(1, dtype=np.intp)
    if not len(wanted) or not np.isin(wanted, known).all():
        raise DataError("times", got=repr(asked)[:80], expected=f"horizons of the scores ({shown})",
                        do="Predict at these times first.")  # fmt: skip
    if wanted[-1] >= time.max():
        raise DataError("times", got=f"a horizon of {wanted[-1]:g}",
                        expected=f"horizons before the longest follow-up, {time.max():g}",
                        do="Nothing can be checked where nobody is followed: report earlier horizons.")  # fmt: skip
    return np.flatnonzero(np.isin(known, wanted))
