"""Count: a number of events, negative binomial, whose rate is proportional to exp(predictor)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betainc

from mofa_bayes.data.measurements import read_counts, read_exposure
from mofa_bayes.errors import SpecError
from mofa_bayes.risk.kernels import split_blocks, thin
from mofa_bayes.risk.links import log_gamma, log_sum_exp, softplus
from mofa_bayes.risk.quadrature import hermite_nodes, stratified_nodes
from mofa_bayes.risk.response import (
    EXPECTATION,
    Array,
    Design,
    Labels,
    Parameters,
    Tensor,
    nowhere_beyond,
    read_offset,
    refuse_times,
)

_LEVEL_SD = 3.0
"""Prior sd of the log rate around the crude rate, a factor of 20 up or down: the crude rate is marginal, the level is
that of a patient with predictor 0, and factors of variance b'b lower it by about b'b / 2."""
_MAX_DRAWS = 400
_N_POINTS = 5


@dataclass(frozen=True, slots=True)
class Count:
    """A number of events, such as admissions or lesions, that varies at least as much as a Poisson count.

    Parameters
    ----------
    column
        Column of the clinical table, whole numbers from 0.
    exposure
        Column of how long, or how much, each patient was observed; the rate is per unit of it. Without one, everybody
        counts the same.

    Raises
    ------
    SpecError
        Both are the same column.
    """

    column: str
    exposure: str | None = field(default=None)

    def __post_init__(self) -> None:
        if self.exposure == self.column:
            raise SpecError(
                "exposure", got=repr(self.exposure), expected="another column than the count's", do="Leave it out."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the clinical table that hold the outcome and its exposure."""
        return (self.column,) if self.exposure is None else (self.column, self.exposure)

    def read(self, clinical: pd.DataFrame, subjects: Sequence[str]) -> dict[str, Array]:
        """Read `outcome` and `log_exposure` of subjects, each (subject,)."""
        return {
            "outcome": read_counts(clinical, self.column, subjects),
            "log_exposure": read_offset(self, clinical, subjects),
        }

    def learn(self, observed: Design) -> "CountResponse":
        """Learn the crude rate."""
        exposure = np.exp(observed["log_exposure"]).sum()
        return CountResponse(self.column, float(np.log(observed["outcome"].sum() / exposure)))


@read_offset.register
def _(outcome: Count, clinical: pd.DataFrame | None, subjects: Sequence[str]) -> Array:
    """Log of the exposure."""
    if outcome.exposure is None:
        return np.zeros(len(subjects))
    log_exposure: Array = np.log(read_exposure(clinical, outcome.exposure, subjects))
    return log_exposure


