"""What every metric asks of its arrays: one home for the complaints about them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mofa_bayes.errors import DataError

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


def read_follow_up(time: ArrayLike, event: ArrayLike, *, n_causes: int | None = 1) -> tuple[Array, Codes]:
    """Return times and event codes, each (subject,).

    Parameters
    ----------
    time
        Time of the event or of censoring, finite and not negative.
    event
        0 where censored, else the cause, 1 and up; true and false do for a single cause.
    n_causes
        Largest code that is accepted; None for any.

    Raises
    ------
    DataError
        Shapes differ, or a value is none of these.
    """
    times, codes = _numbers("time", time), _numbers("event", event)
    if times.ndim != 1 or times.shape != codes.shape or not times.size:
        raise DataError(
            "time and event",
            got=f"arrays of shape {times.shape} and {codes.shape}",
            expected="one number per subject in each",
            do="Pass two one-dimensional arrays in the same order of subjects.",
        )
    if not (np.isfinite(times) & (times >= 0)).all():
        raise DataError("time", got="values that are missing, infinite or negative", expected="times from 0 up",
                        do="Drop or correct these subjects.")  # fmt: skip
    is_code = np.isfinite(codes) & (codes >= 0) & (codes == np.floor(codes))
    if not is_code.all() or (n_causes is not None and codes.max() > n_causes):
        causes = "1 (the event)" if n_causes == 1 else "the cause, 1 and up"
        raise DataError("event", got="other values", expected=f"0 (censored) or {causes}", do="Recode the column.")
    return times, codes.astype(np.int64)


def read_values(
    name: str, values: ArrayLike, n_subjects: int, *, axis: int = -1, is_probability: bool = False
) -> Array:
    """Return finite numbers whose `axis` runs over subjects; axes before it are draws or replicates.

    Raises
    ------
    DataError
        Another shape, a value that is not finite, or not a probability.
    """
    read = _numbers(name, values)
    if read.ndim < -axis or read.shape[axis] != n_subjects:
        axes = "(..., subject, time)" if axis == -2 else "(..., subject)"
        raise DataError(name, got=f"an array of shape {read.shape}", expected=f"{axes} with {n_subjects} subjects",
                        do="Put draws first, and give a single column its own axis: values[..., None].")  # fmt: skip
    if not np.isfinite(read).all() or (is_probability and not ((read >= 0) & (read <= 1)).all()):
        expected = "probabilities from 0 to 1" if is_probability else "finite numbers"
        raise DataError(name, got="values that are missing or out of range", expected=expected,
                        do="Drop these subjects, or look at the model that gave them.")  # fmt: skip
    return read


def read_weights(weights: ArrayLike | None, n_subjects: int) -> Array:
    """Return case weights (..., subject); ones when left out. A weight of 2 counts a subject twice."""
    if weights is None:
        return np.ones(n_subjects)
    read = read_values("weights", weights, n_subjects)
    if (read < 0).any():
        raise DataError("weights", got="negative values", expected="0 and up", do="Pass counts of a resample.")
    return read


def read_horizons(times: ArrayLike) -> Array:
    """Return horizons (time,): finite, positive, increasing.

    Raises
    ------
    DataError
        They are not.
    """
    read = np.atleast_1d(_numbers("times", times))
    if read.ndim == 1 and read.size and np.isfinite(read).all() and (read > 0).all() and (np.diff(read) > 0).all():
        return read
    raise DataError("times", got=f"{read.ravel()[:5]}", expected="positive, finite, increasing numbers",
                    do="Write for instance times=[12, 36, 60].")  # fmt: skip


def divide(numerator: ArrayLike, denominator: ArrayLike) -> Array:
    """Divide, with NaN where the denominator is 0: what has no patients has no value."""
    below = np.asarray(denominator, dtype=np.float64)
    ratio: Array = np.asarray(numerator) / np.where(below == 0, np.nan, below)
    return ratio


def _numbers(name: str, values: ArrayLike) -> Array:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(name, got="something that is not numbers", expected="an array of numbers",
                        do="Convert the column to numbers first.") from None  # fmt: skip
