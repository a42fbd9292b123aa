"""Preprocessing that is fitted once, stored with the posterior, and undone or applied again by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError, name_some

Scale = Literal["feature", "view", "none"]
Labels = NDArray[np.str_] | Sequence[str]
_TINY = float(np.finfo(np.float32).tiny)
_CHUNK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What is subtracted from, and what divides, each feature of each view.

    Attributes
    ----------
    dataset
        `center_<view>` and `scale_<view>` (feature_<view>), in the units of the feature; 0 and 1 for features that are
        not real-valued. Where groups are scaled, `group_scale_<view>` (group) divides the scaled values of a group
        besides, of the features that `is_real_<view>` marks. `covariate_center` and `covariate_scale` (covariate),
        where the cohort has covariates.
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

    def group_scale(self, view: str, groups: Labels) -> NDArray[np.float64]:
        """Scale of a view's real-valued features in each of some groups, (len(groups),); 1 where groups are not scaled.

        Raises
        ------
        DataError
            Groups are scaled and one is not among those of the fit.
        """
        own = self.dataset.get(f"group_scale_{view}")
        if own is None:
            return np.ones(len(groups))
        known = own.to_series()
        unknown = sorted({str(name) for name in groups} - set(known.index))
        if unknown:
            raise DataError(
                "groups",
                got=f"some whose scale is not known ({name_some(unknown)})",
                expected=f"names among {name_some(known.index)}",
                do="Correct the labels, or fit with scale_groups=False.",
            )
        scales: NDArray[np.float64] = known.loc[[str(name) for name in groups]].to_numpy()
        return scales

    def apply(self, view: str, values: NDArray[np.floating], groups: Labels | None = None) -> NDArray[np.floating]:
        """Bring values of shape (subject, feature) to the model's scale; `groups` names that of each row."""
        center, scale = self._read(view, values.dtype)
        result: NDArray[np.floating] = (values - center) / self._by_group(view, scale, groups)
        return result

    def _by_group(self, view: str, scale: NDArray[np.floating], groups: Labels | None) -> NDArray[np.floating]:
        if f"group_scale_{view}" not in self.dataset:
            return scale
        if groups is None:
            raise DataError(
                "groups", got="none", expected="the group of each row, since groups are scaled", do="Pass groups."
            )
        own = np.where(self.dataset[f"is_real_{view}"].values, self.group_scale(view, groups)[:, None], 1.0)
        result: NDArray[np.floating] = (scale * own).astype(scale.dtype)
        return result

    def subset(self, view: str, features: Sequence[str]) -> "Preprocessing":
        """Return the same for some features of a view, in the order given."""
        return Preprocessing(dataset=self.dataset.sel({f"feature_{view}": list(features)}))

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the covariates."""
        return tuple(str(name) for name in self.dataset["covariate"].values) if "covariate" in self.dataset else ()

    def standardise(self, covariates: NDArray[np.floating]) -> NDArray[np.float64]:
        """Bring covariates of shape (subject, covariate) to mean 0 and standard deviation 1 of the fit."""
        center, scale = self.dataset["covariate_center"].values, self.dataset["covariate_scale"].values
        result: NDArray[np.float64] = (covariates - center) / scale
        return result

    def invert(self, view: str, values: NDArray[np.floating], groups: Labels | None = None) -> NDArray[np.floating]:
        """Bring values of shape (subject, feature) back to the data's scale."""
        center, scale = self._read(view, values.dtype)
        result: NDArray[np.floating] = values * self._by_group(view, scale, groups) + center
        return result

    def _read(self, view: str, dtype: np.dtype[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        return self.dataset[f"center_{view}"].values.astype(dtype), self.dataset[f"scale_{view}"].values.astype(dtype)


def fit_preprocessing(views: MultiView, scales: Mapping[str, Scale], *, scale_groups: bool = False) -> Preprocessing:
    """Learn centres and scales from the observed values.

    Parameters
    ----------
    views
        The cohort to learn from.
    scales
        View -> `feature` (each real-valued feature gets unit standard deviation), `view` (the view's real-valued
        features together get unit mean square, so that features keep their relative variances) or `none`.
    scale_groups
        After that, divide each view's values in each group by their standard deviation around the group's own means.

    Notes
    -----
    Only `gaussian` and `student_t` features are touched. A feature that does not vary in this cohort keeps scale 1, so
    that nothing is divided by zero when a cohort is split into folds.
    """
    fitted: dict[str, tuple[str, np.ndarray, dict[str, str]]] = {}
    for view in views.names:
        is_real = np.isin(views.likelihoods(view).values, REAL)
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
        if scale_groups and views.groups is not None:
            fitted[f"group_scale_{view}"] = ("group", _spread_by_group(views, view, center, scale, is_real), {})
            fitted[f"is_real_{view}"] = (dim, is_real, {})
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
    if scale_groups and views.groups is not None:
        coords["group"] = np.unique(views.groups.values.astype(np.str_))
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


def _spread_by_group(
    views: MultiView, view: str, center: NDArray[np.float64], scale: NDArray[np.float64], is_real: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Root mean square of a view's scaled real-valued features around their group's means, by group; 1 where none."""
    rows = np.argsort(np.asarray(views.subjects), kind="stable")
    columns = np.argsort(np.asarray(views.features(view)), kind="stable")
    columns = columns[is_real[columns]]
    labels = np.asarray(views.groups).astype(np.str_)[rows]
    spread = []
    for group in np.unique(labels):
        own = views[view].values[np.ix_(rows[labels == group], columns)].astype(np.float64)
        own = (own - center[columns]) / scale[columns]
        seen = ~np.isnan(own)
        residual = own - np.nansum(own, axis=0) / np.maximum(seen.sum(axis=0), 1)
        mean_square = np.nansum(np.square(residual)) / max(int(seen.sum()), 1)
        spread.append(float(np.sqrt(mean_square)) if mean_square > _TINY else 1.0)
    return np.asarray(spread)


def _varies(square: NDArray[np.float64], center: NDArray[np.float64]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = square > np.maximum(1e-10 * np.abs(center), _TINY) ** 2
    return result
