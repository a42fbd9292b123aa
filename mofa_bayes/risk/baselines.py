"""Baseline hazards: how the hazard of a patient with predictor 0 moves with time."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.risk.response import Array, Design, Parameters, Tensor

LEVEL_SD = 3.0
"""Prior sd of the log hazard around the crude rate: a factor of 20 up or down.

The crude rate is marginal, the level is that of a patient with predictor 0; factors of variance b'b lower it by about
b'b / 2, which stays under 3 for effects up to 2.4 per factor sd. With 50 events the data's own sd is 0.14.
"""
_SHAPE_SD = 0.7
"""Prior sd of the log Weibull shape around 1 (a constant hazard): 95 % between 0.25 and 4, wider than shapes met in
disease registries (about 0.5 to 2). The same sd serves the trend of a piecewise hazard, which is a shape minus 1."""
_ROUGHNESS = 0.5
"""Scale of the half-normal prior of the random walk's step: between neighbouring intervals a hazard usually changes by
less than a factor of 1.7 (one step of 0.5), rarely by more than 2.7, beyond its trend; smaller steps smooth sparse
intervals."""


class Baseline(Protocol):
    """A baseline hazard whose scale and cut points have been learnt."""

    parameters: ClassVar[tuple[str, ...]]

    @classmethod
    def learn(cls, time: Array, event: Array, n_intervals: int) -> Self:
        """Learn the scale of time, and cut points, from observed times of shape (subject,)."""
        ...

    def coords(self) -> dict[str, Array]:
        """Coordinates of the parameters' dims."""
        ...

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare the parameters and their priors in the PyMC model at hand."""
        ...

    def design(self, time: Array) -> dict[str, NDArray[Any]]:
        """Prepare times for `log_hazards`."""
        ...

    def log_hazards(self, xp: ModuleType, parameters: Parameters, design: Design) -> tuple[Tensor, Tensor]:
        """Log hazard and log cumulative hazard at the times of `design`, each (..., time)."""
        ...


@dataclass(frozen=True, slots=True)
class Weibull:
    """H0(t) = exp(intercept) (t / reference)^shape.

    Attributes
    ----------
    reference
        Geometric mean of the observed times, in the table's units. There, level and shape are nearly independent.
    log_level
        Log of the cumulative hazard there under the crude event rate: the centre of the intercept's prior.
    """

    parameters: ClassVar[tuple[str, ...]] = ("intercept", "shape", "scale")
    reference: float
    log_level: float

    @classmethod
    def learn(cls, time: Array, event: Array, n_intervals: int) -> Self:  # noqa: ARG003  (a Weibull has no intervals)
        """Learn the reference time and the crude level."""
        reference = float(np.exp(np.log(time).mean()))
        return cls(reference, float(np.log(event.sum() / time.sum() * reference)))

    def coords(self) -> dict[str, Array]:
        """No dims of its own."""
        return {}

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare `intercept`, `shape` and, derived, `scale`: the time at which H0 is 1, in the table's units."""
        import pymc as pm

        intercept = pm.Normal("intercept", pm.Data("log_level", self.log_level), LEVEL_SD)
        shape = pm.LogNormal("shape", 0.0, _SHAPE_SD)
        pm.Deterministic("scale", pm.Data("reference", self.reference) * pm.math.exp(-intercept / shape))
        return {"intercept": intercept, "shape": shape}

    def design(self, time: Array) -> dict[str, NDArray[Any]]:
        """Log times and log times relative to the reference."""
        return {"log_time": np.log(time), "log_relative": np.log(time / self.reference)}

    def log_hazards(self, xp: ModuleType, parameters: Parameters, design: Design) -> tuple[Tensor, Tensor]:
        """Return log h0(t) = log shape + log H0(t) - log t, and log H0(t)."""
        shape = parameters["shape"][..., None]
        log_cumulative = parameters["intercept"][..., None] + shape * design["log_relative"]
        return xp.log(shape) + log_cumulative - design["log_time"], log_cumulative


