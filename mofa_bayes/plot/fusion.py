"""Strategies of fusion side by side: one panel for each metric."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.plot.axes import BLUE, RED, describe, new_row, plain
from mofa_bayes.validation import Fusion

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = {
    "c": "C (higher is better)",
    "auc": "AUC (higher is better)",
    "integrated_brier": "integrated Brier (lower is better)",
    "brier_score": "Brier score (lower is better)",
    "log_density": "log density (higher is better)",
}


def plot_fusion(fusion: Fusion) -> "list[Axes]":
    """Draw each metric of each model with its interval, on the same patients.

    A model is red where its paired difference to the reference leaves out zero on the wrong side, blue where it does
    on the right one. The line is the reference's estimate.
    """
    models = list(fusion.models)
    metrics = [name for name in _TITLES if name in set(fusion.table["metric"])]
    place = np.arange(len(models))[::-1]
    row = new_row(len(metrics), 2.6 * len(metrics) + 1.2, 0.9 + 0.26 * len(models))
    for number, (ax, metric) in enumerate(zip(row, metrics, strict=True)):
        own = fusion.table[fusion.table["metric"] == metric].set_index("model").loc[models]
        colors = np.where(own["difference_lower"] > 0, BLUE, np.where(own["difference_upper"] < 0, RED, "0.45"))
        ax.axvline(float(own["estimate"].to_numpy()[models.index(fusion.reference)]), color="0.75", linewidth=0.8)
        ax.hlines(place, own["lower"], own["upper"], color=colors, linewidth=1.4)
        ax.scatter(own["estimate"], place, color=colors, s=16, zorder=3)
        ax.set_yticks(place, [plain(name) if number == 0 else "" for name in models])
        describe(ax, title=_TITLES[metric])
    level, line = fusion.table["level"].iloc[0], plain(fusion.reference)
    note = f"{level:.0%} intervals; by paired difference, blue is better than {line} (the line) and red worse"
    row[0].figure.supxlabel(note, fontsize=8)
    return row
