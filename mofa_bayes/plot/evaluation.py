"""How good risks are: calibration with its band, net benefit by threshold, and risk by outcome."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mofa_bayes.errors import DataError
from mofa_bayes.plot.axes import BLUE, RED, clear_frame, new_axes
from mofa_bayes.risk import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
        `time` is not a horizon of the evaluation.
    """
    table, horizon = _at_time(evaluation.calibration_curve, time)
    ax = new_axes(ax, 3.8, 3.6)
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--")
    ax.fill_between(table["predicted"], table["lower"], table["upper"], color=BLUE, alpha=0.2, linewidth=0)
    ax.plot(table["predicted"], table["observed"], color=BLUE, linewidth=1.4)
    largest = float(min(1.0, 1.05 * np.nanmax(table[["predicted", "upper"]].to_numpy())))
    ax.set_xlim(0, largest)
    ax.set_ylim(0, largest)
    ax.set_xlabel(f"predicted risk{horizon}", fontsize=8)
    ax.set_ylabel("observed, smoothed", fontsize=8)
    ax.set_title(f"Calibration with {_level(table)} band", fontsize=9)
    clear_frame(ax)
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
    top = float(np.nanmax(table[["upper", "treat_all"]].to_numpy()))
    ax.set_ylim(-0.25 * top, 1.05 * top)
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"risk{horizon} from which one would act", fontsize=8)
    ax.set_ylabel("net benefit per patient", fontsize=8)
    ax.set_title(f"Decision curve with {_level(table)} band", fontsize=9)
    ax.legend(frameon=False, fontsize=7)
    clear_frame(ax)
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
        ax.bar(own["lower"], sign * own["share"], width, align="edge", color=color, alpha=0.7, label=label)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.yaxis.set_major_formatter(lambda share, _: f"{abs(share):.0%}")
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"predicted risk{horizon}", fontsize=8)
    ax.set_ylabel("share of these patients", fontsize=8)
    ax.set_title("Risk by outcome, weighted for censoring", fontsize=9)
    ax.legend(frameon=False, fontsize=7)
    clear_frame(ax)
    return ax


def _at_time(table: pd.DataFrame, time: float | None) -> tuple[pd.DataFrame, str]:
    """Rows of one horizon, and how an axis names it."""
    horizons = table["time"].drop_duplicates()
    chosen = horizons.iloc[0] if time is None else time
    if time is not None and chosen not in set(horizons):
        shown = ", ".join(f"{own:g}" for own in horizons)
        raise DataError("time", got=repr(time), expected=f"one of {shown}", do="Evaluate at this horizon first.")
    if np.isnan(chosen):
        return table, ""
    return table[table["time"] == chosen], f" by time {chosen:g}"


def _level(table: pd.DataFrame) -> str:
    return f"{table['level'].iloc[0]:.0%}"
