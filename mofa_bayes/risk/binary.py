"""Binary: an outcome of 0 or 1 whose log odds, or probit, is the predictor."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri

from mofa_bayes.data.outcomes import read_binary
from mofa_bayes.errors import SpecError
from mofa_bayes.risk.links import log_normal_cdf, log_sigmoid
from mofa_bayes.risk.response import (
    RISK,
    Array,
    Design,
    Labels,
    Parameters,
    Tensor,
    nowhere_beyond,
    refuse_times,
)

_INTERCEPT_SD = 2.5
"""Prior sd of the intercept around the log odds of the crude prevalence: if that is 10 %, a patient with predictor 0
may have 0.1 % to 94 %. The averaged probability lies nearer to one half than the probability at predictor 0, so the
centre is off by a little; with 50 patients of each kind the data's own sd is 0.2."""
_PROBIT_SCALE = 1.6
"""Log odds in a unit of the probit scale, near the middle: what divides the prior's sd there."""
Link = Literal["logit", "probit"]


@dataclass(frozen=True, slots=True)
class Binary:
    """An outcome that happened (1) or did not (0).

    Parameters
    ----------
    column
        Column of the clinical table.
    link
        `logit`: effects are log odds ratios, and factors are integrated out by quadrature. `probit`: effects shift a
        standard normal liability, and the integral is exact.

    Raises
    ------
    SpecError
        The link is unknown.
    """

    column: str
    link: Link = field(default="logit", kw_only=True)

    def __post_init__(self) -> None:
        if self.link not in get_args(Link):
            raise SpecError(
                "link", got=repr(self.link), expected=f"one of {', '.join(get_args(Link))}", do="logit is usual."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the clinical table that hold the outcome."""
        return (self.column,)

    def read(self, clinical: pd.DataFrame, subjects: Sequence[str]) -> dict[str, Array]:
        """Read the outcome of subjects as `outcome` (subject,)."""
        return {"outcome": read_binary(clinical, self.column, subjects)}

    def learn(self, observed: Design) -> "BinaryResponse | ProbitResponse":
        """Learn the crude prevalence."""
        prevalence = float(observed["outcome"].mean())
        if self.link == "probit":
            return ProbitResponse(float(ndtri(prevalence)))
        return BinaryResponse(float(logit(prevalence)))


@dataclass(frozen=True, slots=True)
class _HappensOrNot(ABC):
    """P(y = 1) = F(intercept + predictor), for a link's distribution function F that is symmetric around 0.

    Attributes
    ----------
    centre
        F^-1 of the crude prevalence: the centre of the intercept's prior.
    """

    centre: float
    intercept_sd: ClassVar[float]

    @property
    @abstractmethod
    def ratio(self) -> str:
        """What exp(effect) is called."""

    @abstractmethod
    def chance(self, eta: Array) -> Array:
        """F(eta)."""

    @abstractmethod
    def log_chance(self, xp: ModuleType, eta: Tensor) -> Tensor:
        """Log F(eta)."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The intercept."""
        return ("intercept",)

    @property
    def labels(self) -> Labels:
        """A risk at no time."""
        return RISK

    @property
    def unit(self) -> float:
        """Effects are on the scale of the link."""
        return 1.0

    def coords(self) -> dict[str, Array]:
        """No dims of its own."""
        return {}

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare the intercept."""
        import pymc as pm

        return {"intercept": pm.Normal("intercept", pm.Data("intercept_centre", self.centre), self.intercept_sd)}

    def design(self, observed: Design) -> dict[str, NDArray[Any]]:
        """Code the outcome as -1 and 1, for which p = F(sign * eta)."""
        return {"sign": 2.0 * observed["outcome"] - 1.0}

    def log_likelihood(self, xp: ModuleType, predictor: Tensor, parameters: Parameters, design: Design) -> Tensor:
        """Log probability of what was seen, shape (..., subject, node)."""
        return self.log_chance(xp, design["sign"][:, None] * (parameters["intercept"][..., None, None] + predictor))

    def draw(self, rng: np.random.Generator, predictor: Array, parameters: Parameters, design: Design) -> Array:  # noqa: ARG002
        """Draw 0 or 1."""
        risk = self.chance(parameters["intercept"] + predictor)
        happened: Array = (rng.uniform(size=risk.shape) < risk).astype(np.float64)
        return happened

    def expect(self, predictor: Array, parameters: Parameters, places: NDArray[Any]) -> Array:  # noqa: ARG002
        """Return P(y = 1 | predictor), shape (draw, subject, node, 1)."""
        return self.chance(parameters["intercept"][:, None, None, None] + predictor[..., None])

    def variance(self, expected: Array, parameters: Parameters) -> Array:  # noqa: ARG002  (it happens or not)
        """Variance of an event of that probability."""
        return expected * (1.0 - expected)

    def require_times(self, times: Sequence[float] | None) -> Array:
        """Refuse horizons: the one column of results has time NaN."""
        refuse_times(times, "a binary")
        return np.array([np.nan])

    def is_beyond(self, times: NDArray[Any]) -> NDArray[np.bool_]:
        """Nothing lies beyond."""
        return nowhere_beyond(times)


@dataclass(frozen=True, slots=True)
class BinaryResponse(_HappensOrNot):
    """P(y = 1) = 1 / (1 + exp(-intercept - predictor)): the centre is the log odds of the crude prevalence."""

    intercept_sd: ClassVar[float] = _INTERCEPT_SD

    @property
    def ratio(self) -> str:
        """Effects are log odds ratios."""
        return "odds_ratio"

    def chance(self, eta: Array) -> Array:
        """Return the logistic distribution function."""
        risk: Array = expit(eta)
        return risk

    def log_chance(self, xp: ModuleType, eta: Tensor) -> Tensor:
        """Its logarithm."""
        return log_sigmoid(xp, eta)


@dataclass(frozen=True, slots=True)
class ProbitResponse(_HappensOrNot):
    """P(y = 1) = Phi(intercept + predictor), the chance that a standard normal liability lies below."""

    intercept_sd: ClassVar[float] = _INTERCEPT_SD / _PROBIT_SCALE

    @property
    def ratio(self) -> str:
        """Effects are no logarithms."""
        return ""

    def chance(self, eta: Array) -> Array:
        """Return the normal distribution function."""
        risk: Array = ndtr(eta)
        return risk

    def log_chance(self, xp: ModuleType, eta: Tensor) -> Tensor:
        """Its logarithm."""
        return log_normal_cdf(xp, eta)

    def log_marginal(
        self,
        xp: ModuleType,
        mean: Tensor,
        sd: Tensor,
        parameters: Parameters,
        design: Design,
        n_nodes: int,  # noqa: ARG002  (exact)
    ) -> Tensor:
        """E[Phi(a + x)] = Phi((a + mean) / sqrt(1 + sd^2)): the predictor's error joins the liability's."""
        centre = parameters["intercept"][..., None] + mean
        return log_normal_cdf(xp, design["sign"] * centre / xp.sqrt(1.0 + sd**2))
