"""Running folds: here or in processes, with progress, each kept in a folder as soon as it is done."""

import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from mofa_bayes.atomic import make_folder, replacing
from mofa_bayes.errors import FileError, IgnoredWarning
from mofa_bayes.interrupts import heed_interrupts
from mofa_bayes.risk import Compiled
from mofa_bayes.validation.scored import Scored, flatten, restore
from mofa_bayes.watch import counting

type Run[T] = Callable[[T, Compiled], Mapping[str, Scored]]


@dataclass(frozen=True, slots=True, eq=False)
class FoldResult:
    """What a fold found: scores by name of the model, and what its fits warned of."""

    scored: Mapping[str, Scored]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """A folder of finished folds.

    Attributes
    ----------
    folder
        Where they are. The files hold risks of patients, by position.
    fingerprint
        Of everything that the folds depend on: a folder of another is refused.
    """

    folder: Path
    fingerprint: str

    def read(self, number: int) -> FoldResult | None:
        """Read a fold, or None when it has not been done.

        Raises
        ------
        FileError
            The file is damaged, or belongs to another run.
        """
        path = self._path(number)
        if not path.exists():
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            fingerprint, notes = str(arrays.pop("fingerprint")), arrays.pop("notes")
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise FileError(
                f"checkpoint {str(path)!r}",
                got=f"{type(error).__name__} while reading it",
                expected="a fold of an earlier run",
                do="Remove the file to do this fold anew.",
            ) from error
        if fingerprint != self.fingerprint:
            raise FileError(
                f"checkpoint {str(self.folder)!r}",
                got="folds of other data, models, folds or seed",
                expected="folds of this very call",
                do="Name another folder, or remove this one.",
            )
        return FoldResult(restore(arrays), tuple(str(note) for note in notes))

    def write(self, number: int, result: FoldResult) -> None:
        """Write a fold, whole or not at all."""
        arrays: dict[str, Any] = {**flatten(result.scored), "notes": np.asarray(result.notes, dtype=np.str_)}
        with replacing(self._path(number)) as part, part.open("wb") as file:
            np.savez(file, **arrays, fingerprint=np.asarray(self.fingerprint))

    def _path(self, number: int) -> Path:
        return self.folder / f"fold-{number:04d}.npz"


def run_folds[T](
    tasks: Sequence[T],
    run: Run[T],
    *,
    n_jobs: int,
    keep: Keep | None,
    progress: bool,
    title: str,
) -> list[FoldResult]:
    """Run a task for each fold, in order, here or in `n_jobs` processes; `run` is a function of a module.

    It gets what risk models were compiled to, which further folds in the same process use again.

    An interrupt goes on to the caller; folds that were done by then are in the folder, and are not done again.
    """
    done: dict[int, FoldResult] = {}
    if keep is not None:
        make_folder(keep.folder)
        found = {number: keep.read(number) for number in range(len(tasks))}
        done = {number: own for number, own in found.items() if own is not None}
    left = [number for number in range(len(tasks)) if number not in done]
    with counting(progress, title, len(tasks), len(done)) as tell:
        for number, result in _run(tasks, left, run, n_jobs):
            done[number] = result
            if keep is not None:
                keep.write(number, result)
            tell()
    return [done[number] for number in range(len(tasks))]


def _run[T](tasks: Sequence[T], left: Sequence[int], run: Run[T], n_jobs: int) -> Iterator[tuple[int, FoldResult]]:
    """Yield each fold as it is done."""
    if n_jobs == 1 or len(left) < 2:
        compiled = Compiled()
        for number in left:
            yield number, _run_one(run, tasks[number], compiled)
        return
    with ProcessPoolExecutor(min(n_jobs, len(left)), mp_context=get_context("spawn")) as pool:
        try:
            waiting = {pool.submit(_run_one, run, tasks[number]): number for number in left}
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # else an interrupt waits for all that was submitted
            raise


def _run_one[T](run: Run[T], task: T, compiled: Compiled | None = None) -> FoldResult:
    with warnings.catch_warnings(record=True) as heard, threadpool_limits(1, user_api="blas"), heed_interrupts():
        warnings.simplefilter("always")
        # Held-out patients have features that did not vary in a training fold, and the model does not know these.
        warnings.simplefilter("ignore", IgnoredWarning)
        scored = run(task, Compiled() if compiled is None else compiled)
    return FoldResult(scored, tuple(dict.fromkeys(str(own.message) for own in heard)))
