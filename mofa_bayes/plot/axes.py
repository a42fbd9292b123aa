"""The look that all figures share, and the way they reach a file."""

from pathlib import Path
from typing import TYPE_CHECKING

from mofa_bayes.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE = "#2c6fa6"
RED = "#b8432f"


def new_axes(ax: "Axes | None", width: float, height: float) -> "Axes":
    """Return `ax`, or the Axes of a new figure of that size in inches."""
    return new_row(1, width, height)[0] if ax is None else ax


def new_row(n_panels: int, width: float, height: float) -> "list[Axes]":
    """Make a figure with panels side by side."""
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(width, height), dpi=150, layout="constrained")
    return list(figure.subplots(1, n_panels, squeeze=False)[0])


def clear_frame(ax: "Axes") -> None:
    """Take away the top and right spines and the ticks' marks."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(length=0)


def save_figure(ax: "Axes", path: str | Path) -> None:
    """Write the figure of some Axes as PNG, whole or not at all, and close it.

    Raises
    ------
    FileError
        The place cannot be written.
    """
    from matplotlib import pyplot as plt

    figure = ax.get_figure(root=True)
    if figure is None:
        return
    with replacing(path) as part:
        figure.savefig(part, format="png")
    plt.close(figure)
