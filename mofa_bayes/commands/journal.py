"""Journal: what a command says, for people or, line by line as JSON, for the pipeline that runs it; and how it ends."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.markup import escape

from mofa_bayes.errors import DataError, FileError, FitError, MissingExtraError, MofaBayesError, SpecError

EXIT_CODES: dict[type[MofaBayesError], int] = {
    DataError: 3,
    SpecError: 4,
    FitError: 5,
    FileError: 6,
    MissingExtraError: 7,
}
"""What a command ends with, by the kind of error; 0 is success, 2 a wrong option, 130 an interrupt."""


@dataclass(frozen=True, slots=True)
class Journal:
    """Says what happens, on standard error.

    Parameters
    ----------
    as_json
        One JSON object for each line: `time, level, event` and what belongs to the event.
    """

    as_json: bool = False

    def tell(self, event: str, *, level: str = "info", **about: object) -> None:
        """Say one thing."""
        console = Console(stderr=True)
        if self.as_json:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = json.dumps({"time": now, "level": level, "event": event, **about}, default=str)
            console.print(line, markup=False, highlight=False, soft_wrap=True)
            return
        rest = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in about.items())
        style = {"error": "[bold red]error[/] ", "warning": "[yellow]warning[/] "}.get(level, "")
        console.print(f"{style}{escape(event)}{escape(': ' + rest) if rest else ''}", highlight=False, soft_wrap=True)

    @contextmanager
    def running(self, what: str) -> Iterator[None]:
        """Run a command: its warnings are told, its errors end it with their code, and an interrupt with 130."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            try:
                yield
            except MofaBayesError as error:
                parts = {"what": error.what, "got": error.got, "expected": error.expected, "do": error.do}
                if self.as_json:
                    self.tell(f"{what} failed", level="error", kind=type(error).__name__, **parts)
                else:
                    self.tell(str(error), level="error")
                raise typer.Exit(exit_code_of(error)) from error
            except KeyboardInterrupt as error:
                self.tell(f"{what} was interrupted", level="error")
                raise typer.Exit(130) from error
            finally:
                for text in dict.fromkeys(str(own.message) for own in caught):
                    self.tell(text, level="warning")


def exit_code_of(error: MofaBayesError) -> int:
    """Exit code of an error; 1 for a kind that has none."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)
