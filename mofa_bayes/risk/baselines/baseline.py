"""What a baseline hazard must offer, and the priors that all of them share."""

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
SHAPE_SD = 0.7
"""Prior sd of the log Weibull shape around 1 (a constant hazard): 95 % between 0.25 and 4, wider than shapes met in
disease registries (about 0.5 to 2). The same sd serves the trend of a hazard over log time, which is a shape minus 1.
"""


class Baseline(Protocol):
    """A baseline hazard whose scale and cut points have been learnt."""

    parameters: ClassVar[tuple[str, ...]]

    @classmethod
    def learn(cls, time: Array, event: Array, n_intervals: int, *, entry: Array | None = None) -> Self:
        """Learn the scale of time, and cut points, from observed times of shape (subject,)."""
        ...

    def coords(self, suffix: str = "") -> dict[str, Array]:
        """Coordinates of the parameters' dims."""
        ...

    def draw_parameters(self, suffix: str = "") -> dict[str, Tensor]:
        """Declare the parameters and their priors in the PyMC model at hand.

        `suffix` is added to the names of variables and dims, where a model has several baselines.
        """
        ...

    def design(self, time: Array) -> dict[str, NDArray[Any]]:
        """Prepare times for `log_hazards`."""
        ...

    def breaks(self, end: float) -> Array:
        """Return times, up to `end` at least, between which the hazard is constant or smooth."""
        ...

    def log_hazards(self, xp: ModuleType, parameters: Parameters, design: Design) -> tuple[Tensor, Tensor]:
        """Log hazard and log cumulative hazard at the times of `design`, each (..., time)."""
        ...


def crude_log_rate(time: Array, event: Array, entry: Array | None) -> float:
    """Log of events per unit of time at risk."""
    at_risk = time.sum() if entry is None else (time - entry).sum()
    return float(np.log(event.sum() / at_risk))


def blunt(times: Array) -> Array:
    """Round times to three digits, so that cut points that are stored with a model are no patient's own times."""
    digit = 10.0 ** (np.floor(np.log10(np.maximum(times, 1e-300))) - 2)
    rounded: Array = np.round(times / digit) * digit
    return rounded


def blunt_end(times: Array) -> float:
    """Latest time, rounded up to three digits."""
    latest = times.max()
    digit = 10.0 ** (np.floor(np.log10(latest)) - 2)
    return float(np.ceil(latest / digit - 1e-9) * digit)


def bend_steps(log_time: Array, step_sd: Array) -> Array:
    """Map standard normal steps to a random walk without level and trend, shape (place, step).

    Parameters
    ----------
    log_time
        Of the P places that the walk visits, (place,).
    step_sd
        Standard deviation of each step, (P - 1,).

    Returns
    -------
    The walk's sums, from which their own regression on 1 and `log_time` is taken.
    """
    line, _ = np.linalg.qr(np.stack([np.ones(len(log_time)), log_time], axis=1))
    sums = np.tril(np.ones((len(log_time), len(log_time))))[:, 1:] * step_sd
    bends: Array = sums - line @ (line.T @ sums)
    return bends
