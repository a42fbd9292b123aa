"""What plots are asked for, checked before anything is drawn: factors, features, and a covariate to colour by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mofa_bayes.data.tables import align_rows
from mofa_bayes.errors import DataError, name_some
from mofa_bayes.posterior import Posterior

_MOST_CATEGORIES = 8  # as many as there are colours
MISSING = "missing"


@dataclass(frozen=True, slots=True, eq=False)
class Covariate:
    """A value by subject: numbers, NaN where missing, or one of a few labels.

    Attributes
    ----------
    name
        What it is called.
    values
        Numbers, or the position of each subject's label among `labels`, shape (N,).
    labels
        Names of the categories, the last one `missing` where some subjects have none; empty for numbers.
    """

    name: str
    values: np.ndarray
    labels: tuple[str, ...]


def choose_feature(post: Posterior, view: str, feature: str) -> str:
    """Return a feature's name; raise DataError when the view does not have it."""
    if feature not in post.features(view):
        raise DataError(
            f"feature of view {view!r}",
            got=repr(feature)[:80],
            expected=f"one of its {len(post.features(view))} ({name_some(post.features(view), 3)})",
            do="Use a name of post.features(view).",
        )
    return feature


def choose_number(what: str, value: object) -> int:
    """Return how many to draw; raise DataError unless it is a whole number from 1 up."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise DataError(what, got=repr(value)[:80], expected="a whole number from 1 up", do="10 is usual.")
    return int(value)


def read_covariate(by: pd.Series | None, subjects: Sequence[str]) -> Covariate | None:
    """Bring a Series indexed by subject to the order of some subjects, as numbers or labels.

    Raises
    ------
    DataError
        It is no Series, lacks a subject, or has too many labels to tell apart.
    """
    if by is None:
        return None
    if not isinstance(by, pd.Series):
        raise DataError(
            "by",
            got=type(by).__name__,
            expected="a pandas Series indexed by subject",
            do='Pass a column: by=clinical["stage"].',
        )
    name = str(by.name) if by.name is not None else "value"
    own = align_rows("by", by.to_frame(), subjects).iloc[:, 0]
    is_number = pd.api.types.is_numeric_dtype(own) and not pd.api.types.is_bool_dtype(own)
    if is_number and own.nunique() > 2:
        return Covariate(name, own.to_numpy(dtype=np.float64, na_value=np.nan), ())
    known = own.dropna()
    labels = list(known.cat.categories) if isinstance(known.dtype, pd.CategoricalDtype) else sorted(known.unique())
    if len(labels) > _MOST_CATEGORIES:
        raise DataError(
            f"by {name!r}",
            got=f"{len(labels)} labels",
            expected=f"numbers, or at most {_MOST_CATEGORIES} labels",
            do="Join the rare ones.",
        )
    codes = own.map({label: number for number, label in enumerate(labels)}).astype(np.float64)
    shown = tuple(f"{label:g}" if is_number else str(label) for label in labels)
    return Covariate(
        name,
        codes.fillna(len(labels)).to_numpy().astype(np.intp),
        (*shown, MISSING) if own.isna().any() else shown,
    )
