"""What explains what: variance explained per view and factor."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.explain import summarise, variance_explained
from mofa_bayes.plot.axes import new_axes
from mofa_bayes.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_variance(post: Posterior, *, level: float = 0.95, ax: "Axes | None" = None) -> "Axes":
    """Draw the share of each view's variance that each factor explains, as a heatmap with the totals beside it.

    Parameters
    ----------
    post
        A posterior.
    level
        Probability that the interval printed with a total holds.
    ax
        Where to draw; a new figure when left out.
    """
    shares = variance_explained(post)
    table = shares["by_factor"].mean(("chain", "draw")).transpose("factor", "view").values * 100
    totals = summarise(shares["total"], level=level).set_index("view").loc[list(post.views)] * 100
    n_factors, n_views = table.shape
    ax = new_axes(ax, 2.2 + 1.25 * n_views, 1.5 + 0.34 * n_factors)
    image = ax.imshow(np.maximum(table, 0), cmap="Blues", aspect="auto", vmin=0, vmax=max(table.max(), 1e-9))
    for k, v in np.ndindex(table.shape):
        shade = "white" if table[k, v] > 0.6 * table.max() else "black"
        ax.text(v, k, f"{table[k, v]:.1f}", ha="center", va="center", color=shade, fontsize=8)
    labels = [
        f"{view}\n{row['mean']:.0f} % [{row['lower']:.0f}, {row['upper']:.0f}]" for view, row in totals.iterrows()
    ]
    ax.set_xticks(range(n_views), labels, fontsize=8)
    ax.set_yticks(range(n_factors), post.factor_names, fontsize=8)
    ax.tick_params(length=0)
    ax.set_title(f"Variance explained per view and factor\n(total with {level:.0%} interval below)", fontsize=9)
    ax.figure.colorbar(image, ax=ax, label="% of the view's variance", shrink=0.8)
    return ax
