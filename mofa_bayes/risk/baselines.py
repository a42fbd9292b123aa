"""Baseline hazards: how the hazard of a patient with predictor 0 moves with time."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.risk.response import Array, Design, Parameters, Tensor, tensors

LEVEL_SD = 3.0
"""Prior sd of the log hazard around the crude rate: a factor of 20 up or down.

The crude rate is marginal, the level is that of a patient with predictor 0; factors of variance b'b lower it by about
b'b / 2, which stays under 3 for effects up to 2.4 per factor sd. With 50 events the data's own sd is 0.14.
"""
_SHAPE_SD = 0.7
"""Prior sd of the log Weibull shape around 1 (a constant hazard): 95 % between 0.25 and 4, wider than shapes met in
disease registries (about 0.5 to 2)."""
_ROUGHNESS = 0.5
"""Scale of the half-normal prior of the random walk's step: between neighbouring intervals a hazard usually changes by
less than a factor of 1.7 (one step of 0.5), rarely by more than 2.7; smaller steps smooth sparse intervals."""


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
    """h0(t) constant within intervals (c_j-1, c_j]; the last one has no end.

    Attributes
    ----------
    cuts
        Inner cut points at quantiles of the event times, increasing, in the table's units: about as many events fall in
        each interval.
    log_level
        Log of the crude event rate, per unit of time: the centre of the level's prior.
    """

    parameters: ClassVar[tuple[str, ...]] = ("log_hazard", "roughness")
    cuts: tuple[float, ...]
    log_level: float

    @classmethod
    def learn(cls, time: Array, event: Array, n_intervals: int) -> Self:
        """Place the cut points; fewer intervals result when event times are few or tied."""
        seen = time[event > 0]
        inner = np.unique(np.quantile(seen, np.linspace(0, 1, n_intervals + 1)[1:-1], method="inverted_cdf"))
        cuts = tuple(float(cut) for cut in inner[inner < seen.max()])
        return cls(cuts, float(np.log(event.sum() / time.sum())))

    def coords(self) -> dict[str, Array]:
        """`interval`, named by its start."""
        return {"interval": np.array([0.0, *self.cuts])}

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare `log_hazard` (interval), per unit of time: a random walk, non-centred, around a level.

        log_hazard_j = level + roughness * (walk_j - mean walk), walk_j the sum of j standard normal steps. Subtracting
        the mean leaves the level to be the average log hazard, which data know well, instead of the first interval's.
        """
        import pymc as pm

        pt = tensors()
        level = pm.Normal("level", pm.Data("log_level", self.log_level), LEVEL_SD)
        roughness = pm.HalfNormal("roughness", _ROUGHNESS)
        if not self.cuts:
            return {"log_hazard": pm.Deterministic("log_hazard", level[None], dims="interval")}
        steps = pm.Normal("steps", 0.0, 1.0, shape=len(self.cuts))
        walk = pt.concatenate([pt.zeros(1), pt.cumsum(steps)])
        log_hazard = pm.Deterministic("log_hazard", level + roughness * (walk - walk.mean()), dims="interval")
        return {"log_hazard": log_hazard}

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
