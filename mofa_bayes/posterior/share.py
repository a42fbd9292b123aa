"""A posterior without its patients: what may leave a hospital, and still projects and scores new ones."""

import json

import numpy as np
import xarray as xr

from mofa_bayes.errors import FitError, name_some

LEAST_OBSERVED = 5
"""Fewest patients behind a number that is shared. Centre and scale of a feature that one patient has are this patient's
own value; cells under 5 are what registries suppress."""
_OF_PATIENTS = ("subject", "pattern")


def forget_patients(tree: xr.DataTree) -> xr.DataTree:
    """Leave out every variable that has a value for each patient: factors, their moments, who has which view.

    Covariances of factors go too: where entries are missing here and there, each patient has one of their own.

    Raises
    ------
    FitError
        A feature, or a level of a categorical one, was seen in fewer than five patients, and what was learned of it is
        nearly what they have.
    """
    _require_company(tree)
    kept, counts = {}, {}
    for name, child in tree.children.items():
        own = child.to_dataset()
        gone = [variable for variable in own.variables if set(own[variable].dims) & set(_OF_PATIENTS)]
        if name == "moments":
            counts = {str(v)[9:]: int(own[v].sum()) for v in own.data_vars if str(v).startswith("observed_")}
            n_subjects = own.sizes["subject"]
        kept[name] = own.drop_vars(gone)
    shared = xr.DataTree.from_dict(kept)
    shared.attrs = {**tree.attrs, "shareable": 1, "n_subjects": n_subjects, "n_subjects_of_views": json.dumps(counts)}
    return shared


def _require_company(tree: xr.DataTree) -> None:
    moments = tree.children["moments"].to_dataset()
    rare = {
        str(name)[11:]: moments[name].to_series().index[moments[name].values < LEAST_OBSERVED]
        for name in moments.data_vars
        if str(name).startswith("n_observed_")
    }
    if not rare:
        raise FitError(
            "posterior to share",
            got="one that does not say how many patients are behind each feature",
            expected="one that this version of the package fitted",
            do="Fit it again.",
        )
    named = [f"{view}: {name_some(features, 3)}" for view, features in rare.items() if len(features)]
    if named:
        total = sum(len(features) for features in rare.values())
        raise FitError(
            "posterior to share",
            got=f"{total} features that fewer than {LEAST_OBSERVED} patients have ({'; '.join(named)})",
            expected="features behind which no patient can be seen",
            do="Fit without them, or save without shareable=True.",
        )


def count_observed(views: xr.Dataset, names: tuple[str, ...]) -> dict[str, tuple[tuple[str], np.ndarray]]:
    """Count the patients behind each feature, by view: those with a value, in the smallest group that has any.

    Of a column that codes a level of a categorical variable, those who have the level.
    """
    labels = views["group"].values.astype(str) if "group" in views else np.zeros(views.sizes["subject"])
    counts = {}
    for view in names:
        values = views[f"values_{view}"].transpose("subject", ...).values
        is_level = views[f"likelihood_{view}"].values == "categorical"
        seen = ~np.isnan(values) & np.where(is_level, values == 1, True)
        by_group = np.stack([seen[labels == label].sum(axis=0) for label in np.unique(labels)])
        least = np.where(by_group > 0, by_group, np.iinfo(np.int64).max).min(axis=0)
        counts[f"n_observed_{view}"] = ((f"feature_{view}",), np.where(seen.any(axis=0), least, 0))
    return counts
