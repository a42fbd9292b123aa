"""Evaluation: metrics with intervals, curves, and panels by subgroup, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mofa_bayes.card import render_card
from mofa_bayes.data.tables import align_rows
from mofa_bayes.errors import DataError, SpecError, name_some
from mofa_bayes.risk.evaluation.cohort import Cohort, Interval, estimate_of, replicate
from mofa_bayes.risk.evaluation.curves import find_quantiles
from mofa_bayes.risk.evaluation.measured import Measurements
from mofa_bayes.risk.evaluation.panel import Panel, compute_panel

_MOST_GROUPS = 20
_ABSENT = "(absent)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """Where intervals come from: what is replicated, how often, from which seed, at which level."""

    interval: Interval
    n_replicates: int
    seed: int
    level: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Evaluation:
    """How good risks are, from `mb.evaluate`. It keeps the patients' risks and outcomes, for `by_subgroup`.

    Attributes
    ----------
    table
        One row per metric and time, columns `metric, time, estimate, lower, upper, level`; time is NaN where a metric
        has none. For a measured or graded outcome `response` or `category` takes the place of `time`, and the curves
        below are empty.
    calibration_curve
        `time, predicted, observed, lower, upper, level`.
    decision_curve
        `time, threshold, net_benefit, lower, upper, treat_all, gain, gain_lower, gain_upper, probability_useful,
        level`.
        The gain is over the better of treating all and treating none, and the probability is that of a gain above 0.
    risk_distribution
        `time, event, lower, upper, share`: the share of patients with and without the event in each bin of risk.
    resampling
        Where the intervals come from.
    """

    table: pd.DataFrame
    calibration_curve: pd.DataFrame
    decision_curve: pd.DataFrame
    risk_distribution: pd.DataFrame
    resampling: Resampling
    cohort: Cohort | Measurements = field(repr=False)
    clinical: pd.DataFrame = field(repr=False)

    def by_subgroup(self, column: str, *, min_size: int = 20) -> pd.DataFrame:
        """Compute the table within each group of a clinical column.

        Parameters
        ----------
        column
            Column of the clinical table with at most 20 different values; patients without a value are a group too.
        min_size
            Smallest group that is shown. Of a smaller one only the name appears, as one row with metric `suppressed`;
            a reader who knows the size of the cohort can still find the size of a single suppressed group.

        Returns
        -------
        Columns `subgroup, n, metric, time, estimate, lower, upper, level`. Metrics at horizons beyond a group's longest
        follow-up are NaN.

        Raises
        ------
        DataError
            The column is absent, or has more values.
        """
        if not isinstance(min_size, int) or min_size < 2:
            raise SpecError("min_size", got=repr(min_size), expected="2 or more", do="20 is usual; 10 is the least.")
        labels = self._labels(column)
        groups = sorted(labels.unique())
        streams = np.random.default_rng(self.resampling.seed).spawn(len(groups))
        tables = []
        for group, rng in zip(groups, streams, strict=True):
            rows = np.flatnonzero(labels == group)
            if len(rows) < min_size:
                own = pd.DataFrame({"metric": ["suppressed"], "level": self.resampling.level})
                own = own.reindex(columns=self.table.columns)
            else:
                own = tabulate(self.cohort.take(rows), self.resampling, rng)
            own.insert(0, "subgroup", group)
            shown = pd.NA if len(rows) < min_size else len(rows)
            own.insert(1, "n", pd.Series([shown] * len(own), dtype="Int64"))
            numbers = {"time", "estimate", "lower", "upper"} & set(own.columns)
            tables.append(own.astype(dict.fromkeys(numbers, np.float64)))
        return pd.concat(tables, ignore_index=True)

    def _labels(self, column: str) -> pd.Series:
        if column not in self.clinical.columns:
            raise DataError("column", got=repr(column), expected=f"one of {name_some(self.clinical.columns, 8)}",
                            do="Use one of these.")  # fmt: skip
        values = align_rows("clinical table", self.clinical[[column]], _subjects_of(self.cohort))[column]
        if values.nunique() > _MOST_GROUPS:
            raise DataError(f"column {column!r}", got=f"{values.nunique()} different values",
                            expected=f"at most {_MOST_GROUPS} groups",
                            do="Cut a number into ranges first, for instance with pd.cut.")  # fmt: skip
        return values.astype(object).where(values.notna(), _ABSENT).astype(str)

    def summary(self) -> pd.DataFrame:
        """Estimates and intervals, indexed by metric and time. Holds no patient's data."""
        return self.table.set_index(list(self.table.columns[:2]))

    def __repr__(self) -> str:
        known = () if isinstance(self.cohort, Measurements) else self.cohort.times
        times = ", ".join(f"{time:g}" for time in known if not np.isnan(time))
        how = f"{self.resampling.level:.0%} intervals over {self.resampling.interval}"
        return f"<Evaluation: {len(_subjects_of(self.cohort))} subjects{f' at {times}' if times else ''}; {how}>"

    def _repr_html_(self) -> str:
        return render_card(repr(self), self.summary())


def tabulate(cohort: Cohort | Measurements, how: Resampling, rng: np.random.Generator) -> pd.DataFrame:
    """Compute the panel with its intervals, without curves."""
    if isinstance(cohort, Measurements):
        return cohort.tabulate(how.n_replicates, how.level, rng)
    blocks = [compute_panel(cohort, own) for own in replicate(cohort, how.interval, how.n_replicates, rng)]
    return tabulate_panels(compute_panel(cohort, estimate_of(cohort)), blocks, how.level)


def tabulate_panels(estimate: Panel, blocks: list[Panel], level: float) -> pd.DataFrame:
    """One row for each metric and time; a metric that replicates lack has no interval."""
    rows = []
    for (name, time), value in estimate.items():
        replicates = [np.atleast_1d(block[name, time]) for block in blocks if (name, time) in block]
        lower, upper = find_quantiles(np.concatenate(replicates), level) if replicates else (np.nan, np.nan)
        rows.append((name, time, float(value), float(lower), float(upper), level))
    return pd.DataFrame(rows, columns=["metric", "time", "estimate", "lower", "upper", "level"])


def _subjects_of(cohort: Cohort | Measurements) -> Sequence[str]:
    return cohort.subjects if isinstance(cohort, Measurements) else cohort.risks.subjects