@dataclass(frozen=True, slots=True)
class CountResponse:
    """y ~ negative binomial of mean mu = exposure exp(intercept + predictor) and variance mu + dispersion^2 mu^2.

    The dispersion is the coefficient of variation of a gamma-distributed rate among patients of the same predictor. Its
    prior is half-normal(1): from none (Poisson) to a few times the mean.

    Attributes
    ----------
    name
        Of the outcome.
    log_rate
        Log of the crude rate: the centre of the intercept's prior.
    """

    name: str
    log_rate: float

    @property
    def parameters(self) -> tuple[str, ...]:
        """Log rate at predictor 0, and dispersion."""
        return ("intercept", "dispersion")

    @property
    def ratio(self) -> str:
        """Effects are log rate ratios."""
        return "rate_ratio"

    @property
    def labels(self) -> Labels:
        """An expected count."""
        return EXPECTATION

    @property
    def unit(self) -> float:
        """Effects have no unit."""
        return 1.0

    def coords(self) -> dict[str, Array]:
        """No dims of its own."""
        return {}

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare intercept and dispersion."""
        import pymc as pm

        return {
            "intercept": pm.Normal("intercept", pm.Data("log_rate", self.log_rate), _LEVEL_SD),
            "dispersion": pm.HalfNormal("dispersion", 1.0),
        }

    def design(self, observed: Design) -> dict[str, NDArray[Any]]:
        """Take counts and log exposures."""
        return {"count": observed["outcome"], "log_exposure": observed["log_exposure"]}

    def log_likelihood(self, xp: ModuleType, predictor: Tensor, parameters: Parameters, design: Design) -> Tensor:
        """Log probability of the count given the predictor, shape (..., subject, node)."""
        count, size = design["count"], _size_of(parameters)
        log_size = xp.log(size)[..., None]
        constant = log_gamma(xp, count + size) - log_gamma(xp, size) - log_gamma(xp, count + 1.0)
        relative = self._log_mean(predictor, parameters, design) - log_size
        own = count[:, None]
        return constant[..., None] + own * relative - (own + size[..., None]) * softplus(xp, relative)

    def log_marginal(
        self, xp: ModuleType, mean: Tensor, sd: Tensor, parameters: Parameters, design: Design, n_nodes: int
    ) -> Tensor:
        """Log E[p(y | x)] for x ~ N(mean, sd^2), by Gauss-Hermite nodes moved to where the integrand is.

        A large count knows its rate far better than the factors do, and nodes of N(mean, sd^2) would step over the
        likelihood. As a function of x that is about normal with centre log(y / exposure) - intercept and precision
        1 / (1 / y + dispersion^2), which with N(mean, sd^2) gives a normal of sd c sd, c^2 = 1 / (1 + precision sd^2).
        Nodes of this are used, and p is weighed by the ratio of the two densities (Naylor and Smith 1982, Applied
        Statistics 31:214). Half the precision is taken, which keeps the ratio bounded enough where p is skewed; at a
        count of 0 it is 0, and the nodes stay where they were.
        """
        nodes, log_weights = hermite_nodes(n_nodes)
        count, dispersion = design["count"], parameters["dispersion"][..., None]
        precision = 0.5 * count / (1.0 + count * dispersion**2)
        shrink = 1.0 / (1.0 + precision * sd**2)
        target = xp.log(count + 0.5) - design["log_exposure"] - parameters["intercept"][..., None]
        # in units of sd: the new centre, and the new nodes
        moved = (shrink * precision * sd * (target - mean))[..., None] + xp.sqrt(shrink)[..., None] * nodes
        ratio = 0.5 * (nodes**2 - moved**2) + 0.5 * xp.log(shrink)[..., None]
        predictor = mean[..., None] + sd[..., None] * moved
        return log_sum_exp(xp, self.log_likelihood(xp, predictor, parameters, design) + log_weights + ratio)

    def _log_mean(self, predictor: Tensor, parameters: Parameters, design: Design) -> Tensor:
        return parameters["intercept"][..., None, None] + design["log_exposure"][:, None] + predictor

    def draw(self, rng: np.random.Generator, predictor: Array, parameters: Parameters, design: Design) -> Array:
        """Draw counts."""
        rate = np.exp(parameters["intercept"] + design["log_exposure"] + predictor)
        size = _size_of(parameters)
        counts: Array = rng.poisson(rate * rng.gamma(size, 1.0 / size, size=rate.shape)).astype(np.float64)
        return counts

    def expect(self, predictor: Array, parameters: Parameters, places: NDArray[Any]) -> Array:  # noqa: ARG002
        """Return the expected count, shape (draw, subject, node, 1); the log exposure is part of the predictor."""
        expected: Array = np.exp(parameters["intercept"][:, None, None, None] + predictor[..., None])
        return expected

    def variance(self, expected: Array, parameters: Parameters) -> Array:
        """Mean plus dispersion^2 mean^2."""
        total: Array = expected + (parameters["dispersion"][:, None, None, None] * expected) ** 2
        return total

    def predictive_quantiles(
        self, mean: Array, sd: Array, parameters: Mapping[str, Array], levels: Sequence[float]
    ) -> Array:
        """Smallest counts whose distribution function over draws and factors reaches each level."""
        kept = thin(len(mean), _MAX_DRAWS)
        points = stratified_nodes(len(kept), _N_POINTS)
        size = _size_of({name: draws[kept] for name, draws in parameters.items()})[..., None]
        intercept = parameters["intercept"][kept, None, None]
        blocks = []
        for rows in split_blocks(mean.shape[1], points.size):
            predictor = mean[kept][:, rows, None] + sd[kept][:, rows, None] * points[:, None, :]
            chance = 1.0 / (1.0 + np.exp(intercept + predictor) / size)
            blocks.append(np.stack([_find_count(chance, size, level) for level in levels]))
        return np.concatenate(blocks, axis=1)

    def require_times(self, times: Sequence[float] | None) -> NDArray[Any]:
        """Refuse horizons; the one column of results is the outcome's."""
        refuse_times(times, "a count")
        return np.array([self.name])

    def is_beyond(self, times: NDArray[Any]) -> NDArray[np.bool_]:
        """Nothing lies beyond."""
        return nowhere_beyond(times)


def _size_of(parameters: Parameters) -> Tensor:
    """Gamma shape of the rates, (..., 1); a dispersion below 1e-4 is Poisson to every digit that is kept."""
    return 1.0 / (parameters["dispersion"][..., None] ** 2 + 1e-8)


def _find_count(chance: Array, size: Array, level: float) -> Array:
    """Bisect for the smallest count y with mean over (draw, point) of I_chance(size, y + 1) >= level, (subject,)."""
    low = np.full(chance.shape[1], -1.0)
    high = np.ones(chance.shape[1])
    while (is_short := _cumulate(high, chance, size) < level).any():
        low, high = np.where(is_short, high, low), np.where(is_short, 2 * high, high)
    while (is_open := high - low > 1).any():
        middle = np.where(is_open, np.floor((low + high) / 2), high)
        is_below = _cumulate(middle, chance, size) < level
        low, high = np.where(is_open & is_below, middle, low), np.where(is_open & ~is_below, middle, high)
    return high


def _cumulate(count: Array, chance: Array, size: Array) -> Array:
    reached: Array = betainc(size, count[:, None] + 1.0, chance).mean(axis=(0, 2))
    return reached
