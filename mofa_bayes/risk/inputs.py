"""What a risk model reads: factors as Gaussians, and covariates on one scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.tables import read_covariates, require_frame
from mofa_bayes.errors import DataError, FitError, name_some
from mofa_bayes.posterior.moments import FactorMoments

Array = NDArray[np.float64]


@runtime_checkable
class HasMoments(Protocol):
    """A posterior, or projected patients: anything that gives each subject's factors as a Gaussian."""

    def factor_moments(self) -> FactorMoments:
        """Mean and covariance of each subject's factors."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """Centre and scale of covariates, in their own units, each (covariate,)."""

    names: tuple[str, ...]
    centre: Array
    scale: Array

    @classmethod
    def learn(cls, covariates: pd.DataFrame) -> "Scaling":
        """Learn mean and standard deviation; raise DataError when a covariate does not vary."""
        values = covariates.to_numpy(dtype=np.float64)
        centre, scale = values.mean(axis=0), values.std(axis=0)
        constant = scale <= 1e-10 * np.maximum(np.abs(centre), 1e-300)
        if constant.any():
            raise DataError(
                "covariates",
                got=f"columns that are the same for everyone ({name_some(covariates.columns[constant])})",
                expected="columns with at least two different values",
                do="Leave these columns out of covariates=[...].",
            )
        return cls(tuple(str(name) for name in covariates.columns), centre, scale)


def moments_of(source: FactorMoments | HasMoments) -> FactorMoments:
    """Return the factors' moments of a posterior or of projected patients.

    Raises
    ------
    FitError
        The posterior is not aligned: its draws of a factor do not mean the same factor.
    DataError
        `source` has no factors, or moments that are not finite.
    """
    if not getattr(source, "is_aligned", True):
        raise FitError(
            "posterior",
            got="one whose draws are not aligned",
            expected="factors that keep their sign and order over draws",
            do="Align it first, so that an effect belongs to one factor.",
        )
    if not isinstance(source, FactorMoments | HasMoments):
        raise DataError(
            "posterior",
            got=type(source).__name__,
            expected="a Posterior, projected patients or FactorMoments",
            do="Pass what mb.fit(...) or post.project(...) returned.",
        )
    moments = source if isinstance(source, FactorMoments) else source.factor_moments()
    moments = moments.given_loadings or moments  # effects were learned in the coordinates of the fit, errors and all
    if not moments.subjects or not moments.factors:
        raise DataError(
            "posterior",
            got=f"{len(moments.subjects)} subjects and {len(moments.factors)} factors",
            expected="at least one of each",
            do="Fit with other views, or with a smaller min_variance, so that a factor remains.",
        )
    if not (np.isfinite(moments.mean).all() and np.isfinite(moments.covariance).all()):
        raise DataError(
            "factors of the posterior",
            got="means or covariances that are not finite",
            expected="finite numbers",
            do="Refit: the factor model did not come to an end.",
        )
    return moments


def read_predictors(clinical: pd.DataFrame | None, names: Sequence[str], subjects: Sequence[str]) -> pd.DataFrame:
    """Read covariates of subjects as finite numbers, one column for each name; no column when no name is given.

    Raises
    ------
    DataError
        The table, a column, a row or a value is absent.
    """
    if not names:
        return pd.DataFrame(index=list(subjects))
    if clinical is None:
        raise DataError(
            "clinical table",
            got="none",
            expected=f"a DataFrame with columns {name_some(names, 8)}, which the model uses",
            do="Pass the clinical table, indexed by subject.",
        )
    table = require_frame("clinical table", clinical)
    absent = [name for name in names if name not in table.columns]
    if absent:
        raise DataError(
            "clinical table",
            got=f"no column {name_some(absent)}",
            expected=f"every covariate of the model (it has {name_some(table.columns, 8)})",
            do="Add the columns, or leave them out of covariates=[...].",
        )
    return read_covariates("covariates of the clinical table", table[list(names)], subjects)
