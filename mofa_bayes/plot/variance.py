"""What explains what: variance explained per view and factor, in all patients or by group, and of one feature."""

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from mofa_bayes.explain import feature_profile, summarise, variance_explained
from mofa_bayes.explain.summarise import require_choice
from mofa_bayes.plot.axes import BLUE, GREY, RED, add_legend, add_scale, color_of, describe, draw_tiles, new_axes, plain
from mofa_bayes.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["heatmap", "bars", "totals"]


def plot_variance(
    post: Posterior, *, kind: Kind = "heatmap", by_group: bool = False, level: float = 0.95, ax: "Axes | None" = None
) -> "Axes":
    """Draw the share of each view's variance that each factor explains, or all of them together.

    Parameters
    ----------
    post
        A posterior.
    kind
        `heatmap`: factors by views, the totals with their intervals below. `bars`: a bar with its interval for each
        factor and view. `totals`: one for all factors together.
    by_group
        Within each group of the cohort rather than over all patients.
    level
        Probability that an interval holds.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        There is no such kind of figure, or `level` is not in (0, 1).
    """
    require_choice("kind of figure", kind, ("heatmap", "bars", "totals"))
    shares = variance_explained(post, by_group=by_group)
    columns = ["group", "view"] if by_group else ["view"]
    totals = _in_percent(summarise(shares["total"], level=level))
    parts = _in_percent(summarise(shares["by_factor"], level=level))
    if kind == "heatmap":
        wide = parts.set_index([*columns, "factor"])["mean"].unstack("factor")[list(post.factor_names)]
        return _draw_heatmap(wide, totals.set_index(columns), level, ax)
    table, place, bar = (parts, "factor", columns) if kind == "bars" else (totals, "view", columns[:-1])
    ax = new_axes(ax, max(1.8 + 0.22 * len(table), 4.0), 3.0)
    _draw_bars(ax, table, place, bar)
    what = "by each factor" if kind == "bars" else "by all factors"
    describe(ax, y="% of the view's variance", title=f"Variance explained {what}, {level:.0%} intervals")
    add_legend(ax)
    return ax


def plot_feature_profile(
    post: Posterior, view: str, feature: str, *, level: float = 0.95, ax: "Axes | None" = None
) -> "Axes":
    """Draw which factors explain a feature, and how much of it is noise.

    Parameters
    ----------
    post
        A posterior.
    view, feature
        Which feature.
    level
        Probability that an interval holds.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        A name is unknown, or `level` is not in (0, 1).
    """
    table = feature_profile(post, view, feature, level=level)
    share = 100 * table[["variance", "variance_lower", "variance_upper"]]
    color = np.where(table["mean"].isna(), GREY, np.where(table["mean"] >= 0, BLUE, RED))
    ax = new_axes(ax, 1.8 + 0.42 * len(table), 2.8)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.bar(table.index, share["variance"], 0.7, color=color, alpha=0.55)
    ax.vlines(table.index, share["variance_lower"], share["variance_upper"], color=color, linewidth=1.4)
    ax.set_xticks(table.index, table["factor"])
    title = f"{plain(view)}: {plain(feature)} (blue: positive loading)"
    describe(ax, y=f"% of its variance, {level:.0%} intervals", title=title)
    return ax


def _in_percent(table: pd.DataFrame) -> pd.DataFrame:
    values = ["mean", "lower", "upper"]
    return table.assign(**{name: 100 * table[name] for name in values})


def _draw_heatmap(parts: pd.DataFrame, totals: pd.DataFrame, level: float, ax: "Axes | None") -> "Axes":
    """Draw parts (view or group and view, factor) transposed, each column with its total."""
    values = parts.loc[totals.index].to_numpy().T
    n_factors, n_columns = values.shape
    ax = new_axes(ax, 2.2 + 1.25 * n_columns, 1.5 + 0.34 * n_factors)
    names = ["\n".join(plain(own) for own in reversed(np.atleast_1d(np.array(key)))) for key in totals.index]
    labels = [
        f"{name}\n{row['mean']:.0f} % [{row['lower']:.0f}, {row['upper']:.0f}]" if np.isfinite(row["mean"]) else name
        for name, (_, row) in zip(names, totals.iterrows(), strict=True)
    ]
    texts = np.array([["" if np.isnan(value) else f"{value:.1f}" for value in row] for row in values])
    tiles = draw_tiles(ax, np.maximum(values, 0), rows=list(parts.columns), columns=labels, texts=texts)
    ax.set_title(f"Variance explained per view and factor\n(total with {level:.0%} interval below)", fontsize=9)
    add_scale(ax, tiles, "% of the view's variance")
    return ax


def _draw_bars(ax: "Axes", table: pd.DataFrame, place: str, bar: list[str]) -> None:
    """Draw a set of bars at every value of the column `place`, one for each combination of the columns `bar`."""
    places = list(dict.fromkeys(table[place]))
    bars = [(key, own) for key, own in table.groupby(bar, sort=False)] if bar else [((), table)]
    width = 0.8 / len(bars)
    for number, (key, own) in enumerate(bars):
        x = np.array([places.index(name) for name in own[place]]) + (number - (len(bars) - 1) / 2) * width
        label = ", ".join(plain(name) for name in key) or None
        ax.bar(x, own["mean"], 0.9 * width, color=color_of(number), alpha=0.55, label=label)
        ax.vlines(x, own["lower"], own["upper"], color=color_of(number), linewidth=1.4)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(places)), [plain(name) for name in places])
