"""Compiled kernel of cumulative incidences: one pass over time for each draw and place, with nothing kept of it."""

import numba
import numpy as np
from numpy.typing import NDArray

from mofa_bayes.risk.response import Array

_TINY = 1e-300


@numba.njit(cache=True, nogil=True)
def sum_over(rises: Array, ratios: Array, stops: NDArray[np.intp]) -> Array:  # pragma: no cover
    """Sum incidences over a grid of stretches in pairs, by the formula of `sum_incidences`.

    Parameters
    ----------
    rises
        Of each cause's cumulative hazard over each stretch, (draw, stretch, cause).
    ratios
        Hazard ratio of each cause, (draw, place, cause).
    stops
        Last stretches before the horizons.

    Returns
    -------
    (draw, place, time, cause).
    """
    n_draws, n_places, n_causes = ratios.shape
    incidence = np.empty((n_draws, n_places, len(stops), n_causes))
    fine, coarse = np.empty(n_causes), np.empty(n_causes)
    first, pair = np.empty(n_causes), np.empty(n_causes)
    for s in range(n_draws):
        for n in range(n_places):
            fine[:], coarse[:] = 0.0, 0.0
            survival, g = 1.0, 0
            for t in range(len(stops)):
                while g < stops[t]:
                    # two stretches: each by itself for the finer grid, both together for the coarser
                    whole_first, whole = 0.0, 0.0
                    for c in range(n_causes):
                        first[c] = rises[s, g, c] * ratios[s, n, c]
                        pair[c] = first[c] + rises[s, g + 1, c] * ratios[s, n, c]
                        whole_first += first[c]
                        whole += pair[c]
                    middle = survival * np.exp(-whole_first)
                    end = survival * np.exp(-whole)
                    by_first = (survival - middle) / max(whole_first, _TINY)
                    by_second = (middle - end) / max(whole - whole_first, _TINY)
                    by_pair = (survival - end) / max(whole, _TINY)
                    for c in range(n_causes):
                        fine[c] += by_first * first[c] + by_second * (pair[c] - first[c])
                        coarse[c] += by_pair * pair[c]
                    survival = end
                    g += 2
                for c in range(n_causes):
                    incidence[s, n, t, c] = min(max((4.0 * fine[c] - coarse[c]) / 3.0, 0.0), 1.0)
    return incidence
