"""Weibull: a hazard that is a power of time."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.risk.baselines.baseline import LEVEL_SD, SHAPE_SD, crude_log_rate
from mofa_bayes.risk.response import Array, Design, Parameters, Tensor

_N_BREAKS = 32


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
    def learn(
        cls,
        time: Array,
        event: Array,
        n_intervals: int,  # noqa: ARG003  (a Weibull has no intervals)
        *,
        entry: Array | None = None,
    ) -> Self:
        """Learn the reference time and the crude level."""
        reference = float(np.exp(np.log(time).mean()))
        return cls(reference, crude_log_rate(time, event, entry) + float(np.log(reference)))

    def coords(self, suffix: str = "") -> dict[str, Array]:  # noqa: ARG002
        """No dims of its own."""
        return {}

    def draw_parameters(self, suffix: str = "") -> dict[str, Tensor]:
        """Declare `intercept`, `shape` and, derived, `scale`: the time at which H0 is 1, in the table's units."""
        import pymc as pm

        intercept = pm.Normal(f"intercept{suffix}", pm.Data(f"log_level{suffix}", self.log_level), LEVEL_SD)
        shape = pm.LogNormal(f"shape{suffix}", 0.0, SHAPE_SD)
        reference = pm.Data(f"reference{suffix}", self.reference)
        pm.Deterministic(f"scale{suffix}", reference * pm.math.exp(-intercept / shape))
        return {"intercept": intercept, "shape": shape}

    def design(self, time: Array) -> dict[str, NDArray[Any]]:
        """Log times and log times relative to the reference."""
        return {"log_time": np.log(time), "log_relative": np.log(time / self.reference)}

    def breaks(self, end: float) -> Array:
        """Return times between which the hazard is smooth, denser towards 0, where it may rise or fall without end."""
        return end * (np.arange(1, _N_BREAKS + 1) / _N_BREAKS) ** 3

    def log_hazards(self, xp: ModuleType, parameters: Parameters, design: Design) -> tuple[Tensor, Tensor]:
        """Return log h0(t) = log shape + log H0(t) - log t, and log H0(t)."""
        shape = parameters["shape"][..., None]
        log_cumulative = parameters["intercept"][..., None] + shape * design["log_relative"]
        return xp.log(shape) + log_cumulative - design["log_time"], log_cumulative
