"""Survival: a time, censored or truncated, whose hazard is proportional to exp(predictor)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.outcomes import read_entry, read_intervals, read_times
from mofa_bayes.errors import DataError, SpecError
from mofa_bayes.risk.baselines import BASELINES, Baseline
from mofa_bayes.risk.baselines.baseline import blunt_end
from mofa_bayes.risk.links import log_one_minus_exp, log_sum_exp
from mofa_bayes.risk.quadrature import hermite_nodes
from mofa_bayes.risk.response import RISK, Array, Design, Labels, Parameters, Tensor

_START = 1e-100
"""Where time 0 is put, in units of the longest follow-up: there the log of the cumulative hazard is still finite."""
_N_TIMES = 500
"""Grid of times on which a drawn event is placed, by interpolation."""


@dataclass(frozen=True, slots=True)
class Survival:
    """A time until an event, or until censoring.

    Parameters
    ----------
    time, event
        Columns of the clinical table: a time above 0 in any unit, and 1 (the event happened) or 0 (censored). Horizons
        of predictions are in the same unit.
    baseline
        `m_spline` (the default: a smooth hazard of any course), `piecewise_exponential` (in steps) or `weibull`.
    n_intervals
        Intervals between knots or steps, each with about as many events; a random-walk prior smooths them. Ten resolve
        a rise and fall of the hazard within follow-up, and cost one parameter each. A Weibull baseline has none.
    entry
        Column with the time from which a patient was followed (left truncation): 0, or a time before `time`. Who had
        the event earlier is not in the table, so each patient's likelihood is that given survival to entry,

            p(y | alive at entry) = E[p(y | z)] / E[S(entry | z)],

        both averages over the factors z as the views tell them. This takes the factors' distribution for that of
        patients at time 0, before death has selected among them: right where the factor model describes all patients,
        and where factors are well known. A factor model fitted to late entrants alone has their prior, which selection
        has already shifted; it is then counted twice. Predictions are for patients at time 0.
    upper
        Column with the upper bound of the time of the event, in place of `event`; see `Survival.interval`.

    Raises
    ------
    SpecError
        A value is not acceptable.
    """

    time: str
    event: str | None = None
    baseline: str = field(default="m_spline", kw_only=True)
    n_intervals: int = field(default=10, kw_only=True)
    entry: str | None = field(default=None, kw_only=True)
    upper: str | None = field(default=None, kw_only=True)

    @classmethod
    def interval(
        cls, lower: str, upper: str, *, baseline: str = "m_spline", n_intervals: int = 10, entry: str | None = None
    ) -> "Survival":
        """Describe an event that is known to lie between two times, as R's `Surv(lower, upper, type="interval2")` does.

        Parameters
        ----------
        lower, upper
            Columns with the bounds. Equal bounds are an event at that time; a missing or infinite upper bound is
            censoring at the lower one; a missing lower bound, or 0, is an event at any time up to the upper one.
        baseline, n_intervals, entry
            As in `Survival`. A lower bound before entry is lifted to it.
        """
        return cls(lower, upper=upper, baseline=baseline, n_intervals=n_intervals, entry=entry)

    def __post_init__(self) -> None:
        if (self.event is None) == (self.upper is None) or not all(isinstance(name, str) for name in self.columns):
            raise SpecError(
                "columns of a Survival outcome",
                got=f"time={self.time!r}, event={self.event!r}, upper={self.upper!r}, entry={self.entry!r}",
                expected="names of columns: a time, and either an event or an upper bound",
                do='Write Survival("time", "event"), or Survival.interval("lower", "upper").',
            )
        if len(set(self.columns)) < len(self.columns):
            raise SpecError(
                "columns of a Survival outcome",
                got=", ".join(map(repr, self.columns)),
                expected="different columns",
                do="Name each column once.",
            )
        require_baseline(self.baseline, self.n_intervals)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the clinical table that hold the outcome."""
        return tuple(name for name in (self.time, self.event, self.upper, self.entry) if name is not None)

    def read(self, clinical: pd.DataFrame, subjects: Sequence[str]) -> dict[str, Array]:
        """Read `time` and `event` of subjects, or `lower` and `upper`, and `entry` if there is one; each (subject,)."""
        if self.upper is not None:
            lower, upper = read_intervals(clinical, self.time, self.upper, subjects)
            if self.entry is None:
                return {"lower": lower, "upper": upper}
            entry = read_entry(clinical, self.entry, subjects, upper)
            return {"lower": np.maximum(lower, entry), "upper": upper, "entry": entry}
        times = read_times(clinical, self.time, str(self.event), subjects)
        observed = {"time": times.time, "event": times.event}
        if self.entry is not None:
            observed["entry"] = read_entry(clinical, self.entry, subjects, times.time)
        return observed

    def learn(self, observed: Design) -> "SurvivalResponse":
        """Learn the baseline's time scale and cut points, and how far follow-up reaches.

        An event between two bounds counts as one in the middle.
        """
        if "upper" in observed:
            lower, upper = observed["lower"], observed["upper"]
            event = np.isfinite(upper).astype(np.float64)
            time = np.where(event > 0, (lower + np.where(event > 0, upper, 0.0)) / 2, lower)
            last_time = blunt_end(np.append(lower, upper[event > 0]))
        else:
            time, event, last_time = observed["time"], observed["event"], blunt_end(observed["time"])
        baseline = BASELINES[self.baseline].learn(time, event, self.n_intervals, entry=observed.get("entry"))
        return SurvivalResponse(baseline, last_time)


