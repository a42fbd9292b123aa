"""A posterior as a NetCDF file: what must be in it."""

import json
import tomllib
from pathlib import Path

import xarray as xr

from mofa_bayes.netcdf import read_tree as read_checked
from mofa_bayes.netcdf import refuse_foreign, write_tree

SCHEMA_VERSION = 2
"""2: a checksum behind the content; counts of patients behind each feature. Files of version 1 are read."""
_GROUPS = {"posterior", "moments", "preprocessing", "fit"}
_ATTRIBUTES = {"engine", "spec", "views", "aligned", "fingerprint", "data_fingerprint"}
_WHAT = "a posterior that post.save() wrote"

__all__ = ["SCHEMA_VERSION", "read_tree", "write_tree"]


def read_tree(path: Path) -> xr.DataTree:
    """Read the tree of a posterior, into memory.

    Raises
    ------
    FileError
        The file is absent, damaged, altered, foreign, or from a later version of this package.
    """
    return read_checked(path, _WHAT, _require_posterior)


def _require_posterior(tree: xr.DataTree, name: str, is_marked: bool) -> None:
    is_ours = tree.children.keys() >= _GROUPS and tree.attrs.keys() >= _ATTRIBUTES and _describes_itself(tree)
    refuse_foreign(tree, name, _WHAT, SCHEMA_VERSION, is_ours=is_ours, is_marked=is_marked)


def _describes_itself(tree: xr.DataTree) -> bool:
    """Whether views and model can be read, and each view has what is needed to project."""
    try:
        views = json.loads(tree.attrs["views"])
        tomllib.loads(tree.attrs["spec"])
    except (TypeError, ValueError):
        return False
    if not isinstance(views, list) or not views or not all(isinstance(view, str) for view in views):
        return False
    draws, moments, scales = (tree.children[name].data_vars for name in ("posterior", "moments", "preprocessing"))
    return all(
        f"loadings_{view}" in draws and f"weights_mean_{view}" in moments and f"center_{view}" in scales
        for view in views
    )
