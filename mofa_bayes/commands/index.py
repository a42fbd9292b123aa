"""Index times from a table of subjects."""

import pandas as pd

from mofa_bayes.errors import DataError, SpecError, name_some


def read_index(table: pd.DataFrame, *, time: str, person: str | None, after: str | None) -> pd.DataFrame:
    """Return `subject_id` and `time` of each subject, for `tabulate_events`.

    Raises
    ------
    DataError
        A column is not there.
    SpecError
        `after` is no duration.
    """
    absent = [name for name in (time, person) if name is not None and name not in table.columns]
    if absent:
        raise DataError(
            "table of index times",
            got=f"no column {name_some(absent)}",
            expected=f"one of {name_some(table.columns, 8)}",
            do="Name it: --time, --person.",
        )
    times = pd.to_datetime(table[time], errors="coerce", format="ISO8601")
    if after is not None:
        try:
            times = times + pd.to_timedelta([after])[0]
        except ValueError as error:
            raise SpecError(
                "--after", got=repr(after)[:80], expected="a duration such as 48h", do="Write it so."
            ) from error
    people = table.index if person is None else table[person]
    return pd.DataFrame({"subject_id": people.astype(str), "time": times}, index=table.index)
