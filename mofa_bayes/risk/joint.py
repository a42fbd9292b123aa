"""Several predictors of a patient at once: B z for z ~ N(m, V), as points that average over it."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.quadrature import root_of
from mofa_bayes.risk.response import Array, Tensor

_EPSILON = 1e-12
Root = Sequence[Sequence[Tensor]]


def find_root(xp: ModuleType, turned: Tensor, n_factors: int, n_predictors: int) -> Root:
    """Find L with L L' = B V B', so that B m + L x has the distribution of B z for x ~ N(0, I).

    With no more factors than predictors, L = B R' for V = R'R, and x has a dimension for each factor: exact, and smooth
    in B. Otherwise L is the lower Cholesky root, and x has a dimension for each predictor. Its diagonal has no
    derivative where it is 0, as at B = 0; a variance of 1e-12 is added there, see `build_graph`.

    Parameters
    ----------
    xp
        numpy or pytensor.tensor.
    turned
        R B', (..., pattern, factor, predictor).

    Returns
    -------
    Rows of L, one for each predictor; each entry is of shape (..., pattern).
    """
    if n_factors <= n_predictors:
        return [[turned[..., k, c] for k in range(n_factors)] for c in range(n_predictors)]
    rows: list[list[Tensor]] = []
    for c in range(n_predictors):
        row: list[Tensor] = []
        for d, other in enumerate(rows):
            rest = (turned[..., c] * turned[..., d]).sum(axis=-1)
            for own, its in zip(row, other, strict=False):
                rest = rest - own * its
            row.append(rest / other[d])
        variance = (turned[..., c] ** 2).sum(axis=-1) + _EPSILON
        for own in row:
            variance = variance - own**2
        row.append(xp.sqrt(xp.maximum(variance, _EPSILON / 100)))  # rounding may have left less than was added
        rows.append(row)
    return rows


def place_predictors(mean: Sequence[Tensor], root: Root, pattern: Tensor, points: Array) -> list[Tensor]:
    """Put every predictor of every subject at points.

    Parameters
    ----------
    mean
        Of each predictor, (..., subject).
    root
        As from `find_root`.
    pattern
        Of each subject.
    points
        (..., point, dimension).

    Returns
    -------
    One for each predictor, (..., subject, point).
    """
    placed = []
    for centre, row in zip(mean, root, strict=True):
        predictor = centre[..., None]
        for d, spread in enumerate(row):
            predictor = predictor + spread[..., pattern, None] * points[..., None, :, d]
        placed.append(predictor)
    return placed


@dataclass(frozen=True, slots=True, eq=False)
class JointPredictor:
    """C linear predictors of N subjects under S draws of the effects, jointly normal over the factors.

    Attributes
    ----------
    mean
        Shape (S, N, C).
    turned
        R B' of each of the P patterns, (S, P, K, C): covariances of the predictors are its squares over K.
    pattern
        Of each subject, (N,).
    """

    mean: Array
    turned: Array
    pattern: NDArray[np.intp]

    @classmethod
    def combine(cls, moments: FactorMoments, effects: Array, offset: Array) -> "JointPredictor":
        """Combine draws of B (S, C, K) with factors; `offset` (S, N, C) is what covariates add."""
        mean = np.swapaxes(effects @ moments.mean.T, 1, 2) + offset
        turned = root_of(moments.covariance) @ np.swapaxes(effects, 1, 2)[:, None]
        return cls(mean, turned, moments.pattern)

    @property
    def n_dims(self) -> int:
        """Dimensions of the points that `place` wants."""
        return int(min(self.turned.shape[-2:]))

    def known(self) -> "JointPredictor":
        """Return the predictors of factors that are taken for known."""
        return JointPredictor(self.mean, np.zeros_like(self.turned), self.pattern)

    def take(self, draws: NDArray[np.intp]) -> "JointPredictor":
        """Return some of the draws, by position."""
        return JointPredictor(self.mean[draws], self.turned[draws], self.pattern)

    def place(self, points: Array, rows: slice = slice(None)) -> list[Array]:
        """Predictors of some subjects at points (point, n_dims) or (S, point, n_dims): C arrays (S, subject, point)."""
        root = find_root(np, self.turned, *self.turned.shape[-2:])
        mean = [self.mean[:, rows, c] for c in range(self.mean.shape[-1])]
        return place_predictors(mean, root, self.pattern[rows], points)

    def summary(self) -> tuple[Array, Array]:
        """Mean and sd over draws and factors, each (N, C)."""
        within = (self.turned**2).sum(axis=2).mean(axis=0)[self.pattern]
        return self.mean.mean(axis=0), np.sqrt(self.mean.var(axis=0) + within)
