"""Tables as files, written whole or not at all."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from mofa_bayes.atomic import replacing
from mofa_bayes.errors import FileError
from mofa_bayes.posterior.moments import FactorMoments


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV without its index.

    Raises
    ------
    FileError
        The place cannot be written; what was there is untouched.
    """
    with replacing(path) as part:
        table.to_csv(part, index=False)


def write_parquet(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as Parquet, its index included.

    Raises
    ------
    FileError
        The place cannot be written; what was there is untouched.
    """
    with replacing(path) as part:
        table.to_parquet(part)


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as the file's ending says, `.csv` or `.parquet`.

    Raises
    ------
    FileError
        Another ending, or a place that cannot be written.
    """
    kinds = {".csv": write_csv, ".parquet": write_parquet}
    ending = Path(path).suffix
    if ending not in kinds:
        raise FileError(
            f"file {Path(path).name!r}", got=f"the ending {ending!r}", expected=" or ".join(kinds), do="Use one."
        )
    kinds[ending](table, path)


def tabulate_moments(moments: FactorMoments, *, level: float = 0.95) -> pd.DataFrame:
    """Tabulate factors of subjects.

    Returns
    -------
    One row for each subject and factor: `subject, factor, mean, sd, lower, upper, level`, the interval a normal one.
    """
    sd = np.sqrt(np.einsum("nkk->nk", moments.covariances()))
    reach = float(ndtri(0.5 + level / 2)) * sd
    n_subjects, n_factors = moments.mean.shape
    return pd.DataFrame(
        {
            "subject": np.repeat(np.asarray(moments.subjects), n_factors),
            "factor": np.tile(np.asarray(moments.factors), n_subjects),
            "mean": moments.mean.ravel(),
            "sd": sd.ravel(),
            "lower": (moments.mean - reach).ravel(),
            "upper": (moments.mean + reach).ravel(),
            "level": level,
        }
    )
