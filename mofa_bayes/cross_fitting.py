"""How far are factors of new patients off? As far as fits without some of the patients disagree about them."""

import warnings
from typing import Literal, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.errors import FitError, IgnoredWarning, ModelWarning, warn
from mofa_bayes.fitting import fit
from mofa_bayes.interrupts import heed_interrupts
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.posterior.project import infer_point
from mofa_bayes.posterior.shared_error import SharedError
from mofa_bayes.seeds import make_rng
from mofa_bayes.spec.model import is_whole
from mofa_bayes.watch import counting

Array = NDArray[np.float64]
Engine = Literal["vi", "spectral"]
_ENGINES = ("vi", "spectral")
_LEAST_FOLDS = 5
_SAME = 0.7
_N_DRAWS = 2  # none is looked at


def cross_fit(
    post: Posterior,
    views: MultiView,
    *,
    n_folds: int = 20,
    settings: Ascent | None = None,
    seed: int | np.random.Generator = 0,
    progress: bool = True,
) -> Posterior:
    """Learn how much the loadings' own error adds to the factors of new patients, so that their intervals hold.

    The model is fitted again without each fold of its subjects, from the start (a start at the factors that were found
    does not move away from them as far as the data allow, and its intervals are too narrow), and what the folds make of
    the same patients is compared: see `mofa_bayes.posterior.shared_error`. The posterior that is returned projects with
    calibrated covariances, under any pattern of missing views; everything else in it is as it was.

    Parameters
    ----------
    post
        A posterior of engine vi or spectral. Draws of gibbs and nuts hold this error already.
    views
        The views it was fitted to.
    n_folds
        Folds of the subjects, stratified by group. The width of intervals is known to about 1 / sqrt(2 n_folds).
    settings
        As in `fit`, of the folds' fits; when left out, vi stops in its `fast` mode, which is several times quicker and
        covers as well (`tests/benchmarks/projection.py`).
    seed
        Seed of the folds.
    progress
        Show how many folds are done on a terminal or in Jupyter.

    Returns
    -------
    Posterior
        With a group `cross_fits` in its tree: `offset` (fold, group, factor) and `turn` (fold, factor, factor_bis), the
        factors of each fold in terms of those of the fit; `agreement` (fold, factor), their correlation; `inflation`
        (seen, factor), by how much intervals grow where only these views are seen. `post.inflation` shows the last as a
        table. Nothing in it belongs to a patient.

    Raises
    ------
    FitError
        Engine, views or `n_folds` cannot be used.

    Warns
    -----
    ModelWarning
        A factor is not the same in some folds (correlation below 0.7): it hangs on a few patients.
    """
    group_of = _require(post, views, n_folds)
    settings = Ascent(mode="fast") if settings is None and post.provenance["engine"] == "vi" else settings
    engine = cast(Engine, post.provenance["engine"])
    rng = make_rng(seed)
    fold_rng, *fit_rngs = rng.spawn(1 + n_folds)
    fold_of = _assign_folds(views, group_of, n_folds, fold_rng)
    whole = infer_point(post.tree, views, as_noise=True).moments().sel(views.subjects).mean
    names, found, agreement = np.asarray(views.subjects), [], []
    with counting(progress, "cross-fitting", n_folds) as tell:
        for fold, own in enumerate(fit_rngs):
            kept = views.sel(list(names[fold_of != fold])).drop_uninformative()
            with heed_interrupts(), warnings.catch_warnings():
                warnings.simplefilter("ignore", IgnoredWarning)  # features that vary in the fold alone
                without = fit(
                    kept, post.spec, engine=engine, seed=own, n_draws=_N_DRAWS, settings=settings, progress=False
                )
                means = infer_point(without.tree, views, as_noise=True).moments().sel(views.subjects).mean
            matched, alike = _match(whole, means)
            found.append(matched)
            agreement.append(alike)
            tell()
    error = SharedError.learn(whole, np.stack(found), group_of, len(np.unique(group_of)))
    return _attach(post, views, error, np.stack(agreement))


