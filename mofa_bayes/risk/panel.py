"""MultiContinuous: a panel of measured outcomes, such as responses to drugs, explained by the same factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.measurements import read_panel
from mofa_bayes.errors import SpecError, name_some
from mofa_bayes.risk.continuous import ContinuousResponse
from mofa_bayes.risk.response import EXPECTATION, Array, Design, Labels, Tensor, nowhere_beyond, refuse_times

_LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, slots=True)
class MultiContinuous:
    """Several numbers for each patient, of which any may be missing.

    Parameters
    ----------
    columns
        Columns of the clinical table, NaN where a response was not measured.

    Raises
    ------
    SpecError
        There are fewer than two columns, or one comes twice.
    """

    columns: Sequence[str]

    def __post_init__(self) -> None:
        columns = () if isinstance(self.columns, str) else tuple(self.columns)
        if len(columns) < 2 or len(set(columns)) < len(columns) or not all(isinstance(name, str) for name in columns):
            raise SpecError(
                "columns of a MultiContinuous outcome",
                got=repr(self.columns)[:80],
                expected="the names of two or more different columns",
                do="Write MultiContinuous(list(drugs.columns)), or Continuous for a single column.",
            )
        object.__setattr__(self, "columns", columns)

    def __repr__(self) -> str:
        return f"MultiContinuous({name_some(self.columns)})"

    def read(self, clinical: pd.DataFrame, subjects: Sequence[str]) -> dict[str, Array]:
        """Read the outcomes of subjects as `outcome` (subject, response)."""
        return {"outcome": read_panel(clinical, self.columns, subjects)}

    def learn(self, observed: Design) -> "PanelResponse":
        """Learn each response's mean and sd."""
        outcome = observed["outcome"]
        centre, scale = np.nanmean(outcome, axis=0), np.nanstd(outcome, axis=0)
        return PanelResponse(tuple(self.columns), tuple(map(float, centre)), tuple(map(float, scale)))


@dataclass(frozen=True, slots=True)
class PanelResponse:
    """y_n ~ N(intercept + G c_n + B m_n, B V_n B' + diag(noise_sd^2)), over the responses that were measured.

    Attributes
    ----------
    names
        Of the R responses.
    centres, scales
        Mean and sd of each in the cohort.
    """

    names: tuple[str, ...]
    centres: tuple[float, ...]
    scales: tuple[float, ...]

    @property
    def parts(self) -> tuple[ContinuousResponse, ...]:
        """Each response by itself: patients without other responses are predicted by these."""
        own = zip(self.names, self.centres, self.scales, strict=True)
        return tuple(ContinuousResponse(name, centre, scale) for name, centre, scale in own)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Expected values at predictor 0, and sds of the noise."""
        return ("intercept", "noise_sd")

    @property
    def ratio(self) -> str:
        """Effects are differences of the outcome."""
        return ""

    @property
    def unit(self) -> Array:
        """Sds of the responses."""
        return np.array(self.scales)

    @property
    def labels(self) -> Labels:
        """An expected value of each response."""
        return EXPECTATION

    def coords(self) -> dict[str, Array]:
        """`response`."""
        return {"response": np.array(self.names)}

    def design(self, observed: Design) -> dict[str, NDArray[Any]]:
        """Values, 0 where missing, and where they are not."""
        known = ~np.isnan(observed["outcome"])
        return {"value": np.where(known, observed["outcome"], 0.0), "is_known": known.astype(np.float64)}

    def require_times(self, times: Sequence[float] | None) -> NDArray[Any]:
        """Refuse horizons; the columns of results are the responses."""
        refuse_times(times, "a continuous")
        return np.array(self.names)

    def is_beyond(self, times: NDArray[Any]) -> NDArray[np.bool_]:
        """Nothing lies beyond."""
        return nowhere_beyond(times)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Which responses each subject has, and the groups that share the K x K matrices of Woodbury's identity.

    Attributes
    ----------
    is_known
        (subject, response), 1 where measured.
    kinds
        The same of each of G groups, (group, response).
    roots
        R with R'R = V, of each group, (group, factor, factor).
    group
        Of each subject.
    """

    is_known: Tensor
    kinds: Tensor
    roots: Tensor
    group: Tensor


