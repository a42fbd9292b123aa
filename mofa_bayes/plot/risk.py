"""Whose risk: every patient's risk at one horizon with its interval, in order of risk."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.errors import DataError
from mofa_bayes.plot.axes import BLUE, clear_frame, new_axes
from mofa_bayes.risk import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_risk(scores: Scores, *, time: float | None = None, ax: "Axes | None" = None) -> "Axes":
    """Draw risks with intervals, patients from the lowest risk to the highest; identifiers are not shown.

    Parameters
    ----------
    scores
        Scores from `FittedRisk.predict`.
    time
        One of the horizons of `scores`; the first when left out.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        `time` is not a horizon of `scores`.
    """
    frame = scores.to_frame()
    horizons = frame["time"].drop_duplicates()
    chosen = horizons.iloc[0] if time is None else time
    if time is not None and chosen not in set(horizons):
        raise DataError(
            "time",
            got=repr(time),
            expected=f"one of {', '.join(f'{own:g}' for own in horizons)}",
            do="Ask predict for this horizon.",
        )
    own = frame if np.isnan(chosen) else frame[frame["time"] == chosen]
    own = own.sort_values("risk")
    place = np.arange(len(own))
    ax = new_axes(ax, 6.0, 3.2)
    ax.vlines(place, own["lower"], own["upper"], color=BLUE, alpha=0.35, linewidth=1.2)
    ax.scatter(place, own["risk"], color=BLUE, s=6, zorder=3)
    ax.set_ylim(0, 1)
    ax.set_xlabel("patients, by risk", fontsize=8)
    ax.set_ylabel("risk" if np.isnan(chosen) else f"risk by time {chosen:g}", fontsize=8)
    ax.set_title(f"Risk with its {scores.level:.0%} interval (of the estimate, not of the outcome)", fontsize=9)
    clear_frame(ax)
    return ax
