"""Survival: a right-censored time whose hazard is proportional to exp(predictor)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.outcomes import read_times
from mofa_bayes.errors import DataError, SpecError
from mofa_bayes.risk.baselines import BASELINES, Baseline
from mofa_bayes.risk.response import RISK, Array, Design, Labels, Parameters, Tensor


@dataclass(frozen=True, slots=True)
class Survival:
    """A time until an event, or until censoring.

    Parameters
    ----------
    time, event
        Columns of the clinical table: a time above 0 in any unit, and 1 (the event happened) or 0 (censored). Horizons
        of predictions are in the same unit.
    baseline
        `piecewise_exponential` (the default: no assumption on the hazard's course) or `weibull`.
    n_intervals
        Intervals of a piecewise exponential baseline, each with about as many events; a random-walk prior smooths them.
        Ten resolve a rise and fall of the hazard within follow-up, and cost one parameter each.

    Raises
    ------
    SpecError
        A value is not acceptable.
    """

    time: str
    event: str
    baseline: str = field(default="piecewise_exponential", kw_only=True)
    n_intervals: int = field(default=10, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.time, str) or not isinstance(self.event, str) or self.time == self.event:
            raise SpecError(
                "columns of a Survival outcome",
                got=f"time={self.time!r}, event={self.event!r}",
                expected="the names of two columns",
                do='Write Survival("time", "event").',
            )
        if self.baseline not in BASELINES:
            raise SpecError(
                "baseline",
                got=repr(self.baseline),
                expected=f"one of {', '.join(BASELINES)}",
                do="Choose one of these.",
            )
        if not isinstance(self.n_intervals, int) or isinstance(self.n_intervals, bool) or self.n_intervals < 1:
            raise SpecError(
                "n_intervals",
                got=repr(self.n_intervals),
                expected="a whole number from 1 up",
                do="10 is a usual choice.",
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the clinical table that hold the outcome."""
        return (self.time, self.event)

    def read(self, clinical: pd.DataFrame, subjects: Sequence[str]) -> dict[str, Array]:
        """Read `time` and `event` of subjects, each (subject,)."""
        times = read_times(clinical, self.time, self.event, subjects)
        return {"time": times.time, "event": times.event}

    def learn(self, observed: Design) -> "SurvivalResponse":
        """Learn the baseline's time scale and cut points, and how far follow-up reaches."""
        baseline = BASELINES[self.baseline].learn(observed["time"], observed["event"], self.n_intervals)
        return SurvivalResponse(baseline, float(observed["time"].max()))


@dataclass(frozen=True, slots=True)
class SurvivalResponse:
    """h(t) = h0(t) exp(predictor): density h(t)^event exp(-H0(t) exp(predictor)).

    Attributes
    ----------
    baseline
        h0 and its parameters.
    last_time
        Longest follow-up of the cohort; predictions beyond it extrapolate.
    """

    baseline: Baseline
    last_time: float

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the baseline's parameters."""
        return self.baseline.parameters

    @property
    def ratio(self) -> str:
        """Effects are log hazard ratios."""
        return "hazard_ratio"

    @property
    def labels(self) -> Labels:
        """A risk by each horizon."""
        return RISK

    @property
    def unit(self) -> float:
        """Effects have no unit."""
        return 1.0

    def coords(self) -> dict[str, Array]:
        """Coordinates of the baseline's dims."""
        return self.baseline.coords()

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare the baseline's parameters."""
        return self.baseline.draw_parameters()

    def design(self, observed: Design) -> dict[str, NDArray[Any]]:
        """Events, and times as the baseline wants them."""
        return {"event": observed["event"], **self.baseline.design(observed["time"])}

    def log_likelihood(self, xp: ModuleType, predictor: Tensor, parameters: Parameters, design: Design) -> Tensor:
        """Log density of an event, or log probability of none until censoring, shape (..., subject, node)."""
        log_hazard, log_cumulative = self.baseline.log_hazards(xp, parameters, design)
        event = design["event"][:, None]
        return event * (log_hazard[..., None] + predictor) - xp.exp(log_cumulative[..., None] + predictor)

    def expect(self, predictor: Array, parameters: Parameters, times: Array) -> Array:
        """Return P(event by t | predictor) = 1 - exp(-H0(t) exp(predictor)), shape (draw, subject, node, time)."""
        _, log_cumulative = self.baseline.log_hazards(np, parameters, self.baseline.design(times))
        risk: Array = -np.expm1(-np.exp(predictor[..., None] + log_cumulative[:, None, None, :]))
        return risk

    def variance(self, expected: Array, parameters: Parameters) -> Array:  # noqa: ARG002  (it happens or not)
        """Variance of an event of that probability."""
        return expected * (1.0 - expected)

    def require_times(self, times: Sequence[float] | None) -> Array:
        """Return the horizons if they are positive, finite, increasing numbers; raise DataError otherwise."""
        try:
            horizons = np.atleast_1d(np.asarray([] if times is None else times, dtype=np.float64))
        except (TypeError, ValueError):
            horizons = np.array([np.nan])
        is_good = horizons.ndim == 1 and horizons.size > 0 and np.isfinite(horizons).all()
        if is_good and (horizons > 0).all() and (np.diff(horizons) > 0).all():
            return horizons
        raise DataError(
            "times",
            got=repr(times)[:80],
            expected="positive, finite numbers, each once, in increasing order, in the unit of the time column",
            do="Write for instance times=[12, 36, 60].",
        )

    def is_beyond(self, times: Array) -> NDArray[np.bool_]:
        """Mark horizons beyond the longest follow-up."""
        is_beyond: NDArray[np.bool_] = times > self.last_time
        return is_beyond
