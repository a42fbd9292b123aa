"""Is it calibrated: ranks of truths against what uniform ranks would show, and how often intervals hold."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.checking import Calibration
from mofa_bayes.checking.replicate import N_RANKS
from mofa_bayes.plot.axes import add_legend, color_of, describe, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_ranks(calibration: Calibration, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the distribution function of the ranks of each quantity, less that of uniform ranks.

    A line that rises and falls like a hill comes from truths that lie too low among draws; an S from intervals that
    are too narrow, first above and then below. The band holds 95 % at each point (Säilynoja, Bürkner and Vehtari 2022,
    Stat Comput 32:32, who also give simultaneous bands).

    Parameters
    ----------
    calibration
        What `mb.check_calibration` returned.
    ax
        Where to draw; a new figure when left out.
    """
    ax = new_axes(ax, 5.6, 3.4)
    uniform = np.arange(1, N_RANKS + 2) / (N_RANKS + 1)
    half = 1.96 * np.sqrt(uniform * (1 - uniform) / max(calibration.n_replicates, 1))
    ax.fill_between(uniform, -half, half, color="0.9", zorder=0)
    ranks = calibration.ranks
    for number, (quantity, own) in enumerate(ranks.groupby("quantity", sort=False)):
        for which, entry in own.groupby("which"):
            n_draws = entry["n_draws"].max()
            place = np.arange(1, n_draws + 2) / (n_draws + 1)
            below = np.sort((entry["rank"] + 1) / (entry["n_draws"] + 1))
            share = np.searchsorted(below, place, side="right") / len(entry)
            label = str(quantity) if which == 0 else None
            ax.plot(place, share - place, color=color_of(number), linewidth=1.1, label=label)
    title = f"{calibration.engine}: ranks over {calibration.n_replicates} replicates, with 95% band"
    x, y = "rank of the truth among draws, as a share", "share of replicates below, less uniform"
    describe(ax, x=x, y=y, title=title)
    add_legend(ax)
    return ax


def plot_coverage(calibration: Calibration, *, ax: "Axes | None" = None) -> "Axes":
    """Draw how often central intervals held the truth, less what they promise, with 95 % limits of the measurement.

    Below 0 intervals are too narrow, above it too wide.

    Parameters
    ----------
    calibration
        What `mb.check_calibration` returned.
    ax
        Where to draw; a new figure when left out.
    """
    table = calibration.table
    ax = new_axes(ax, 5.0, 3.2)
    ax.axhline(0, color="black", linewidth=0.8)
    quantities = table.groupby("quantity", sort=False)
    for number, (quantity, own) in enumerate(quantities):
        # Beside each other, or the limits of one would hide those of the next.
        place = 100 * own["level"] + 0.8 * (number - (len(quantities) - 1) / 2)
        miss, half = 100 * (own["coverage"] - own["level"]), 196 * own["se"].fillna(0.0)
        color = color_of(number)
        ax.vlines(place, miss - half, miss + half, color=color, linewidth=1.4)
        ax.scatter(place, miss, color=color, s=16, label=str(quantity).replace("_", " "), zorder=3)
    ax.set_xticks(sorted(100 * table["level"].unique()))
    title = f"{calibration.engine}: coverage over {calibration.n_replicates} replicates, with 95 % limits"
    describe(ax, x="level of the interval, %", y="covered, percentage points\nabove the level", title=title)
    add_legend(ax)
    return ax
