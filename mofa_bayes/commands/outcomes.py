"""Outcomes as they are written on a command line: `survival:time,event`, `binary:died` and so on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mofa_bayes.data.tables import require_frame
from mofa_bayes.errors import DataError, SpecError, name_some

if TYPE_CHECKING:
    from mofa_bayes.risk.response import Family


def read_outcome(text: str, baseline: str | None) -> "Family":
    """Read an outcome.

    Raises
    ------
    SpecError
        It is none that we know.
    """
    from mofa_bayes.risk import Binary, Continuous, Count, Ordinal, Survival

    def survival(columns: Sequence[str]) -> "Family":
        time, event = columns
        return Survival(time, event) if baseline is None else Survival(time, event, baseline=baseline)

    kinds: Mapping[str, Callable[[Sequence[str]], Family]] = {
        "survival": survival,
        "binary": lambda columns: Binary(*columns),
        "continuous": lambda columns: Continuous(*columns),
        "count": lambda columns: Count(*columns),
        "ordinal": lambda columns: Ordinal(columns[0], levels=columns[1:]),
    }
    kind, _, rest = text.partition(":")
    columns = [name.strip() for name in rest.split(",") if name.strip()]
    try:
        return kinds[kind](columns)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(
            "outcome",
            got=repr(text)[:80],
            expected="survival:TIME,EVENT or binary:, continuous:, count:COLUMN or ordinal:COLUMN,LEVEL,LEVEL,...",
            do="Write survival:time,event.",
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A clinical table whose covariates are numbers.

    Attributes
    ----------
    table
        The table, with a column `<name>=<level>` for each level but the first of a covariate that is text.
    names
        Columns to take as covariates.
    levels
        Covariate that is text -> its levels.
    """

    table: pd.DataFrame
    names: list[str]
    levels: dict[str, list[str]]


def code_covariates(
    clinical: pd.DataFrame, covariates: Sequence[str], levels: Mapping[str, Sequence[str]] | None = None
) -> Coded:
    """Code covariates that are text as 0 and 1 for each level but the first.

    Parameters
    ----------
    clinical
        The table.
    covariates
        Columns of it.
    levels
        Levels of those that are text, as they were in the fit; those that occur when left out.

    Raises
    ------
    DataError
        A column is not there, or has a level that the fit did not have.
    """
    table = require_frame("clinical table", clinical).copy()
    _require_columns(table, covariates)
    names, found = [], {}
    for name in covariates:
        is_text = name in levels if levels is not None else not pd.api.types.is_numeric_dtype(table[name])
        if not is_text:
            names.append(name)
            continue
        own = table[name].astype("string")
        known = list(levels[name]) if levels is not None else sorted(own.dropna().unique())
        unknown = sorted(set(own.dropna()) - set(known))
        if unknown:
            raise DataError(
                f"covariate {name!r}",
                got=f"levels unknown to the model ({name_some(unknown)})",
                expected=f"some of {name_some(known, 12)}",
                do="Correct them, or fit with them.",
            )
        found[name] = known
        for level in known[1:]:
            is_level = (own == level).fillna(False).astype(float).to_numpy()
            table[f"{name}={level}"] = np.where(own.isna(), np.nan, is_level)
            names.append(f"{name}={level}")
    return Coded(table, names, found)


def _require_columns(table: pd.DataFrame, names: Sequence[str]) -> None:
    absent = [name for name in names if name not in table.columns]
    if absent:
        raise DataError(
            "clinical table",
            got=f"no column {name_some(absent)}",
            expected=f"some of {name_some(table.columns, 8)}",
            do="Correct the names.",
        )


def find_complete(
    clinical: pd.DataFrame, family: "Family", covariates: Sequence[str], subjects: Sequence[str]
) -> list[str]:
    """Find the subjects who have an outcome that can be used, and all covariates."""
    needed = [*family.columns, *covariates]
    _require_columns(clinical, needed)
    rows = clinical.loc[clinical.index.intersection(pd.Index(subjects)), needed].dropna()
    time = getattr(family, "time", None)
    if time is not None:
        rows = rows[pd.to_numeric(rows[time], errors="coerce") > 0]
    kept = set(rows.index)
    return [subject for subject in subjects if subject in kept]
