"""A posterior as a NetCDF file: written whole or not at all, read with suspicion.

Behind the NetCDF content stand 50 bytes that readers of NetCDF pass over: a mark and the SHA-256 of the content. A file
that was cut off or altered is refused before a parser of HDF5 sees it.
"""

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import xarray as xr

from mofa_bayes.atomic import replacing
from mofa_bayes.errors import FileError

SCHEMA_VERSION = 2
"""2: a checksum behind the content; counts of patients behind each feature. Files of version 1 are read."""
_READABLE = (1, 2)
_GROUPS = {"posterior", "moments", "preprocessing", "fit"}
_ATTRIBUTES = {"engine", "spec", "views", "aligned", "fingerprint", "data_fingerprint"}
_MARK = b"mofa_bayes sha-256"
_TAIL = len(_MARK) + 32
_MOST_PER_BYTE = 1100
"""Bytes that a byte of a file can unpack to: DEFLATE reaches 1,032."""
_BLOCK = 1 << 20


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
        digest = _digest(part, part.stat().st_size)
        with part.open("ab") as file:
            file.write(_MARK + digest)


def read_tree(path: Path) -> xr.DataTree:
    """Read a tree that `write_tree` wrote, into memory.

    Raises
    ------
    FileError
        The file is absent, damaged, altered, foreign, or from a later version of this package.
    """
    if not path.is_file():
        raise FileError(f"file {str(path)!r}", got="nothing there", expected="a saved posterior", do="Check the path.")
    try:
        is_marked = _check_content(path)
        with xr.open_datatree(path, engine="h5netcdf", phony_dims="sort") as opened:
            _require_ours(opened, path, is_marked=is_marked)
            _require_room(opened, path)
            return opened.load()
    except FileError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, OverflowError) as error:
        raise FileError(
            f"file {str(path)!r}",
            got=f"{type(error).__name__} while reading it",
            expected="a posterior saved by mofa_bayes, in NetCDF",
            do="It may be truncated or of another kind; save the posterior again.",
        ) from error


def _digest(path: Path, size: int) -> bytes:
    """SHA-256 of the first `size` bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(_BLOCK, size))):
            digest.update(block)
            size -= len(block)
    return digest.digest()


def _check_content(path: Path) -> bool:
    """Say whether the file has a checksum; raise FileError where it is not that of the content."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - _TAIL, 0))
        tail = file.read()
    if not tail.startswith(_MARK) or len(tail) != _TAIL:
        return False
    if tail[len(_MARK) :] != _digest(path, size - _TAIL):
        raise FileError(
            f"file {str(path)!r}",
            got="a content that is not what was saved: it has been damaged or altered",
            expected="the file as post.save() wrote it",
            do="Save the posterior again, or fetch the file again.",
        )
    return True


def _require_ours(tree: xr.DataTree, path: Path, *, is_marked: bool) -> None:
    stored = tree.attrs.get("schema_version")
    version = int(stored) if isinstance(stored, int | np.integer) else 0
    if version > SCHEMA_VERSION:
        raise FileError(
            f"file {str(path)!r}",
            got=f"schema version {version}",
            expected=f"at most {SCHEMA_VERSION}",
            do="Update mofa_bayes: a later version wrote this file.",
        )
    is_ours = version in _READABLE and tree.children.keys() >= _GROUPS
    if not is_ours or not tree.attrs.keys() >= _ATTRIBUTES or not _describes_itself(tree):
        raise FileError(
            f"file {str(path)!r}",
            got="a NetCDF file that is not a posterior of ours",
            expected=f"groups {', '.join(sorted(_GROUPS))}, a schema version and the provenance of a fit",
            do="Load posteriors that post.save() wrote.",
        )
    if version > 1 and not is_marked:
        raise FileError(
            f"file {str(path)!r}",
            got="no checksum at its end: it has been cut off or altered",
            expected="the file as post.save() wrote it",
            do="Save the posterior again, or fetch the file again.",
        )


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


def _require_room(tree: xr.DataTree, path: Path) -> None:
    """Raise FileError where a file declares far more numbers than it can hold, which would fill the memory."""
    size = sum(int(variable.nbytes) for node in tree.subtree for variable in node.variables.values())
    if size > _MOST_PER_BYTE * path.stat().st_size:
        raise FileError(
            f"file {str(path)!r}",
            got=f"one that declares {size / 1e9:,.1f} GB and is {path.stat().st_size / 1e6:,.1f} MB long",
            expected="a posterior saved by mofa_bayes",
            do="Do not trust it; ask for the file again.",
        )
