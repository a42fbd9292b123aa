"""Compiled kernel of the concordance: pairs counted in O(n log n) for each replicate."""

import numba
import numpy as np
from numpy.typing import NDArray

from mofa_bayes.risk.metrics.checks import Array


@numba.njit(cache=True, nogil=True)
def count_pairs(
    rank: NDArray[np.int64],
    event_weight: Array,
    pair_weight: Array,
    is_event: NDArray[np.bool_],
    starts: NDArray[np.int64],
) -> Array:  # pragma: no cover
    """Weigh concordant pairs, ties of risk as one half, and all comparable pairs.

    Subjects come from the latest time to the earliest. A Fenwick tree over ranks holds the weight of those who are
    known to outlive the subject at hand: at each time first the censored enter, then events ask, then they enter too.

    Parameters
    ----------
    rank
        Dense ranks of the risk from 0, (1 or R, n).
    event_weight, pair_weight
        Weight of a subject as the one with the event, and as the one who outlives it, (1 or R, n).
    is_event
        (n,).
    starts
        First subject of each distinct time, then n.

    Returns
    -------
    (R, 2): concordant, comparable.
    """
    n = is_event.shape[0]
    n_replicates = max(rank.shape[0], event_weight.shape[0], pair_weight.shape[0])
    sums = np.zeros((n_replicates, 2))
    for r in range(n_replicates):
        own = rank[r % rank.shape[0]]
        asks = event_weight[r % event_weight.shape[0]]
        outlives = pair_weight[r % pair_weight.shape[0]]
        tree = np.zeros(n + 1)
        total = 0.0
        for g in range(starts.shape[0] - 1):
            for turn in range(3):
                for i in range(starts[g], starts[g + 1]):
                    if turn == 1 and is_event[i]:
                        below = 0.0
                        k = own[i]
                        while k > 0:
                            below += tree[k]
                            k -= k & -k
                        up_to = 0.0
                        k = own[i] + 1
                        while k > 0:
                            up_to += tree[k]
                            k -= k & -k
                        sums[r, 0] += asks[i] * 0.5 * (below + up_to)
                        sums[r, 1] += asks[i] * total
                    elif (turn == 0 and not is_event[i]) or (turn == 2 and is_event[i]):
                        total += outlives[i]
                        k = own[i] + 1
                        while k <= n:
                            tree[k] += outlives[i]
                            k += k & -k
    return sums
