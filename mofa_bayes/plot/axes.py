"""The look that all figures share, and the way they reach a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mofa_bayes.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap

# The palette of Okabe and Ito, which people with any colour vision can tell apart (Wong 2011, Nat Methods 8:441), and
# maps of which the same is true. Blue is positive and red negative, save that red is an event and what makes it likely.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
BLUE, RED = PALETTE[:2]
GREY, ABSENT = "#B0B0B0", "#D9D9D9"
SEQUENTIAL, DIVERGING, CONTINUOUS = "Blues", "RdBu", "cividis"
Place = Literal["best", "lower right", "outside"]
_LONGEST = 36


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


def describe(ax: "Axes", *, x: str = "", y: str = "", title: str = "") -> None:
    """Label both axes and the whole, and clear the frame."""
    ax.set_xlabel(x, fontsize=8)
    ax.set_ylabel(y, fontsize=8)
    ax.set_title(title, fontsize=9)
    ax.tick_params(labelsize=7)
    clear_frame(ax)


def plain(name: object) -> str:
    """Return a user's name as text that is drawn as it stands: no formula, and not too long."""
    text = str(name)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
    return text.replace("$", r"\$")


def color_of(number: int) -> str:
    """Return the colour of the n-th of several things; they come round again after eight."""
    return PALETTE[number % len(PALETTE)]


def continuous_map() -> "Colormap":
    """Return the map of a covariate that is a number; missing ones are grey."""
    from matplotlib import colormaps

    return colormaps[CONTINUOUS].with_extremes(bad=GREY)


def add_legend(ax: "Axes", *, title: str | None = None, place: Place = "best") -> None:
    """Add a small legend without a frame where something has a label."""
    if ax.get_legend_handles_labels()[1]:
        spot = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if place == "outside" else {"loc": place}
        ax.legend(fontsize=7, frameon=False, title=title, title_fontsize=7, **spot)


def add_scale(ax: "Axes", drawn: "ScalarMappable", label: str) -> None:
    """Add the scale of colours beside some Axes."""
    scale = ax.figure.colorbar(drawn, ax=ax, shrink=0.8)
    scale.set_label(label, fontsize=8)
    scale.ax.tick_params(labelsize=7, length=0)
    scale.outline.set_visible(False)


def draw_tiles(
    ax: "Axes",
    values: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    signed: bool = False,
    largest: float | None = None,
    pale: np.ndarray | None = None,
    texts: np.ndarray | None = None,
) -> "ScalarMappable":
    """Draw a matrix as coloured tiles, grey where it is NaN.

    Parameters
    ----------
    ax
        Where to draw.
    values
        Shape (R, C).
    rows, columns
        Names of rows and columns.
    signed
        Colours around 0, blue above and red below, rather than from 0 up.
    largest
        Value of the strongest colour; the largest in size when left out.
    pale
        Tiles to draw in a weaker colour, (R, C).
    texts
        What to write into the tiles, (R, C); nothing when left out.
    """
    from matplotlib import colormaps

    seen = np.abs(values[np.isfinite(values)])
    top = (seen.max(initial=0.0) or 1.0) if largest is None else largest
    shown = ax.imshow(
        values,
        cmap=colormaps[DIVERGING if signed else SEQUENTIAL].with_extremes(bad=ABSENT),
        vmin=-top if signed else 0,
        vmax=top,
        aspect="auto",
        interpolation="none",
        alpha=None if pale is None else np.where(pale, 0.3, 1.0),
    )
    for (r, c), text in np.ndenumerate(np.empty((0, 0)) if texts is None else texts):
        is_dark = abs(values[r, c]) > 0.6 * top and not (pale is not None and pale[r, c])
        ax.text(c, r, str(text), ha="center", va="center", color="white" if is_dark else "black", fontsize=7)
    ax.set_xticks(range(len(columns)), columns, fontsize=7)
    ax.set_yticks(range(len(rows)), rows, fontsize=7)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.tick_params(length=0)
    return shown


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
