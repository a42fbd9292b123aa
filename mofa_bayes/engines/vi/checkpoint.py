"""Checkpoints: the whole state of an ascent in one file, from which it goes on to the identical result."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mofa_bayes.atomic import replacing
from mofa_bayes.errors import FileError


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where and how often the state is written.

    Parameters
    ----------
    path
        The file. It holds factors of patients, as a posterior does.
    seconds
        Least time between two writings.
    fingerprint
        What the state belongs to: data, model, seed and effort. A file of another fingerprint is not used.
    """

    path: Path
    seconds: float
    fingerprint: str

    def write(self, state: Mapping[str, object]) -> None:
        """Write a state, whole or not at all."""
        arrays: dict[str, Any] = flatten(state) | {"fingerprint": np.asarray(self.fingerprint)}
        with replacing(self.path) as part, part.open("wb") as file:
            np.savez(file, **arrays)

    def read(self) -> dict[str, np.ndarray] | None:
        """Read the arrays of a state, or None when there is no file yet.

        Raises
        ------
        FileError
            The file is damaged, or belongs to other data or another model.
        """
        if not self.path.exists():
            return None
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise FileError(
                f"checkpoint {str(self.path)!r}",
                got=f"{type(error).__name__} while reading it",
                expected="a checkpoint of an earlier fit",
                do="Remove the file to start anew.",
            ) from error
        if str(arrays.pop("fingerprint", "")) != self.fingerprint:
            raise FileError(
                f"checkpoint {str(self.path)!r}",
                got="a checkpoint of other data, another model, seed or effort",
                expected="one of this very fit",
                do="Name another file, or remove this one to start anew.",
            )
        return arrays


def flatten(value: object, path: str = "") -> dict[str, np.ndarray]:
    """Lay out nested dataclasses, tuples and mappings of arrays and numbers as one flat mapping."""
    if isinstance(value, np.ndarray | int | float | str):
        return {path: np.asarray(value)}
    found: dict[str, np.ndarray] = {}
    for name, own in _children(value):
        found |= flatten(own, f"{path}/{name}")
    return found


def fill(template: Any, arrays: Mapping[str, np.ndarray], path: str = "") -> Any:  # noqa: ANN401
    """Rebuild a value of the structure of `template` from what `flatten` laid out."""
    if isinstance(template, np.ndarray):
        return arrays[path]
    if isinstance(template, int | float | str):
        return type(template)(arrays[path][()])
    if isinstance(template, Mapping):
        return {name: fill(own, arrays, f"{path}/{name}") for name, own in template.items()}
    if isinstance(template, tuple | list):
        return type(template)(fill(own, arrays, f"{path}/{number}") for number, own in enumerate(template))
    if is_dataclass(template) and not isinstance(template, type):
        return replace(template, **{name: fill(own, arrays, f"{path}/{name}") for name, own in _children(template)})
    return template


def _children(value: object) -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [(str(name), own) for name, own in value.items()]
    if isinstance(value, tuple | list):
        return [(str(number), own) for number, own in enumerate(value)]
    if is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    return []
