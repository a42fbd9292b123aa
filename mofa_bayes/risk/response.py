"""What an outcome family must offer: a Family says where the outcome is, a Response how it depends on the predictor.

To add a family (gaussian, ordinal, competing risks), write these two values in a file of their own. Formulas are
written once, with the array module (numpy or pytensor.tensor) as an argument: what is sampled is what is predicted.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
Tensor = Any  # a numpy array or a PyTensor variable
Parameters = Mapping[str, Tensor]
Design = Mapping[str, NDArray[Any]]


def tensors() -> ModuleType:
    """Import PyTensor's functions when they are first needed; they carry no types."""
    return import_module("pytensor.tensor")


class Response(Protocol):
    """p(y | predictor, parameters), with what was learnt of its scale from a cohort. Holds no patient's row."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters kept in the posterior tree, besides effects."""
        ...

    @property
    def ratio(self) -> str:
        """What exp(effect) is called: `hazard_ratio`, `odds_ratio`."""
        ...

    def coords(self) -> dict[str, Array]:
        """Coordinates of the parameters' own dims."""
        ...

    def draw_parameters(self) -> dict[str, Tensor]:
        """Declare the parameters and their priors in the PyMC model at hand."""
        ...

    def design(self, observed: Design) -> dict[str, NDArray[Any]]:
        """Prepare what the likelihood needs of each subject, arrays of shape (subject, ...)."""
        ...

    def log_likelihood(self, xp: ModuleType, predictor: Tensor, parameters: Parameters, design: Design) -> Tensor:
        """Log p(y_n | predictor), shape (..., subject, node), for a predictor of that shape."""
        ...

    def risk(self, predictor: Array, parameters: Mapping[str, Array], times: Array) -> Array:
        """Conditional probability of the outcome, shape (draw, subject, node, time), for (draw, subject, node)."""
        ...

    def require_times(self, times: Sequence[float] | None) -> Array:
        """Return the horizons as an array; raise DataError when they are not what this outcome needs."""
        ...

    def is_beyond(self, times: Array) -> NDArray[np.bool_]:
        """Mark the horizons that lie beyond what was observed, shape (time,)."""
        ...


@runtime_checkable
class Integrated(Protocol):
    """A response that integrates over its predictor by a formula of its own, in place of fixed Gauss-Hermite nodes."""

    def log_marginal(
        self, xp: ModuleType, mean: Tensor, sd: Tensor, parameters: Parameters, design: Design, n_nodes: int
    ) -> Tensor:
        """Log E[p(y_n | x)] for x ~ N(mean_n, sd_n^2), each of shape (..., subject)."""
        ...


class Family(Protocol):
    """Which clinical columns hold an outcome, and how it is distributed."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the clinical table that hold the outcome."""
        ...

    def read(self, clinical: pd.DataFrame, subjects: Sequence[str]) -> dict[str, Array]:
        """Read and check the outcome of subjects: arrays of shape (subject,)."""
        ...

    def learn(self, observed: Design) -> Response:
        """Fix what is learnt once from a cohort: reference times, cut points."""
        ...