def log_density(
    xp: ModuleType, residual: Tensor, effects: Tensor, noise_sd: Tensor, cells: Cells, n_factors: int
) -> Tensor:
    """Log density of what each subject has of the responses, from K x K matrices alone.

    With W = diag(1 / noise_sd) B over the measured responses, V = R'R and M = I + R W'W R', Woodbury's identity gives
    log|B V B' + S| = log|M| + sum log noise_sd^2 and, for the residual e in units of noise, the square
    e'e - h'M^-1 h with h = R W'e.

    Parameters
    ----------
    xp
        numpy or pytensor.tensor.
    residual
        Outcome minus mean, (subject, response); anything where missing.
    effects
        B: (response, factor), or one for each group, (group, response, factor).
    noise_sd
        (response,).
    cells
        Who has what.
    n_factors
        How many there are, as a number.

    Returns
    -------
    Shape (subject,).
    """
    whitened = effects / noise_sd[:, None]
    error = cells.is_known * residual / noise_sd
    if effects.ndim == 2:
        outer = (whitened[:, :, None] * whitened[:, None, :]).reshape((-1, n_factors**2))
        inner = (cells.kinds @ outer).reshape((-1, n_factors, n_factors))
        pulled = error @ whitened
    else:
        inner = xp.swapaxes(cells.kinds[:, :, None] * whitened, 1, 2) @ whitened
        pulled = (error[:, :, None] * whitened[cells.group]).sum(axis=1)
    turned = xp.swapaxes(cells.roots, 1, 2)
    one = np.eye(n_factors)
    matrix = one + cells.roots @ inner @ turned
    root = xp.linalg.cholesky(matrix)
    log_determinant = 2.0 * xp.log((root * one).sum(axis=2)).sum(axis=1)
    pulled = (cells.roots[cells.group] * pulled[:, None, :]).sum(axis=2)
    explained = (pulled[:, None, :] @ xp.linalg.inv(matrix)[cells.group])[:, 0] * pulled
    scale = cells.is_known @ (_LOG_2PI + 2.0 * xp.log(noise_sd))
    return -0.5 * (scale + log_determinant[cells.group] + (error**2).sum(axis=1) - explained.sum(axis=1))


def find_cells(is_known: Array, profile: NDArray[np.intp], roots: Array) -> tuple[Cells, NDArray[np.intp]]:
    """Group subjects who have the same responses and the same profile.

    Parameters
    ----------
    is_known
        (subject, response).
    profile
        Of each subject.
    roots
        Of each profile, (profile, factor, factor).

    Returns
    -------
    The cells, and the profile of each group.
    """
    keys, group = np.unique(np.column_stack([profile, is_known]), axis=0, return_inverse=True)
    own = keys[:, 0].astype(np.intp)
    return Cells(is_known, keys[:, 1:], roots[own], group.ravel().astype(np.intp)), own


def score_draws(effects: Array, mean: Array, parameters: Mapping[str, Array], design: Design, cells: Cells) -> Array:
    """Log density of each subject under each draw, (draw, subject).

    Parameters
    ----------
    effects
        (draw, response, factor) or (draw, group, response, factor).
    mean
        Of the outcome beside the intercept, (draw, subject, response).
    """
    intercept, noise_sd = parameters["intercept"], parameters["noise_sd"]
    residual = design["value"] - intercept[:, None] - mean
    own = zip(residual, effects, noise_sd, strict=True)
    return np.stack([log_density(np, error, effect, sd, cells, effects.shape[-1]) for error, effect, sd in own])
