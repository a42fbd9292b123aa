"""Whether to believe a fit: do chains agree, would the model make such data, on whom does it hang."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.errors import DataError
from mofa_bayes.explain import variance_explained
from mofa_bayes.plot.axes import BLUE, RED, add_legend, color_of, describe, new_axes, plain
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.diagnose import Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 20
_STATISTICS = {
    "mean": "mean, in the feature's unit",
    "sd": "sd, in the feature's unit",
    "extreme": "largest distance from the mean, sd",
    "zeros": "share of zeros",
}


def plot_chain_ranks(post: Posterior, view: str, *, ax: "Axes | None" = None) -> "Axes":
    """Draw how each chain's draws of a view's variance explained rank among those of all chains.

    Chains that agree have flat lines at 1 (Vehtari et al. 2021, Bayesian Anal 16:667); the band holds 95 % of bins of
    independent draws.

    Parameters
    ----------
    post
        A posterior of several chains.
    view
        Which view.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        The view is unknown.
    """
    if view not in post.views:
        raise DataError("view", got=repr(view), expected=f"one of {', '.join(post.views)}", do="Use one of these.")
    draws = variance_explained(post)["total"].sel(view=view).transpose("chain", "draw").values
    ranks = draws.ravel().argsort().argsort().reshape(draws.shape)
    ax = new_axes(ax, 4.6, 2.8)
    expected = draws.shape[1] / _BINS
    half = 1.96 * np.sqrt((1 - 1 / _BINS) / expected)
    ax.axhspan(max(1 - half, 0), 1 + half, color="0.9", zorder=0)
    for chain, own in enumerate(ranks):
        counts = np.bincount(own * _BINS // draws.size, minlength=_BINS)
        place, color = np.arange(_BINS) + 0.5, color_of(chain)
        ax.step(place, counts / expected, where="mid", color=color, linewidth=1.2, label=f"chain {chain}")
    ax.set_xticks([])
    ax.set_ylim(0, None)
    title = f"{plain(view)}: ranks of the variance explained"
    describe(ax, x="rank among the draws of all chains", y="draws, of those expected", title=title)
    add_legend(ax)
    return ax


def plot_predictive(diagnosis: Diagnosis, view: str, *, statistic: str = "sd", ax: "Axes | None" = None) -> "Axes":
    """Draw a statistic of each feature beside its replications under the fitted model, with their 95 % interval.

    Parameters
    ----------
    diagnosis
        Made with views: `mb.diagnose(post, views)`.
    view, statistic
        What to look at: `mean`, `sd`, `extreme` or `zeros`, as the view's likelihoods have them.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        The diagnosis was made without views, or has no such statistic of this view.
    """
    table = None if diagnosis.predictive is None else diagnosis.predictive.table
    own = table if table is None else table[(table["view"] == view) & (table["statistic"] == statistic)]
    if table is None or own is None or own.empty:
        known = (
            "" if table is None else ", ".join(sorted({f"{v}: {s}" for v, s in table[["view", "statistic"]].values}))
        )
        raise DataError(
            "predictive check to draw",
            got=f"{statistic!r} of view {view!r}" if known else "a diagnosis without views",
            expected=known or "one made by mb.diagnose(post, views)",
            do="Use one of these." if known else "Pass the views of the fit.",
        )
    own = own.sort_values("replicated")
    place, outside = np.arange(len(own)), (own["p"] < 0.025) | (own["p"] > 0.975)
    ax = new_axes(ax, 5.2, 3.0)
    ax.vlines(place, own["lower"], own["upper"], color=BLUE, alpha=0.35, linewidth=1.2, label="95% of replications")
    for color, label in (("black", "observed"), (RED, "observed, outside")):
        ax.scatter([], [], s=7, color=color, label=label)
    ax.scatter(place, own["observed"], s=7, color=np.where(outside, RED, "black"), zorder=3)
    ax.set_xticks([])
    title = f"{plain(view)}: {statistic} of each feature; {outside.mean():.0%} outside"
    describe(ax, x="features, by what the model expects", y=_STATISTICS.get(statistic, statistic), title=title)
    add_legend(ax)
    return ax


def plot_pareto_k(diagnosis: Diagnosis, *, ax: "Axes | None" = None) -> "Axes":
    """Draw how much the posterior hangs on each subject, subjects in order and without names.

    Parameters
    ----------
    diagnosis
        Made with views: `mb.diagnose(post, views)`.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        The diagnosis was made without views, or of a fit whose leave-one-out cannot be computed.
    """
    if diagnosis.loo is None:
        is_blind = diagnosis.predictive is None
        raise DataError(
            "diagnosis to draw",
            got="one without views" if is_blind else f"one without leave-one-out ({'; '.join(diagnosis.notes)})",
            expected="one made by mb.diagnose(post, views), with leave-one-out",
            do="Pass the views of the fit." if is_blind else "Look at plot_predictive instead.",
        )
    k, most = np.sort(diagnosis.loo.pareto_k), diagnosis.loo.good_k
    ax = new_axes(ax, 4.6, 2.8)
    ax.axhline(most, color="black", linewidth=0.8, linestyle="--", label=f"limit, {most:.2f}")
    ax.scatter(np.arange(len(k)), k, s=8, color=np.where(k > most, RED, BLUE), zorder=3)
    title = f"Leave-one-out: {(k > most).mean():.0%} of subjects above the limit"
    describe(ax, x="subjects, from the least influential", y="Pareto k", title=title)
    add_legend(ax)
    return ax
