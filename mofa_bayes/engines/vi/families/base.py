"""What a likelihood tells the engine: a quadratic lower bound on log p(y | eta), entry by entry."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_TILE_ROWS = 64


@dataclass(frozen=True, slots=True)
class Local:
    """log p(y | eta) >= constant + kappa eta - weight eta^2 / 2 for the entries of one block of one part.

    Attributes
    ----------
    kappa
        Linear coefficients (n, D), 0 where missing. For families with noise, those of unit noise precision.
    omega
        Weights of the square (n, D), 0 where missing; None where a column has one weight for all its entries.
    constant
        Per row, summed over its observed entries (n,).
    squares
        sum_n omega y^2 per column (D,), for families with noise whose weights change; empty otherwise.
    center, scale
        Where not empty, kappa is (kappa - center) / scale: values of the user's own array, as they are.
    has_holes
        Whether that array has NaN, which count as 0 after scaling.
    """

    kappa: NDArray[np.floating]
    omega: Array | None
    constant: Array
    squares: Array
    center: Array = field(default_factory=lambda: np.empty(0))
    scale: Array = field(default_factory=lambda: np.empty(0))
    has_holes: bool = False

    def _filled(self) -> Iterator[tuple[slice, NDArray[np.floating]]]:
        """Walk over kappa, some rows at a time, scaled and with its holes filled."""
        center, scale = self.center.astype(self.kappa.dtype), self.scale.astype(self.kappa.dtype)
        for start in range(0, len(self.kappa), _TILE_ROWS):
            rows = slice(start, start + _TILE_ROWS)
            tile = (self.kappa[rows] - center) / scale
            tile[np.isnan(tile)] = 0
            yield rows, tile

    def times(self, weights: Array) -> Array:
        """Kappa @ weights, (n, R) for weights (D, R), without a scaled copy of kappa."""
        if self.has_holes:
            narrow = weights.astype(self.kappa.dtype)
            return np.concatenate([tile @ narrow for _, tile in self._filled()]).astype(np.float64)
        if not self.scale.size:
            return np.asarray(self.kappa @ weights.astype(self.kappa.dtype), dtype=np.float64)
        weights = weights / self.scale[:, None]
        scaled: Array = self.kappa @ weights.astype(self.kappa.dtype) - self.center @ weights
        return scaled

    def cross(self, terms: Array) -> Array:
        """Kappa' @ terms, (D, R) for terms (n, R), without a scaled copy of kappa."""
        if self.has_holes:
            total = np.zeros((self.kappa.shape[1], terms.shape[1]))
            for rows, tile in self._filled():
                total += tile.T @ terms[rows].astype(tile.dtype)
            return total
        product: Array = np.asarray(self.kappa.T @ terms.astype(self.kappa.dtype), dtype=np.float64)
        if self.scale.size:
            product -= np.outer(self.center, terms.sum(axis=0))
            product /= self.scale[:, None]
        return product


class Family(Protocol):
    """One likelihood.

    Attributes
    ----------
    is_entrywise
        Whether each entry has its own weight, so that every row has its own precision.
    has_noise
        Whether columns have a noise precision tau_d ~ Gamma that multiplies kappa and the weights.
    has_nuisance
        Whether columns have a positive parameter of their own that is found by maximising the bound.
    """

    @property
    def is_entrywise(self) -> bool:
        """See the class."""
        ...

    @property
    def has_noise(self) -> bool:
        """See the class."""
        ...

    @property
    def has_nuisance(self) -> bool:
        """See the class."""
        ...

    @property
    def is_count(self) -> bool:
        """Whether values are counts."""
        ...

    def curvature(self, largest: Array, exposure: float) -> Array:
        """Weight of the square of each column (D,), apart from omega and tau, from its largest value."""
        ...

    def start_intercept(self, mean: Array) -> Array:
        """Intercept of a column of this mean, nothing else known."""
        ...

    def start_nuisance(self, mean: Array, variance: Array) -> Array:
        """First value of the columns' own parameters (D,)."""
        ...

    def local(self, values: "Values", eta: Array, second: Array, tau: Array, nuisance: Array) -> Local:
        """Bound at the best point for E[eta] (n, D) and, for entrywise families, E[eta^2] (n, D)."""
        ...

    def objective(self, values: "Values", eta: Array, second: Array, nuisance: Array) -> Array:
        """Bound (n, D) as a function of the columns' own parameters, 0 where missing."""
        ...


@dataclass(frozen=True, slots=True)
class Values:
    """Data of one block of one part, as a family sees it.

    Attributes
    ----------
    y
        Values (n, D), 0 where missing.
    observed
        1.0 where observed, (n, D).
    log_exposure
        Log exposure per row (n,), 0 without one; for count families.
    levels
        Ordinal only: standard-normal quantiles of the cut points (D, L + 1), padded with infinity; empty otherwise.
    center, scale
        Gaussian only: where not empty, y is a view of the user's array, and (y - center) / scale is on the model's
        scale.
    has_holes
        Gaussian only: whether such a view of the user's array has NaN.
    members
        Categorical only: which columns code which variable (D, V), 1 or 0; empty otherwise.
    """

    y: NDArray[np.floating]
    observed: Array
    log_exposure: Array
    levels: Array
    center: Array = field(default_factory=lambda: np.empty(0))
    scale: Array = field(default_factory=lambda: np.empty(0))
    has_holes: bool = False
    members: Array = field(default_factory=lambda: np.empty((0, 0)))


class Plain:
    """What most families share: no parameter of their own and no offset."""

    is_entrywise = False
    has_noise = False
    has_nuisance = False
    is_count = False

    def curvature(self, largest: Array, exposure: float) -> Array:  # noqa: ARG002
        """See `Family`."""
        return np.ones(len(largest))

    def start_intercept(self, mean: Array) -> Array:
        """See `Family`."""
        return np.zeros_like(mean)

    def start_nuisance(self, mean: Array, variance: Array) -> Array:  # noqa: ARG002
        """See `Family`."""
        return np.ones_like(mean)

    def objective(self, values: Values, eta: Array, second: Array, nuisance: Array) -> Array:  # noqa: ARG002
        """See `Family`."""
        return np.zeros_like(eta)


def polya_gamma_mean(xi: Array) -> Array:
    """E[omega] = tanh(xi/2) / (2 xi) of a Polya-Gamma PG(1, xi) variable (Polson et al. 2013, JASA 108:1339)."""
    safe = np.maximum(xi, 1e-6)
    result: Array = np.tanh(safe / 2) / (2 * safe)
    return result


def log_two_cosh(x: Array) -> Array:
    """log(2 cosh x), without overflow."""
    result: Array = np.logaddexp(x, -x)
    return result
