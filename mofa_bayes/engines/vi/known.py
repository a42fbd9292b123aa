"""What is known of the subjects beside their views: groups, covariates, weights, exposures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.vi.packed import Array
from mofa_bayes.errors import DataError, name_some

ALL = "all"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the rows beside their views, in canonical order: the terms of the model that are not learned.

    Attributes
    ----------
    groups
        Names of the groups; one group of all where the model has none.
    group_of
        Number of each row's group (N,).
    covariates
        Names of the covariates.
    values
        Standardised covariates (N, C).
    weights
        How much each row counts (N,), or None.
    exposures
        View -> log exposure of each row (N,), for count features.
    """

    groups: tuple[str, ...]
    group_of: NDArray[np.intp]
    covariates: tuple[str, ...]
    values: Array
    weights: Array | None
    exposures: Mapping[str, Array]

    @property
    def design(self) -> Array:
        """Known terms of each row (N, F)."""
        return np.column_stack([np.eye(len(self.groups))[self.group_of], self.values])


def find_known(views: MultiView, preprocessing: Preprocessing, groups: Sequence[str] | None = None) -> Known:
    """Collect groups, covariates, weights and exposures of a cohort.

    Parameters
    ----------
    views
        The cohort.
    preprocessing
        Standardises the covariates.
    groups
        Names of the groups of a fitted model; those of the cohort when left out.

    Raises
    ------
    DataError
        A fitted model's groups or covariates are not those of the cohort.
    """
    order = canonical_order(views)
    names = tuple(groups) if groups is not None else _group_names(views)
    labels = np.full(len(order), ALL) if names == (ALL,) else _require("groups", views.groups).values[order]
    place = {name: number for number, name in enumerate(names)}
    unknown = sorted({str(label) for label in labels} - set(names))
    if unknown:
        raise DataError(
            "groups", got=f"unknown to the model ({name_some(unknown)})", expected=f"names among {', '.join(names)}",
            do="Correct the labels, or fit a model that has these groups.",
        )  # fmt: skip
    covariates = preprocessing.covariates
    values = np.empty((len(order), 0))
    if covariates:
        own = _require("covariates", views.covariates)
        absent = [name for name in covariates if name not in own["covariate"].values]
        if absent:
            raise DataError(
                "covariates", got=f"none named {name_some(absent)}", expected=f"all of {', '.join(covariates)}",
                do="Pass MultiView.from_frames(..., covariates=...) with these columns.",
            )  # fmt: skip
        values = preprocessing.standardise(own.sel(covariate=list(covariates)).values)[order]
    weights = None if views.weights is None else views.weights.values[order]
    exposures = {view: views.exposure(view) for view in views.names}
    logs = {view: np.log(own.values)[order] for view, own in exposures.items() if own is not None}
    return Known(names, np.array([place[str(label)] for label in labels]), covariates, values, weights, logs)


def _group_names(views: MultiView) -> tuple[str, ...]:
    return (ALL,) if views.groups is None else tuple(sorted({str(name) for name in views.groups.values}))


def _require(what: str, given: xr.DataArray | None) -> xr.DataArray:
    if given is None:
        raise DataError(
            what, got="none", expected=f"{what} of the new subjects, as the model was fitted with",
            do=f"Pass MultiView.from_frames(..., {what}=..., uninformative='keep').",
        )  # fmt: skip
    return given


def canonical_order(views: MultiView) -> NDArray[np.intp]:
    """Positions of the subjects in the order of their names."""
    return np.argsort(np.asarray(views.subjects), kind="stable")
