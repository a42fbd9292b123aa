"""From a user's table to checked numbers: every complaint about a table is made here."""

import re
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.errors import DataError, name_some

_VIEW_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.\-]{0,62}[A-Za-z0-9_\-])?")
_DEVICE_NAMES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}


def require_view_name(name: object) -> str:
    """Return a view's name if it can name a variable, a file and an HDF5 group; raise DataError otherwise."""
    if isinstance(name, str) and _VIEW_NAME.fullmatch(name) and name.split(".")[0].lower() not in _DEVICE_NAMES:
        return name
    raise DataError(
        "name of a view",
        got=repr(name),
        expected="1 to 64 letters, digits, '_', '-' or '.' that can name a file on every system",
        do="Rename the view; its name becomes part of file and variable names.",
    )


def require_frame(what: str, table: object) -> pd.DataFrame:
    """Return `table` if it is a data frame with unique, present subject ids and unique column names."""
    if not isinstance(table, pd.DataFrame):
        raise DataError(
            what,
            got=type(table).__name__,
            expected="a pandas DataFrame with subjects as index and features as columns",
            do="Wrap arrays as pd.DataFrame(values, index=subjects, columns=features).",
        )
    if table.shape[0] == 0 or table.shape[1] == 0:
        raise DataError(
            what,
            got=f"a table of shape {table.shape}",
            expected="at least one row and one column",
            do="Leave the table out, or check the filter that emptied it.",
        )
    for axis, labels in (("subject ids", table.index), ("column names", table.columns)):
        require_labels(what, axis, labels)
    return table


def require_labels(what: str, axis: str, labels: pd.Index) -> None:
    """Raise DataError unless labels are one-level, present, unique, and text that a file can hold."""
    if labels.nlevels > 1:
        problem, do = "a MultiIndex", "Join the levels into one label each."
    elif labels.hasnans:
        problem, do = f"{int(np.count_nonzero(labels.isna()))} missing labels", "Label every row and column."
    elif (doubled := labels.astype(str).duplicated()).any():
        some = name_some(dict.fromkeys(labels[doubled]))
        problem, do = f"{int(doubled.sum())} duplicates ({some})", "Keep one row or column for each label."
    elif not _is_storable("".join(labels.astype(str))):
        problem, do = "null characters or lone surrogates", "Remove them: no file can hold them."
    else:
        return
    raise DataError(f"{axis} of {what}", got=problem, expected="present, unique, one-level labels", do=do)


def _is_storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def read_numbers(what: str, table: pd.DataFrame) -> NDArray[np.floating]:
    """Return a table's values as float32 or float64, NaN where missing.

    Tables of 32-bit floats stay so; everything else becomes 64-bit. The result never shares memory that a caller could
    change through it: it is marked read-only.

    Raises
    ------
    DataError
        A column is not numeric, or holds an infinite value.
    """
    not_numeric = [
        column
        for column, dtype in table.dtypes.items()
        if not (pd.api.types.is_numeric_dtype(dtype) and dtype.kind != "c")
    ]
    if not_numeric:
        raise DataError(
            what,
            got=f"columns that are not numbers ({name_some(not_numeric)})",
            expected="numbers or booleans, NaN where missing",
            do="Declare text columns categorical, encode them as numbers, or leave them out.",
        )
    narrow = all(dtype == np.float32 for dtype in table.dtypes)
    values: NDArray[np.floating] = table.to_numpy(
        dtype=np.float32 if narrow else np.float64, na_value=np.nan, copy=True
    )
    infinite = np.isinf(values).any(axis=0)
    if infinite.any():
        raise DataError(
            what,
            got=f"infinite values in columns {name_some(table.columns[infinite])}",
            expected="finite numbers, NaN where missing",
            do="Replace infinities, for instance by NaN: frame.replace([np.inf, -np.inf], np.nan).",
        )
    values.flags.writeable = False
    return values


def find_uninformative(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Mark the columns of (subject, feature) that are constant or missing wherever they could be observed."""
    seen = ~np.isnan(values)
    first = np.take_along_axis(values, seen.argmax(axis=0)[None, :], axis=0)
    varies: NDArray[np.bool_] = (seen & (values != first)).any(axis=0)
    return ~varies


def read_column(what: str, clinical: pd.DataFrame, column: Hashable) -> NDArray[np.float64]:
    """Return one numeric column of a clinical table, or say which columns there are."""
    if column not in clinical.columns:
        raise DataError(
            what,
            got=f"a table without column {column!r}",
            expected=f"one of its columns ({name_some(clinical.columns, 8)})",
            do="Name an existing column or add this one to the table.",
        )
    return read_numbers(f"column {column!r} of {what}", clinical[[column]])[:, 0].astype(np.float64)


def align_rows(what: str, table: pd.DataFrame, subjects: Sequence[str]) -> pd.DataFrame:
    """Return the rows of `table` for `subjects`, in that order; raise DataError when some are absent."""
    labelled = table.set_axis(table.index.astype(str), axis=0)
    absent = [subject for subject in subjects if subject not in labelled.index]
    if absent:
        raise DataError(
            what,
            got=f"no row for {len(absent)} of {len(subjects)} subjects ({name_some(absent)})",
            expected="a row for every subject that is used",
            do="Add the rows, or select the subjects first: views.sel(clinical.index).",
        )
    return labelled.loc[list(subjects)]


def read_covariates(what: str, table: pd.DataFrame, subjects: Sequence[str]) -> pd.DataFrame:
    """Return covariates of `subjects` as finite 64-bit numbers; raise DataError when one is missing."""
    rows = align_rows(what, require_frame(what, table), subjects)
    values = read_numbers(what, rows).astype(np.float64)
    missing = np.isnan(values)
    if missing.any():
        columns = rows.columns[missing.any(axis=0)]
        raise DataError(
            what,
            got=f"{int(missing.sum())} missing values in columns {name_some(columns)}",
            expected="a number for every subject",
            do="Impute them, or model them as a view of their own, which may be incomplete.",
        )
    return pd.DataFrame(values, index=rows.index, columns=rows.columns.astype(str))


def require_mapping(what: str, value: object, names: Sequence[str]) -> Mapping[str, object]:
    """Return `value` if it is a mapping whose keys are all view names."""
    if not isinstance(value, Mapping):
        raise DataError(
            what, got=type(value).__name__, expected="a mapping from view name to value", do="Pass a dict of views."
        )
    unknown = [key for key in value if key not in names]
    if unknown:
        raise DataError(
            what,
            got=f"unknown views ({name_some(unknown)})",
            expected=f"names among {', '.join(names)}",
            do="Correct the name or leave it out.",
        )
    return value
