"""Is it calibrated: ranks of truths against what uniform ranks would show."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.checking import Calibration
from mofa_bayes.checking.replicate import N_RANKS
from mofa_bayes.plot.axes import clear_frame, new_axes

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
            ax.plot(place, share - place, color=f"C{number}", linewidth=1.1, label=label)
    ax.set_xlabel("rank of the truth among draws, as a share", fontsize=8)
    ax.set_ylabel("share of replicates below, less uniform", fontsize=8)
    ax.set_title(f"{calibration.engine}: ranks over {calibration.n_replicates} replicates", fontsize=9)
    ax.legend(fontsize=7, frameon=False)
    clear_frame(ax)
    return ax
