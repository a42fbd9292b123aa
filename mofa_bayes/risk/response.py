"""What an outcome family must offer: a Family says where the outcome is, a Response how it depends on the predictor.

To add a family, write these two values in a file of their own. Formulas are written once, with the array module (numpy
or pytensor.tensor) as an argument: what is sampled is what is predicted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.errors import DataError

Array = NDArray[np.float64]
Tensor = Any  # a numpy array or a PyTensor variable
Parameters = Mapping[str, Tensor]
Design = Mapping[str, NDArray[Any]]


def tensors() -> ModuleType:
    """Import PyTensor's functions when they are first needed; they carry no types."""
    return import_module("pytensor.tensor")


@dataclass(frozen=True, slots=True)
class Labels:
    """What predictions of a family are called: the dim beside `subject`, and the estimate along it."""

    dim: str
    estimate: str


RISK = Labels("time", "risk")
PROBABILITY = Labels("category", "probability")
EXPECTATION = Labels("response", "predicted")


class Predicted(Protocol):
    """What every response tells: its names, and what it reads of an outcome. Holds no patient's row."""

    @property
    def labels(self) -> Labels:
        """What predictions are called."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters kept in the posterior tree, besides effects."""
        ...

    @property
    def ratio(self) -> str:
        """What exp(effect) is called: `hazard_ratio`, `odds_ratio`; empty when it has no name."""
        ...

    @property
    def unit(self) -> float | Array:
        """What an effect of 1 is in the outcome's own units: its sd where effects add to the outcome, 1.0 elsewhere."""
        ...

    def coords(self) -> dict[str, Array]:
        """Coordinates of the parameters' own dims."""
        ...

    def design(self, observed: Design) -> dict[str, NDArray[Any]]:
        """Prepare what the likelihood needs of each subject, arrays of shape (subject, ...)."""
        ...

    def require_times(self, times: Sequence[float] | None) -> NDArray[Any]:
        """Return the places that are predicted: horizons, categories or the response's name, shape (place,).

        Raises
        ------
        DataError
            Horizons are not what this outcome needs.
        """
        ...

    def is_beyond(self, times: NDArray[Any]) -> NDArray[np.bool_]:
        """Mark the places that lie beyond what was observed, shape (place,)."""
        ...


class Response(Predicted, Protocol):
    """p(y | predictor, parameters), with what was learnt of its scale from a cohort."""

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare the parameters and their priors in the PyMC model at hand."""
        ...

    def log_likelihood(self, xp: ModuleType, predictor: Tensor, parameters: Parameters, design: Design) -> Tensor:
        """Log p(y_n | predictor), shape (..., subject, node), for a predictor of that shape."""
        ...

    def draw(
        self, rng: np.random.Generator, predictor: Array, parameters: Mapping[str, Array], design: Design
    ) -> Array:
        """Draw an outcome of each subject, (subject,), given predictors (subject,) and one value of each parameter."""
        ...

    def expect(self, predictor: Array, parameters: Mapping[str, Array], places: NDArray[Any]) -> Array:
        """Conditional mean, (draw, subject, node, place) for (draw, subject, node): a probability, or a value."""
        ...

    def variance(self, expected: Array, parameters: Mapping[str, Array]) -> Array:
        """Conditional variance of an outcome with this conditional mean, of the mean's shape."""
        ...


@runtime_checkable
class Integrated(Protocol):
    """A response that integrates over its predictor by a formula of its own, in place of fixed Gauss-Hermite nodes."""

    def log_marginal(
        self, xp: ModuleType, mean: Tensor, sd: Tensor, parameters: Parameters, design: Design, n_nodes: int
    ) -> Tensor:
        """Log E[p(y_n | x)] for x ~ N(mean_n, sd_n^2), each of shape (..., subject)."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A response whose outcome is a number: it has a predictive distribution beside its expected value."""

    def predictive_quantiles(
        self, mean: Array, sd: Array, parameters: Mapping[str, Array], levels: Sequence[float]
    ) -> Array:
        """Quantiles, (level, subject), of the outcome over draws and over x ~ N(mean, sd^2), each (draw, subject)."""
        ...


@runtime_checkable
class Joint(Predicted, Protocol):
    """Several responses at once: effects and parameters have `response` as their first dim after the draws."""

    @property
    def parts(self) -> Sequence[Response]:
        """Each response by itself."""
        ...


@runtime_checkable
class Family(Protocol):
    """Which clinical columns hold an outcome, and how it is distributed."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the clinical table that hold the outcome."""
        ...

    def read(self, clinical: pd.DataFrame, subjects: Sequence[str]) -> dict[str, Array]:
        """Read and check the outcome of subjects: arrays of shape (subject,), first the outcome or its time."""
        ...

    def learn(self, observed: Design) -> Any:  # noqa: ANN401  (a Response, a Joint, or that of competing risks)
        """Fix what is learnt once from a cohort: reference times, cut points."""
        ...


@singledispatch
def read_offset(outcome: object, clinical: pd.DataFrame | None, subjects: Sequence[str]) -> Array:  # noqa: ARG001
    """Read what is added to the predictor of each subject without an effect of its own, (subject,): 0 for most."""
    return np.zeros(len(subjects))


def refuse_times(times: Sequence[float] | None, kind: str) -> None:
    """Raise DataError when horizons are asked of an outcome that has none."""
    if times is not None:
        raise DataError(
            "times",
            got=repr(times)[:80],
            expected=f"none, because {kind} outcome has no horizon",
            do="Leave times out, or model a Survival outcome.",
        )


def nowhere_beyond(times: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark nothing."""
    return np.zeros(len(times), dtype=np.bool_)
