"""Rules: which codes make a view, how far back they count, and what a patient's events of one code become."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import translate

import numpy as np
import pandas as pd

from mofa_bayes.errors import SpecError

LEAST_SUBJECTS = 5
"""Fewest patients with a code: rarer ones say nothing about factors, and cells under 5 point at patients."""


@dataclass(frozen=True, slots=True)
class Rule(ABC):
    """What all rules share.

    Parameters
    ----------
    codes
        A pattern with `*` and `?`, or several: `"LAB//*"`. Upper and lower case differ.
    within
        How long before the index time an event counts, as pandas writes durations (`"365D"`, `"48h"`); all of the past
        when left out.
    gap
        How long before the index time events stop to count: `"1D"` leaves out the last day, in which what is to be
        predicted may already show. Events at the index time or after it never count.
    min_subjects
        Leave out codes that fewer patients have in the window; 5 at least.

    Raises
    ------
    SpecError
        A value is not acceptable.
    """

    codes: str | Sequence[str] = "*"
    within: str | timedelta | None = field(default=None, kw_only=True)
    gap: str | timedelta = field(default=timedelta(0), kw_only=True)
    min_subjects: int = field(default=10, kw_only=True)

    def __post_init__(self) -> None:
        is_many = isinstance(self.codes, Iterable) and not isinstance(self.codes, str)
        patterns = tuple(self.codes) if is_many else (self.codes,)
        if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
            raise SpecError(
                "codes", got=repr(self.codes)[:80], expected="a pattern such as 'LAB//*', or several", do="Name codes."
            )
        if isinstance(self.min_subjects, bool) or not isinstance(self.min_subjects, int | np.integer):
            raise SpecError(
                "min_subjects", got=repr(self.min_subjects)[:80], expected="a whole number", do="10 is usual."
            )
        if self.min_subjects < LEAST_SUBJECTS:
            raise SpecError(
                "min_subjects",
                got=str(self.min_subjects),
                expected=f"{LEAST_SUBJECTS} or more",
                do="Codes of fewer patients point at them; group such codes instead.",
            )
        gap = _read_duration("gap", self.gap)
        within = None if self.within is None else _read_duration("within", self.within)
        if within is not None and within <= gap:
            raise SpecError(
                "within", got=f"{within}, with a gap of {gap}", expected="a window longer than the gap", do="Widen it."
            )
        for name, value in (("codes", patterns), ("gap", gap), ("within", within)):
            object.__setattr__(self, name, value)

    @property
    def window(self) -> tuple[timedelta | None, timedelta]:
        """How long before the index time the window begins (None: always), and ends."""
        return self.within, self.gap  # type: ignore[return-value]  # texts have been read

    @property
    @abstractmethod
    def likelihood(self) -> str:
        """Likelihood of the view's columns."""

    def choose(self, codes: pd.Index) -> np.ndarray:
        """Mark the codes that the patterns take, (code,)."""
        taken = re.compile("|".join(translate(pattern) for pattern in self.codes))
        return np.array([taken.match(str(code)) is not None for code in codes], dtype=bool)

    @abstractmethod
    def summarise(self, events: pd.DataFrame) -> pd.Series:
        """Make one number of each patient's events of each code.

        Parameters
        ----------
        events
            Events in the window, sorted by time: columns `subject`, `code`, `time`, `numeric_value`.

        Returns
        -------
        Series indexed by subject and code.
        """


@dataclass(frozen=True, slots=True)
class Presence(Rule):
    """1 where a patient has the code in the window, 0 where not: diagnoses, drugs; likelihood bernoulli."""

    @property
    def likelihood(self) -> str:
        """Of flags."""
        return "bernoulli"

    def summarise(self, events: pd.DataFrame) -> pd.Series:
        """One for each code that occurs."""
        return events.groupby(["subject", "code"], observed=True).size().clip(upper=1)


@dataclass(frozen=True, slots=True)
class Count(Rule):
    """How often a patient has the code in the window, 0 where never: visits, prescriptions.

    Parameters
    ----------
    overdispersed
        `negative_binomial` (the default) instead of `poisson` counts.
    """

    overdispersed: bool = field(default=True, kw_only=True)

    @property
    def likelihood(self) -> str:
        """Of counts."""
        return "negative_binomial" if self.overdispersed else "poisson"

    def summarise(self, events: pd.DataFrame) -> pd.Series:
        """Count the events of each code."""
        return events.groupby(["subject", "code"], observed=True).size()


@dataclass(frozen=True, slots=True)
class _Measured(Rule):
    """Values, missing where nothing was measured."""

    @property
    def likelihood(self) -> str:
        """Of real numbers."""
        return "gaussian"


@dataclass(frozen=True, slots=True)
class Latest(_Measured):
    """The last value in the window, missing where there is none: laboratory values, vital signs.

    Of values at the same time the mean is taken.
    """

    def summarise(self, events: pd.DataFrame) -> pd.Series:
        """Take the last time's values."""
        seen = events.dropna(subset=["numeric_value"])
        last = seen.groupby(["subject", "code"], observed=True)["time"].transform("max")
        own = seen[seen["time"] == last]
        return own.groupby(["subject", "code"], observed=True)["numeric_value"].mean()


@dataclass(frozen=True, slots=True)
class Mean(_Measured):
    """The mean of the values in the window, missing where there is none."""

    def summarise(self, events: pd.DataFrame) -> pd.Series:
        """Average the values."""
        seen = events.dropna(subset=["numeric_value"])
        return seen.groupby(["subject", "code"], observed=True)["numeric_value"].mean()


def _read_duration(name: str, value: str | timedelta) -> timedelta:
    try:
        # In a list: pandas 2 reads a single text by way of a unit that NumPy 2.5 warns of.
        found = pd.to_timedelta([value])[0]
    except (ValueError, TypeError) as error:
        raise SpecError(
            name, got=repr(value)[:80], expected="a duration such as '365D' or '48h'", do="Write it so."
        ) from error
    if pd.isna(found) or found < timedelta(0):
        raise SpecError(name, got=repr(value)[:80], expected="a duration that is not negative", do="Correct it.")
    return timedelta(seconds=found.total_seconds())
