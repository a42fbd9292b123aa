"""How good risks are: calibration with its band, net benefit by threshold, and risk by outcome."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mofa_bayes.errors import DataError
from mofa_bayes.plot.axes import BLUE, RED, add_legend, describe, new_axes
from mofa_bayes.risk import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST_BENEFIT = 0.02  # top of the axis of net benefit where there is hardly any


def plot_calibration(evaluation: Evaluation, *, time: float | None = None, ax: "Axes | None" = None) -> "Axes":
    """Draw the smoothed observed risk against the predicted one, with its band; the diagonal is perfect.

    Parameters
    ----------
    evaluation
        From `mb.evaluate`.
    time
        One of its horizons; the first when left out.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        `time` is not a horizon of the evaluation, or its outcome is no event and has no curves.
    """
    table, horizon = _at_time(evaluation.calibration_curve, time)
    ax = new_axes(ax, 3.8, 3.6)
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--", label="perfect")
    ax.fill_between(table["predicted"], table["lower"], table["upper"], color=BLUE, alpha=0.2, linewidth=0)
    ax.plot(table["predicted"], table["observed"], color=BLUE, linewidth=1.4, label="these risks")
    largest = float(min(1.0, 1.05 * np.nanmax(table[["predicted", "upper"]].to_numpy())))
    ax.set(xlim=(0, largest), ylim=(0, largest), aspect="equal")
    title = f"Calibration with {_level(table)} band"
    describe(ax, x=f"predicted risk{horizon}", y=f"observed risk{horizon}, smoothed", title=title)
    add_legend(ax)
    return ax


def plot_decision(evaluation: Evaluation, *, time: float | None = None, ax: "Axes | None" = None) -> "Axes":
    """Draw the net benefit of acting on the risk, with its band, beside treating all and treating none.

    Parameters and errors as in `plot_calibration`.
    """
    table, horizon = _at_time(evaluation.decision_curve, time)
    ax = new_axes(ax, 4.6, 3.2)
    ax.axhline(0, color="black", linewidth=0.8, label="treat none")
    ax.plot(table["threshold"], table["treat_all"], color="0.5", linewidth=1, linestyle="--", label="treat all")
    ax.fill_between(table["threshold"], table["lower"], table["upper"], color=BLUE, alpha=0.2, linewidth=0)
    ax.plot(table["threshold"], table["net_benefit"], color=BLUE, linewidth=1.4, label="by risk")
    top = max(float(np.nanmax(table[["upper", "treat_all"]].to_numpy())), _LEAST_BENEFIT)
    ax.set_ylim(-0.25 * top, 1.05 * top)
    # Above the last threshold with a benefit or a harm lies nobody's risk, and one would never act.
    ax.set_xlim(0, _end(table["threshold"], table[["net_benefit", "lower", "upper"]].ne(0).any(axis=1)))
    title = f"Decision curve with {_level(table)} band"
    describe(ax, x=f"risk{horizon} from which one would act", y="net benefit per patient", title=title)
    add_legend(ax)
    return ax


def plot_risk_distribution(evaluation: Evaluation, *, time: float | None = None, ax: "Axes | None" = None) -> "Axes":
    """Draw the distribution of risk among those with the event, and upside down among those without.

    Parameters and errors as in `plot_calibration`.
    """
    table, horizon = _at_time(evaluation.risk_distribution, time)
    ax = new_axes(ax, 4.6, 3.0)
    for event, color, sign in ((1, RED, 1), (0, BLUE, -1)):
        own = table[table["event"] == event]
        width = own["upper"] - own["lower"]
        label = "event" if event else "no event"
        bars = ax.bar(own["lower"], sign * own["share"], width, align="edge", color=color, alpha=0.7, label=label)
        for bar in bars:
            bar.set(edgecolor="white", linewidth=0.5)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.yaxis.set_major_formatter(lambda share, _: f"{abs(share):.0%}")
    largest = 1.08 * float(table["share"].max())
    ax.set(xlim=(0, _end(table["upper"], table["share"] > 0)), ylim=(-largest, largest))
    title = "Risk by outcome, weighted for censoring" if horizon else "Risk by outcome"
    describe(ax, x=f"predicted risk{horizon}", y="share of patients with the same outcome", title=title)
    add_legend(ax)
    return ax


def _at_time(table: pd.DataFrame, time: float | None) -> tuple[pd.DataFrame, str]:
    """Rows of one horizon, and how an axis names it."""
    if table.empty:
        raise DataError(
            "evaluation",
            got="one without curves",
            expected="one of an outcome that happens or not",
            do="Read its table, which holds all that was measured.",
        )
    horizons = table["time"].drop_duplicates()
    chosen = horizons.iloc[0] if time is None else time
    if time is not None and chosen not in set(horizons):
        shown = ", ".join(f"{own:g}" for own in horizons)
        raise DataError("time", got=repr(time), expected=f"one of {shown}", do="Evaluate at this horizon first.")
    if np.isnan(chosen):
        return table, ""
    return table[table["time"] == chosen], f" by time {chosen:g}"


def _end(risk: pd.Series, is_used: pd.Series) -> float:
    """Return where the axis of risk ends: a little above the largest that is used, at most 1."""
    return min(1.0, 1.1 * float(risk[is_used].max())) if is_used.any() else 1.0


def _level(table: pd.DataFrame) -> str:
    return f"{table['level'].iloc[0]:.0%}"
