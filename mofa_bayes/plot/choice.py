"""How many factors: what `choose_n_factors` found."""

from typing import TYPE_CHECKING

from mofa_bayes.choosing import Choice
from mofa_bayes.plot.axes import BLUE, RED, add_legend, describe, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_choice(choice: Choice, *, ax: "Axes | None" = None) -> "Axes":
    """Draw how far each number of factors is behind the best in predicting hidden entries, with one standard error.

    Parameters
    ----------
    choice
        What `choose_n_factors` returned.
    ax
        Where to draw; a new figure when left out.
    """
    table = choice.table
    ax = new_axes(ax, 4.6, 3.0)
    ax.axhline(0, color="0.8", linewidth=0.8)
    ax.errorbar(
        table["n_factors"], -table["behind"], yerr=table["behind_se"], color=BLUE, marker="o", markersize=4, capsize=2
    )
    ax.axvline(choice.recommended, color=RED, linewidth=1, linestyle="--", label=f"recommended: {choice.recommended}")
    ax.set_xticks(table["n_factors"])
    describe(ax, x="number of factors", y="log density of a hidden entry, less\nthat of the best, with one se")
    add_legend(ax)
    return ax
