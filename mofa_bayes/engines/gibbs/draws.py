"""Where draws are kept: one array per variable and chain, written to files as they come and read back by name."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from mofa_bayes.atomic import reserve
from mofa_bayes.engines.vi.packed import Array
from mofa_bayes.errors import FileError

Draws = Mapping[str, np.ndarray]


class DrawFiles:
    """The draws of one chain as .npy files of float32 in a folder of their own.

    Parameters
    ----------
    folder
        Made when absent.
    n_draws
        How many draws there is room for.
    """

    def __init__(self, folder: Path, n_draws: int) -> None:
        self.folder, self.n_draws = folder, n_draws
        self.arrays: dict[str, np.memmap] = {}

    def keep(self, position: int, values: Mapping[str, Array]) -> None:
        """Write one draw."""
        if not self.arrays:
            self.arrays = {name: self._open(name, own.shape) for name, own in values.items()}
        for name, own in values.items():
            self.arrays[name][position] = own

    def clear(self) -> None:
        """Remove what an earlier run left here; arrays that are still read from it stay valid where the system can."""
        for path in self.folder.glob("*.npy"):
            path.unlink()

    def reopen(self, values: Mapping[str, Array]) -> None:
        """Open the draws that an earlier run left, of variables of these shapes.

        Raises
        ------
        FileError
            They are not there, or are not those.
        """
        for name, own in values.items():
            path = self.folder / f"{name}.npy"
            try:
                found = open_memmap(path, mode="r+")
                is_ours = found.shape == (self.n_draws, *own.shape) and found.dtype == np.float32
            except (OSError, ValueError):
                is_ours = False
            if not is_ours:
                raise FileError(
                    f"draws in {str(self.folder)!r}",
                    got=f"no {path.name} of the run that the checkpoint is of",
                    expected="the draws beside their checkpoint",
                    do="The draws beside the checkpoint are gone; remove the checkpoint to start anew.",
                )
            self.arrays[name] = found

    def flush(self) -> None:
        """Bring to disk what has been written."""
        for own in self.arrays.values():
            own.flush()

    def _open(self, name: str, shape: tuple[int, ...]) -> np.memmap:
        path, whole = self.folder / f"{name}.npy", (self.n_draws, *shape)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            made = open_memmap(path, mode="w+", dtype=np.float32, shape=whole)
            with path.open("rb+") as file:
                reserve(file, path.stat().st_size)
            return made
        except (OSError, ValueError) as error:
            raise FileError(
                f"draws in {str(self.folder)!r}",
                got=f"{type(error).__name__} while opening {path.name}",
                expected="a writable folder with room for the draws",
                do="Name another folder, or thin the draws.",
            ) from error


def read_draws(folder: Path, names: Iterable[str], n_kept: int, *, in_memory: bool) -> dict[str, np.ndarray]:
    """Read the first draws of a chain's variables, or leave them on disk to be read when used."""
    found = {}
    for name in names:
        stored = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)[:n_kept]
        found[name] = np.array(stored) if in_memory else stored
    return found


def bytes_per_draw(values: Mapping[str, Array]) -> int:
    """Room that one draw takes."""
    return sum(own.size for own in values.values()) * np.dtype(np.float32).itemsize


def remove(folder: Path) -> None:
    """Remove a folder of draws; arrays that are still read from it stay valid where the system allows it."""
    shutil.rmtree(folder, ignore_errors=True)
