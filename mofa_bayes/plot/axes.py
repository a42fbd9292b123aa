"""The look that all figures share."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE = "#2c6fa6"
RED = "#b8432f"
GREY = "#7a7a7a"


def new_axes(ax: "Axes | None", width: float, height: float) -> "Axes":
    """Return `ax`, or the Axes of a new figure of that size in inches that no window manager knows."""
    if ax is None:
        from matplotlib.figure import Figure

        ax = Figure(figsize=(width, height), dpi=150, layout="constrained").add_subplot()
    return ax


def clear_frame(ax: "Axes") -> None:
    """Take away the top and right spines and the ticks' marks."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(length=0)
