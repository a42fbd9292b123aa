"""CompetingRisks: a time until the first of several events, each with a hazard of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.outcomes import read_causes, read_entry
from mofa_bayes.errors import DataError, SpecError, name_some
from mofa_bayes.risk.baselines import BASELINES
from mofa_bayes.risk.baselines.baseline import blunt_end
from mofa_bayes.risk.incidence import place_grid, sum_incidences
from mofa_bayes.risk.response import RISK, Array, Design, Labels, Parameters, Tensor
from mofa_bayes.risk.survival import SurvivalResponse, is_truncated, prefix, require_baseline, strip

MAX_CAUSES = 3
"""The integral over factors has a dimension for each cause: 20, 144, 512 and then 2,401 nodes."""
Names = tuple[tuple[int, str], ...]
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.\- ]{0,38}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class CompetingRisks:
    """A time until the first of two or three events that exclude each other, or until censoring.

    The hazard of cause c among those who had none of the events is h_c(t) = h0_c(t) exp(g_c'c + b_c'z): each cause has
    its own baseline and its own effects, which are ratios of cause-specific hazards. The chance of an event depends on
    all of them: predictions are cumulative incidences.

    Parameters
    ----------
    time, cause
        Columns of the clinical table: a time above 0 in any unit, and a whole number, 0 where the patient was censored
        and else the cause of the event.
    causes
        Names of the causes by their numbers, such as `{1: "relapse", 2: "death"}`; the numbers that occur when left
        out.
    baseline, n_intervals, entry
        As in `Survival`, for every cause.

    Raises
    ------
    SpecError
        A value is not acceptable.
    """

    time: str
    cause: str
    causes: Mapping[int, str] | Names | None = None
    baseline: str = field(default="m_spline", kw_only=True)
    n_intervals: int = field(default=10, kw_only=True)
    entry: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        names = self.columns
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise SpecError(
                "columns of CompetingRisks",
                got=", ".join(map(repr, names)),
                expected="the names of different columns",
                do='Write CompetingRisks("time", "cause").',
            )
        if self.causes is not None:
            object.__setattr__(self, "causes", self.names)
        require_baseline(self.baseline, self.n_intervals)

    @property
    def names(self) -> Names | None:
        """Numbers and names of the causes, where they were given."""
        return None if self.causes is None else _read_names(self.causes)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the clinical table that hold the outcome."""
        return (self.time, self.cause, *([] if self.entry is None else [self.entry]))

    def read(self, clinical: pd.DataFrame, subjects: Sequence[str]) -> dict[str, Array]:
        """Read `time`, `event` (the number of the cause, or 0), and `entry` if there is one; each (subject,)."""
        times = read_causes(clinical, self.time, self.cause, subjects)
        if self.names is not None:
            known = [code for code, _ in self.names]
            strange = np.setdiff1d(times.event, [0, *known])
            if len(strange):
                raise DataError(
                    f"cause column {self.cause!r}",
                    got=f"numbers without a name ({name_some(int(code) for code in strange)})",
                    expected=f"0 or one of {', '.join(map(str, known))}",
                    do="Name every cause in causes={...}, or code these events as 0 if they censor.",
                )
        observed = {"time": times.time, "event": times.event}
        if self.entry is not None:
            observed["entry"] = read_entry(clinical, self.entry, subjects, times.time)
        return observed

    def learn(self, observed: Design) -> "CompetingResponse":
        """Learn which causes there are, and each one's time scale and cut points.

        Raises
        ------
        DataError
            A cause has no event, or there are not two or three of them.
        """
        seen = [int(code) for code in np.unique(observed["event"]) if code]
        named = tuple((code, str(code)) for code in seen) if self.names is None else self.names
        absent = [name for code, name in named if code not in seen]
        if absent or not 2 <= len(named) <= MAX_CAUSES:
            raise DataError(
                f"cause column {self.cause!r}",
                got=f"no event of {name_some(absent)}" if absent else f"{len(named)} causes",
                expected=f"2 to {MAX_CAUSES} causes, with events of each",
                do="Join rare causes into one number, or model one cause as Survival.",
            )
        time, event, entry = observed["time"], observed["event"], observed.get("entry")
        last_time = blunt_end(time)
        parts = tuple(
            SurvivalResponse(
                BASELINES[self.baseline].learn(time, (event == code) * 1.0, self.n_intervals, entry=entry), last_time
            )
            for code, _ in named
        )
        return CompetingResponse(tuple(code for code, _ in named), tuple(name for _, name in named), parts)


def _read_names(causes: object) -> Names:
    """Return names by number, as a value that can be hashed; raise SpecError when they are not that."""
    pairs = tuple(causes.items()) if isinstance(causes, Mapping) else causes
    if (
        isinstance(pairs, tuple)
        and 2 <= len(pairs) <= MAX_CAUSES
        and all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs)
        and all(isinstance(code, int) and not isinstance(code, bool) and code > 0 for code, _ in pairs)
        and all(isinstance(name, str) and _NAME.fullmatch(name) for _, name in pairs)
        and len({name for _, name in pairs}) == len({code for code, _ in pairs}) == len(pairs)
    ):
        return pairs
    raise SpecError(
        "causes",
        got=repr(causes)[:80],
        expected=f"names of 2 to {MAX_CAUSES} causes by numbers from 1 up, in letters, digits, '_', '-' and spaces",
        do='Write causes={1: "relapse", 2: "death"}.',
    )


