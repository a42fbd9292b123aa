"""Trees as NetCDF files: written whole or not at all, with a checksum behind, and read with suspicion.

Behind the NetCDF content stand 50 bytes that readers of NetCDF pass over: a mark and the SHA-256 of the content. A file
that was cut off or altered is refused before a parser of HDF5 sees it.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from mofa_bayes.atomic import replacing, reserve
from mofa_bayes.errors import FileError

_MARK = b"mofa_bayes sha-256"
_TAIL = len(_MARK) + 32
_MOST_PER_BYTE = 1100
"""Bytes that a byte of a file can unpack to: DEFLATE reaches 1,032."""
_BLOCK = 1 << 20
_OVERHEAD = 8192
"""Bytes of a file for each variable beside its values, more than there are. HDF5, which cannot be told of a full disk
without taking the process down, is only called where the disk has room for all of it uncompressed."""
Require = Callable[[xr.DataTree, str, bool], None]


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
    n_variables = sum(len(node.variables) for node in tree.subtree)
    with replacing(path) as part:
        with part.open("rb+") as file:
            reserve(file, int(1.05 * tree.nbytes) + _OVERHEAD * (n_variables + 10))
        tree.to_netcdf(part, engine="h5netcdf", encoding=encoding)
        digest = _digest(part, part.stat().st_size)
        with part.open("ab") as file:
            file.write(_MARK + digest)


def read_tree(path: Path, what: str, require: Require) -> xr.DataTree:
    """Read a tree that `write_tree` wrote, into memory.

    Parameters
    ----------
    path
        The file.
    what
        What it should be: `a posterior`, with the method that writes it.
    require
        Called with the tree, before its values are read, the file as errors name it, and whether it has a checksum;
        raises what is wrong.

    Raises
    ------
    FileError
        The file is absent, damaged, altered, foreign, or not what `require` accepts.
    """
    if not path.is_file():
        raise FileError(f"file {str(path)!r}", got="nothing there", expected=f"{what}", do="Check the path.")
    try:
        is_marked = _check_content(path)
        with xr.open_datatree(path, engine="h5netcdf", phony_dims="sort") as opened:
            require(opened, f"file {str(path)!r}", is_marked)
            _require_room(opened, path)
            return opened.load()
    except FileError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, OverflowError) as error:
        raise FileError(
            f"file {str(path)!r}",
            got=f"{type(error).__name__} while reading it",
            expected=f"{what}, in NetCDF",
            do="It may be truncated or of another kind; save it again.",
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
            expected="the file as it was written",
            do="Save it again, or fetch the file again.",
        )
    return True


def _require_room(tree: xr.DataTree, path: Path) -> None:
    """Raise FileError where a file declares far more numbers than it can hold, which would fill the memory."""
    size = sum(int(variable.nbytes) for node in tree.subtree for variable in node.variables.values())
    if size > _MOST_PER_BYTE * path.stat().st_size:
        raise FileError(
            f"file {str(path)!r}",
            got=f"one that declares {size / 1e9:,.1f} GB and is {path.stat().st_size / 1e6:,.1f} MB long",
            expected="a file that this package wrote",
            do="Do not trust it; ask for the file again.",
        )


def refuse_foreign(tree: xr.DataTree, name: str, what: str, newest: int, *, is_ours: bool, is_marked: bool) -> int:
    """Return the version of a file's schema.

    Raises
    ------
    FileError
        A later version of this package wrote it, it is not `what`, or its checksum is gone.
    """
    stored = tree.attrs.get("schema_version")
    version = int(stored) if isinstance(stored, int | np.integer) else 0
    if version > newest:
        raise FileError(
            name,
            got=f"schema version {version}",
            expected=f"at most {newest}",
            do="Update mofa_bayes: a later version wrote this file.",
        )
    if version < 1 or not is_ours:
        raise FileError(
            name, got=f"a NetCDF file that is not {what}", expected=what, do="Load what this package saved."
        )
    if version > 1 and not is_marked:
        raise FileError(
            name,
            got="no checksum at its end: it has been cut off or altered",
            expected=f"{what}, as it was written",
            do="Save it again, or fetch the file again.",
        )
    return version
