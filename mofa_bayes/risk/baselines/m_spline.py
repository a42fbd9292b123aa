"""MSpline: a smooth hazard, a sum of bumps with positive heights."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from mofa_bayes.risk.baselines.baseline import LEVEL_SD, SHAPE_SD, bend_steps, blunt, blunt_end, crude_log_rate
from mofa_bayes.risk.response import Array, Design, Parameters, Tensor

_DEGREE = 3
_ROUGHNESS = 1.5
"""Scale of the half-normal prior of the sd that the random walk gathers over the whole of follow-up, beyond its trend:
what nine steps of a piecewise hazard with roughness 0.5 gather. It does not depend on the number of knots."""
_N_NODES = 16
_N_BREAKS = 24


@dataclass(frozen=True, slots=True)
class MSpline:
    """h0(t) = exp(level) sum_j c_j M_j(t), cubic M-splines (Ramsay 1988, Stat Sci 3:425) with sum_j c_j = 1, c_j > 0.

    Each M_j is a density over its 4 knot intervals, so H0(t) = exp(level) sum_j c_j I_j(t) with their distribution
    functions, the I-splines, and exp(level) is H0 at the end of follow-up. Written with B-splines B_j = M_j w_j, where
    w_j is a quarter of the width, and free heights exp(a_j) = exp(level) c_j / w_j, the same hazard is

        h0(t) = sum_j exp(a_j) B_j(t)

    and equal a_j are a constant hazard, for the B_j sum to 1. Beyond the end the hazard stays what it is there.

    Prior: Phillippo et al. (2024, arXiv 2401.12640) put a random walk on log (c_j / w_j), that is on a, with steps of a
    variance proportional to the distance of neighbouring splines, so that the prior hardly depends on the knots. Theirs
    is smoothed towards a constant hazard, which biases effects (see `PiecewiseExponential`), ours towards a Weibull
    hazard: the log of k t^(k - 1), averaged over M_j, is a line in u_j = E[log t under M_j], so

        a_j = level + trend (u_j - mean u) + roughness bend_j

    with a bend that has neither level nor trend over u. Without roughness, where 98 % of the events are, the hazard is
    that of a Weibull within 7 % at shapes 0.8 and 1.2, 10 knots. Distances are counted in events (between knots lie
    equally many), because as many events, not as much time, tell a change of the hazard.

    Attributes
    ----------
    knots
        Inner knots at quantiles of the event times, increasing, in the table's units.
    end
        Longest follow-up: the outer knots are 0 and this.
    log_level
        Log of the crude event rate, per unit of time: the centre of the level's prior.
    """

    parameters: ClassVar[tuple[str, ...]] = ("log_height", "roughness")
    knots: tuple[float, ...]
    end: float
    log_level: float

    @classmethod
    def learn(cls, time: Array, event: Array, n_intervals: int, *, entry: Array | None = None) -> Self:
        """Place the knots; fewer result when event times are few or tied."""
        seen, end = time[event > 0], blunt_end(time)
        inner = np.unique(blunt(np.quantile(seen, np.linspace(0, 1, n_intervals + 1)[1:-1])))
        # a knot that all but meets another, or an end, carries a spline of no width
        apart = np.diff(inner, prepend=0.0) > 1e-6 * end
        knots = inner[apart & (inner < (1 - 1e-6) * end)]
        return cls(tuple(map(float, knots)), end, crude_log_rate(time, event, entry))

    @property
    def _places(self) -> Array:
        """All knots of the cubic splines, the outer ones four times."""
        return np.concatenate([np.zeros(_DEGREE + 1), self.knots, np.full(_DEGREE + 1, self.end)])

    def coords(self, suffix: str = "") -> dict[str, Array]:
        """`spline`, numbered from 0 in order of time."""
        return {f"spline{suffix}": np.arange(len(self.knots) + _DEGREE + 1.0)}

    def draw_parameters(self, suffix: str = "") -> dict[str, Tensor]:
        """Declare `log_height` (spline), a_j above; level, trend and bends are parameters of their own."""
        import pymc as pm

        log_time, step_sd = self._log_centres(), self._step_sd()
        level = pm.Normal(f"level{suffix}", pm.Data(f"log_level{suffix}", self.log_level), LEVEL_SD)
        roughness = pm.HalfNormal(f"roughness{suffix}", _ROUGHNESS)
        trend = pm.Normal(f"trend{suffix}", 0.0, SHAPE_SD)
        steps = pm.Normal(f"steps{suffix}", 0.0, 1.0, shape=len(step_sd))
        line = pm.Data(f"log_time{suffix}", log_time - log_time.mean())
        bends = pm.Data(f"bends{suffix}", bend_steps(log_time, step_sd))
        log_height = level + trend * line + roughness * (bends @ steps)
        return {"log_height": pm.Deterministic(f"log_height{suffix}", log_height, dims=f"spline{suffix}")}

    def _log_centres(self) -> Array:
        """u_j = E[log t] under M_j = log(end) - integral of I_j(t) / t, (spline,), by Gauss-Legendre between knots."""
        edges = np.array([0.0, *self.knots, self.end])
        nodes, weights = np.polynomial.legendre.leggauss(_N_NODES)
        half = np.diff(edges)[:, None] / 2
        time = (edges[:-1, None] + half + half * nodes).ravel()
        shares = self.design(time)["integral"] / self._widths()
        centres: Array = np.log(self.end) - (half * weights).ravel() @ (shares / time[:, None])
        return centres

    def _step_sd(self) -> Array:
        """Square roots of the distances between neighbouring splines, in shares of all events, (spline - 1,)."""
        n = len(self.knots) + 1
        clock = np.concatenate([np.zeros(_DEGREE), np.linspace(0, 1, n + 1), np.ones(_DEGREE)])
        averages = np.lib.stride_tricks.sliding_window_view(clock[1:-1], _DEGREE).mean(axis=-1)
        distances: Array = np.diff(averages)
        return np.sqrt(distances)

    def _widths(self) -> Array:
        """w_j, the integral of B_j, (spline,)."""
        places = self._places
        widths: Array = (places[_DEGREE + 1 :] - places[: -_DEGREE - 1]) / (_DEGREE + 1)
        return widths

    def design(self, time: Array) -> dict[str, NDArray[Any]]:
        """B_j at each time and their integrals up to it, each (time, spline).

        The integral is a sum of B-splines of one degree more, all of them positive: no digits are lost near 0.
        """
        inside, places = np.minimum(time, self.end), self._places
        height = BSpline.design_matrix(inside, places, _DEGREE).toarray()
        above = np.concatenate([[0.0], places, [self.end]])
        parts = BSpline.design_matrix(inside, above, _DEGREE + 1).toarray()
        integral = np.cumsum(parts[:, :0:-1], axis=1)[:, ::-1] * self._widths()
        return {"height": height, "integral": integral + (time - inside)[:, None] * height}

    def breaks(self, end: float) -> Array:  # noqa: ARG002  (every knot counts)
        """Return times between which the hazard is smooth: the knots, and at least two between each two."""
        edges = np.array([0.0, *self.knots, self.end])
        n_pieces = max(3, -(-_N_BREAKS // (len(edges) - 1)))
        between: Array = edges[:-1, None] + np.diff(edges)[:, None] * np.arange(1, n_pieces + 1) / n_pieces
        return between.ravel()

    def log_hazards(self, xp: ModuleType, parameters: Parameters, design: Design) -> tuple[Tensor, Tensor]:
        """Sum over splines and take logs."""
        heights = xp.exp(parameters["log_height"])
        return xp.log(heights @ design["height"].T), xp.log(heights @ design["integral"].T)
