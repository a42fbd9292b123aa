"""Cases of misuse: what to call, which error of ours must answer, and what its message must name."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.data.simulate import Cohort
from mofa_bayes.errors import MofaBayesError

A_PATIENT = re.compile(r"p\d{4}\b")


@dataclass
class World:
    """What a case may use: an empty folder, a cohort, a fit of it."""

    folder: Path
    cohort: Cohort
    post: mb.Posterior

    def write(self, **files: pd.DataFrame | str | bytes) -> Path:
        """Fill the folder: `rna__csv=...` becomes rna.csv."""
        for name, content in files.items():
            path = self.folder / name.replace("__", ".")
            if isinstance(content, str):
                path.write_text(content)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                content.to_parquet(path)
        return self.folder

    def saved(self) -> Path:
        path = self.folder / "fit.nc"
        self.post.save(path)
        return path


@dataclass
class Case:
    """One misuse: what to call, the error it must raise, and what its message must name."""

    name: str
    call: Callable[[World], object]
    error: type[MofaBayesError]
    names: str = field(default="")


def patients_in(error: BaseException) -> set[str]:
    return set(A_PATIENT.findall(str(error)))


def assert_refused(case: Case, world: World) -> None:
    """The error is of the kind, has its four parts, names what is wrong and few patients, and is short."""
    with pytest.raises(MofaBayesError) as caught:
        case.call(world)
    error = caught.value
    assert type(error) is case.error
    parts = (error.what, error.got, error.expected, error.do)
    assert all(isinstance(part, str) and part.strip() for part in parts)
    assert all(part in str(error) for part in parts)
    assert case.names in str(error)
    assert len(patients_in(error)) <= 5
    assert len(str(error)) < 1000
