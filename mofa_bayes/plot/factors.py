"""Where patients stand: values of factors by covariate, two factors against each other, and how factors correlate."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from mofa_bayes.explain import correlate_factors, summarise
from mofa_bayes.explain.summarise import require_aligned, require_choice, require_factors, require_level
from mofa_bayes.plot.arguments import MISSING, Covariate, read_covariate
from mofa_bayes.plot.axes import (
    BLUE,
    GREY,
    add_legend,
    add_scale,
    color_of,
    continuous_map,
    describe,
    draw_tiles,
    new_axes,
    plain,
)
from mofa_bayes.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = ("mean", "lower", "upper")
_MOST_POINTS = 4000  # of a violin


def plot_factor_values(
    post: Posterior,
    factors: Sequence[str] | None = None,
    *,
    by: pd.Series | None = None,
    kind: Literal["swarm", "violin"] = "swarm",
    intervals: bool = False,
    level: float = 0.95,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw each patient's value of some factors, apart or coloured by a covariate; identifiers are not shown.

    Parameters
    ----------
    post
        A posterior.
    factors
        Which factors; all when left out.
    by
        A value for every subject of the fit, indexed by subject: labels, of which each gets a swarm or violin of its
        own, or numbers, which colour a swarm. `post.groups().to_series()` are the groups.
    kind
        `swarm`: a point per patient at the posterior mean. `violin`: the density of draws over patients.
    intervals
        Draw each patient's interval through the point of a swarm.
    level
        Probability that an interval holds.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        A factor or kind is unknown, `by` lacks a subject, or numbers are to be told apart by violins.
    """
    require_aligned(post)
    require_level(level)
    require_choice("kind of figure", kind, ("swarm", "violin"))
    chosen, covariate = require_factors(post, factors), read_covariate(by, post.subjects)
    parts = _split(covariate, len(post.subjects))
    if kind == "violin":
        parts = {label: rows for label, rows in parts.items() if len(rows) > 1}
    draws = post.factors().sel(factor=chosen)
    ax = new_axes(ax, 1.6 + 0.5 * len(chosen) * max(len(parts), 1.6), 3.4)
    ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    places = (np.arange(len(parts)) - (len(parts) - 1) / 2) / (len(parts) + 0.5)
    width = 0.8 / (len(parts) + 0.5)
    points = None
    for k, factor in enumerate(chosen):
        own = draws.sel(factor=factor)
        table = summarise(own, level=level)
        for number, (label, rows) in enumerate(parts.items()):
            color = GREY if label == MISSING else color_of(number)
            name = plain(label) if k == 0 and label else None
            if kind == "violin":
                _draw_violin(ax, own.values[..., rows].ravel(), k + places[number], width, color, name)
                continue
            mean = table["mean"].to_numpy()[rows]
            x = k + places[number] + _spread(mean) * width / 2
            if intervals:
                ax.vlines(
                    x, table["lower"].iloc[rows], table["upper"].iloc[rows], color=color, alpha=0.3, linewidth=0.8
                )
            if covariate is not None and not covariate.labels:
                points = ax.scatter(
                    x, mean, s=9, c=covariate.values[rows], cmap=continuous_map(), plotnonfinite=True, zorder=3
                )
            else:
                ax.scatter(x, mean, s=9, color=color, label=name, zorder=3, linewidths=0)
    if points is not None and covariate is not None:
        add_scale(ax, points, plain(covariate.name))
    ax.set_xticks(range(len(chosen)), chosen)
    shown = f"each patient with {level:.0%} interval" if intervals and kind == "swarm" else "each patient"
    title = "Factors: density of draws over patients" if kind == "violin" else f"Factors: {shown}"
    describe(ax, y="value of the factor", title=title)
    add_legend(ax, title=plain(covariate.name) if covariate else None)
    return ax


