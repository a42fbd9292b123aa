"""Which features: the strongest loadings of a factor, with intervals, in one view or in all."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.explain import biomarkers
from mofa_bayes.plot.axes import BLUE, RED, clear_frame, new_axes, new_row
from mofa_bayes.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_loadings(
    post: Posterior,
    view: str,
    factor: str,
    *,
    n_features: int = 15,
    level: float = 0.95,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the loadings of one factor in one view that are largest in size, with their intervals.

    Parameters
    ----------
    post
        A posterior.
    view, factor
        Which loadings.
    n_features
        How many to draw.
    level
        Probability that an interval holds.
    ax
        Where to draw; a new figure when left out.
    """
    table = biomarkers(post, view, factors=[factor], level=level)
    table = table.reindex(table["mean"].abs().sort_values(ascending=False).index).head(n_features).iloc[::-1]
    place = np.arange(len(table))
    color = np.where(table["mean"] >= 0, BLUE, RED)
    ax = new_axes(ax, 4.2, 1.2 + 0.24 * len(table))
    ax.axvline(0, color="black", linewidth=0.8)
    ax.hlines(place, table["lower"], table["upper"], color=color, linewidth=1.6)
    ax.scatter(table["mean"], place, color=color, s=18, zorder=3)
    ax.set_yticks(place, table["feature"], fontsize=7)
    ax.set_xlabel(f"loading (model's scale), {level:.0%} interval", fontsize=8)
    ax.set_title(f"{view}: strongest loadings of {factor}", fontsize=9)
    clear_frame(ax)
    return ax


def plot_factor(post: Posterior, factor: str, *, n_features: int = 15, level: float = 0.95) -> "list[Axes]":
    """Draw the strongest loadings of one factor, a panel per view.

    Parameters
    ----------
    post
        A posterior.
    factor
        Which factor.
    n_features
        How many features to draw per view.
    level
        Probability that an interval holds.

    Returns
    -------
    The Axes of a new figure, one per view.
    """
    n_rows = max(min(n_features, len(post.features(view))) for view in post.views)
    panels = new_row(len(post.views), 4.2 * len(post.views), 1.2 + 0.24 * n_rows)
    return [
        plot_loadings(post, view, factor, n_features=n_features, level=level, ax=ax)
        for view, ax in zip(post.views, panels, strict=True)
    ]
