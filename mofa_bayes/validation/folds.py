"""Folds: which patients are held out together, each stratum spread evenly over the folds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mofa_bayes.data.tables import require_frame
from mofa_bayes.errors import FitError
from mofa_bayes.risk.response import Array, Family
from mofa_bayes.spec.model import is_whole

_MAX_STRATA = 5
_MIN_EVENTS = 2


def deal_folds(strata: ArrayLike, subjects: Sequence[str], n_folds: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Deal patients to folds, shuffled within each stratum, (N,).

    Sizes of folds, and of each stratum within folds, differ by at most one. Names are gone through in their order, so
    that no other order of the cohort matters.
    """
    labels, fold_of = np.asarray(strata), np.empty(len(subjects), dtype=np.intp)
    by_name = np.argsort(np.asarray(subjects, dtype=np.str_), kind="stable")
    dealt = 0
    for stratum in np.unique(labels):
        rows = rng.permutation(by_name[labels[by_name] == stratum])
        fold_of[rows] = (dealt + np.arange(len(rows))) % n_folds
        dealt += len(rows)
    return fold_of


def read_strata(outcome: Family, clinical: pd.DataFrame, subjects: Sequence[str]) -> Array:
    """Read by what folds are stratified, (N,): the event, or the outcome where it has few values."""
    observed = outcome.read(require_frame("clinical table", clinical), subjects)
    values = observed.get("event", observed.get("outcome", np.zeros(len(subjects))))
    return values if values.ndim == 1 and len(np.unique(values)) <= _MAX_STRATA else np.zeros(len(subjects))


def require_folds(n_folds: int, n_repeats: int, strata: Array) -> None:
    """Raise FitError where a training fold would lack an outcome."""
    for name, value, least in (("folds", n_folds, 2), ("repeats", n_repeats, 1)):
        if not is_whole(value) or value < least:
            raise FitError(
                name, got=repr(value)[:80], expected=f"a whole number from {least} up", do="5 folds, once, are usual."
            )
    rarest = int(np.unique(strata, return_counts=True)[1].min())
    most = min(rarest // _MIN_EVENTS, len(strata) // _MIN_EVENTS)
    if n_folds > most:
        raise FitError(
            "folds",
            got=f"{n_folds} folds for {rarest} patients of the rarest outcome",
            expected="at least two of each outcome in every fold",
            do=f"Take {most} folds." if most > 1 else "This cohort is too small to be split.",
        )
