"""Cumulative incidences: the probability of each of several causes by a time, from their cumulative hazards."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.risk.response import Array


def place_grid(times: Array, breaks: Sequence[float] | Array) -> tuple[Array, NDArray[np.intp]]:
    """Place the grid on which incidences are summed.

    Parameters
    ----------
    times
        Increasing horizons, (time,).
    breaks
        Times between which the ratio of hazards is constant, or smooth.

    Returns
    -------
    Increasing times above 0 up to the last horizon, an even number; and the positions of the horizons. The stretch
    before each second point is cut in two by the one before it.
    """
    coarse = np.unique(np.concatenate([times, [point for point in breaks if 0 < point < times[-1]]]))
    middle = (np.concatenate([[0.0], coarse[:-1]]) + coarse) / 2
    grid = np.stack([middle, coarse], axis=1).ravel()
    return grid, 2 * np.searchsorted(coarse, times) + 1


def sum_incidences(cumulative: Sequence[Array], predictors: Sequence[Array], stops: NDArray[np.intp]) -> Array:
    """Sum the incidence of each cause over a grid.

    Between two points let each cause's share of the whole hazard be constant: then its share of the whole incidence is
    Lambda_c / Lambda, the rises of its own and of the whole cumulative hazard,

        P(cause c in (s, t]) = (S(s) - S(t)) Lambda_c(s, t) / Lambda(s, t).

    This is exact for hazards in steps, and for proportional ones of any form; elsewhere its error falls with the square
    of the stretch. Two grids, of which one has half the stretches, take that order away (Richardson: 4/3 of the finer
    less 1/3 of the coarser). Incidences of all causes and S add up to 1, whatever the grid.

    Parameters
    ----------
    cumulative
        H0 of each of C causes at the G points of `place_grid`, (draw, point).
    predictors
        Log hazard ratio of each cause, (draw, subject, node).
    stops
        Positions of the T horizons.

    Returns
    -------
    Shape (draw, subject, node, time, cause).
    """
    ratios = [np.exp(predictor)[..., None] for predictor in predictors]
    fine = _sum_over(cumulative, ratios, np.arange(cumulative[0].shape[1]), stops)
    coarse = _sum_over(cumulative, ratios, np.arange(1, cumulative[0].shape[1], 2), (stops - 1) // 2)
    incidence: Array = np.clip((4 * fine - coarse) / 3, 0.0, 1.0)
    return incidence


def _sum_over(
    cumulative: Sequence[Array], ratios: Sequence[Array], points: NDArray[np.intp], stops: NDArray[np.intp]
) -> Array:
    """Incidences by a grid of some of the points, and no more than that."""
    rises = [
        np.diff(own[:, points], axis=1, prepend=0.0)[:, None, None, :] * ratio
        for own, ratio in zip(cumulative, ratios, strict=True)
    ]
    whole = np.sum(rises, axis=0)
    survival = np.exp(-np.cumsum(whole, axis=-1))
    events = -np.diff(survival, axis=-1, prepend=1.0)
    share = events / np.maximum(whole, 1e-300)
    starts = np.concatenate([[0], stops[:-1] + 1])
    parts = [np.add.reduceat(own * share, starts, axis=-1)[..., : len(stops)] for own in rises[:-1]]
    firsts = [np.cumsum(part, axis=-1) for part in parts]
    last = 1.0 - survival[..., stops] - np.sum(firsts, axis=0)
    return np.stack([*firsts, last], axis=-1)
