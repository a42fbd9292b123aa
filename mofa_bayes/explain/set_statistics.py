"""Statistics of sets of features, in against out: pure array code over draws of loadings."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

Array = NDArray[np.float64]
Sign = Literal["all", "positive", "negative", "signed"]
Statistic = Literal["mean", "rank"]
SIGNS = ("all", "positive", "negative", "signed")
STATISTICS = ("mean", "rank")


def take_part(loadings: NDArray[np.floating], sign: Sign) -> Array:
    """Take what counts of a loading: its size (`all`), its `positive` or `negative` part, or itself (`signed`)."""
    w = loadings.astype(np.float64)
    if sign == "all":
        return np.abs(w)
    return w if sign == "signed" else np.maximum(w if sign == "positive" else -w, 0.0)


def score_ranks(values: Array) -> Array:
    """Give normal scores to ranks over the features, (..., D, K); ties, which sparse loadings have, share a mean rank.

    Phi^-1((r - 1/2) / D); van der Waerden's scores up to the convention.
    """
    scores: Array = ndtri((rankdata(values, axis=-2) - 0.5) / values.shape[-2])
    return scores


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Mean in the set minus mean outside it (..., S, K), and the two terms of its variance.

    Attributes
    ----------
    difference
        Of the means.
    variance
        Of a feature's value around the mean of its side, pooled, (..., S, K).
    sizes
        m (S,), of D features.
    n_features
        D.
    """

    difference: Array
    variance: Array
    sizes: NDArray[np.intp]
    n_features: int

    def error(self, inflation: Array | float = 1.0) -> Array:
        """Compute the standard error sqrt(s^2 (f / m + 1 / (D - m))); f (S,) inflates the variance of a set's mean."""
        inside = np.broadcast_to(inflation, self.sizes.shape) / self.sizes
        by_size = (inside + 1 / (self.n_features - self.sizes))[:, None]
        return np.sqrt(self.variance * by_size)


def compare_sets(values: Array, members: NDArray[np.bool_]) -> Differences:
    """Compare features in sets with those outside; values (..., D, K) and members (S, D)."""
    sizes, n_features = members.sum(axis=1), members.shape[1]
    weights = members.astype(np.float64)
    inside, square = weights @ values, weights @ np.square(values)
    total, total_square = (own.sum(axis=-2, keepdims=True) for own in (values, np.square(values)))
    m = sizes[:, None]
    mean_in, mean_out = inside / m, (total - inside) / (n_features - m)
    within = square - m * np.square(mean_in)
    within += total_square - square - (n_features - m) * np.square(mean_out)
    return Differences(mean_in - mean_out, np.maximum(within, 0.0) / (n_features - 2), sizes, n_features)


def compare_ranks(values: Array, members: NDArray[np.bool_], correlation: Array) -> Array:
    """Compare ranks in sets with those outside: z of Wilcoxon's statistic among correlated features; (D, K) to (S, K).

    With U the number of pairs (in, out) where the feature in the set is the larger, any two of the indicators have the
    covariance asin(r) / 2 pi, r being the correlation of their normal differences: 1 for the same pair, 1/2 for the
    same feature inside, (1 + c) / 2 for the same outside, c / 2 for none in common, c being the correlation within the
    set (Barry, Nobel and Wright 2008, Ann Appl Stat 2:286). Ties lower the variance by their usual share.
    """
    n_features = values.shape[0]
    inside = members.sum(axis=1)
    outside = n_features - inside
    ranks = rankdata(values, axis=0)
    wins = members.astype(np.float64) @ ranks - (inside * (inside + 1) / 2)[:, None]
    variance = np.arcsin(1.0) + np.arcsin(0.5) * (outside - 1)
    variance = variance + np.arcsin((1 + correlation) / 2) * (inside - 1)
    variance = (variance + np.arcsin(correlation / 2) * (inside - 1) * (outside - 1)) * inside * outside / (2 * np.pi)
    counts = [np.unique(column, return_counts=True)[1] for column in values.T]
    ties = np.array([(c * (c**2 - 1.0)).sum() for c in counts]) / (n_features * (n_features**2 - 1.0))
    spread = np.sqrt(variance[:, None] * np.maximum(1 - ties, 1e-12))
    return np.asarray((wins - (inside * outside / 2)[:, None]) / spread)
