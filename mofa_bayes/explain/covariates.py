"""Covariates of a clinical table, each read as what it is: a number, two or more classes, or a time with an event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.tables import read_numbers, require_frame
from mofa_bayes.errors import DataError, name_some

KINDS = ("continuous", "binary", "categorical", "survival")
_FEWEST = 5


@dataclass(frozen=True, slots=True, eq=False)
class Covariate:
    """One covariate of the subjects who have it.

    Attributes
    ----------
    name, kind
        What it is called, and one of `KINDS`.
    rows
        Which subjects have it, (n,).
    values
        Numbers, codes of classes, or times, (n,).
    event
        Of a survival covariate (n,), empty otherwise.
    classes
        Names of the classes in the order of their codes; of a binary one the second counts as 1.
    """

    name: str
    kind: str
    rows: NDArray[np.intp]
    values: NDArray[np.float64]
    event: NDArray[np.float64]
    classes: tuple[str, ...]


def read_covariates_of(
    clinical: pd.DataFrame,
    subjects: tuple[str, ...],
    columns: Sequence[str] | None,
    kinds: Mapping[str, str],
    survival: Mapping[str, tuple[str, str]],
) -> list[Covariate]:
    """Read covariates of subjects; rows of other subjects are left aside, and so are missing values, each by column.

    Raises
    ------
    DataError
        A column is absent, cannot be what it is said to be, or fewer than five subjects have it.
    """
    table = require_frame("clinical table", clinical)
    taken = {column for pair in survival.values() for column in pair}
    names = [str(name) for name in table.columns if str(name) not in taken] if columns is None else list(columns)
    table = table.set_axis(table.index.astype(str), axis=0).set_axis(table.columns.astype(str), axis=1)
    unknown = [name for name in [*names, *kinds, *taken] if name not in table.columns]
    foreign = [kind for kind in kinds.values() if kind not in KINDS[:3]]
    if unknown or foreign or not (names or survival):
        raise DataError(
            "covariates",
            got=f"unknown {name_some(unknown or foreign)}" if unknown or foreign else "none",
            expected=f"columns of the table ({name_some(table.columns, 8)}), of kind {', '.join(KINDS[:3])}",
            do="Correct the names.",
        )
    table = table.reindex(list(subjects))
    found = [_read_one(name, table[name], kinds.get(name)) for name in names]
    return found + [_read_times(name, table, *pair) for name, pair in survival.items()]


def _read_one(name: str, column: pd.Series, kind: str | None) -> Covariate:
    rows = np.flatnonzero(column.notna().to_numpy())
    present = column.iloc[rows]
    is_number = pd.api.types.is_numeric_dtype(present.dtype) or pd.api.types.is_bool_dtype(present.dtype)
    n_classes = present.nunique()
    if kind is None:
        kind = "binary" if n_classes == 2 else "continuous" if is_number else "categorical"
    _require_enough(name, len(rows), n_classes, kind)
    if kind == "continuous":
        values = read_numbers(f"covariate {name!r}", present.to_frame())[:, 0].astype(np.float64)
        return Covariate(name, kind, rows, values, np.empty(0), ())
    codes, classes = pd.factorize(present, sort=True)
    return Covariate(name, kind, rows, codes.astype(np.float64), np.empty(0), tuple(str(own) for own in classes))


def _require_enough(name: str, n_subjects: int, n_classes: int, kind: str) -> None:
    most = {"binary": 2, "categorical": n_subjects - 2}.get(kind, n_subjects)
    if n_subjects < _FEWEST or n_classes < 2 or n_classes > most:
        raise DataError(
            f"covariate {name!r}",
            got=f"{n_classes} different values among {n_subjects} subjects of the fit",
            expected=f"at least {_FEWEST} subjects, and values that vary"
            + (f" between at most {most} classes" if kind in ("binary", "categorical") else ""),
            do="Check the subjects' names and the column, say its kind (kinds=), or leave it out (columns=).",
        )


def _read_times(name: str, table: pd.DataFrame, time: str, event: str) -> Covariate:
    rows = np.flatnonzero(table[[time, event]].notna().all(axis=1).to_numpy())
    pair = read_numbers(f"survival {name!r}", table[[time, event]].iloc[rows].astype(np.float64)).astype(np.float64)
    times, events = pair[:, 0], pair[:, 1]
    if len(rows) < _FEWEST or not np.isin(events, (0, 1)).all() or not events.any() or not (times > 0).all():
        raise DataError(
            f"survival {name!r}",
            got=f"{len(rows)} subjects of the fit, with columns {time!r} and {event!r}",
            expected=f"at least {_FEWEST}, times above 0, and events 0 or 1 with one 1 at least",
            do="Correct the table: 1 is an event, 0 is censored.",
        )
    return Covariate(name, "survival", rows, times, events, ())
