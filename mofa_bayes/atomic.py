"""Files that are written whole or not at all, and the folders they go to."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mofa_bayes.errors import FileError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there when the block ends well.

    Raises
    ------
    FileError
        The folder is absent, read-only or full; what was at `path` is untouched.
    """
    target = Path(path)
    part: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=f".part{target.suffix}", dir=target.parent)
        os.close(handle)
        part = Path(name)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())
        part.replace(target)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(
            f"file {str(target)!r}",
            got=error.strerror or type(error).__name__,
            expected="a writable place with room for the file",
            do="Choose another folder or free some space; nothing was overwritten.",
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it, and return it.

    Raises
    ------
    FileError
        It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"folder {str(folder)!r}",
            got=error.strerror or type(error).__name__,
            expected="a folder that exists or can be made",
            do="Choose another one.",
        ) from error
    return folder


def reserve(path: Path, size: int) -> None:
    """Take room on disk for `size` bytes of a file that there is.

    What is written through memory, or by HDF5, finds a full disk too late: the process is killed, and no error says
    why. Where the system cannot set room aside, the free space is looked at.

    Raises
    ------
    OSError
        There is no room.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
