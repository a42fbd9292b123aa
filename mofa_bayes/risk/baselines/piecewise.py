"""PiecewiseExponential: a hazard in steps."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.risk.baselines.baseline import LEVEL_SD, SHAPE_SD, bend_steps, blunt, crude_log_rate
from mofa_bayes.risk.response import Array, Design, Parameters, Tensor

_ROUGHNESS = 0.5
"""Scale of the half-normal prior of the random walk's step: between neighbouring intervals a hazard usually changes by
less than a factor of 1.7 (one step of 0.5), rarely by more than 2.7, beyond its trend; smaller steps smooth sparse
intervals."""


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
    def learn(cls, time: Array, event: Array, n_intervals: int, *, entry: Array | None = None) -> Self:
        """Place the cut points; fewer intervals result when event times are few or tied."""
        seen = time[event > 0]
        inner = np.quantile(seen, np.linspace(0, 1, n_intervals + 1)[1:-1], method="inverted_cdf")
        cuts = np.unique(blunt(inner[inner < seen.max()]))
        cuts = cuts[np.unique(np.searchsorted(cuts, seen, side="left"))[:-1]]  # an event in every interval
        position = np.searchsorted(cuts, seen, side="left")
        centres = blunt(np.array([np.median(seen[position == j]) for j in range(len(cuts) + 1)]))
        return cls(tuple(map(float, cuts)), tuple(map(float, centres)), crude_log_rate(time, event, entry))

    def coords(self, suffix: str = "") -> dict[str, Array]:
        """`interval`, named by its start."""
        return {f"interval{suffix}": np.array([0.0, *self.cuts])}

    def draw_parameters(self, suffix: str = "") -> dict[str, Tensor]:
        """Declare `log_hazard` (interval), per unit of time; level, trend and bends are parameters of their own."""
        import pymc as pm

        level = pm.Normal(f"level{suffix}", pm.Data(f"log_level{suffix}", self.log_level), LEVEL_SD)
        roughness = pm.HalfNormal(f"roughness{suffix}", _ROUGHNESS)
        log_hazard = level[None]
        if self.cuts:
            log_time, n_steps = np.log(self.centres), len(self.cuts)
            trend = pm.Normal(f"trend{suffix}", 0.0, SHAPE_SD)
            steps = pm.Normal(f"steps{suffix}", 0.0, 1.0, shape=n_steps)
            line = pm.Data(f"log_time{suffix}", log_time - log_time.mean())
            bends = pm.Data(f"bends{suffix}", bend_steps(log_time, np.ones(n_steps)))
            log_hazard = level + trend * line + roughness * (bends @ steps)
        return {"log_hazard": pm.Deterministic(f"log_hazard{suffix}", log_hazard, dims=f"interval{suffix}")}

    def design(self, time: Array) -> dict[str, NDArray[Any]]:
        """Time at risk in each interval, shape (time, interval), and the interval that each time falls in."""
        starts, ends = np.array([0.0, *self.cuts]), np.array([*self.cuts, np.inf])
        exposure = np.clip(time[:, None], starts, ends) - starts
        return {"exposure": exposure, "position": np.searchsorted(np.asarray(self.cuts), time, side="left")}

    def breaks(self, end: float) -> Array:  # noqa: ARG002  (every jump counts)
        """Return times between which the hazard is constant."""
        return np.array(self.cuts)

    def log_hazards(self, xp: ModuleType, parameters: Parameters, design: Design) -> tuple[Tensor, Tensor]:
        """Log hazard of the interval, and log of the sum over intervals of hazard times time at risk."""
        log_hazard = parameters["log_hazard"]
        return log_hazard[..., design["position"]], xp.log(xp.exp(log_hazard) @ design["exposure"].T)
