"""Binary: an outcome of 0 or 1 whose log odds are the predictor."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from mofa_bayes.data.outcomes import read_binary
from mofa_bayes.errors import DataError
from mofa_bayes.risk.response import Array, Design, Parameters, Tensor

_INTERCEPT_SD = 2.5
"""Prior sd of the intercept around the log odds of the crude prevalence: if that is 10 %, a patient with predictor 0
may have 0.1 % to 94 %. The averaged probability lies nearer to one half than the probability at predictor 0, so the
centre is off by a little; with 50 patients of each kind the data's own sd is 0.2."""


@dataclass(frozen=True, slots=True)
class Binary:
    """An outcome that happened (1) or did not (0), with a logit link.

    Parameters
    ----------
    column
        Column of the clinical table.
    """

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the clinical table that hold the outcome."""
        return (self.column,)

    def read(self, clinical: pd.DataFrame, subjects: Sequence[str]) -> dict[str, Array]:
        """Read the outcome of subjects as `outcome` (subject,)."""
        return {"outcome": read_binary(clinical, self.column, subjects)}

    def learn(self, observed: Design) -> "BinaryResponse":
        """Learn the crude prevalence."""
        return BinaryResponse(float(logit(observed["outcome"].mean())))


@dataclass(frozen=True, slots=True)
class BinaryResponse:
    """P(y = 1) = 1 / (1 + exp(-intercept - predictor)).

    Attributes
    ----------
    log_odds
        Log odds of the crude prevalence: the centre of the intercept's prior.
    """

    log_odds: float

    @property
    def parameters(self) -> tuple[str, ...]:
        """The intercept."""
        return ("intercept",)

    @property
    def ratio(self) -> str:
        """Effects are log odds ratios."""
        return "odds_ratio"

    def coords(self) -> dict[str, Array]:
        """No dims of its own."""
        return {}

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare the intercept."""
        import pymc as pm

        return {"intercept": pm.Normal("intercept", pm.Data("log_odds", self.log_odds), _INTERCEPT_SD)}

    def design(self, observed: Design) -> dict[str, NDArray[Any]]:
        """Code the outcome as -1 and 1, for which log p = -log(1 + exp(-sign * log odds))."""
        return {"sign": 2.0 * observed["outcome"] - 1.0}

    def log_likelihood(self, xp: ModuleType, predictor: Tensor, parameters: Parameters, design: Design) -> Tensor:
        """Log probability of what was seen, shape (..., subject, node)."""
        margin = design["sign"][:, None] * (parameters["intercept"][..., None, None] + predictor)
        return xp.minimum(margin, 0.0) - xp.log1p(xp.exp(-xp.abs(margin)))

    def risk(self, predictor: Array, parameters: Parameters, times: Array) -> Array:  # noqa: ARG002  (no horizon)
        """Return P(y = 1 | predictor), shape (draw, subject, node, 1)."""
        risk: Array = expit(parameters["intercept"][:, None, None, None] + predictor[..., None])
        return risk

    def require_times(self, times: Sequence[float] | None) -> Array:
        """Refuse horizons: the one column of results has time NaN."""
        if times is not None:
            raise DataError(
                "times",
                got=repr(times)[:80],
                expected="none, because a binary outcome has no horizon",
                do="Leave times out, or model a Survival outcome.",
            )
        return np.array([np.nan])

    def is_beyond(self, times: Array) -> NDArray[np.bool_]:
        """Nothing lies beyond."""
        return np.zeros(len(times), dtype=np.bool_)
