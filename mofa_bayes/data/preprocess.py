"""Preprocessing that is fitted once, stored with the posterior, and undone or applied again by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.multiview import MultiView

Scale = Literal["feature", "view", "none"]
_CENTRED = ("gaussian", "student_t")
_TINY = float(np.finfo(np.float32).tiny)
_CHUNK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What is subtracted from, and what divides, each feature of each view.

    Attributes
    ----------
    dataset
        `center_<view>` and `scale_<view>` (feature_<view>), in the units of the feature; 0 and 1 for features that are
        not real-valued. `covariate_center` and `covariate_scale` (covariate), where the cohort has covariates.
    """

    dataset: xr.Dataset

    def center(self, view: str) -> NDArray[np.float64]:
        """Centre of each feature of a view, (feature,)."""
        center: NDArray[np.float64] = self.dataset[f"center_{view}"].values
        return center

    def scale(self, view: str) -> NDArray[np.float64]:
        """Scale of each feature of a view, (feature,)."""
        scale: NDArray[np.float64] = self.dataset[f"scale_{view}"].values
        return scale

    def apply(self, view: str, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Bring values of shape (..., feature) to the model's scale."""
        center, scale = self._read(view, values.dtype)
        result: NDArray[np.floating] = (values - center) / scale
        return result

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the covariates."""
        return tuple(str(name) for name in self.dataset["covariate"].values) if "covariate" in self.dataset else ()

    def standardise(self, covariates: NDArray[np.floating]) -> NDArray[np.float64]:
        """Bring covariates of shape (subject, covariate) to mean 0 and standard deviation 1 of the fit."""
        center, scale = self.dataset["covariate_center"].values, self.dataset["covariate_scale"].values
        result: NDArray[np.float64] = (covariates - center) / scale
        return result

    def invert(self, view: str, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Bring values of shape (..., feature) back to the data's scale."""
        center, scale = self._read(view, values.dtype)
        result: NDArray[np.floating] = values * scale + center
        return result

    def _read(self, view: str, dtype: np.dtype[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        return self.dataset[f"center_{view}"].values.astype(dtype), self.dataset[f"scale_{view}"].values.astype(dtype)


def fit_preprocessing(views: MultiView, scales: Mapping[str, Scale]) -> Preprocessing:
    """Learn centres and scales from the observed values.

    Parameters
    ----------
    views
        The cohort to learn from.
    scales
        View -> `feature` (each real-valued feature gets unit standard deviation), `view` (the view's real-valued
        features together get unit mean square, so that features keep their relative variances) or `none`.

    Notes
    -----
    Only `gaussian` and `student_t` features are touched. A feature that does not vary in this cohort keeps scale 1, so
    that nothing is divided by zero when a cohort is split into folds.
    """
    fitted = {}
    for view in views.names:
        is_real = np.isin(views.likelihoods(view).values, _CENTRED)
        center, square = _center_and_square(views, view)
        center = np.where(is_real, center, 0.0)
        scale = np.ones(len(center))
        if scales[view] == "feature":
            scale = np.where(is_real & _varies(square, center), np.sqrt(square), 1.0)
        elif scales[view] == "view" and is_real.any() and square[is_real].mean() > _TINY**2:
            scale = np.where(is_real, np.sqrt(square[is_real].mean()), 1.0)
        dim = f"feature_{view}"
        fitted[f"center_{view}"] = (dim, center, {"units": "units of the feature"})
        fitted[f"scale_{view}"] = (dim, scale, {"units": "units of the feature"})
    if views.covariates is not None:
        values = views.covariates.values
        spread = values.std(axis=0)
        fitted["covariate_center"] = ("covariate", values.mean(axis=0), {"units": "units of the covariate"})
        fitted["covariate_scale"] = (
            "covariate",
            np.where(spread > 0, spread, 1.0),
            {"units": "units of the covariate"},
        )
    coords = {f"feature_{view}": views.dataset[f"feature_{view}"].values for view in views.names}
    if views.covariates is not None:
        coords["covariate"] = views.covariates["covariate"].values
    return Preprocessing(dataset=xr.Dataset(fitted, coords=coords))


def _center_and_square(views: MultiView, view: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and mean squared deviation of each feature, summed in the order of names so that no other order matters."""
    rows = np.argsort(np.asarray(views.subjects), kind="stable")
    columns = np.argsort(np.asarray(views.features(view)), kind="stable")
    center, square = np.zeros(len(columns)), np.zeros(len(columns))
    for chunk in np.array_split(columns, -(-len(columns) // _CHUNK)):
        values = views[view].values[:, chunk][rows].astype(np.float64)
        count = np.maximum((~np.isnan(values)).sum(axis=0), 1)
        center[chunk] = np.nansum(values, axis=0) / count
        square[chunk] = np.nansum(np.square(values - center[chunk]), axis=0) / count
    return center, square


def _varies(square: NDArray[np.float64], center: NDArray[np.float64]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = square > np.maximum(1e-10 * np.abs(center), _TINY) ** 2
    return result
