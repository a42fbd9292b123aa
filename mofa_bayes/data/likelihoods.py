"""Which likelihood a column can have: guessed from its values, and checked against what was declared."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.errors import DataError, name_some

LIKELIHOODS = ("gaussian", "student_t", "bernoulli", "poisson", "negative_binomial", "ordinal", "categorical")
REAL = ("gaussian", "student_t")
"""Those of real values, which have noise of their own."""
_COUNTS = ("poisson", "negative_binomial", "ordinal")
_FLAGS = ("bernoulli", "categorical")
SUPPORT = dict.fromkeys(_FLAGS, "only 0 and 1") | dict.fromkeys(_COUNTS, "whole numbers from 0 up")


def guess_likelihoods(values: NDArray[np.floating]) -> NDArray[np.str_]:
    """Guess the likelihood of each column of a view.

    A column whose observed values are all 0 or 1 is `bernoulli`; every other column is `gaussian`, one without any
    observed value too. Counts are never guessed, because an age or a blood pressure in whole numbers looks the same:
    declare them.

    Parameters
    ----------
    values
        Shape (subject, feature), NaN where missing.

    Returns
    -------
    Names, shape (feature,).
    """
    missing = np.isnan(values)
    is_binary = ((values == 0) | (values == 1) | missing).all(axis=0) & ~missing.all(axis=0)
    return np.where(is_binary, "bernoulli", "gaussian")


def choose_likelihoods(
    view: str, frame: pd.DataFrame, values: NDArray[np.floating], declared: str | Mapping[str, str] | None
) -> NDArray[np.str_]:
    """Give every column of a view its likelihood: the declared one where there is one, else the guess.

    Parameters
    ----------
    view
        Name of the view, for messages.
    frame, values
        The view's table, and its values as an array of shape (subject, feature).
    declared
        One name for the whole view, or a mapping from column to name for some of its columns.

    Raises
    ------
    DataError
        A name or a column is unknown, or a column's values are outside the support of what was declared.
    """
    columns = frame.columns
    chosen = guess_likelihoods(values).astype("U17")
    if declared is None:
        return chosen
    named = _name_columns(view, columns, declared)
    unknown = [column for column in named if column not in columns]
    if unknown:
        raise DataError(
            f"likelihoods of view {view!r}",
            got=f"columns that the view does not have ({name_some(unknown)})",
            expected="column names of that view",
            do=f"Use names from views.features({view!r}).",
        )
    position = {column: d for d, column in enumerate(columns)}
    for column, likelihood in named.items():
        if not isinstance(likelihood, str) or likelihood not in LIKELIHOODS:
            raise DataError(
                f"likelihood of column {column!r} in view {view!r}",
                got=repr(likelihood),
                expected=f"one of {', '.join(LIKELIHOODS)}",
                do="Name one of these, or leave the column out to have it guessed.",
            )
        _require_support(view, column, values[:, position[column]], likelihood)
        chosen[position[column]] = likelihood
    return chosen


def _name_columns(view: str, columns: pd.Index, declared: object) -> dict[str, object]:
    if isinstance(declared, str):
        return dict.fromkeys(columns, declared)
    if isinstance(declared, Mapping | pd.Series):
        return {str(column): likelihood for column, likelihood in declared.items()}
    raise DataError(
        f"likelihoods of view {view!r}",
        got=type(declared).__name__,
        expected="the name of a likelihood, or a mapping from column to name",
        do='Write likelihoods={"ehr": "bernoulli"} or {"ehr": {"smoker": "bernoulli"}}.',
    )


def find_outside(likelihood: str, values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Mark observed values that a likelihood cannot have."""
    if likelihood in _FLAGS:
        outside = ~np.isin(values, (0, 1))
    elif likelihood in _COUNTS:
        outside = (values < 0) | (values != np.round(values))
    else:
        outside = np.zeros(values.shape, dtype=np.bool_)
    return outside & ~np.isnan(values)


def _require_support(view: str, column: str, values: NDArray[np.floating], likelihood: str) -> None:
    outside = find_outside(likelihood, values)
    if outside.any():
        raise DataError(
            f"column {column!r} of view {view!r}, declared {likelihood}",
            got=f"{int(outside.sum())} values such as {values[outside][0]:g}",
            expected=SUPPORT[likelihood],
            do="Correct the values or declare another likelihood for this column.",
        )
