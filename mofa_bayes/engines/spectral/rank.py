"""How many singular values of a view are more than noise: parallel analysis with deflation."""

from dataclasses import dataclass

import numpy as np

from mofa_bayes.engines.spectral.subspace import lead, top_of_noise
from mofa_bayes.engines.spectral.tables import Table
from mofa_bayes.engines.vi.packed import Array

N_PERMUTATIONS = 3
_MAX_ROUNDS = 8
_MARGIN = 4.5
_NOTHING = 1e-10
_LEAST_ROWS = 4


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What a view's singular values say.

    Attributes
    ----------
    vectors
        Left singular vectors of the factors found, (n, k).
    squares
        Squared singular values, as many as were looked at, falling.
    threshold
        Squared singular values above it are factors.
    """

    vectors: Array
    squares: Array
    threshold: float

    @property
    def n_factors(self) -> int:
        """Number of factors found."""
        return int(self.vectors.shape[1])


def find_spectrum(table: Table, limit: int, rng: np.random.Generator) -> Spectrum:
    """Count the factors of one view, `limit` at most.

    The largest singular value that noise could have is found by permuting every column on its own. Strong factors
    would hide weak ones, because their variance is permuted too and taken for noise; so the factors found are
    subtracted and the rest is permuted again, until no more are found (deflated parallel analysis: Dobriban and Owen
    2019, JRSS B 81:163).

    The threshold is the mean over few permutations plus 4.5 units of the Tracy-Widom law's scale (Johnstone 2001, Ann
    Stat 29:295): the distance of that law's mean, -1.21, from its 99.9 % quantile, 3.27. So three permutations do where
    a bare quantile would need hundreds; they leave the mean uncertain by 0.7 units, which is why the quantile is high.
    """
    n, n_features = table.values.shape
    if n < _LEAST_ROWS:
        return Spectrum(np.empty((n, 0)), np.zeros(1), np.inf)
    vectors, squares = lead(table, min(limit + 1, n - 1, n_features), rng)
    spread = _relative_scale(table)
    found, tops = 0, [np.inf]
    for _ in range(_MAX_ROUNDS):
        tops = [_draw_top(table, vectors[:, :found], rng)]
        more = _count(squares, np.mean(tops) * (1 + _MARGIN * spread), limit)
        if more <= found:
            break
        found = more
    tops += [_draw_top(table, vectors[:, :found], rng) for _ in range(N_PERMUTATIONS - 1)]
    threshold = float(np.mean(tops) * (1 + _MARGIN * spread))
    found = _count(squares, threshold, limit)
    return Spectrum(np.ascontiguousarray(vectors[:, :found]), squares, threshold)


def _count(squares: Array, threshold: float, limit: int) -> int:
    return int(np.sum(squares[:limit] > max(threshold, _NOTHING * squares[0])))


def _draw_top(table: Table, vectors: Array, rng: np.random.Generator) -> float:
    """Permute once. Subtracting k factors took their share of the noise as well; it is put back."""
    n, n_features = len(table.values) - 1, table.n_features
    k = vectors.shape[1]
    top = top_of_noise(table, vectors, rng.integers(2**63, dtype=np.uint64))
    if k >= min(n, n_features):
        return top
    left = (np.sqrt(n - k) + np.sqrt(n_features - k)) ** 2 / (np.sqrt(n) + np.sqrt(n_features)) ** 2
    return float(top * left * n * n_features / ((n - k) * (n_features - k)))


def _relative_scale(table: Table) -> float:
    """Scale of the largest squared singular value of noise, in units of its centre."""
    variances = np.square(table.values, dtype=np.float64).mean(axis=0)
    # Columns of unequal variance count as fewer columns of equal variance.
    n_features = variances.sum() ** 2 / max(np.square(variances).sum(), 1e-300)
    n = len(table.values) - 1
    return float((1 / np.sqrt(n) + 1 / np.sqrt(max(n_features, 1.0))) ** (1 / 3) / (np.sqrt(n) + np.sqrt(n_features)))
