"""Files that are written whole or not at all, and the folders they go to."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mofa_bayes.errors import FileError

_TILE = 1 << 20


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


def reserve(file: BinaryIO, size: int) -> None:
    """Take room on disk for the first `size` bytes of an open file; what it holds stays.

    What is written through memory, or by HDF5, finds a full disk too late: the process is killed, and no error says
    why. Where the system cannot set room aside, the bytes themselves are written, in tiles.

    Raises
    ------
    OSError
        There is no room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for begin in range(0, size, _TILE):
        length = min(_TILE, size - begin)
        file.seek(begin)
        held = file.read(length)
        file.seek(begin)
        file.write(held.ljust(length, b"\0"))
    file.flush()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
