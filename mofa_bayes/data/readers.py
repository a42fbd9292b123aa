"""Read a folder of tables: one file per view, the clinical table aside."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from mofa_bayes.data.collect import Levels, Likelihoods
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.tables import require_labels
from mofa_bayes.errors import DataError, FileError, name_some

_SUFFIXES = (".parquet", ".csv")
_CLINICAL = "clinical"


def read_views(
    folder: str | Path,
    *,
    names: Sequence[str] | None = None,
    likelihoods: Likelihoods | None = None,
    levels: Levels | None = None,
    subjects: Literal["union", "common"] = "union",
    uninformative: Literal["raise", "drop", "keep"] = "raise",
) -> MultiView:
    """Read every `<view>.parquet` or `<view>.csv` of a folder; `clinical.*` is left aside (see `read_clinical`).

    Parameters
    ----------
    folder
        Where the files are. The first column of a CSV file, and of a Parquet file without an index, holds the subject
        ids.
    names
        Views to read, by file name without its ending; every table of the folder when left out.
    likelihoods, levels, subjects, uninformative
        As in `MultiView.from_frames`.

    Raises
    ------
    FileError
        The folder or a file cannot be read.
    DataError
        A table cannot be used as a view.
    """
    frames = read_frames(folder, names=names)
    return MultiView.from_frames(
        frames, likelihoods=likelihoods, levels=levels, subjects=subjects, uninformative=uninformative
    )


def read_frames(
    folder: str | Path, *, names: Sequence[str] | None = None, known: Sequence[str] | None = None
) -> dict[str, pd.DataFrame]:
    """Read the tables of a folder as they are, those of `read_views`; with `known`, of these views alone.

    Raises
    ------
    FileError, DataError
        As in `read_views`.
    """
    files = _list_tables(Path(folder))
    wanted = [name for name in files if name != _CLINICAL] if names is None else list(names)
    absent = [name for name in wanted if name not in files]
    if absent:
        raise FileError(
            f"folder {str(folder)!r}",
            got=f"no file for views {name_some(absent)}",
            expected=f"names among {name_some(files, 12)}",
            do="Correct the names.",
        )
    if known is not None:
        wanted = [name for name in wanted if name in known]
    frames = {name: read_table_of_subjects(files[name]) for name in wanted}
    if not frames:
        raise FileError(
            f"folder {str(folder)!r}",
            got="no view in it" if known is None else "no view that the model knows",
            expected="files named <view>.parquet or <view>.csv",
            do="Check the path; 'clinical' is not a view.",
        )
    return frames


def read_clinical(folder: str | Path) -> pd.DataFrame:
    """Read `clinical.parquet` or `clinical.csv` of a folder: outcomes and covariates, indexed by subject id as text.

    Raises
    ------
    FileError
        The folder or the file cannot be read.
    DataError
        Subject ids or column names are missing or not unique.
    """
    files = _list_tables(Path(folder))
    if _CLINICAL not in files:
        raise FileError(
            f"folder {str(folder)!r}",
            got="no clinical table",
            expected="clinical.parquet or clinical.csv",
            do="Add the file, or read the table with pandas.",
        )
    return read_table_of_subjects(files[_CLINICAL])


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


def read_table_of_subjects(path: Path) -> pd.DataFrame:
    """Read a table in Parquet or CSV, indexed by subject id as text.

    Raises
    ------
    FileError, DataError
        It cannot be read, or subject ids are missing or not unique.
    """
    from pyarrow import ArrowException

    what = f"file {path.name!r}"
    try:
        table = _read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError, TypeError, KeyError, ArrowException) as error:
        if isinstance(error, DataError):
            raise
        raise FileError(
            what,
            got=f"{type(error).__name__} while reading it",
            expected=f"a table in {path.suffix[1:]} format",
            do="Open it with pandas to see what is wrong with it.",
        ) from error
    if isinstance(table.index, pd.RangeIndex) and table.shape[1] > 0:
        table = _index_by_first_column(what, table)
    require_labels(what, "subject ids", table.index)
    return table.set_axis(table.index.astype(str), axis=0)


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file with its first column as text: identifiers such as 007 keep their zeros."""
    header = pd.Index(pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].dropna())
    # pandas renames the second of two equal names, so that a doubled feature would pass for two.
    require_labels(f"file {path.name!r}", "column names", header)
    return pd.read_csv(path, dtype={0: str})


def _index_by_first_column(what: str, table: pd.DataFrame) -> pd.DataFrame:
    first = table.columns[0]
    if pd.api.types.is_float_dtype(table.dtypes.iloc[0]):
        raise DataError(
            what,
            got=f"no subject ids: there is no index, and the first column {first!r} holds decimal numbers",
            expected="subject ids as index or in the first column",
            do="Write the table with its index set to the subject ids.",
        )
    return table.set_index(first).rename_axis(None if str(first).startswith("Unnamed:") else first)
