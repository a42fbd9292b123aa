"""From draws to a table: mean and equal-tailed interval, with the level said in every row."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.errors import DataError, FitError, name_some
from mofa_bayes.posterior import Posterior


def summarise(draws: xr.DataArray, *, level: float = 0.95) -> pd.DataFrame:
    """Summarise draws of dims (chain, draw, ...).

    Returns
    -------
    One row per entry: its labels, `mean`, `sd`, `lower`, `upper` (equal-tailed interval) and `level`.

    Raises
    ------
    DataError
        `level` is not in (0, 1).
    """
    require_level(level)
    points = draws.stack(point=("chain", "draw"))
    tails = points.astype(np.float64).quantile([0.5 - level / 2, 0.5 + level / 2], dim="point", skipna=False)
    table = xr.Dataset(
        {
            "mean": points.mean("point", dtype=np.float64),
            "sd": points.std("point", dtype=np.float64, ddof=1),
            "lower": tails.isel(quantile=0, drop=True),
            "upper": tails.isel(quantile=1, drop=True),
        }
    ).to_dataframe()
    return table[["mean", "sd", "lower", "upper"]].assign(level=level).reset_index()


def require_level(level: object) -> None:
    """Raise DataError unless `level` is in (0, 1)."""
    require_share("level", level, "0.95 is usual.")


def require_share(what: str, value: object, do: str) -> None:
    """Raise DataError unless `value` is a number in (0, 1)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise DataError(what, got=repr(value)[:80], expected="a number in (0, 1)", do=do)


def require_aligned(post: Posterior, *, means_suffice: bool = False) -> None:
    """Raise FitError when draws of the posterior differ by rotation, sign or order, or are means alone."""
    if not isinstance(post, Posterior):
        raise DataError("posterior", got=type(post).__name__, expected="a Posterior", do="Pass what mb.fit returned.")
    if not post.is_aligned:
        raise FitError(
            "posterior",
            got="draws that are not aligned",
            expected="draws in one rotation, sign and order",
            do="Align it first.",
        )
    if not means_suffice:
        post.require_uncertainty("summary")


def require_factors(post: Posterior, factors: Sequence[str] | None) -> list[str]:
    """Return the names of the factors asked for, all when None; raise DataError when one is unknown."""
    chosen = list(post.factor_names if factors is None else [factors] if isinstance(factors, str) else factors)
    unknown = [name for name in chosen if name not in post.factor_names]
    if unknown or not chosen:
        raise DataError(
            "factors",
            got=name_some(unknown) if unknown else "none",
            expected=f"names among {', '.join(post.factor_names)}",
            do="Use names of post.factor_names.",
        )
    return chosen


def require_choice(what: str, value: object, choices: Sequence[str]) -> None:
    """Raise DataError unless `value` is one of some words."""
    if value not in choices:
        raise DataError(what, got=repr(value)[:80], expected=f"one of {', '.join(choices)}", do="Choose one.")
