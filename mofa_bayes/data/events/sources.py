"""Event tables as hospitals have them: MEDS files, and OMOP CDM tables brought to the same four columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pandas as pd

from mofa_bayes.errors import DataError, FileError, name_some

COLUMNS = ("subject_id", "time", "code", "numeric_value")
_TABLES = (
    "condition_occurrence",
    "drug_exposure",
    "procedure_occurrence",
    "measurement",
    "observation",
    "device_exposure",
    "visit_occurrence",
    "death",
)
_LAST_OF_DAY = timedelta(days=1) - timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Table:
    """Where an OMOP table has what it says of a person: concept, date, value and unit."""

    kind: str
    concept: str
    date: str
    value: str | None = None
    unit: str | None = None


_OMOP: Mapping[str, _Table] = {
    "condition_occurrence": _Table("CONDITION", "condition_concept_id", "condition_start_date"),
    "drug_exposure": _Table("DRUG", "drug_concept_id", "drug_exposure_start_date"),
    "procedure_occurrence": _Table("PROCEDURE", "procedure_concept_id", "procedure_date"),
    "measurement": _Table(
        "MEASUREMENT", "measurement_concept_id", "measurement_date", "value_as_number", "unit_concept_id"
    ),
    "observation": _Table("OBSERVATION", "observation_concept_id", "observation_date", "value_as_number"),
    "device_exposure": _Table("DEVICE", "device_concept_id", "device_exposure_start_date"),
    "visit_occurrence": _Table("VISIT", "visit_concept_id", "visit_start_date"),
    "death": _Table("DEATH", "", "death_date"),
}


def read_meds(path: str | Path) -> pd.DataFrame:
    """Read events in MEDS form (Medical Event Data Standard): a Parquet file, or a folder of them (`data/**`).

    Returns
    -------
    Columns `subject_id` (text), `time`, `code`, `numeric_value`, and others as they are. Events without a time (births,
    sex) are kept with NaT: no window takes them.

    Raises
    ------
    FileError
        Nothing is there, or a file is no table.
    DataError
        A table has not these columns.
    """
    place = Path(path)
    files = sorted(place.rglob("*.parquet")) if place.is_dir() else [place]
    data = [file for file in files if "metadata" not in file.relative_to(place).parts] if place.is_dir() else files
    if not data or not all(file.is_file() for file in data):
        raise FileError(
            f"events {str(place)!r}",
            got="no Parquet file there",
            expected="a file or folder of MEDS events",
            do="Check the path.",
        )
    return read_events(pd.concat([_read(file) for file in data], ignore_index=True))


def read_omop(folder: str | Path, *, tables: Sequence[str] = _TABLES) -> pd.DataFrame:
    """Read the event tables of an OMOP CDM 5.x extract (`<table>.parquet` or `.csv`) as MEDS events.

    A code is `CONDITION//<concept id>` and the like, with the concept's name behind it where the table `concept` is
    there; a measurement's unit is part of its code, because values in other units are other features. OMOP dates
    without a time of day, which extracts write as midnight, count from the end of that day: on the index day itself
    nobody knows whether they came before.

    Parameters
    ----------
    folder
        Where the tables are.
    tables
        Tables to read, those that are there.

    Raises
    ------
    FileError
        No such table is there, or one cannot be read.
    DataError
        A table has not the columns of the CDM.
    """
    place = Path(folder)
    unknown = [name for name in tables if name not in _OMOP]
    if unknown:
        raise DataError("OMOP tables", got=name_some(unknown), expected=f"some of {', '.join(_OMOP)}", do="Name these.")
    found = {name: file for name in tables if (file := _find(place, name)) is not None}
    if not found:
        raise FileError(
            f"folder {str(place)!r}",
            got="no OMOP table there",
            expected=f"<table>.parquet or .csv for some of {name_some(tables, 8)}",
            do="Check the path; names are in lower case.",
        )
    concepts = _read_concepts(place)
    parts = [_as_events(name, _read(file), concepts) for name, file in found.items()]
    return read_events(pd.concat([part for part in parts if len(part)], ignore_index=True))


def read_events(table: object) -> pd.DataFrame:
    """Check events: `subject_id` and `code` as text, `time` as timestamps without a zone, values finite or missing.

    Raises
    ------
    DataError
        Columns are absent or not what they should be.
    """
    if not isinstance(table, pd.DataFrame) or not {"subject_id", "time", "code"} <= set(table.columns):
        columns = name_some(table.columns, 8) if isinstance(table, pd.DataFrame) else type(table).__name__
        raise DataError(
            "events",
            got=columns,
            expected=f"a DataFrame with columns {', '.join(COLUMNS)}",
            do="Read them with mb.read_meds or mb.read_omop, or rename your columns.",
        )
    events = table.reset_index(drop=True)
    # A format, because pandas warns where it must guess; timestamps and texts of ISO 8601 pass.
    time = pd.to_datetime(events["time"], errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
    unread = time.isna() & events["time"].notna()
    if unread.any():
        raise DataError(
            "times of events",
            got=f"{int(unread.sum())} that are no timestamps",
            expected="timestamps",
            do="Convert them with pandas.to_datetime.",
        )
    if events[["subject_id", "code"]].isna().any().any():
        raise DataError("events", got="rows without subject_id or code", expected="both in every row", do="Drop them.")
    value = pd.to_numeric(events["numeric_value"], errors="coerce") if "numeric_value" in events else float("nan")
    checked = events.assign(
        subject_id=events["subject_id"].astype(str), time=time, code=events["code"].astype(str).astype("category")
    )
    checked["numeric_value"] = pd.Series(value, index=events.index, dtype=float).replace(
        [float("inf"), -float("inf")], float("nan")
    )
    return checked


def _find(folder: Path, name: str) -> Path | None:
    return next((file for suffix in (".parquet", ".csv") if (file := folder / f"{name}{suffix}").is_file()), None)


def _read(file: Path) -> pd.DataFrame:
    from pyarrow import ArrowException

    try:
        return pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, low_memory=False)
    except (OSError, ValueError, TypeError, KeyError, ArrowException) as error:
        raise FileError(
            f"file {file.name!r}",
            got=f"{type(error).__name__} while reading it",
            expected="a table in Parquet or CSV",
            do="Open it with pandas to see what is wrong.",
        ) from error


def _read_concepts(folder: Path) -> pd.Series:
    file = _find(folder, "concept")
    if file is None:
        return pd.Series(dtype=object)
    table = _read(file)
    if not {"concept_id", "concept_name"} <= set(table.columns):
        raise DataError(
            "OMOP table concept",
            got=name_some(table.columns, 8),
            expected="concept_id and concept_name",
            do="Take the table of the CDM, or leave it out.",
        )
    return table.drop_duplicates("concept_id").set_index("concept_id")["concept_name"].astype(str)


def _as_events(name: str, table: pd.DataFrame, concepts: pd.Series) -> pd.DataFrame:
    own = _OMOP[name]
    needed = {"person_id", own.date} | ({own.concept} if own.concept else set())
    if not needed <= set(table.columns):
        raise DataError(
            f"OMOP table {name}",
            got=f"none of {name_some(sorted(needed - set(table.columns)))}",
            expected="the columns of the CDM 5.x, in lower case",
            do="Rename them.",
        )
    code = pd.Series(own.kind, index=table.index, dtype=object)
    if own.concept:
        code = own.kind + "//" + _name(table[own.concept], concepts)
    if own.unit in table and own.unit is not None:
        unit = _name(table[own.unit], concepts)
        code = code + ("//" + unit).where(table[own.unit].fillna(0) != 0, "")
    value = table[own.value] if own.value is not None and own.value in table else float("nan")
    return pd.DataFrame(
        {"subject_id": table["person_id"], "time": _read_times(table, own.date), "code": code, "numeric_value": value}
    )


def _name(concept: pd.Series, concepts: pd.Series) -> pd.Series:
    number = pd.to_numeric(concept, errors="coerce").fillna(0).astype("int64")
    names = number.map(concepts)
    return number.astype(str) + (" " + names.astype(str)).where(names.notna(), "")


def _read_times(table: pd.DataFrame, date: str) -> pd.Series:
    """Time of each row: the datetime where it has a time of day, else the end of the day."""
    day = pd.to_datetime(table[date], errors="coerce", format="ISO8601")
    exact = pd.to_datetime(table[f"{date}time"], errors="coerce", format="ISO8601") if f"{date}time" in table else day
    exact = exact.fillna(day)
    return exact.where(exact != exact.dt.normalize(), exact + _LAST_OF_DAY)