@dataclass(frozen=True, slots=True)
class CompetingResponse:
    """h_c(t) = h0_c(t) exp(predictor_c), S(t) = exp(-sum_c H0_c(t) exp(predictor_c)).

    An event of cause c has density h_c(t) S(t), censoring probability S(t): the likelihood is the product over causes
    of what each would be if the other causes censored.

    Attributes
    ----------
    codes, causes
        Numbers and names of the C causes.
    parts
        Each cause by itself.
    """

    codes: tuple[int, ...]
    causes: tuple[str, ...]
    parts: tuple[SurvivalResponse, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the baselines' parameters, each with its cause."""
        return tuple(f"{name}_{cause}" for cause, part in self._each() for name in part.parameters)

    @property
    def ratio(self) -> str:
        """Effects are logs of ratios of cause-specific hazards."""
        return "hazard_ratio"

    @property
    def labels(self) -> Labels:
        """A risk by each horizon."""
        return RISK

    @property
    def unit(self) -> float:
        """Effects have no unit."""
        return 1.0

    def coords(self) -> dict[str, Any]:
        """Names of causes, and coordinates of the baselines' dims."""
        own = {dim: values for cause, part in self._each() for dim, values in part.baseline.coords(f"_{cause}").items()}
        return {"cause": list(self.causes), **own}

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare the baselines' parameters."""
        return {
            f"{name}_{cause}": value
            for cause, part in self._each()
            for name, value in part.baseline.draw_parameters(f"_{cause}").items()
        }

    def design(self, observed: Design) -> dict[str, NDArray[Any]]:
        """Prepare what each cause needs, under names that begin with `cause0`, `cause1`."""
        design: dict[str, NDArray[Any]] = {}
        for c, (code, part) in enumerate(zip(self.codes, self.parts, strict=True)):
            design |= prefix(f"cause{c}", part.design({**observed, "event": (observed["event"] == code) * 1.0}))
        return design

    def log_likelihood(
        self, xp: ModuleType, predictors: Sequence[Tensor], parameters: Parameters, design: Design
    ) -> Tensor:
        """Log density of what was seen given one predictor for each cause, each (..., subject, node)."""
        return sum(
            part.log_likelihood(xp, predictors[c], own, strip(f"cause{c}", design))
            for c, (part, own) in enumerate(zip(self.parts, self._split(parameters), strict=True))
        )

    def log_entry(self, xp: ModuleType, predictors: Sequence[Tensor], parameters: Parameters, design: Design) -> Tensor:
        """Log S(entry), shape (..., subject, node)."""
        return sum(
            part.log_entry(xp, predictors[c], own, strip(f"cause{c}", design))
            for c, (part, own) in enumerate(zip(self.parts, self._split(parameters), strict=True))
        )

    def is_truncated(self, design: Design) -> bool:
        """Whether subjects entered late."""
        return is_truncated(strip("cause0", design))

    def incidence(self, predictors: Sequence[Array], parameters: Mapping[str, Array], times: Array) -> Array:
        """P(event of each cause by t | predictors), shape (draw, subject, node, time, cause)."""
        grid, stops = self.grid(times)
        cumulative = [
            np.exp(part.baseline.log_hazards(np, own, part.baseline.design(grid))[1])
            for part, own in zip(self.parts, self._split(parameters), strict=True)
        ]
        return sum_incidences(cumulative, predictors, stops)

    def grid(self, times: Array) -> tuple[Array, NDArray[np.intp]]:
        """Return times over which incidences are summed, and the positions of the horizons among them."""
        breaks = np.concatenate([part.baseline.breaks(float(times[-1])) for part in self.parts])
        return place_grid(times, breaks)

    def require_times(self, times: Sequence[float] | None) -> Array:
        """Return the horizons if they are positive, finite, increasing numbers; raise DataError otherwise."""
        return self.parts[0].require_times(times)

    def is_beyond(self, times: NDArray[Any]) -> NDArray[np.bool_]:
        """Mark horizons beyond the longest follow-up."""
        return self.parts[0].is_beyond(times)

    def require_cause(self, cause: str | None) -> int:
        """Return the position of a cause; raise DataError when it is not one of them."""
        if cause in self.causes:
            return self.causes.index(str(cause))
        raise DataError(
            "cause",
            got=repr(cause),
            expected=f"one of {name_some(self.causes)}",
            do=f"Write cause={self.causes[0]!r}.",
        )

    def _each(self) -> list[tuple[str, SurvivalResponse]]:
        return list(zip(self.causes, self.parts, strict=True))

    def _split(self, parameters: Parameters) -> list[dict[str, Tensor]]:
        """Parameters of each cause, under their plain names."""
        return [
            {name: parameters[f"{name}_{cause}"] for name in part.parameters if f"{name}_{cause}" in parameters}
            for cause, part in self._each()
        ]
