"""What moves the risk: effects as a forest, and one patient's predictor as the sum of its parts."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mofa_bayes.errors import DataError, name_some
from mofa_bayes.plot.axes import BLUE, RED, describe, new_axes, plain
from mofa_bayes.risk import FittedRisk

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_effects(fitted: FittedRisk, *, level: float = 0.95, ax: "Axes | None" = None) -> "Axes":
    """Draw the effect of each factor and covariate with its interval, blue where this leaves out zero.

    Beside it stand the numbers: ratios of hazards, odds or rates where effects are logs of these.

    Parameters
    ----------
    fitted
        From `RiskModel.fit`, with one outcome. Of competing risks, each cause has its own rows.
    level
        Probability of the intervals.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        The model has several responses, whose effects share no unit.
    """
    table = fitted.effects(level=level)
    if "response" in table:
        raise DataError(
            "effects", got="several responses", expected="a model of one", do="Draw fitted.effects() by response."
        )
    place = np.arange(len(table))[::-1]
    ax = new_axes(ax, 5.4, 0.8 + 0.24 * len(table))
    is_clear = (table["lower"] > 0) | (table["upper"] < 0)
    colors = np.where(is_clear, BLUE, "0.55")
    ax.axvline(0, color="0.7", linewidth=0.8)
    ax.hlines(place, table["lower"], table["upper"], color=colors, linewidth=1.4)
    ax.scatter(table["mean"], place, color=colors, s=16, zorder=3)
    causes = [f"{cause}: " for cause in table["cause"]] if "cause" in table else [""] * len(table)
    ax.set_yticks(place, [f"{cause}{plain(term)}" for cause, term in zip(causes, table["term"], strict=True)])
    ratio = fitted.response.ratio
    shown = table[[ratio or "mean", "lower", "upper"]].to_numpy(copy=True)
    shown[:, 1:] = np.exp(shown[:, 1:]) if ratio else shown[:, 1:]
    for row, numbers in zip(place, shown, strict=True):
        ax.text(1.02, row, _write(*numbers), transform=ax.get_yaxis_transform(), va="center", fontsize=6.5)
    ax.set_ylim(-0.7, len(table) - 0.3)
    name = ratio.replace("_", " ")
    ax.text(1.02, 1.0, name or "effect", transform=ax.transAxes, va="bottom", fontsize=6.5)
    describe(ax, x=f"log {name} per unit" if ratio else "effect per unit", title=f"Effects with {level:.0%} intervals")
    return ax


def plot_contributions(contributions: pd.DataFrame, subject: str, *, ax: "Axes | None" = None) -> "Axes":
    """Draw what each view and covariate put into one patient's predictor; together the bars make the last one.

    Parameters
    ----------
    contributions
        From `FittedRisk.contributions`.
    subject
        Whose; the name is not shown.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        The table has no such subject.
    """
    own = contributions[contributions["subject"] == subject]
    if own.empty:
        known = contributions["subject"].drop_duplicates()
        raise DataError(
            "subject",
            got=repr(subject),
            expected=f"one of {len(known)} ({name_some(known, 3)})",
            do="Use one of these.",
        )
    place = np.arange(len(own) + 1)[::-1]
    ax = new_axes(ax, 4.6, 0.7 + 0.26 * len(place))
    values = own["contribution"].to_numpy()
    ax.barh(place[:-1], values, color=np.where(values > 0, RED, BLUE), alpha=0.75, height=0.65)
    ax.hlines(place[:-1], own["lower"], own["upper"], color="0.25", linewidth=1)
    ax.barh(place[-1], values.sum(), color="0.4", height=0.65)
    ax.axvline(0, color="0.4", linewidth=0.8)
    rows = zip(own["source"], own["is_seen"], strict=True)
    ax.set_yticks(place, [*(plain(name) if seen else f"{plain(name)} (absent)" for name, seen in rows), "together"])
    title = f"Contributions with {own['level'].iloc[0]:.0%} intervals"
    describe(ax, x="part of the linear predictor", title=title)
    return ax


def _write(estimate: float, lower: float, upper: float) -> str:
    """Write a number with its interval, to two digits of the interval's width."""
    width = upper - lower
    digits = max(0, 1 - int(np.floor(np.log10(width)))) if 0 < width < np.inf else 2
    return f"{estimate:.{digits}f} [{lower:.{digits}f}, {upper:.{digits}f}]"
