"""Risks: what any model says of patients at horizons, with or without draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mofa_bayes.errors import DataError, name_some
from mofa_bayes.risk.metrics.checks import read_horizons, read_values

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, repr=False, init=False)
class Risks:
    """Risks as arrays, to evaluate any model's predictions, ours or another's.

    Parameters
    ----------
    subjects
        Identifiers, each once.
    times
        Horizons in increasing order, (time,); None or [nan] for a binary outcome.
    risk
        Probability of the event by each horizon, (subject, time) or (draw, subject, time); for a binary outcome the
        last axis may be left out.
    linear_predictor
        Any number that grows with the risk, for ranks, (subject,) or (draw, subject); the risk at the last horizon when
        left out.
    cause
        Which event the risk is of, where there are several.

    Raises
    ------
    DataError
        Shapes do not fit, values are not probabilities, a subject comes twice, or a risk falls with time.
    """

    subjects: tuple[str, ...]
    times: Array
    risk: Array
    linear_predictor: Array
    cause: int

    def __init__(
        self,
        subjects: Sequence[str],
        times: ArrayLike | None,
        risk: ArrayLike,
        linear_predictor: ArrayLike | None = None,
        *,
        cause: int = 1,
    ) -> None:
        names = tuple(str(name) for name in subjects)
        doubled = (
            [name for name in dict.fromkeys(names) if names.count(name) > 1] if len(set(names)) < len(names) else []
        )
        if doubled:
            raise DataError(
                "subjects", got=f"{name_some(doubled)} twice", expected="each once", do="Drop one of the two."
            )
        horizons = np.full(1, np.nan) if times is None else np.atleast_1d(np.asarray(times, dtype=np.float64))
        is_binary = horizons.shape == (1,) and bool(np.isnan(horizons[0]))
        values = np.asarray(risk, dtype=np.float64)
        if is_binary and (values.ndim == 1 or values.shape[-1] != 1):
            values = values[..., None]
        values = read_values("risk", values, len(names), axis=-2, is_probability=True)
        horizons = horizons if is_binary else read_horizons(horizons)
        if values.ndim > 3 or values.shape[-1] != len(horizons) or (np.diff(values, axis=-1) < -1e-9).any():
            raise DataError(
                "risk",
                got=f"an array of shape {values.shape}, or one that falls with time",
                expected=f"([draw,] subject, {len(horizons)} times), never falling: it is P(event by t)",
                do="Pass 1 - survival, one column for each horizon.",
            )
        ranks = values[..., -1] if linear_predictor is None else np.asarray(linear_predictor, dtype=np.float64)
        ranks = read_values("linear_predictor", ranks, len(names))
        if ranks.shape != values.shape[:-1]:
            raise DataError(
                "linear_predictor", got=f"shape {ranks.shape}", expected=f"shape {values.shape[:-1]}, as the risk has",
                do="Give both with draws, or both without.",
            )  # fmt: skip
        for field, value in zip(self.__slots__, (names, horizons, values, ranks, cause), strict=True):
            object.__setattr__(self, field, value)

    @property
    def has_draws(self) -> bool:
        """Whether the first axis is draws."""
        return self.risk.ndim == 3

    def mean(self) -> "Risks":
        """Return the risks averaged over draws."""
        if not self.has_draws:
            return self
        means = self.risk.mean(axis=0), self.linear_predictor.mean(axis=0)
        return Risks(self.subjects, self.times, *means, cause=self.cause)

    def take(self, rows: NDArray[np.intp]) -> "Risks":
        """Return the risks of some subjects, by position."""
        names = [self.subjects[row] for row in rows]
        own = self.risk[..., rows, :], self.linear_predictor[..., rows]
        return Risks(names, self.times, *own, cause=self.cause)

    def __repr__(self) -> str:
        draws = f"{len(self.risk)} draws of " if self.has_draws else ""
        return f"<Risks: {draws}{len(self.subjects)} subjects at {len(self.times)} times>"
