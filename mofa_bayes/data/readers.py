"""Read a folder of tables: one file per view, the clinical table aside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from mofa_bayes.data.multiview import Likelihoods, MultiView
from mofa_bayes.errors import DataError, FileError

_SUFFIXES = (".parquet", ".csv")
_CLINICAL = "clinical"


def read_views(
    folder: str | Path,
    *,
    likelihoods: Likelihoods | None = None,
    subjects: Literal["union", "common"] = "union",
    uninformative: Literal["raise", "drop", "keep"] = "raise",
) -> MultiView:
    """Read every `<view>.parquet` or `<view>.csv` of a folder; `clinical.*` is left aside (see `read_clinical`).

    Parameters
    ----------
    folder
        Where the files are. Parquet files carry their index; in a CSV file the first column holds the subject ids.
    likelihoods, subjects, uninformative
        As in `MultiView.from_frames`.

    Raises
    ------
    FileError
        The folder or a file cannot be read.
    DataError
        A table cannot be used as a view.
    """
    files = _list_tables(Path(folder))
    frames = {name: _read_table(path) for name, path in files.items() if name != _CLINICAL}
    if not frames:
        raise FileError(
            f"folder {str(folder)!r}",
            got="no view in it",
            expected="files named <view>.parquet or <view>.csv",
            do="Check the path; 'clinical' is not a view.",
        )
    return MultiView.from_frames(frames, likelihoods=likelihoods, subjects=subjects, uninformative=uninformative)


def read_clinical(folder: str | Path) -> pd.DataFrame:
    """Read `clinical.parquet` or `clinical.csv` of a folder: outcomes and covariates, indexed by subject id as text."""
    files = _list_tables(Path(folder))
    if _CLINICAL not in files:
        raise FileError(
            f"folder {str(folder)!r}",
            got="no clinical table",
            expected="clinical.parquet or clinical.csv",
            do="Add the file, or read the table with pandas.",
        )
    return _read_table(files[_CLINICAL])


def _list_tables(folder: Path) -> Mapping[str, Path]:
    if not folder.is_dir():
        raise FileError(
            f"folder {str(folder)!r}", got="nothing there", expected="a readable folder", do="Check the path."
        )
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in _SUFFIXES or not path.is_file() or path.name.startswith("."):
            continue
        if path.stem in files:
            raise DataError(
                f"view {path.stem!r}",
                got=f"two files ({files[path.stem].name}, {path.name})",
                expected="one file per view",
                do="Remove one of them.",
            )
        files[path.stem] = path
    return files


def _read_table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, index_col=0, dtype={0: str})
        else:
            table = pd.read_parquet(path)
            if isinstance(table.index, pd.RangeIndex) and table.shape[1] > 0:
                table = table.set_index(table.columns[0])
    except (OSError, ValueError) as error:
        raise FileError(
            f"file {path.name!r}",
            got=f"{type(error).__name__} while reading it",
            expected=f"a table in {path.suffix[1:]} format",
            do="Open it with pandas to see what is wrong with it.",
        ) from error
    return table.set_axis(table.index.astype(str), axis=0)
