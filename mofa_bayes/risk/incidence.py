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
    from mofa_bayes.risk.incidence_kernel import sum_over

    shape = predictors[0].shape
    ratios = np.exp(np.stack([predictor.reshape(shape[0], -1) for predictor in predictors], axis=-1))
    rises = np.diff(np.stack(cumulative, axis=-1), axis=1, prepend=0.0)
    incidence: Array = sum_over(rises, ratios, stops)
    return incidence.reshape(*shape, len(stops), len(predictors))