@dataclass(frozen=True, slots=True)
class PiecewiseExponential:
    """h0(t) constant within intervals (c_j-1, c_j], the last of which has no end, on a random walk around a trend.

        log h0_j = level + trend (log t_j - mean log t) + roughness bend_j

    bend is a random walk (the sums of standard normal steps) from which its own mean and trend over log t have been
    taken, so that level and trend are those of the whole. Without roughness this is a Weibull
    hazard in steps, and towards that it is smoothed. A plain random walk is smoothed towards a constant hazard, which
    biases effects: factors that are not known leave a falling hazard among survivors, so that hardly any frailty, hence
    a small effect, explains a hazard taken for constant although it rises (measured at Weibull shape 1.2, log hazard
    ratio 1.0 and reliability 0.5: bias -0.11 and 88 % coverage of 95 % intervals).

    Attributes
    ----------
    cuts
        Inner cut points at quantiles of the event times, increasing, in the table's units: about as many events fall in
        each interval.
    centres
        t_j: the median event time in each interval.
    log_level
        Log of the crude event rate, per unit of time: the centre of the level's prior.
    """

    parameters: ClassVar[tuple[str, ...]] = ("log_hazard", "roughness")
    cuts: tuple[float, ...]
    centres: tuple[float, ...]
    log_level: float

    @classmethod
    def learn(cls, time: Array, event: Array, n_intervals: int) -> Self:
        """Place the cut points; fewer intervals result when event times are few or tied."""
        seen = time[event > 0]
        inner = np.unique(np.quantile(seen, np.linspace(0, 1, n_intervals + 1)[1:-1], method="inverted_cdf"))
        cuts = inner[inner < seen.max()]
        position = np.searchsorted(cuts, seen, side="left")
        centres = (np.median(seen[position == j]) for j in range(len(cuts) + 1))
        rate = event.sum() / time.sum()
        return cls(tuple(map(float, cuts)), tuple(map(float, centres)), float(np.log(rate)))

    def coords(self) -> dict[str, Array]:
        """`interval`, named by its start."""
        return {"interval": np.array([0.0, *self.cuts])}

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare `log_hazard` (interval), per unit of time; level, trend and bends are parameters of their own."""
        import pymc as pm

        level = pm.Normal("level", pm.Data("log_level", self.log_level), LEVEL_SD)
        roughness = pm.HalfNormal("roughness", _ROUGHNESS)
        if not self.cuts:
            return {"log_hazard": pm.Deterministic("log_hazard", level[None], dims="interval")}
        log_time, bends = self._course()
        trend = pm.Normal("trend", 0.0, _SHAPE_SD)
        steps = pm.Normal("steps", 0.0, 1.0, shape=len(self.cuts))
        course = trend * pm.Data("log_time", log_time) + roughness * (pm.Data("bends", bends) @ steps)
        log_hazard = level + course
        return {"log_hazard": pm.Deterministic("log_hazard", log_hazard, dims="interval")}

    def _course(self) -> tuple[Array, Array]:
        """Centred log t_j (interval,), and the map from steps to bends (interval, step)."""
        n_intervals = len(self.centres)
        log_time = np.log(self.centres)
        line, _ = np.linalg.qr(np.stack([np.ones(n_intervals), log_time], axis=1))
        sums = np.tril(np.ones((n_intervals, n_intervals)))[:, 1:]
        return log_time - log_time.mean(), sums - line @ (line.T @ sums)

    def design(self, time: Array) -> dict[str, NDArray[Any]]:
        """Time at risk in each interval, shape (time, interval), and the interval that each time falls in."""
        starts, ends = np.array([0.0, *self.cuts]), np.array([*self.cuts, np.inf])
        exposure = np.clip(time[:, None], starts, ends) - starts
        return {"exposure": exposure, "position": np.searchsorted(np.asarray(self.cuts), time, side="left")}

    def log_hazards(self, xp: ModuleType, parameters: Parameters, design: Design) -> tuple[Tensor, Tensor]:
        """Log hazard of the interval, and log of the sum over intervals of hazard times time at risk."""
        log_hazard = parameters["log_hazard"]
        return log_hazard[..., design["position"]], xp.log(xp.exp(log_hazard) @ design["exposure"].T)


BASELINES: Mapping[str, type[Weibull] | type[PiecewiseExponential]] = {
    "weibull": Weibull,
    "piecewise_exponential": PiecewiseExponential,
}