def _require(post: Posterior, views: MultiView, n_folds: int) -> NDArray[np.intp]:
    """Check what was given; return the group of each subject (N,)."""
    if not isinstance(post, Posterior):
        raise FitError(
            "posterior to cross-fit", got=type(post).__name__, expected="what mb.fit returned", do="Fit a model first."
        )
    engine = post.provenance.get("engine")
    if engine not in _ENGINES:
        raise FitError(
            "posterior to cross-fit",
            got=f"one of engine {engine!r}",
            expected=f"one of {' or '.join(_ENGINES)}",
            do="Project with it as it is: its draws hold the error of the loadings.",
        )
    if not isinstance(views, MultiView) or views.fingerprint != post.tree.attrs["data_fingerprint"]:
        raise FitError(
            "views to cross-fit with",
            got=type(views).__name__ if not isinstance(views, MultiView) else "other views than those of the fit",
            expected="the views that the posterior was fitted to",
            do="Pass the same MultiView that fit took.",
        )
    if not is_whole(n_folds) or not _LEAST_FOLDS <= n_folds <= views.n_subjects // 2:
        raise FitError(
            "n_folds",
            got=repr(n_folds)[:80],
            expected=f"a whole number from {_LEAST_FOLDS} to half the number of subjects ({views.n_subjects // 2})",
            do="20 is usual.",
        )
    groups = post.groups().sel(subject=list(views.subjects)).values.astype(str)
    return np.unique(groups, return_inverse=True)[1]


def _assign_folds(
    views: MultiView, group_of: NDArray[np.intp], n_folds: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Deal the subjects of each group out to folds (N,); the order of the cohort does not matter."""
    order = np.argsort(np.asarray(views.subjects), kind="stable")
    order = order[np.lexsort((rng.random(len(order)), group_of[order]))]
    fold_of = np.empty(len(order), dtype=np.intp)
    fold_of[order] = np.arange(len(order)) % n_folds
    return fold_of


def _match(whole: Array, other: Array) -> tuple[Array, Array]:
    """Bring other factors (N, L) to the order and sign of (N, K); return them, and how far they correlate (K,).

    A factor that has no counterpart is taken as it is in the whole fit, with a correlation of 0.
    """
    correlation = np.corrcoef(whole.T, other.T)[: whole.shape[1], whole.shape[1] :]
    ours, theirs = linear_sum_assignment(-np.abs(correlation))
    matched, alike = whole.copy(), np.zeros(whole.shape[1])
    matched[:, ours] = other[:, theirs] * np.sign(correlation[ours, theirs])
    alike[ours] = np.abs(correlation[ours, theirs])
    return matched, alike


def _attach(post: Posterior, views: MultiView, error: SharedError, agreement: Array) -> Posterior:
    factors = np.asarray(post.factor_names)
    groups = np.asarray(post.tree["moments"]["group"].to_numpy())
    learned = error.to_dataset(factors, groups).assign(agreement=(("fold", "factor"), agreement))
    groups_of_tree = {name: child.to_dataset() for name, child in post.tree.children.items()}
    tree = xr.DataTree.from_dict({**groups_of_tree, "cross_fits": learned})
    tree.attrs = dict(post.tree.attrs)
    found = Posterior(tree)
    patterns = _view_patterns(views.names)
    rows = {" + ".join(seen): _measure_inflation(found, views, seen) for seen in patterns}
    kept = {name: row for name, row in rows.items() if row is not None}
    inflation = xr.DataArray(
        np.stack(list(kept.values())), dims=("seen", "factor"), coords={"seen": list(kept), "factor": factors}
    )
    tree["cross_fits"] = xr.DataTree(learned.assign(inflation=inflation))
    unsteady = [str(name) for name, low in zip(factors, agreement.min(axis=0) < _SAME, strict=True) if low]
    if unsteady:
        warn(
            f"factors {', '.join(unsteady)} are not the same without some of the patients "
            f"(correlations down to {agreement.min():.2f}): they hang on a few of them",
            ModelWarning,
        )
    return found


def _view_patterns(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All views, all but one of them, and one alone; each once."""
    patterns = [names, *(tuple(own for own in names if own != gone) for gone in names), *((own,) for own in names)]
    return [pattern for pattern in dict.fromkeys(patterns) if pattern]


def _measure_inflation(post: Posterior, views: MultiView, seen: tuple[str, ...]) -> Array | None:
    """Ratio of the sd of each factor with to without the loadings' error (K,); None where nobody has these views."""
    has_all = np.all([views.has_view(view).values for view in seen], axis=0)
    if not has_all.any():
        return None
    who = [subject for subject, has in zip(views.subjects, has_all, strict=True) if has]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IgnoredWarning)
        wide = post.project(views.sel(who).keep_views(seen))
    assert wide.given_loadings is not None
    with_error, without = (
        np.sqrt(np.einsum("nkk->nk", own.covariances()).mean(axis=0)) for own in (wide, wide.given_loadings)
    )
    return np.asarray(with_error / without)
