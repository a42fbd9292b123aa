"""Precision: what the prior and each view know of a patient's factors, in every draw."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.explain.summarise import require_aligned
from mofa_bayes.explain.variance import residual_variance
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.matching import in_chunks

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """Precision of factors that the prior and each view give in each draw, all (S, K, K)."""

    prior: Array
    views: dict[str, Array]

    @classmethod
    def read(cls, post: Posterior) -> "Contributions":
        """Compute W' S^-1 W of every view and draw."""
        require_aligned(post)
        draws = post.factors()
        n_draws, n_factors = draws.sizes["chain"] * draws.sizes["draw"], len(post.factor_names)
        views = {}
        for view in post.views:
            loadings = post.loadings(view).transpose("chain", "draw", ..., "factor").values
            loadings = loadings.reshape(n_draws, -1, n_factors)
            noise = residual_variance(post, view).reshape(n_draws, -1)
            found = np.empty((n_draws, n_factors, n_factors))
            for chunk in in_chunks(loadings):
                w = loadings[chunk].astype(np.float64)
                found[chunk] = np.swapaxes(w, 1, 2) @ (w / noise[chunk, :, None])
            views[view] = found
        return cls(_prior_precision(post, n_draws), views)

    def covariance(self, present: Sequence[str]) -> Array:
        """Covariance of the factors of a patient who has some views, (S, K, K)."""
        return np.linalg.inv(self.prior + sum(self.views[view] for view in present))

    def variance_along(self, b: Array, present: Sequence[str], chosen: NDArray[np.intp]) -> Array:
        """Variance b' V b along directions (S', K) and the draws paired with them, (S',)."""
        return np.asarray(np.einsum("sk,skl,sl->s", b, self.covariance(present)[chosen], b))

    def variance_of_subjects(self, post: Posterior) -> Array:
        """Variance of each subject's factors given the loadings, averaged over draws, (N, K)."""
        has = np.stack([post.has_view(view).values for view in self.views], axis=1)
        found = np.empty((len(has), self.prior.shape[1]))
        for pattern in np.unique(has, axis=0):
            present = [view for view, own in zip(self.views, pattern, strict=True) if own]
            own = self.covariance(present).mean(axis=0)
            found[(has == pattern).all(axis=1)] = np.diagonal(own)
        return found

    def patterns(self, post: Posterior) -> dict[tuple[str, ...], int]:
        """Count the subjects of each pattern of views."""
        found = Counter(zip(*(post.has_view(view).values for view in post.views), strict=True))
        return {
            tuple(view for view, present in zip(post.views, pattern, strict=True) if present): count
            for pattern, count in found.most_common()
        }


def _prior_precision(post: Posterior, n_draws: int) -> Array:
    """Prior precision of factors, averaged over the subjects' groups, (S, K, K)."""
    precision = np.ones((n_draws, len(post.factor_names)))
    draws = post.tree.children["posterior"].to_dataset()
    if "factor_precision" in draws:
        own = draws["factor_precision"]
        groups = post.groups().values
        weights = xr.DataArray([(groups == name).mean() for name in own["group"].values], dims="group")
        mean = 1 / (weights / own).sum("group")
        precision = mean.transpose("chain", "draw", "factor").values.reshape(n_draws, -1).astype(np.float64)
    return precision[:, :, None] * np.eye(precision.shape[1])
