"""A posterior as a NetCDF file: written whole or not at all, read with suspicion."""

from pathlib import Path

import numpy as np
import xarray as xr

from mofa_bayes.atomic import replacing
from mofa_bayes.errors import FileError

SCHEMA_VERSION = 1
_GROUPS = {"posterior", "moments", "preprocessing", "fit"}
_ATTRIBUTES = {"engine", "spec", "views", "aligned", "fingerprint", "data_fingerprint"}


def write_tree(tree: xr.DataTree, path: Path) -> None:
    """Write a tree to `path` whole or not at all.

    Raises
    ------
    FileError
        The folder does not exist, is not writable, or is full.
    """
    encoding = {
        node.path: {
            str(name): {"zlib": True, "complevel": 4} for name, var in node.data_vars.items() if var.dtype.kind in "fi"
        }
        for node in tree.subtree
        if node.data_vars
    }
    with replacing(path) as part:
        tree.to_netcdf(part, engine="h5netcdf", encoding=encoding)


def read_tree(path: Path) -> xr.DataTree:
    """Read a tree that `write_tree` wrote, into memory.

    Raises
    ------
    FileError
        The file is absent, damaged, foreign, or from a later version of this package.
    """
    if not path.is_file():
        raise FileError(f"file {str(path)!r}", got="nothing there", expected="a saved posterior", do="Check the path.")
    try:
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            tree = opened.load()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise FileError(
            f"file {str(path)!r}",
            got=f"{type(error).__name__} while reading it",
            expected="a posterior saved by mofa_bayes, in NetCDF",
            do="It may be truncated or of another kind; save the posterior again.",
        ) from error
    version = tree.attrs.get("schema_version")
    if isinstance(version, int | np.integer) and version > SCHEMA_VERSION:
        raise FileError(
            f"file {str(path)!r}",
            got=f"schema version {int(version)}",
            expected=f"at most {SCHEMA_VERSION}",
            do="Update mofa_bayes: a later version wrote this file.",
        )
    if version != SCHEMA_VERSION or not tree.children.keys() >= _GROUPS or not tree.attrs.keys() >= _ATTRIBUTES:
        raise FileError(
            f"file {str(path)!r}",
            got="a NetCDF file that is not a posterior of ours",
            expected=f"groups {', '.join(sorted(_GROUPS))}, a schema version and the provenance of a fit",
            do="Load posteriors that post.save() wrote.",
        )
    return tree
