"""Features by factors: loadings of several factors at once, as tiles or against each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mofa_bayes.explain import summarise
from mofa_bayes.explain.summarise import require_aligned, require_factors
from mofa_bayes.plot.arguments import choose_number
from mofa_bayes.plot.axes import BLUE, GREY, add_scale, describe, draw_tiles, new_axes, plain
from mofa_bayes.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_loadings_heatmap(
    post: Posterior,
    view: str,
    *,
    factors: Sequence[str] | None = None,
    n_features: int = 5,
    level: float = 0.95,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw loadings of one view, features by factors, pale where the interval holds 0.

    Parameters
    ----------
    post
        A posterior.
    view
        Which view.
    factors
        Which factors; all when left out.
    n_features
        How many of the strongest features of each factor to draw; a feature of several is drawn once.
    level
        Probability that an interval holds.
    ax
        Where to draw; a new figure when left out.
    """
    mean, lower, upper = _summarise(post, view, factors, level)
    count = choose_number("n_features", n_features)
    strongest = [name for factor in mean.columns for name in mean[factor].abs().nlargest(count).index]
    rows = list(dict.fromkeys(strongest))
    pale = (lower.loc[rows] <= 0) & (upper.loc[rows] >= 0)
    ax = new_axes(ax, 2.4 + 0.42 * mean.shape[1], 1.3 + 0.2 * len(rows))
    tiles = draw_tiles(
        ax,
        mean.loc[rows].to_numpy(),
        rows=[plain(name) for name in rows],
        columns=list(mean.columns),
        signed=True,
        pale=pale.to_numpy(),
    )
    ax.set_title(f"{view}: strongest loadings of each factor\n(pale: {level:.0%} interval holds 0)", fontsize=9)
    add_scale(ax, tiles, "loading (model's scale)")
    return ax


def plot_loadings_scatter(
    post: Posterior,
    view: str,
    first: str,
    second: str,
    *,
    n_labels: int = 6,
    level: float = 0.95,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a view's loadings of two factors against each other, with intervals both ways, and name the strongest.

    Parameters
    ----------
    post
        A posterior.
    view, first, second
        Which view, and the factors of the horizontal and the vertical axis.
    n_labels
        How many of the strongest features to name.
    level
        Probability that an interval holds; features of which both intervals hold 0 are grey.
    ax
        Where to draw; a new figure when left out.
    """
    mean, lower, upper = _summarise(post, view, [first, second], level)
    is_sure = ((lower > 0) | (upper < 0)).any(axis=1)
    color = np.where(is_sure, BLUE, GREY)
    x, y = mean[first], mean[second]
    ax = new_axes(ax, 4.4, 4.0)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.hlines(y, lower[first], upper[first], color=color, alpha=0.35, linewidth=0.8)
    ax.vlines(x, lower[second], upper[second], color=color, alpha=0.35, linewidth=0.8)
    ax.scatter(x, y, s=10, color=color, zorder=3)
    for name in (x**2 + y**2).nlargest(choose_number("n_labels", n_labels)).index:
        ax.annotate(plain(name), (x[name], y[name]), (3, 3), textcoords="offset points", fontsize=6.5, zorder=4)
    describe(
        ax, x=f"loading of {first}", y=f"loading of {second}", title=f"{view}: loadings with {level:.0%} intervals"
    )
    return ax


def _summarise(
    post: Posterior, view: str, factors: Sequence[str] | None, level: float
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Mean and ends of the intervals of a view's loadings, features by factors, in the posterior's order."""
    require_aligned(post)
    chosen = require_factors(post, factors)
    table = summarise(post.loadings(view).sel(factor=chosen), level=level).set_index([f"feature_{view}", "factor"])
    rows = list(post.features(view))
    mean, lower, upper = (table[column].unstack("factor").loc[rows, chosen] for column in ("mean", "lower", "upper"))
    return mean, lower, upper