def require_baseline(baseline: object, n_intervals: object) -> None:
    """Raise SpecError unless these name a baseline and its number of intervals."""
    if baseline not in BASELINES:
        raise SpecError(
            "baseline",
            got=repr(baseline),
            expected=f"one of {', '.join(BASELINES)}",
            do="Choose one of these.",
        )
    if not isinstance(n_intervals, int) or isinstance(n_intervals, bool) or n_intervals < 1:
        raise SpecError(
            "n_intervals",
            got=repr(n_intervals),
            expected="a whole number from 1 up",
            do="10 is a usual choice.",
        )


@dataclass(frozen=True, slots=True)
class SurvivalResponse:
    """h(t) = h0(t) exp(predictor), so S(t) = exp(-H0(t) exp(predictor)).

    An event has density h(t) S(t), censoring probability S(t), an event between two bounds S(lower) - S(upper); given
    survival to entry, each is divided by S(entry).

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
        """Events, and times as the baseline wants them; those of `upper` and `entry` under names that begin so."""
        start = _START * self.last_time
        if "upper" in observed:
            lower, upper = observed["lower"], observed["upper"]
            is_between = (lower < upper) & np.isfinite(upper)
            design = {
                "event": (lower == upper).astype(np.float64),
                "is_between": is_between.astype(np.float64),
                **self.baseline.design(np.maximum(lower, start)),
                **prefix("upper", self.baseline.design(np.where(is_between, upper, self.last_time))),
            }
        else:
            design = {"event": observed["event"], **self.baseline.design(observed["time"])}
        if "entry" in observed:
            design |= prefix("entry", self.baseline.design(np.maximum(observed["entry"], start)))
        return design

    def log_likelihood(self, xp: ModuleType, predictor: Tensor, parameters: Parameters, design: Design) -> Tensor:
        """Log density of an event, or log probability of what else was seen, shape (..., subject, node).

        With bounds, log(S(l) - S(u)) = -H(l) + log(1 - exp(-(H(u) - H(l)))). Survival to entry is not yet given.
        """
        log_hazard, log_cumulative = self.baseline.log_hazards(xp, parameters, design)
        event, cumulative = design["event"][:, None], xp.exp(log_cumulative[..., None] + predictor)
        density = event * (log_hazard[..., None] + predictor) - cumulative
        if "is_between" not in design:
            return density
        is_between = design["is_between"][:, None] > 0
        _, log_upper = self.baseline.log_hazards(xp, parameters, strip("upper", design))
        rise = xp.maximum(xp.exp(log_upper[..., None] + predictor) - cumulative, 1e-300)
        return density + xp.where(is_between, log_one_minus_exp(xp, xp.where(is_between, rise, 1.0)), 0.0)

    def log_marginal(
        self, xp: ModuleType, mean: Tensor, sd: Tensor, parameters: Parameters, design: Design, n_nodes: int
    ) -> Tensor:
        """Log E[p(y_n | x)] for x ~ N(mean_n, sd_n^2), less log E[S(entry_n | x)] where entry was late."""
        nodes, log_weights = hermite_nodes(n_nodes)
        predictor = mean[..., None] + sd[..., None] * nodes
        density = log_sum_exp(xp, self.log_likelihood(xp, predictor, parameters, design) + log_weights)
        if not is_truncated(design):
            return density
        return density - log_sum_exp(xp, self.log_entry(xp, predictor, parameters, design) + log_weights)

    def log_entry(self, xp: ModuleType, predictor: Tensor, parameters: Parameters, design: Design) -> Tensor:
        """Log S(entry), shape (..., subject, node)."""
        _, log_cumulative = self.baseline.log_hazards(xp, parameters, strip("entry", design))
        return -xp.exp(log_cumulative[..., None] + predictor)

    def draw(self, rng: np.random.Generator, predictor: Array, parameters: Parameters, design: Design) -> Array:  # noqa: ARG002
        """Draw times of the event; whoever has none by the longest follow-up is censored there."""
        times = np.linspace(0.0, self.last_time, _N_TIMES)
        batch = {name: np.asarray(value)[None] for name, value in parameters.items()}
        risk = self.expect(predictor[None, :, None], batch, times[1:])[0, :, 0]
        return _invert(rng.uniform(size=len(risk)), np.pad(risk, ((0, 0), (1, 0))), times)

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


def _invert(levels: Array, risk: Array, times: Array) -> Array:
    """Time at which each row of risks (subject, time), increasing, reaches its level; the last time if it does not."""
    after = np.clip((risk < levels[:, None]).sum(axis=1), 1, len(times) - 1)
    rows = np.arange(len(levels))
    low, high = risk[rows, after - 1], risk[rows, after]
    share = np.clip((levels - low) / np.maximum(high - low, 1e-300), 0.0, 1.0)
    return times[after - 1] + share * (times[after] - times[after - 1])


def is_truncated(design: Design) -> bool:
    """Whether subjects entered late."""
    return any(key.startswith("entry_") for key in design)


def prefix(name: str, design: Design) -> dict[str, NDArray[Any]]:
    """Put a name before every key of a design."""
    return {f"{name}_{key}": values for key, values in design.items()}


def strip(name: str, design: Design) -> dict[str, NDArray[Any]]:
    """Part of a design whose keys begin with a name, without it."""
    return {key.removeprefix(f"{name}_"): values for key, values in design.items() if key.startswith(f"{name}_")}
