"""Whether to believe a fit: do chains agree, would the model make such data, on whom does it hang."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.errors import DataError
from mofa_bayes.explain import variance_explained
from mofa_bayes.plot.axes import BLUE, RED, clear_frame, new_axes
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.diagnose import Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 20


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
        ax.step(np.arange(_BINS) + 0.5, counts / expected, where="mid", linewidth=1.2, label=f"chain {chain}")
    ax.set_xlabel("rank among the draws of all chains", fontsize=8)
    ax.set_ylabel("draws, of those expected", fontsize=8)
    ax.set_xticks([])
    ax.set_ylim(0, None)
    ax.set_title(f"{view}: ranks of the variance explained", fontsize=9)
    ax.legend(fontsize=7, frameon=False)
    clear_frame(ax)
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
    ax.vlines(place, own["lower"], own["upper"], color=BLUE, alpha=0.35, linewidth=1.2, label="replicated, 95 %")
    ax.scatter(place, own["observed"], s=7, color=np.where(outside, RED, "black"), zorder=3, label="observed")
    ax.set_xticks([])
    ax.set_xlabel("features, by what the model expects", fontsize=8)
    ax.set_ylabel(statistic, fontsize=8)
    ax.set_title(f"{view}: {statistic} of each feature; {outside.mean():.0%} outside", fontsize=9)
    ax.legend(fontsize=7, frameon=False)
    clear_frame(ax)
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
    k = np.sort(diagnosis.loo.pareto_k)
    ax = new_axes(ax, 4.6, 2.8)
    ax.axhline(diagnosis.loo.good_k, color="black", linewidth=0.8, linestyle="--")
    ax.scatter(np.arange(len(k)), k, s=8, color=np.where(k > diagnosis.loo.good_k, RED, BLUE))
    ax.set_xlabel("subjects, in order", fontsize=8)
    ax.set_ylabel("Pareto k", fontsize=8)
    share = (k > diagnosis.loo.good_k).mean()
    ax.set_title(f"Leave-one-out: {share:.0%} of subjects above {diagnosis.loo.good_k:.2f}", fontsize=9)
    clear_frame(ax)
    return ax
