"""Back to the data: the values of a factor's strongest features, and one feature against a factor."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError
from mofa_bayes.explain import biomarkers, feature_response, summarise
from mofa_bayes.explain.summarise import require_factors, require_level
from mofa_bayes.plot.arguments import MISSING, choose_feature, choose_number, read_covariate
from mofa_bayes.plot.axes import (
    BLUE,
    GREY,
    add_legend,
    add_scale,
    clear_frame,
    color_of,
    describe,
    draw_tiles,
    new_axes,
    plain,
)
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.project import prepare_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STRONGEST = 2.5  # of the colours, in standard deviations


def plot_data_heatmap(
    post: Posterior,
    views: MultiView,
    view: str,
    factor: str,
    *,
    n_features: int = 20,
    level: float = 0.95,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the data of a factor's strongest features, patients in order of the factor; missing entries are grey.

    Values are standardised over the patients shown. Above them is each patient's factor with its interval: order means
    little where intervals overlap. Identifiers are not shown.

    Parameters
    ----------
    post
        A posterior.
    views
        The views of the fit.
    view, factor
        Which data, and by which factor.
    n_features
        How many features to draw, the largest loadings in size, from the most positive down.
    level
        Probability that an interval holds.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        The view does not hold the features of the fit, or none of its subjects.
    """
    require_factors(post, [factor])
    table = biomarkers(post, view, factors=[factor], level=level)
    strongest = table.loc[table["mean"].abs().nlargest(choose_number("n_features", n_features)).index]
    features = list(strongest.sort_values("mean", ascending=False)["feature"])
    values = _take(post, views, view, features)
    place = summarise(post.factors().sel(factor=factor, subject=list(values.index)), level=level).set_index("subject")
    place = place.loc[values.index].sort_values("mean")
    values = values.loc[place.index]
    spread = values.std(ddof=0)
    shown = ((values - values.mean()) / spread.where(spread > 0, 1.0)).to_numpy().T
    ax = new_axes(ax, 6.4, 1.8 + 0.2 * len(features))
    tiles = draw_tiles(ax, shown, rows=[plain(name) for name in features], columns=[], signed=True, largest=_STRONGEST)
    above = ax.inset_axes((0, 1.02, 1, 0.16), sharex=ax)
    order = np.arange(len(place))
    above.vlines(order, place["lower"], place["upper"], color=BLUE, alpha=0.35, linewidth=1)
    above.plot(order, place["mean"], color=BLUE, linewidth=1)
    above.tick_params(labelsize=6, bottom=False, labelbottom=False)
    above.set_ylabel(factor, fontsize=7)
    title = f"{plain(view)}: strongest features of {factor}, with its {level:.0%} intervals"
    ax.set_title(title, fontsize=9, y=1.2)
    clear_frame(above)
    ax.set_xlabel(f"{len(place)} patients, by {factor}", fontsize=8)
    add_scale(ax, tiles, "standard deviations")
    return ax


def plot_data_scatter(
    post: Posterior,
    views: MultiView,
    view: str,
    feature: str,
    factor: str,
    *,
    by: pd.Series | None = None,
    level: float = 0.95,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw one feature against a factor on the scale of the data, with what the model expects of it.

    A point is a patient, with the interval of the factor through it. The line is E[y | factor], the other factors at
    their mean, with its band: uncertainty of the line, not of a patient.

    Parameters
    ----------
    post
        A posterior.
    views
        The views of the fit.
    view, feature, factor
        What to draw against what.
    by
        A value for every subject of the fit to colour by, indexed by subject: labels. Groups of the fit where it has
        some and `by` is left out.
    level
        Probability that an interval or band holds.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        A name is unknown, the feature is a level of a categorical variable, or `by` is a number.
    """
    require_level(level)
    require_factors(post, [factor])
    choose_feature(post, view, feature)
    own = _take(post, views, view, [feature])[feature].dropna()
    subjects = list(own.index)
    place = (
        summarise(post.factors().sel(factor=factor, subject=subjects), level=level).set_index("subject").loc[subjects]
    )
    ends = place["lower"].min(), place["upper"].max()
    fitted = feature_response(post, view, feature, factor, at=np.linspace(*ends, 60), level=level)
    groups = list(dict.fromkeys(fitted["group"]))
    covariate = read_covariate(_default_by(post, by, len(groups)), subjects)
    if covariate is not None and not covariate.labels:
        raise DataError("by", got="numbers", expected="labels", do="Cut them into ranges first: pd.cut(by, 3).")
    labels = ("",) if covariate is None else covariate.labels
    codes = np.zeros(len(own), dtype=np.intp) if covariate is None else covariate.values
    y = own.to_numpy(dtype=np.float64)
    if post.likelihoods(view).sel({f"feature_{view}": feature}).item() not in REAL:
        y = y + _shift_apart(y)
    ax = new_axes(ax, 4.6, 3.4)
    for number, label in enumerate(labels):
        rows = codes == number
        color = GREY if label == MISSING else color_of(number)
        ax.hlines(y[rows], place["lower"][rows], place["upper"][rows], color=color, alpha=0.3, linewidth=0.8)
        ax.scatter(place["mean"][rows], y[rows], s=10, color=color, label=plain(label) or None, linewidths=0, zorder=3)
    for number, group in enumerate(groups):
        line = fitted[fitted["group"] == group]
        color = "black" if by is not None or len(groups) == 1 else color_of(number)
        ax.fill_between(line["value"], line["lower"], line["upper"], color=color, alpha=0.2, linewidth=0)
        ax.plot(line["value"], line["mean"], color=color, linewidth=1.3)
    title = f"{plain(view)}: {plain(feature)} by {factor}, with {level:.0%} band"
    describe(ax, x=f"{factor}, with {level:.0%} interval", y=plain(feature), title=title)
    add_legend(ax, title=plain(covariate.name) if covariate else None)
    return ax


def _default_by(post: Posterior, by: pd.Series | None, n_groups: int) -> pd.Series | None:
    """Return `by`, or the groups of the fit where nothing is asked for and it has some."""
    return post.groups().to_series().rename("group") if by is None and n_groups > 1 else by


def _shift_apart(y: np.ndarray) -> np.ndarray:
    """Small offsets that let points of equal value be seen, the same ones each time."""
    step = np.diff(np.unique(y)).min(initial=1.0)
    return np.asarray(0.12 * step * np.sin(np.arange(len(y)) * 2.399))


def _take(post: Posterior, views: MultiView, view: str, features: list[str]) -> pd.DataFrame:
    """Values of some features in the subjects of the fit who have the view, prepared as those of the fit were."""
    views = prepare_new(post.tree, views)
    absent = set(features) - set(views.features(view))
    if absent:
        raise DataError(
            f"view {view!r}",
            got=f"views that lack {len(absent)} of the features to draw",
            expected="the views of the fit",
            do="Pass the views that the posterior was fitted to.",
        )
    present = views.has_view(view).to_series()
    subjects = [subject for subject in post.subjects if present.get(subject, False)]
    if not subjects:
        raise DataError(
            f"view {view!r}",
            got="none of the subjects of the fit",
            expected="the views of the fit",
            do="Pass the views that the posterior was fitted to.",
        )
    own = views[view].sel({"subject": subjects, f"feature_{view}": features})
    return pd.DataFrame(own.values, index=subjects, columns=features)
