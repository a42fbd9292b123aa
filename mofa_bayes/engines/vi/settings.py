"""Ascent: how long and how hard the vi engine climbs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mofa_bayes.errors import SpecError
from mofa_bayes.spec.model import is_whole

_STARTS = ("svd", "spectral", "random")
_DROPS = ("end", "during")
_MODES = {"fast": 1e-6, "medium": 1e-7, "slow": 1e-8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ascent:
    """How long and how hard to climb.

    Parameters
    ----------
    max_iterations
        Passes over the data at most, until factors are dropped: as many again after that where the bound had settled,
        and up to 50 where it had not.
    mode
        Stop when the bound rises by less than this share of itself three times in a row: `fast` 1e-6, `medium` 1e-7,
        `slow` 1e-8, or a number. MOFA's modes of the same names stop at 5e-6, 5e-7 and 5e-8 of the first bound over
        five iterations.
    max_seconds
        Stop after this many seconds with what has been reached.
    max_memory
        Bytes that a fit may need beside its views, its draws included: one that is expected to need more is refused
        before it starts.
    start
        Where the ascent starts: `svd`, the leading singular vectors of all views together; `spectral`, the factors of
        engine `spectral`, which tell shared from specific ones before any pass; or `random`.
    drop
        When factors that explain less than the model's `min_variance` are dropped: at the `end`, after which the ascent
        is resumed, or `during` it too, every 20 passes, which saves time where far too many were asked for.
    n_threads
        Threads over blocks of rows; the answer does not depend on it. None takes the machine's cores, 4 at most.
    n_starts
        Ascents from different starts, of which the highest is kept; `post.starts` says how far they agree.
    checkpoint
        File to write the state to now and then, and to go on from when it is there; the result is the same as without
        a break. It holds factors of patients. Further starts get files of their own beside it.
    checkpoint_seconds
        Least time between two writings.
    expand
        Use parameter expansion and over-relaxation, and take factors out of views that do not share them at once. Off
        only to measure what these moves bring.
    """

    max_iterations: int = 2000
    mode: Literal["fast", "medium", "slow"] | float = "medium"
    max_seconds: float = float("inf")
    max_memory: float = float("inf")
    start: Literal["svd", "spectral", "random"] = "svd"
    drop: Literal["end", "during"] = "end"
    n_threads: int | None = None
    n_starts: int = 1
    checkpoint: str | Path | None = None
    checkpoint_seconds: float = 60.0
    expand: bool = True

    def __post_init__(self) -> None:
        counts = {"max_iterations": self.max_iterations, "n_starts": self.n_starts}
        counts |= {} if self.n_threads is None else {"n_threads": self.n_threads}
        for name, value in counts.items():
            if not is_whole(value) or value < 1:
                raise SpecError(name, got=repr(value), expected="a whole number from 1 up", do="Correct it.")
            object.__setattr__(self, name, int(value))
        is_number = isinstance(self.mode, int | float) and not isinstance(self.mode, bool) and 0 < self.mode < 1
        if not is_number and not (isinstance(self.mode, str) and self.mode in _MODES):
            raise SpecError(
                "mode",
                got=repr(self.mode),
                expected=f"one of {', '.join(_MODES)} or a number in (0, 1)",
                do="Choose one.",
            )
        for name, seconds, least in (
            ("max_seconds", self.max_seconds, 1e-9),
            ("checkpoint_seconds", self.checkpoint_seconds, 0.0),
            ("max_memory", self.max_memory, 1.0),
        ):
            if not isinstance(seconds, int | float) or not seconds >= least:
                unit = "bytes" if name == "max_memory" else "seconds"
                raise SpecError(name, got=repr(seconds), expected=f"a number of {unit}", do="Correct it.")
        for name, choice, choices in (("start", self.start, _STARTS), ("drop", self.drop, _DROPS)):
            if choice not in choices:
                raise SpecError(name, got=repr(choice), expected=f"one of {', '.join(choices)}", do="Choose one.")
        if self.checkpoint is not None and not isinstance(self.checkpoint, str | Path):
            raise SpecError("checkpoint", got=repr(self.checkpoint), expected="a path, or None", do="Name a file.")

    @property
    def tolerance(self) -> float:
        """Smallest rise of the bound, as a share of itself, that counts."""
        return _MODES[self.mode] if isinstance(self.mode, str) else float(self.mode)
