"""Sharing: in which views a factor is active, and how sure that is."""

import numpy as np
import pandas as pd

from mofa_bayes.explain.summarise import require_aligned, require_share
from mofa_bayes.explain.variance import variance_explained
from mofa_bayes.posterior import Posterior

KINDS = ("shared", "partly_shared", "specific", "inactive")


def sharing(post: Posterior, *, min_variance: float = 0.01) -> pd.DataFrame:
    """Say of each factor whether all views, several or one express it.

    Parameters
    ----------
    post
        A posterior.
    min_variance
        A factor is active in a view, in a draw, when it alone explains at least this share of the view's variance
        there.

    Returns
    -------
    One row per factor: `kind` (shared by all views, partly_shared by at least two, specific to one, inactive),
    `probability` of that kind, `views` (the most probable set, joined by +), `views_probability`, and `active_<view>`,
    the probability that the factor is active in each view. With a single view, an active factor is specific.

    Raises
    ------
    DataError
        `min_variance` is not in (0, 1).
    """
    require_aligned(post)
    require_share("min_variance", min_variance, "0.01 stands for 1 % of a view.")
    alone = variance_explained(post)["alone"].stack(point=("chain", "draw")).transpose("factor", "point", "view")
    is_active = alone.values >= min_variance
    rows = [_describe(name, own, post.views) for name, own in zip(post.factor_names, is_active, strict=True)]
    return pd.DataFrame(rows).set_index("factor")


def _describe(factor: str, is_active: np.ndarray, views: tuple[str, ...]) -> dict[str, object]:
    count = is_active.sum(axis=1)
    kind = np.where(count == 0, 3, np.where(count == 1, 2, np.where(count == len(views), 0, 1)))
    probabilities = np.bincount(kind, minlength=len(KINDS)) / len(kind)
    sets, counts = np.unique(is_active, axis=0, return_counts=True)
    likely = sets[counts.argmax()]
    return {
        "factor": factor,
        "kind": KINDS[int(probabilities.argmax())],
        "probability": float(probabilities.max()),
        "views": "+".join(view for view, active in zip(views, likely, strict=True) if active),
        "views_probability": float(counts.max() / len(is_active)),
        **{f"active_{view}": float(p) for view, p in zip(views, is_active.mean(axis=0), strict=True)},
    }
