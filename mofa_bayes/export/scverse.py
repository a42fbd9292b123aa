"""Results beside the data in MuData and AnnData: placed by the names of views, features and subjects."""

import json
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mofa_bayes.data.extras import import_extra
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError, IgnoredWarning, name_some, warn
from mofa_bayes.explain import variance_explained
from mofa_bayes.export.means import Array, read_factors, read_view
from mofa_bayes.posterior import Posterior

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

FACTORS = "X_mofa"
LOADINGS = "LFs"
"""The names that muon gives to the same things, which its plots look for."""


def to_mudata(post: Posterior, target: "MuData | MultiView") -> "MuData":
    """Write a posterior's results into a MuData.

    Parameters
    ----------
    post
        A posterior.
    target
        The MuData that the views came from, with modalities named as views, observations as subjects and variables as
        features, each in any order; it is changed and returned. Or the views themselves, of which a MuData is made:
        each modality has the subjects who have the view.

    Returns
    -------
    MuData
        `obsm["X_mofa"]` and `obsm["X_mofa_sd"]` (subject, factor); `varm["LFs"]` and `varm["LFs_sd"]`
        (feature, factor), on the model's scale, in the whole and in each modality; `uns["mofa"]` with the factors'
        names, the variance that each explains in each view, engine, fingerprint and model. What the posterior does not
        know is NaN.

    Raises
    ------
    MissingExtraError
        mudata is not installed.
    DataError
        A view is not among the modalities, or names have nothing in common with the posterior's.

    Warns
    -----
    IgnoredWarning
        The target lacks some features of the posterior.
    """
    mudata = import_extra("mudata", "mudata", "MuData")
    if isinstance(target, MultiView):
        target = mudata.MuData({view: _make_anndata(target, view) for view in target.names})
    absent = [view for view in post.views if view not in getattr(target, "mod", {})]
    if not isinstance(target, mudata.MuData) or absent:
        raise DataError(
            "target",
            got=f"no modality {name_some(absent)}" if isinstance(target, mudata.MuData) else type(target).__name__,
            expected=f"a MuData with modalities {', '.join(post.views)}, or the MultiView of the fit",
            do="Name modalities as the views of the fit.",
        )
    factors = read_factors(post)
    for view in post.views:
        _write_loadings(post, target.mod[view], view)
    for key in (LOADINGS, f"{LOADINGS}_sd"):
        whole = np.full((target.n_vars, len(post.factor_names)), np.nan)
        for view in post.views:
            # One more than where each variable of the whole stands in the modality, 0 where it does not.
            place = np.asarray(target.varmap[view]).astype(np.intp)
            whole[place > 0] = target.mod[view].varm[key][place[place > 0] - 1]
        target.varm[key] = whole
    _write_subjects(post, target, factors)
    return target


def to_anndata(post: Posterior, target: "AnnData | MultiView", *, view: str | None = None) -> "AnnData":
    """Write a posterior's results of one view into an AnnData; names and errors as in `to_mudata`.

    Parameters
    ----------
    post
        A posterior.
    target
        An AnnData with the view's features as variables, which is changed and returned, or the views of the fit.
    view
        Which view it is; may be left out where the posterior has one.
    """
    anndata = import_extra("anndata", "mudata", "AnnData")
    own = post.views[0] if view is None and len(post.views) == 1 else view
    if own is None or own not in post.views:
        raise DataError("view", got=repr(view), expected=f"one of {', '.join(post.views)}", do="Pass view=...")
    if isinstance(target, MultiView):
        target = _make_anndata(target, own)
    if not isinstance(target, anndata.AnnData):
        raise DataError(
            "target", got=type(target).__name__, expected="an AnnData, or the MultiView of the fit", do="Pass one."
        )
    annotated: AnnData = target
    factors = read_factors(post)
    _write_loadings(post, annotated, own)
    _write_subjects(post, annotated, factors)
    return annotated


def _make_anndata(views: MultiView, view: str) -> "AnnData":
    from anndata import AnnData

    own = views[view].sel(subject=views.has_view(view))
    likelihoods = pd.DataFrame({"likelihood": views.likelihoods(view).values}, index=list(views.features(view)))
    made: AnnData = AnnData(
        own.values.copy(), obs=pd.DataFrame(index=own["subject"].values.astype(object)), var=likelihoods
    )
    return made


def _write_loadings(post: Posterior, target: "AnnData", view: str) -> None:
    means, features = read_view(post, view), post.features(view)
    rows, known = _look_up(features, target.var_names, f"features of view {view!r}")
    left = len(features) - int(known.sum())
    if left:
        message = f"view {view!r}: {left} features of the posterior are not in the target, and are left out"
        warn(message, IgnoredWarning)
    for key, values in ((LOADINGS, means.loadings), (f"{LOADINGS}_sd", means.loadings_sd)):
        target.varm[key] = _place(values, rows, known)


def _write_subjects(post: Posterior, target: "AnnData | MuData", factors: tuple[Array, Array]) -> None:
    rows, known = _look_up(post.subjects, target.obs_names, "subjects")
    for key, values in zip((FACTORS, f"{FACTORS}_sd"), factors, strict=True):
        target.obsm[key] = _place(values, rows, known)
    shares = variance_explained(post).mean(("chain", "draw"))
    target.uns["mofa"] = {
        "factors": np.asarray(post.factor_names, dtype=object),
        "views": np.asarray(post.views, dtype=object),
        "variance_explained": {view: shares["by_factor"].sel(view=view).values for view in post.views},
        "variance_explained_total": {view: float(shares["total"].sel(view=view)) for view in post.views},
        "params": {name: str(post.tree.attrs[name]) for name in ("engine", "fingerprint", "spec")}
        | {"mofa_bayes": version("mofa-bayes"), "views": json.dumps(list(post.views))},
    }


def _look_up(names: Iterable[str], wanted: pd.Index, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Find where each wanted name stands among ours, 0 where it does not, and which do."""
    index = pd.Index(list(names))
    rows = index.get_indexer(wanted.astype(str))
    if not (rows >= 0).any():
        raise DataError(
            what,
            got=f"none that the posterior has, such as {name_some(wanted, 2)}",
            expected=f"names such as {name_some(index, 2)}",
            do="Name them as in the fit.",
        )
    return np.maximum(rows, 0), rows >= 0


def _place(values: Array, rows: np.ndarray, known: np.ndarray) -> Array:
    return np.where(known[:, None], values[rows], np.nan)
