"""From events to views: only what lies before each subject's index time, and a zero is told from an unknown."""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
import pandas as pd

from mofa_bayes.data.events.rules import Count, Rule
from mofa_bayes.data.events.sources import read_events
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError, name_some

logger = logging.getLogger(__name__)
_YEAR = timedelta(days=365.25)


def tabulate_events(
    events: pd.DataFrame,
    index: pd.Series | pd.DataFrame,
    rules: Mapping[str, Rule],
    *,
    follow_up: pd.DataFrame | None = None,
    features: Mapping[str, Sequence[str]] | None = None,
    groups: pd.Series | None = None,
    covariates: pd.DataFrame | None = None,
) -> MultiView:
    """Make one view of each rule.

    A subject who has no event at all in a window was not seen in it: the view is missing for them. Subjects who were
    seen have 0 for each flag or count that they lack, and missing values for what was not measured.

    Parameters
    ----------
    events
        Columns `subject_id, time, code, numeric_value`, from `read_meds`, `read_omop` or your own.
    index
        Index time of each subject: a Series of timestamps by `subject_id`; or, where a person has several (admissions),
        a DataFrame by subject with columns `subject_id` and `time`.
    rules
        View -> `Presence`, `Count`, `Latest` or `Mean`.
    follow_up
        Columns `subject_id, start, end` of the times in which events of a person would have been recorded (OMOP's
        observation periods). Counts get as exposure the years of the window that lie in them (without it, the length of
        a finite window), and a subject seen for none of it lacks the view.
    features
        View -> codes to take, as `views.features(view)` of the cohort of the fit gives them: for new patients, of whom
        no code is too rare.
    groups, covariates
        As in `MultiView.from_frames`, by subject.

    Raises
    ------
    DataError
        Events, index times or rules cannot be used; or a rule leaves no code.

    Notes
    -----
    Events at the index time and after it are never looked at, which a test holds by changing them.
    """
    checked = read_events(events)
    who = _read_index(index)
    if not isinstance(rules, Mapping) or not rules or not all(isinstance(rule, Rule) for rule in rules.values()):
        raise DataError(
            "rules",
            got=repr(rules)[:80],
            expected="a mapping from view to Presence, Count, Latest or Mean",
            do='Write {"drugs": mb.Presence("DRUG//*", within="365D")}.',
        )
    before = checked.merge(who.reset_index(), on="subject_id", suffixes=("", "_index"))
    before = before[before["time"] < before["time_index"]].sort_values(["subject", "time"], kind="stable")
    if before.empty:
        raise DataError(
            "events",
            got="none before the index times",
            expected="events of these subjects before them",
            do="Check subject_id and the index times.",
        )
    frames, likelihoods, exposures = {}, {}, {}
    for view, rule in rules.items():
        wanted = None if features is None else features.get(view, ())
        frame = _tabulate(view, rule, before, who, wanted)
        if isinstance(rule, Count):
            exposure = _expose(rule, who, follow_up)
            frame.loc[~(exposure > 0)] = np.nan
            exposures[view] = exposure.where(exposure > 0, 1.0)
        frames[view] = frame
        likelihoods[view] = rule.likelihood
    return MultiView.from_frames(
        frames,
        likelihoods=likelihoods,
        exposures=exposures or None,
        groups=groups,
        covariates=covariates,
        uninformative="drop" if features is None else "keep",
    )


def _read_index(index: object) -> pd.DataFrame:
    """Subject -> `subject_id` and `time`."""
    if isinstance(index, pd.Series):
        who = pd.DataFrame(
            {"subject_id": index.index.astype(str), "time": index.to_numpy()}, index=index.index.astype(str)
        )
    elif isinstance(index, pd.DataFrame) and {"subject_id", "time"} <= set(index.columns):
        who = index[["subject_id", "time"]].set_axis(index.index.astype(str), axis=0)
        who = who.assign(subject_id=who["subject_id"].astype(str))
    else:
        raise DataError(
            "index times",
            got=type(index).__name__,
            expected="a Series of timestamps by subject, or a DataFrame with subject_id and time",
            do="Write clinical.set_index('subject')['admitted'].",
        )
    time = pd.to_datetime(who["time"], errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
    if len(who) == 0 or time.isna().any() or who.index.has_duplicates:
        n_lost, n_doubled = int(time.isna().sum()), int(who.index.duplicated().sum())
        raise DataError(
            "index times",
            got=f"{n_lost} without a time, {n_doubled} subjects twice, of {len(who)}",
            expected="one timestamp for each subject",
            do="Drop or complete these rows.",
        )
    return who.assign(time=time).rename_axis("subject")


def _tabulate(
    view: str, rule: Rule, before: pd.DataFrame, who: pd.DataFrame, wanted: Sequence[str] | None
) -> pd.DataFrame:
    """One row for each subject who was seen, one column for each code."""
    age = before["time_index"] - before["time"]
    within, gap = rule.window
    inside = age >= gap
    if within is not None:
        inside &= age <= within
    window = before[inside]
    codes = pd.Index(window["code"].cat.categories)
    taken = window[window["code"].isin(codes[rule.choose(codes)])]
    values = rule.summarise(taken)
    n_subjects = values.groupby(level="code", observed=True).size()
    columns = list(n_subjects.index[n_subjects >= rule.min_subjects].astype(str)) if wanted is None else list(wanted)
    if not columns:
        raise DataError(
            f"view {view!r}",
            got=f"no code of {name_some(rule.codes)} that {rule.min_subjects} subjects have in the window",
            expected="at least one",
            do="Check the pattern, or widen the window.",
        )
    rare = len(n_subjects) - int((n_subjects >= rule.min_subjects).sum())
    if wanted is None and rare:
        logger.info("view %r: %d codes of fewer than %d subjects are left out", view, rare, rule.min_subjects)
    table = values.unstack("code").rename(columns=str).reindex(columns=columns)
    table = table.astype(float).reindex(who.index)
    table.columns.name = None
    table = table[sorted(table.columns)] if wanted is None else table
    if rule.likelihood != "gaussian":
        seen = who.index.isin(window["subject"].unique())
        table = table.fillna(0.0).where(pd.Series(seen, index=who.index), axis=0)
    return table


def _expose(rule: Count, who: pd.DataFrame, follow_up: pd.DataFrame | None) -> pd.Series:
    """Years of each subject's window in which events would have been recorded."""
    within, gap = rule.window
    end = who["time"] - gap
    start = pd.Series(pd.Timestamp.min, index=who.index) if within is None else who["time"] - within
    if follow_up is None:
        return pd.Series(1.0 if within is None else (within - gap) / _YEAR, index=who.index)
    if not isinstance(follow_up, pd.DataFrame) or not {"subject_id", "start", "end"} <= set(follow_up.columns):
        raise DataError(
            "follow_up",
            got=type(follow_up).__name__,
            expected="a DataFrame with subject_id, start and end",
            do="Rename the columns of the observation periods.",
        )
    periods = follow_up.assign(subject_id=follow_up["subject_id"].astype(str))
    both = who.assign(start_window=start, end_window=end).reset_index().merge(periods, on="subject_id", how="left")
    first = both[["start_window", "start"]].max(axis=1)
    last = both[["end_window", "end"]].min(axis=1)
    years = ((last - first).dt.total_seconds() / _YEAR.total_seconds()).clip(lower=0).fillna(0.0)
    total: pd.Series = years.groupby(both["subject"]).sum().reindex(who.index)
    return total