def plot_factor_scatter(
    post: Posterior,
    first: str,
    second: str,
    *,
    by: pd.Series | None = None,
    ellipses: bool = True,
    level: float = 0.5,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw two factors of every patient against each other, each with the ellipse that holds its true place.

    Parameters
    ----------
    post
        A posterior.
    first, second
        Factors of the horizontal and the vertical axis.
    by
        A value for every subject to colour by, indexed by subject: labels or numbers.
    ellipses
        Draw them, from each patient's covariance.
    level
        Probability that an ellipse holds both values of its patient.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        A factor is unknown or named twice, or `by` lacks a subject.
    """
    require_aligned(post)
    require_level(level)
    require_factors(post, [first, second])
    covariate = read_covariate(by, post.subjects)
    moments = post.factor_moments().sel(post.subjects)
    pair = [moments.factors.index(name) for name in (first, second)]
    mean, covariance = moments.mean[:, pair], moments.covariances()[:, pair][:, :, pair]
    radius = np.sqrt(-2 * np.log1p(-level)) if ellipses else 0.0
    ax = new_axes(ax, 4.4, 4.0)
    x, y = mean.T
    color = np.full(len(mean), BLUE, dtype=object)
    if covariate is not None and not covariate.labels:
        points = ax.scatter(x, y, s=10, c=covariate.values, cmap=continuous_map(), plotnonfinite=True, zorder=3)
        add_scale(ax, points, plain(covariate.name))
        color = points.to_rgba(covariate.values)
    else:
        for number, (label, rows) in enumerate(_split(covariate, len(mean)).items()):
            color[rows] = GREY if label == MISSING else color_of(number)
            ax.scatter(x[rows], y[rows], s=10, color=color[rows[0]], zorder=3, linewidths=0, label=plain(label) or None)
    if ellipses:
        _draw_ellipses(ax, mean, covariance, radius, list(color))
    reach = radius * np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)) + 0.1
    (left, bottom), (right, top) = (mean - reach).min(axis=0), (mean + reach).max(axis=0)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    describe(ax, x=first, y=second, title=f"Patients with their {level:.0%} ellipses" if ellipses else "Patients")
    add_legend(ax, title=plain(covariate.name) if covariate else None)
    return ax


def plot_factor_correlation(post: Posterior, *, level: float = 0.95, ax: "Axes | None" = None) -> "Axes":
    """Draw how factors correlate over patients, pale where the interval holds 0.

    Parameters
    ----------
    post
        A posterior.
    level
        Probability that an interval holds.
    ax
        Where to draw; a new figure when left out.
    """
    require_level(level)
    names = list(post.factor_names)
    table = summarise(correlate_factors(post), level=level).set_index(["factor", "factor_bis"])
    mean, lower, upper = (table[column].unstack().loc[names, names].to_numpy() for column in _COLUMNS)
    ax = new_axes(ax, 1.8 + 0.45 * len(names), 1.4 + 0.4 * len(names))
    texts = np.array([[f"{value:.2f}" for value in row] for row in mean])
    pale = (lower <= 0) & (upper >= 0)
    tiles = draw_tiles(ax, mean, rows=names, columns=names, signed=True, largest=1.0, pale=pale, texts=texts)
    ax.set_title(f"Correlation of factors over patients\n(pale: {level:.0%} interval holds 0)", fontsize=9)
    add_scale(ax, tiles, "correlation")
    return ax


def _split(covariate: Covariate | None, n_subjects: int) -> dict[str, np.ndarray]:
    """Rows of each label that somebody has; everyone under an empty name where there are no labels."""
    if covariate is None or not covariate.labels:
        return {"": np.arange(n_subjects)}
    rows = {label: np.flatnonzero(covariate.values == number) for number, label in enumerate(covariate.labels)}
    return {label: own for label, own in rows.items() if len(own)}


def _spread(values: np.ndarray, n_bins: int = 24) -> np.ndarray:
    """Offsets in [-1, 1] that keep points of similar value apart: in each bin they go to either side in turn."""
    edges = np.linspace(values.min(), values.max(), n_bins + 1)
    which = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, n_bins - 1)
    order = np.lexsort((values, which))
    counts = np.bincount(which, minlength=n_bins)
    rank = np.empty(len(values), dtype=np.intp)
    rank[order] = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    steps = (rank + 1) // 2 * np.where(rank % 2, 1, -1)
    return np.asarray(steps / max(counts.max() / 2, 4))


def _draw_violin(ax: "Axes", values: np.ndarray, place: float, width: float, color: str, name: str | None) -> None:
    values = values[:: max(len(values) // _MOST_POINTS, 1)].astype(np.float64)
    parts = ax.violinplot(values, [place], widths=width, showextrema=False, quantiles=[[0.25, 0.5, 0.75]])
    for body in parts["bodies"]:  # type: ignore[attr-defined]
        body.set(facecolor=color, alpha=0.5, label=name)
    parts["cquantiles"].set(color=color, linewidth=0.9)


def _draw_ellipses(ax: "Axes", mean: np.ndarray, covariance: np.ndarray, radius: float, color: list[object]) -> None:
    from matplotlib.collections import EllipseCollection

    lengths, directions = np.linalg.eigh(covariance)
    width, height = 2 * radius * np.sqrt(np.maximum(lengths, 0)).T
    angle = np.degrees(np.arctan2(directions[:, 1, 0], directions[:, 0, 0]))
    ellipses = EllipseCollection(
        width, height, angle, units="xy", offsets=mean, offset_transform=ax.transData, facecolors=color, alpha=0.12
    )
    ax.add_collection(ellipses)
