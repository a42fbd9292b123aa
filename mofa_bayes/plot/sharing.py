"""Which views share a factor: a diagram with the probability of every link."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.explain import sharing, summarise, variance_explained
from mofa_bayes.plot.axes import color_of, new_axes, plain
from mofa_bayes.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_sharing(post: Posterior, *, min_variance: float = 0.01, ax: "Axes | None" = None) -> "Axes":
    """Draw a dot where a factor is active in a view, joined over the views that share it.

    The area of a dot is in proportion to the share of the view's variance that the factor explains alone; its colour is
    as strong as it is probable that this is at least `min_variance`, and the probability is written beside it. Factors
    of the same kind stand together.

    Parameters
    ----------
    post
        A posterior.
    min_variance
        A factor is active in a view, in a draw, when it alone explains at least this share of the view's variance.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        `min_variance` is not in (0, 1).
    """
    table = sharing(post, min_variance=min_variance)
    order = [kind for kind in ("shared", "partly_shared", "specific", "inactive") if kind in set(table["kind"])]
    table = table.iloc[np.argsort([order.index(kind) for kind in table["kind"]], kind="stable")]
    alone = summarise(variance_explained(post)["alone"]).set_index(["factor", "view"])["mean"]
    largest = max(float(alone.max()), 1e-12)
    ax = new_axes(ax, 1.8 + 0.62 * len(table), 1.2 + 0.5 * len(post.views))
    for x, (factor, row) in enumerate(table.iterrows()):
        rows = np.array([post.views.index(view) for view in str(row["views"]).split("+") if view])
        if len(rows) > 1:
            ax.plot([x, x], [rows.min(), rows.max()], color="0.6", linewidth=1.6, zorder=1)
        for y, view in enumerate(post.views):
            probability = row[f"active_{view}"]
            size = 8 + 300 * max(alone.loc[str(factor), view], 0.0) / largest
            ax.scatter(x, y, s=size, color=color_of(y), alpha=0.1 + 0.9 * probability, linewidths=0, zorder=2)
            ax.text(x + 0.12, y - 0.3, f"{probability:.2f}", fontsize=6, color="0.35", zorder=3)
    labels = [
        f"{factor}\n{str(row['kind']).replace('_', ' ')}\n{row['probability']:.2f}" for factor, row in table.iterrows()
    ]
    ax.set_xticks(range(len(table)), labels, fontsize=7)
    ax.set_yticks(range(len(post.views)), [plain(view) for view in post.views], fontsize=8)
    ax.set_xlim(-0.6, len(table) - 0.4)
    ax.set_ylim(len(post.views) - 0.4, -0.6)
    ax.set_title(
        f"Which views share a factor, with probabilities\n(active: at least {min_variance:.1%} of a view)", fontsize=9
    )
    for side in ax.spines.values():
        side.set_visible(False)
    ax.tick_params(length=0)
    return ax
