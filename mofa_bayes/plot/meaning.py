"""What factors mean: their associations with covariates, enriched sets of features, and what views tell of them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.errors import DataError, name_some
from mofa_bayes.explain import summarise
from mofa_bayes.explain.summarise import require_level, require_share
from mofa_bayes.plot.arguments import choose_number
from mofa_bayes.plot.axes import CONTINUOUS, add_legend, add_scale, color_of, describe, draw_tiles, new_axes, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STRONG = 1.0  # of a log hazard ratio, a correlation or eta: the strongest colour


def plot_associations(table: pd.DataFrame, *, fdr: float = 0.05, ax: "Axes | None" = None) -> "Axes":
    """Draw how factors go with covariates, pale where the false discovery rate is above a limit.

    Parameters
    ----------
    table
        From `mb.associate`: columns `covariate, factor, measure, estimate, lower, upper, fdr`. Estimates are of the
        measure of their row; of a log hazard ratio 1 and more have the strongest colour. Of eta, which has no sign, the
        strength is drawn as if it were positive.
    fdr
        The limit.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        The table lacks a column or has no row, or `fdr` is not in (0, 1).
    """
    _require_columns(table, ("covariate", "factor", "measure", "estimate", "lower", "upper", "fdr"), "mb.associate")
    require_share("fdr", fdr, "0.05 is usual.")
    factors = _in_order(table["factor"])
    covariates = list(dict.fromkeys(table["covariate"]))
    wide = {
        name: table.pivot(index="covariate", columns="factor", values=name).loc[covariates, factors].to_numpy()
        for name in ("estimate", "lower", "upper", "fdr")
    }
    texts = np.array([[_write(*own) for own in zip(*rows, strict=True)] for rows in _rows(wide)])
    measure = table.drop_duplicates("covariate").set_index("covariate")["measure"]
    ax = new_axes(ax, 2.8 + 0.8 * len(factors), 1.4 + 0.42 * len(covariates))
    tiles = draw_tiles(
        ax,
        wide["estimate"],
        rows=[f"{plain(name)}\n{measure[name]}" for name in covariates],
        columns=[plain(name) for name in factors],
        signed=True,
        largest=_STRONG,
        pale=~(wide["fdr"] <= fdr),
        texts=texts,
    )
    level = _level(table)
    ax.set_title(f"Factors and covariates{level}\n(pale: false discovery rate above {fdr:.0%})", fontsize=9)
    add_scale(ax, tiles, "estimate")
    return ax


def plot_enrichment(
    table: pd.DataFrame,
    factor: str | None = None,
    *,
    n_sets: int = 15,
    fdr: float = 0.05,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the sets of features that loadings are most probably larger in, for one factor or for all.

    For one factor a dot is the difference with its interval, as large as the set and of the colour of the probability
    that it is enriched. For all, tiles of sets by factors have that probability, pale where the false discovery rate is
    above a limit.

    Parameters
    ----------
    table
        From `mb.enrichment`: columns `factor, set, n_features, difference, lower, upper, probability, p, fdr`.
    factor
        Which factor; all when left out.
    n_sets
        How many sets to draw, the lowest p first.
    fdr
        The limit.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        The table lacks a column, or the factor is not in it.
    """
    _require_columns(
        table,
        ("factor", "set", "n_features", "difference", "lower", "upper", "probability", "p", "fdr"),
        "mb.enrichment",
    )
    require_share("fdr", fdr, "0.05 is usual.")
    count = choose_number("n_sets", n_sets)
    if factor is None:
        return _draw_sets_by_factors(table, count, fdr, ax)
    own = table[table["factor"] == factor].sort_values("p", kind="stable")
    if own.empty:
        raise DataError(
            "factor", got=repr(factor)[:80], expected=f"one of {name_some(table['factor'].unique())}", do="Use one."
        )
    own = own.head(count).iloc[::-1].reset_index(drop=True)
    ax = new_axes(ax, 5.6, 1.4 + 0.26 * len(own))
    ax.axvline(0, color="black", linewidth=0.8)
    ax.hlines(own.index, own["lower"], own["upper"], color="0.6", linewidth=1.4)
    size = 15 + 90 * own["n_features"] / own["n_features"].max()
    dots = ax.scatter(
        own["difference"], own.index, s=size, c=own["probability"], cmap=CONTINUOUS, vmin=0, vmax=1, zorder=3
    )
    names = [f"{plain(name)} ({n})" for name, n in zip(own["set"], own["n_features"], strict=True)]
    ax.set_yticks(own.index, names)
    for place, rate in enumerate(own["fdr"]):
        text = f"{rate:.2f}" if rate >= 0.005 else "< 0.01"
        ax.text(1.01, place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=6.5)
    ax.text(1.01, -0.01, "FDR", transform=ax.transAxes, fontsize=6.5, va="top")
    describe(ax, x=f"loadings in the set less those outside{_level(table)}", title=f"{factor}: enriched sets")
    add_scale(ax, dots, "probability of enrichment")
    return ax


