"""Tables as files, written whole or not at all."""

from pathlib import Path

import pandas as pd

from mofa_bayes.atomic import replacing


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV without its index.

    Raises
    ------
    FileError
        The place cannot be written; what was there is untouched.
    """
    with replacing(path) as part:
        table.to_csv(part, index=False)
