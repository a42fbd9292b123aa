"""What goes wrong, said in four parts: what, got, expected, do."""

import os
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path

_PACKAGE = str(Path(__file__).parent) + os.sep


class MofaBayesError(Exception):
    """Base of every error raised by this package.

    Parameters
    ----------
    what
        The thing that is wrong, named as the user knows it.
    got, expected
        What was found and what is accepted there.
    do
        The next step that mends it.
    """

    def __init__(self, what: str, *, got: str, expected: str, do: str) -> None:
        self.what, self.got, self.expected, self.do = what, got, expected, do
        super().__init__(f"{what}: got {got}; expected {expected}. {do}")

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are rebuilt from `args`, which lack the keywords: those of other processes would not arrive.
        return partial(type(self), self.what, got=self.got, expected=self.expected, do=self.do), ()


class DataError(MofaBayesError, ValueError):
    """The views, covariates or outcomes cannot be used as they are."""


class SpecError(MofaBayesError, ValueError):
    """A model description is not one we can understand."""


class FitError(MofaBayesError, ValueError):
    """Data and model are each fine, but cannot be fitted together as asked."""


class FileError(MofaBayesError, OSError):
    """A file cannot be read or written as what it is said to be."""


class MissingExtraError(MofaBayesError, ImportError):
    """An optional dependency is needed and absent."""


class MofaBayesWarning(UserWarning):
    """Base of every warning raised by this package."""


class ConvergenceWarning(MofaBayesWarning):
    """An engine stopped before its convergence criterion was met."""


class IgnoredWarning(MofaBayesWarning):
    """Something that was given is not used by the part that received it."""


class ModelWarning(MofaBayesWarning):
    """The model can be fitted to these data, but another would do better."""


def warn(message: str, category: type[MofaBayesWarning]) -> None:
    """Warn at the line, outside of this package, from which it was called; however deep inside the reason came up."""
    warnings.warn(message, category, skip_file_prefixes=(_PACKAGE,))


def name_some(names: Iterable[object], limit: int = 5) -> str:
    """Name at most `limit` things, and say how many there are besides.

    Identifiers of patients appear in messages only through this function.
    """
    listed = [str(name) for name in names]
    shown = ", ".join(repr(name) for name in listed[:limit])
    rest = len(listed) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown
