"""How the fit went: its bound by iteration, and whether several starts found the same."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.plot.axes import BLUE, RED, add_legend, add_scale, describe, draw_tiles, new_axes
from mofa_bayes.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_bound(post: Posterior, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the evidence lower bound by iteration; it never falls but where factors are dropped, which is marked.

    Parameters
    ----------
    post
        A posterior of engine vi.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    FitError
        The engine has no bound.
    """
    bound = post.bound
    iteration = bound["iteration"].values
    n_factors = post.tree.children["fit"].to_dataset()["n_factors"].values
    ax = new_axes(ax, 4.8, 3.0)
    ax.plot(iteration, bound.values, color=BLUE, linewidth=1.4, marker="o" if len(iteration) == 1 else None)
    dropped = np.flatnonzero(np.diff(n_factors) < 0) + 1
    label = "factors dropped"
    for place in dropped:
        ax.axvline(iteration[place], color=RED, linewidth=0.9, linestyle="--", label=label)
        label = ""
    if len(iteration) > 100:
        ax.set_xscale("log")
    # The first steps rise so far that the end would look flat whatever it did.
    start = bound.values[min(len(iteration) // 20, len(iteration) - 1)]
    span = max(float(bound.values.max() - start), 1e-9)
    ax.set_ylim(start - 0.05 * span, bound.values.max() + 0.05 * span)
    ax.ticklabel_format(axis="y", useOffset=False, style="plain")
    last = f"{bound.values[-1]:,.1f}"
    describe(ax, x="iteration", y="bound, nats", title=f"Bound: {last} after {iteration[-1]} iterations")
    add_legend(ax, place="lower right")
    return ax


def plot_starts(post: Posterior, *, ax: "Axes | None" = None) -> "Axes":
    """Draw how well each start found the factors that were kept, the start of the highest bound on top.

    A factor that only some starts find is not to be trusted.

    Parameters
    ----------
    post
        A posterior of engine vi, fitted with `mb.Ascent(n_starts=...)`.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    FitError
        The engine has no starts.
    """
    table = post.starts
    match = table[list(post.factor_names)].to_numpy(dtype=np.float64)
    behind = table["bound"].max() - table["bound"]
    rows = [
        f"start {start}: {'best' if gap == 0 else f'{gap:,.1f} nats lower'}, {count} factors"
        for start, gap, count in zip(table.index, behind, table["n_factors"], strict=True)
    ]
    ax = new_axes(ax, 3.2 + 0.45 * match.shape[1], 1.2 + 0.3 * len(rows))
    texts = np.array([[f"{value:.2f}" for value in row] for row in match])
    tiles = draw_tiles(ax, match, rows=rows, columns=list(post.factor_names), largest=1.0, texts=texts)
    ax.set_title("Largest |correlation| with a factor of each start", fontsize=9)
    add_scale(ax, tiles, "|correlation|")
    return ax
