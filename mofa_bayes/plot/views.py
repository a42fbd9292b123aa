"""What was seen: which subjects have which views, and how much of each."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.plot.axes import clear_frame, color_of, new_axes, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_views(views: MultiView, *, ax: "Axes | None" = None) -> "Axes":
    """Draw a tile for each subject and view: grey where the view is absent, pale where entries are missing.

    Subjects are in order of group, and in it of which views they have; identifiers are not shown.

    Parameters
    ----------
    views
        A cohort.
    ax
        Where to draw; a new figure when left out.
    """
    from matplotlib.colors import to_rgb

    names = views.names
    seen = np.array([np.mean(~np.isnan(views[view].values), axis=1) for view in names])
    groups = np.full(views.n_subjects, "") if views.groups is None else views.groups.values.astype(str)
    order = np.lexsort((*(-seen[::-1]), *(seen[::-1] == 0), groups))
    seen, groups = seen[:, order], groups[order]
    color = np.array([to_rgb(color_of(number)) for number in range(len(names))])[:, None]
    strength = np.where(seen > 0, 0.25 + 0.75 * seen, 0.0)[..., None]
    tiles = np.where(strength > 0, strength * color + (1 - strength), 0.88)
    ax = new_axes(ax, 6.0, 1.0 + 0.55 * len(names))
    ax.imshow(tiles, aspect="auto", interpolation="none")
    labels = [
        f"{plain(view)}\nN = {np.count_nonzero(own)}, D = {len(views.features(view))}"
        for view, own in zip(names, seen, strict=True)
    ]
    ax.set_yticks(range(len(names)), labels, fontsize=8)
    ax.hlines(np.arange(1, len(names)) - 0.5, -0.5, len(order) - 0.5, color="white", linewidth=3)
    starts = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
    if views.groups is None:
        ax.set_xticks([])
    else:
        ends = np.append(starts[1:], len(groups))
        ax.vlines(starts[1:] - 0.5, -0.5, len(names) - 0.5, color="black", linewidth=1)
        sizes = [f"{plain(groups[s])}\nN = {e - s}" for s, e in zip(starts, ends, strict=True)]
        ax.set_xticks((starts + ends - 1) / 2, sizes, fontsize=8)
    ax.set_xlabel(f"{views.n_subjects} subjects", fontsize=8)
    ax.set_title("Who has which view (grey: absent; pale: entries missing)", fontsize=9)
    clear_frame(ax)
    for side in ax.spines.values():
        side.set_visible(False)
    return ax
