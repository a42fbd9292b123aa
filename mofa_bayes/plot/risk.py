"""Whose risk: what is predicted of every patient, with its interval, in order."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.errors import DataError
from mofa_bayes.plot.axes import BLUE, describe, new_axes, plain
from mofa_bayes.risk import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_risk(scores: Scores, *, time: float | str | None = None, ax: "Axes | None" = None) -> "Axes":
    """Draw risks with intervals, patients from the lowest risk to the highest; identifiers are not shown.

    Of outcomes other than events, probabilities of a category or expected values are drawn in the same way.

    Parameters
    ----------
    scores
        Scores from `FittedRisk.predict`.
    time
        One of the horizons of `scores`, or of its categories or responses; the first when left out.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        `scores` have no such horizon, category or response, or are of several competing causes.
    """
    scores.require_one_cause()
    frame, (dim, estimate) = scores.to_frame(), (scores.labels.dim, scores.labels.estimate)
    places = list(frame[dim].drop_duplicates())
    chosen = places[0] if time is None else time
    if time is not None and chosen not in places:
        raise DataError(
            dim,
            got=repr(time),
            expected=f"one of {', '.join(_name(own) for own in places)}",
            do=f"Ask predict for this {'horizon' if dim == 'time' else dim}.",
        )
    # Binary outcomes have one time, which is NaN and equal to nothing.
    own = frame if len(places) == 1 else frame[frame[dim] == chosen]
    own = own.sort_values(estimate)
    place = np.arange(len(own))
    ax = new_axes(ax, 6.0, 3.2)
    ax.vlines(place, own["lower"], own["upper"], color=BLUE, alpha=0.35, linewidth=1.2)
    ax.scatter(place, own[estimate], color=BLUE, s=6, zorder=3, clip_on=False)
    if estimate != "predicted":
        ax.set_ylim(0, 1)
    what = {"time": "risk by time", "category": "probability of"}.get(dim, estimate)
    title = f"{estimate.capitalize()} with its {scores.level:.0%} interval (of the estimate, not of the outcome)"
    y = "risk" if chosen != chosen else f"{what} {_name(chosen)}"
    describe(ax, x=f"patients, by {estimate}", y=y, title=title)
    return ax


def _name(place: object) -> str:
    return f"{place:g}" if isinstance(place, float) else plain(place)
