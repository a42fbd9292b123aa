"""Categorical columns: each becomes one 0/1 column per level, which keep the name of the variable they code."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.errors import DataError, name_some

CATEGORICAL = "categorical"
# A column with more levels than this and than a fifth of its values is an identifier or free text, not a category.
_USUAL_LEVELS = 20
_FEW = 3


def expand_categories(
    view: str,
    table: pd.DataFrame,
    declared: object,
    levels: object = None,
) -> tuple[pd.DataFrame, object, NDArray[np.str_]]:
    """Replace each column declared categorical by indicators of its levels, named `<column>=<level>`.

    Parameters
    ----------
    view
        Name of the view, for messages.
    table
        Subjects by columns; categorical columns may hold text, numbers or pandas categories.
    declared
        Likelihoods as the user declared them: a name for the whole view, or column -> name.
    levels
        Column -> its levels, where they are known beforehand; those that occur, sorted, where left out.

    Returns
    -------
    The table; the likelihoods declared, now of the indicators; and for each column the variable it codes (its own name
    where it is not an indicator).

    Raises
    ------
    DataError
        A value is not among the levels, there are too many levels, or a name is taken.
    """
    chosen = _find_categorical(table, declared)
    known = _require_levels(view, levels, chosen)
    if not chosen:
        return table, declared, np.asarray(table.columns, dtype=np.str_)
    pieces: list[pd.DataFrame] = []
    variables: list[str] = []
    for column in table.columns:
        own = table[[column]]
        if column in chosen:
            own = _indicate(view, table[column], known.get(str(column)))
        pieces.append(own)
        variables += [str(column)] * own.shape[1]
    expanded = pd.concat(pieces, axis=1)
    doubled = expanded.columns[expanded.columns.duplicated()]
    if len(doubled):
        raise DataError(
            f"columns of view {view!r}",
            got=f"names that indicators of a categorical column need ({name_some(doubled)})",
            expected="other names",
            do="Rename these columns.",
        )
    rest: dict[object, object] = {}
    if isinstance(declared, Mapping | pd.Series):
        rest = {name: kind for name, kind in declared.items() if str(name) not in chosen}
    indicators = {name: CATEGORICAL for name, own in zip(expanded.columns, variables, strict=True) if own in chosen}
    return expanded, rest | indicators, np.asarray(variables, dtype=np.str_)


def one_hot_groups(variables: NDArray[np.str_]) -> NDArray[np.float64]:
    """Membership of columns in variables, (D, V): 1 where a column codes a level of a variable."""
    names, member = np.unique(variables, return_inverse=True)
    groups: NDArray[np.float64] = np.eye(len(names))[member]
    return groups


def complete_one_hot(values: NDArray[np.floating], variables: NDArray[np.str_]) -> NDArray[np.floating]:
    """Make indicators whole, (N, D): 0 for levels that no subject here has, missing where no level is known."""
    groups = one_hot_groups(variables)
    is_known = (np.nan_to_num(values) @ groups) @ groups.T > 0
    return np.where(is_known, np.nan_to_num(values), np.nan).astype(values.dtype)


def _require_levels(view: str, levels: object, chosen: set[str]) -> Mapping[str, Sequence[object]]:
    """Return levels by column, if they are that, of categorical columns."""
    is_usable = levels is None or (
        isinstance(levels, Mapping)
        and all(isinstance(own, Sequence) and not isinstance(own, str) and len(set(own)) > 1 for own in levels.values())
    )
    if not is_usable:
        raise DataError(
            f"levels of view {view!r}",
            got=repr(levels)[:80],
            expected="a mapping from categorical column to a list of its levels, two at least",
            do='Write levels={"ehr": {"stage": ["I", "II", "III"]}}.',
        )
    known = {str(name): own for name, own in dict(levels or {}).items()}  # type: ignore[call-overload]
    idle = [name for name in known if name not in chosen]
    if idle:
        raise DataError(
            f"levels of view {view!r}",
            got=f"levels of columns that are not categorical there ({name_some(idle)})",
            expected="columns that the view has and that are declared categorical",
            do='Declare them: likelihoods={"ehr": {"stage": "categorical"}}.',
        )
    return known


def _find_categorical(table: pd.DataFrame, declared: object) -> set[str]:
    if isinstance(declared, str):
        return set(table.columns) if declared == CATEGORICAL else set()
    if not isinstance(declared, Mapping | pd.Series):
        return set()
    return {str(name) for name, kind in declared.items() if kind == CATEGORICAL and str(name) in table.columns}


def _indicate(view: str, column: pd.Series, known: Sequence[object] | None) -> pd.DataFrame:
    what = f"column {column.name!r} of view {view!r}, declared {CATEGORICAL}"
    labels = column.map(_label_level, na_action="ignore")
    seen = sorted(labels.dropna().astype(str).unique())
    if known is None and len(seen) > max(_USUAL_LEVELS, labels.count() / 5):
        raise DataError(
            what,
            got=f"{len(seen)} levels in {labels.count()} values",
            expected=f"at most {_USUAL_LEVELS}, or a fifth of the number of values",
            do="Join rare levels, or declare another likelihood.",
        )
    levels = seen if known is None else [_label_level(level) for level in known]
    foreign = [level for level in seen if level not in levels]
    if foreign:
        # Many unknown levels may be identifiers or free text, which no message may hold.
        shown = name_some(foreign) if len(foreign) <= _FEW else f"{len(foreign)} of them"
        raise DataError(
            what,
            got=f"levels that are not known ({shown})",
            expected=f"one of {', '.join(levels)}",
            do="Code them as they were coded for the fit, or as missing.",
        )
    found = {f"{column.name}={level}": (labels == level).astype(np.float64).where(labels.notna()) for level in levels}
    return pd.DataFrame(found, index=column.index)


def _label_level(value: object) -> str:
    """Name a level: whole numbers without a decimal point, so that 2 and 2.0 are one level."""
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if is_whole else str(value)  # type: ignore[call-overload]