def _draw_sets_by_factors(table: pd.DataFrame, n_sets: int, fdr: float, ax: "Axes | None") -> "Axes":
    sets = list(table.groupby("set")["p"].min().sort_values(kind="stable").head(n_sets).index)
    factors = _in_order(table["factor"])
    high, rate = (
        table.pivot(index="set", columns="factor", values=name).loc[sets, factors].to_numpy()
        for name in ("probability", "fdr")
    )
    ax = new_axes(ax, 3.0 + 0.45 * len(factors), 1.3 + 0.24 * len(sets))
    rows, texts = [plain(name) for name in sets], np.array([[f"{value:.2f}" for value in row] for row in high])
    tiles = draw_tiles(ax, high, rows=rows, columns=factors, largest=1.0, pale=~(rate <= fdr), texts=texts)
    ax.set_title(f"Enriched sets\n(pale: false discovery rate above {fdr:.0%})", fontsize=9)
    add_scale(ax, tiles, "probability of enrichment")
    return ax


def plot_information(found: xr.Dataset, *, level: float = 0.95, ax: "Axes | None" = None) -> "Axes":
    """Draw how much each view tells about each factor of a patient, and how much of that only it tells.

    Parameters
    ----------
    found
        From `mb.information`: draws of `alone` and `unique` (chain, draw, view, factor), `all` (chain, draw, factor).
    level
        Probability that an interval holds.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        It is something else, or has a row for each pattern of views.
    """
    require_level(level)
    if not isinstance(found, xr.Dataset) or not {"alone", "unique", "all"} <= set(found) or "pattern" in found.dims:
        raise DataError(
            "information",
            got=f"a {type(found).__name__}" + (" of each pattern" if "pattern" in getattr(found, "dims", ()) else ""),
            expected="what mb.information returns for complete patients or a cohort",
            do='Pass mb.information(post), or choose one pattern: found.sel(pattern="rna").',
        )
    alone, unique, everything = (summarise(found[name], level=level) for name in ("alone", "unique", "all"))
    factors, views = ([str(name) for name in found[dim].values] for dim in ("factor", "view"))
    ax = new_axes(ax, max(1.8 + 0.2 * len(factors) * (len(views) + 1), 4.0), 3.0)
    width = 0.8 / len(views)
    for number, view in enumerate(views):
        whole, only = (own[own["view"] == view].set_index("factor").loc[factors] for own in (alone, unique))
        x = np.arange(len(factors)) + (number - (len(views) - 1) / 2) * width
        ax.bar(x, whole["mean"], 0.9 * width, color=color_of(number), alpha=0.35)
        ax.bar(x, only["mean"], 0.9 * width, color=color_of(number), label=plain(view))
        ax.vlines(x, whole["lower"], whole["upper"], color="0.25", linewidth=1.1)
    total = everything.set_index("factor").loc[factors]["mean"]
    place = np.arange(len(factors))
    ax.hlines(total, place - 0.42, place + 0.42, color="black", linewidth=1.1, linestyle=":", label="all views")
    ax.set_xticks(place, [plain(name) for name in factors])
    title = f"What views tell of factors (solid: this view only), {level:.0%} intervals"
    describe(ax, y="information, nats", title=title)
    add_legend(ax)
    return ax


def _require_columns(table: object, columns: Iterable[str], source: str) -> None:
    absent = [name for name in columns if name not in getattr(table, "columns", ())]
    if not isinstance(table, pd.DataFrame) or absent or table.empty:
        raise DataError(
            "table to draw",
            got=f"one without {name_some(absent)}" if absent else "one without rows",
            expected=f"the table of {source}",
            do=f"Pass what {source} returned.",
        )


def _in_order(factors: pd.Series) -> list[str]:
    """Names of factors, F2 before F10."""
    return sorted((str(name) for name in factors.unique()), key=lambda name: (len(name), name))


def _rows(wide: dict[str, np.ndarray]) -> Iterable[tuple[np.ndarray, ...]]:
    return zip(wide["estimate"], wide["lower"], wide["upper"], strict=True)


def _write(estimate: float, lower: float, upper: float) -> str:
    return "" if np.isnan(estimate) else f"{estimate:.2f}\n[{lower:.2f}, {upper:.2f}]"


def _level(table: pd.DataFrame) -> str:
    return f", {table['level'].iloc[0]:.0%} intervals" if "level" in table else ""
