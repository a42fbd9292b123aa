"""Continuous: a measured outcome, to which the predictor is added, with gaussian noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from mofa_bayes.data.measurements import read_measurement
from mofa_bayes.risk.kernels import thin
from mofa_bayes.risk.links import log_normal
from mofa_bayes.risk.response import (
    EXPECTATION,
    Array,
    Design,
    Labels,
    Parameters,
    Tensor,
    nowhere_beyond,
    refuse_times,
)

_MAX_DRAWS = 500
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Continuous:
    """A number, normally distributed around its expectation. Take logs of a skewed one first.

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
        return {"outcome": read_measurement(clinical, self.column, subjects)}

    def learn(self, observed: Design) -> "ContinuousResponse":
        """Learn the outcome's mean and sd."""
        return ContinuousResponse(self.column, float(observed["outcome"].mean()), float(observed["outcome"].std()))


@dataclass(frozen=True, slots=True)
class ContinuousResponse:
    """y ~ N(intercept + predictor, noise_sd^2), in the outcome's own units.

    Attributes
    ----------
    name
        Of the outcome.
    centre, unit
        Mean and sd of the outcome in the cohort. Priors are scaled by the sd: intercept ~ N(centre, unit^2), where data
        put it within a fraction of the sd, and noise_sd ~ half-normal(unit), since noise is at most about the whole.
    """

    name: str
    centre: float
    unit: float

    @property
    def parameters(self) -> tuple[str, ...]:
        """Expected value at predictor 0, and sd of the noise."""
        return ("intercept", "noise_sd")

    @property
    def ratio(self) -> str:
        """Effects are differences of the outcome."""
        return ""

    @property
    def labels(self) -> Labels:
        """An expected value of each response."""
        return EXPECTATION

    def coords(self) -> dict[str, Array]:
        """No dims of its own."""
        return {}

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare the standardised intercept and noise, and what they are in the outcome's units."""
        import pymc as pm

        unit = pm.Data("outcome_unit", self.unit)
        level = pm.Normal("standardised_intercept", 0.0, 1.0)
        noise = pm.HalfNormal("standardised_noise", 1.0)
        return {
            "intercept": pm.Deterministic("intercept", pm.Data("outcome_centre", self.centre) + unit * level),
            "noise_sd": pm.Deterministic("noise_sd", unit * noise),
        }

    def design(self, observed: Design) -> dict[str, NDArray[Any]]:
        """Take the outcome as it is."""
        return {"value": observed["outcome"]}

    def log_likelihood(self, xp: ModuleType, predictor: Tensor, parameters: Parameters, design: Design) -> Tensor:
        """Log density given the predictor, shape (..., subject, node)."""
        residual = design["value"][:, None] - parameters["intercept"][..., None, None] - predictor
        return log_normal(xp, residual, parameters["noise_sd"][..., None, None] ** 2)

    def log_marginal(
        self,
        xp: ModuleType,
        mean: Tensor,
        sd: Tensor,
        parameters: Parameters,
        design: Design,
        n_nodes: int,  # noqa: ARG002  (exact)
    ) -> Tensor:
        """Log density of N(intercept + mean, noise_sd^2 + sd^2): variances add."""
        residual = design["value"] - parameters["intercept"][..., None] - mean
        return log_normal(xp, residual, parameters["noise_sd"][..., None] ** 2 + sd**2)

    def draw(self, rng: np.random.Generator, predictor: Array, parameters: Parameters, design: Design) -> Array:  # noqa: ARG002
        """Draw values."""
        noise = parameters["noise_sd"] * rng.normal(size=predictor.shape)
        drawn: Array = parameters["intercept"] + predictor + noise
        return drawn

    def expect(self, predictor: Array, parameters: Parameters, places: NDArray[Any]) -> Array:  # noqa: ARG002
        """Return the expected outcome, shape (draw, subject, node, 1)."""
        expected: Array = parameters["intercept"][:, None, None, None] + predictor[..., None]
        return expected

    def variance(self, expected: Array, parameters: Parameters) -> Array:
        """Return the noise's variance, the same for everyone."""
        return np.broadcast_to(parameters["noise_sd"][:, None, None, None] ** 2, expected.shape)

    def predictive_quantiles(
        self, mean: Array, sd: Array, parameters: Mapping[str, Array], levels: Sequence[float]
    ) -> Array:
        """Quantiles of the mixture over draws of N(intercept + mean, sd^2 + noise_sd^2)."""
        kept = thin(len(mean), _MAX_DRAWS)
        own = {name: draws[kept] for name, draws in parameters.items()}
        centre = own["intercept"][:, None] + mean[kept]
        return mixture_quantiles(centre, np.sqrt(sd[kept] ** 2 + own["noise_sd"][:, None] ** 2), levels)

    def require_times(self, times: Sequence[float] | None) -> NDArray[Any]:
        """Refuse horizons; the one column of results is the outcome's."""
        refuse_times(times, "a continuous")
        return np.array([self.name])

    def is_beyond(self, times: NDArray[Any]) -> NDArray[np.bool_]:
        """Nothing lies beyond."""
        return nowhere_beyond(times)


def mixture_quantiles(mean: Array, sd: Array, levels: Sequence[float]) -> Array:
    """Quantiles of equal mixtures of normals, by bisection between the extremes of the components' own quantiles.

    Parameters
    ----------
    mean, sd
        Of the components, (draw, subject); sds above 0.

    Returns
    -------
    Shape (level, subject).
    """
    quantiles = []
    for level in levels:
        own = mean + sd * ndtri(level)
        low, high = own.min(axis=0), own.max(axis=0)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            is_below = ndtr((middle - mean) / sd).mean(axis=0) < level
            low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
            if (high - low).max() <= 1e-6 * sd.min():
                break
        quantiles.append((low + high) / 2)
    return np.stack(quantiles)
