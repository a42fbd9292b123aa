"""Ordinal: a graded outcome, whose cumulative log odds fall with the predictor."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from mofa_bayes.data.measurements import read_grades
from mofa_bayes.errors import SpecError
from mofa_bayes.risk.links import log_sigmoid
from mofa_bayes.risk.response import (
    PROBABILITY,
    Array,
    Design,
    Labels,
    Parameters,
    Tensor,
    nowhere_beyond,
    refuse_times,
)

_FAR = 1e4
"""A cut point beyond every predictor."""


@dataclass(frozen=True, slots=True)
class Ordinal:
    """A grade: one of a few levels in order, with proportional odds.

    Parameters
    ----------
    column
        Column of the clinical table.
    levels
        Its values, from the lowest to the highest; a positive effect makes higher ones likelier.

    Raises
    ------
    SpecError
        There are fewer than two levels, or one comes twice.
    """

    column: str
    levels: Sequence[str | float] = field(kw_only=True)

    def __post_init__(self) -> None:
        levels = () if isinstance(self.levels, str) else tuple(self.levels)
        if len(levels) < 2 or len({str(level) for level in levels}) < len(levels):
            raise SpecError(
                "levels",
                got=repr(self.levels)[:80],
                expected="two or more different values, from the lowest to the highest",
                do='Write for instance levels=["mild", "moderate", "severe"].',
            )
        object.__setattr__(self, "levels", levels)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the clinical table that hold the outcome."""
        return (self.column,)

    def read(self, clinical: pd.DataFrame, subjects: Sequence[str]) -> dict[str, Array]:
        """Read the position of each subject's level as `outcome` (subject,)."""
        return {"outcome": read_grades(clinical, self.column, self.levels, subjects)}

    def learn(self, observed: Design) -> "OrdinalResponse":  # noqa: ARG002  (the prior needs nothing of the cohort)
        """Take the levels."""
        return OrdinalResponse(tuple(str(level) for level in self.levels))


@dataclass(frozen=True, slots=True)
class OrdinalResponse:
    """P(y <= k) = 1 / (1 + exp(predictor - cutpoint_k)).

    The prior is on the probabilities of the levels at predictor 0, of which cut points are functions: uniform over all
    such probabilities, a Dirichlet of ones. It keeps the cut points in order, and a level that nobody had stays
    possible.

    Attributes
    ----------
    levels
        Names, from the lowest to the highest.
    """

    levels: tuple[str, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The cut points."""
        return ("cutpoints",)

    @property
    def ratio(self) -> str:
        """Effects are log odds ratios of being above any cut point."""
        return "odds_ratio"

    @property
    def labels(self) -> Labels:
        """A probability of each category."""
        return PROBABILITY

    @property
    def unit(self) -> float:
        """Effects have no unit."""
        return 1.0

    def coords(self) -> dict[str, Array]:
        """`cut`, named by the two levels it lies between; `category`."""
        cuts = [f"{low}|{high}" for low, high in zip(self.levels[:-1], self.levels[1:], strict=True)]
        return {"cut": np.array(cuts), "category": np.array(self.levels)}

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare the probabilities at predictor 0, and the cut points."""
        import pymc as pm

        shares = pm.Dirichlet("shares", np.ones(len(self.levels)), dims="category")
        below = shares.cumsum()[:-1]
        above = shares[::-1].cumsum()[::-1][1:]  # summed for itself: 1 - below would round to 0
        return {"cutpoints": pm.Deterministic("cutpoints", pm.math.log(below) - pm.math.log(above), dims="cut")}

    def design(self, observed: Design) -> dict[str, NDArray[Any]]:
        """Positions of the levels."""
        return {"grade": observed["outcome"].astype(np.int64)}

    def log_likelihood(self, xp: ModuleType, predictor: Tensor, parameters: Parameters, design: Design) -> Tensor:
        """Log probability of the grade, shape (..., subject, node).

        With u and l the cut points above and below, minus the predictor, s(u) - s(l) = s(u) s(-l) (1 - exp(l - u)).
        """
        cuts = parameters["cutpoints"]
        none = 0.0 * cuts[..., :1]
        ends = xp.concatenate([none - _FAR, cuts, none + _FAR], axis=-1)
        low, high = ends[..., design["grade"]], ends[..., design["grade"] + 1]
        inside = log_sigmoid(xp, high[..., None] - predictor) + log_sigmoid(xp, predictor - low[..., None])
        return inside + xp.log1p(-xp.exp(low - high))[..., None]

    def draw(self, rng: np.random.Generator, predictor: Array, parameters: Parameters, design: Design) -> Array:  # noqa: ARG002
        """Draw positions of levels: how many cut points a logistic liability is above."""
        liability = predictor + rng.logistic(size=predictor.shape)
        above: Array = (liability[..., None] > parameters["cutpoints"]).sum(axis=-1).astype(np.float64)
        return above

    def expect(self, predictor: Array, parameters: Parameters, places: NDArray[Any]) -> Array:  # noqa: ARG002
        """Return the probability of each category, shape (draw, subject, node, category)."""
        below = expit(parameters["cutpoints"][:, None, None, :] - predictor[..., None])
        probability: Array = np.diff(below, axis=-1, prepend=0.0, append=1.0)
        return probability

    def variance(self, expected: Array, parameters: Parameters) -> Array:  # noqa: ARG002  (it is this category or not)
        """Variance of whether the outcome is this category."""
        return expected * (1.0 - expected)

    def require_times(self, times: Sequence[float] | None) -> NDArray[Any]:
        """Refuse horizons; the columns of results are the categories."""
        refuse_times(times, "an ordinal")
        return np.array(self.levels)

    def is_beyond(self, times: NDArray[Any]) -> NDArray[np.bool_]:
        """Nothing lies beyond."""
        return nowhere_beyond(times)
