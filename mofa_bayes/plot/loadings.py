"""Which features: the loadings of a factor with their intervals, in one view or in all."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.explain import biomarkers
from mofa_bayes.plot.arguments import choose_number
from mofa_bayes.plot.axes import BLUE, GREY, RED, add_legend, color_of, describe, new_axes, new_row, plain
from mofa_bayes.posterior import Posterior

if TYPE_CHECKING:
    import pandas as pd
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
    table = table.reindex(table["mean"].abs().sort_values(ascending=False).index)
    table = table.head(choose_number("n_features", n_features)).iloc[::-1]
    place = np.arange(len(table))
    color = np.where(table["mean"] >= 0, BLUE, RED)
    ax = new_axes(ax, 4.2, 1.2 + 0.24 * len(table))
    ax.axvline(0, color="black", linewidth=0.8)
    ax.hlines(place, table["lower"], table["upper"], color=color, linewidth=1.6)
    ax.scatter(table["mean"], place, color=color, s=18, zorder=3)
    ax.set_yticks(place, [plain(name) for name in table["feature"]])
    title = f"{plain(view)}: strongest loadings of {factor}"
    describe(ax, x=f"loading (model's scale), {level:.0%} interval", title=title)
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


def plot_loadings_ranked(
    post: Posterior,
    view: str,
    factor: str,
    *,
    n_labels: int = 8,
    level: float = 0.95,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw every loading of one factor in one view in order of its value, with intervals, and name the strongest.

    Parameters
    ----------
    post
        A posterior.
    view, factor
        Which loadings.
    n_labels
        How many of the largest in size to name.
    level
        Probability that an interval holds; those that hold 0 are grey.
    ax
        Where to draw; a new figure when left out.
    """
    table = biomarkers(post, view, factors=[factor], level=level).sort_values("mean").reset_index(drop=True)
    is_sure = (table["lower"] > 0) | (table["upper"] < 0)
    color = np.where(is_sure, np.where(table["mean"] >= 0, BLUE, RED), GREY)
    ax = new_axes(ax, 5.2, 3.4)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.vlines(table.index, table["lower"], table["upper"], color=color, alpha=0.5, linewidth=0.9)
    ax.scatter(table.index, table["mean"], s=8, color=color, zorder=3)
    strongest = table["mean"].abs().nlargest(choose_number("n_labels", n_labels)).index
    _name_strongest(ax, table.loc[strongest].sort_index(), len(table))
    ax.set_xticks([])
    sure = f"{is_sure.sum()} of {len(table)} intervals exclude 0"
    title = f"{view}: loadings of {factor}; {sure}"
    describe(ax, x="features, in order", y=f"loading (model's scale), {level:.0%} interval", title=title)
    return ax


def plot_top_features(
    post: Posterior,
    factor: str,
    *,
    n_features: int = 20,
    fdr: float | None = None,
    min_effect: float | None = None,
    level: float = 0.95,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the features of all views that carry a factor most surely, with their probability of doing so.

    Loadings of different likelihoods are on different scales, so that features are ordered by how sure they are, and by
    size among those that are equally sure.

    Parameters
    ----------
    post
        A posterior.
    factor
        Which factor.
    n_features
        How many to draw at most.
    fdr
        Draw only features of a list with at most this expected share of false discoveries.
    min_effect
        Size that a loading must have to count, as in `biomarkers`.
    level
        Probability that an interval holds.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        The factor is unknown, or a number is not one that `biomarkers` takes.
    """
    table = biomarkers(post, factors=[factor], fdr=fdr, min_effect=min_effect, level=level)
    shown = table.head(choose_number("n_features", n_features)).iloc[::-1].reset_index(drop=True)
    ax = new_axes(ax, 4.8, 1.3 + 0.24 * max(len(shown), 1))
    ax.axvline(0, color="black", linewidth=0.8)
    for number, view in enumerate(post.views):
        own = shown[shown["view"] == view]
        if own.empty:
            continue
        ax.hlines(own.index, own["lower"], own["upper"], color=color_of(number), linewidth=1.6)
        ax.scatter(own["mean"], own.index, color=color_of(number), s=18, zorder=3, label=plain(view))
    for place, error in enumerate(shown["local_fdr"]):
        text = "> 0.99" if error < 0.005 else "" if np.isnan(error) else f"{1 - error:.2f}"
        ax.text(1.01, place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=6.5)
    ax.set_yticks(shown.index, [plain(name) for name in shown["feature"]])
    kept = "" if fdr is None else f"; {len(table)} at {100 * fdr:g}% false discoveries"
    what = "no feature" if shown.empty else "surest features"
    describe(ax, x=f"loading (model's scale), {level:.0%} interval", title=f"{factor}: {what} of all views{kept}")
    ax.text(1.01, -0.01, "probability", transform=ax.transAxes, fontsize=6.5, va="top")
    add_legend(ax)
    return ax


def _name_strongest(ax: "Axes", named: "pd.DataFrame", n_features: int) -> None:
    """Write names beside the ends of a ranked curve, one under the other so that none covers the next."""
    low, high = ax.get_ylim()
    for is_upper in (True, False):
        own = named[(named["mean"] >= 0) == is_upper]
        own = own.iloc[::-1] if is_upper else own
        # From the edge towards 0, which is where the curve passes under the names.
        step = min(0.065 * (high - low), 0.9 * abs(high if is_upper else low) / max(len(own), 1))
        for number, (place, row) in enumerate(own.iterrows()):
            edge = high - step * (number + 0.5) if is_upper else low + step * (number + 0.5)
            ax.annotate(
                plain(row["feature"]),
                xy=(place, row["mean"]),
                xytext=(n_features * (0.62 if is_upper else 0.38), edge),
                ha="right" if is_upper else "left",
                va="center",
                fontsize=6.5,
                arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.5},
            )
    ax.set_ylim(low, high)
