"""New patients: q(z* | x*) from stored loadings and noise, under any pattern of missing views and entries."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.categories import CATEGORICAL, complete_one_hot
from mofa_bayes.data.likelihoods import SUPPORT, find_outside
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.data.steps.preparation import Preparation
from mofa_bayes.engines.vi.infer import infer_given_globals
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import Layout, lay_out
from mofa_bayes.engines.vi.rows import PartGlobals, RowPrior, Rows
from mofa_bayes.errors import DataError, IgnoredWarning, name_some, warn
from mofa_bayes.posterior.build import gather_rows, part_state
from mofa_bayes.posterior.drawn_error import DrawnError
from mofa_bayes.posterior.drawn_moments import DrawnMoments
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.project_draws import choose_places, is_of_draws, take_points
from mofa_bayes.posterior.shared_error import SharedError, take_loadings_as_noise


def project_views(tree: xr.DataTree, new: MultiView | Mapping[str, pd.DataFrame]) -> FactorMoments:
    """Infer the factors of new subjects.

    q(z*) has precision I + sum_d tau_d E[w_d w_d'] and the matching linear term, over the features that were observed:
    an absent view drops out of both. Under draws of a sampling engine what is not known of each feature's loadings is
    noise, and what draws disagree on together is added to the covariance (`mofa_bayes.posterior.drawn_error`). Aligned
    factors have unit variance over the subjects of the fit in every draw, so their prior there is taken as N(0, I)
    too. A posterior that `mb.cross_fit` has looked at has the errors of its loadings in the covariance.

    Values are brought to the model's scale with the centres and scales of the fit, never with those of the new
    subjects.

    Parameters
    ----------
    tree
        A posterior's tree.
    new
        Views, or one table per view. Features are matched by name: absent ones count as missing, unknown ones are left
        out with a warning.

    Raises
    ------
    DataError
        No view, or no feature, is one the model knows.
    """
    return widen(tree, infer_point(tree, new))


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """q(z) of subjects under one set of globals.

    Attributes
    ----------
    layout, known, rows
        Arranged values, globals by number of the layout's parts, and q(z) by block.
    factors
        Names of the factors.
    views
        What was seen, with the views and features of the fit.
    """

    layout: Layout
    known: Mapping[int, PartGlobals]
    rows: tuple[Rows, ...]
    factors: tuple[str, ...]
    views: MultiView

    def moments(self) -> FactorMoments:
        """Bring the rows to the order of the subjects."""
        return gather_rows(self.layout, self.rows, self.views.subjects, self.factors)

    def group_of(self) -> NDArray[np.intp]:
        """Group of each subject (N,)."""
        place = {subject: n for n, subject in enumerate(self.views.subjects)}
        groups = np.zeros(len(place), dtype=np.intp)
        for block in self.layout.blocks:
            groups[[place[self.layout.subjects[n]] for n in block.rows]] = block.group
        return groups

    def seen(self) -> NDArray[np.float64]:
        """Share of each view's features that each subject has (N, M)."""
        of_views = [np.isfinite(self.views[view].values).mean(axis=1) for view in self.views.names]
        return np.stack(of_views, axis=1)


def infer_point(
    tree: xr.DataTree, new: MultiView | Mapping[str, pd.DataFrame], *, as_noise: bool | None = None
) -> Inference:
    """Infer the factors of new subjects under the mean loadings of a posterior.

    Errors of the loadings are noise of new subjects (`as_noise`) where it is known which of them features share, unless
    asked otherwise.
    """
    moments, views, preprocessing = _read(tree, new)
    if as_noise is None:
        as_noise = "cross_fits" in tree.children or is_of_draws(tree)
    own = take_loadings_as_noise(moments) if as_noise else moments
    return _infer(_arrange(moments, views, preprocessing), own, views)


def widen(tree: xr.DataTree, found: Inference) -> FactorMoments:
    """Add the error that features share to what was inferred, where a posterior knows of it."""
    moments = found.moments()
    if "cross_fits" in tree.children:
        error = SharedError.from_dataset(tree.children["cross_fits"].to_dataset())
        return error.widen(moments, found.group_of())
    return DrawnError.learn(tree).widen(moments, found.seen(), found.group_of()) if is_of_draws(tree) else moments


def project_each(tree: xr.DataTree, new: MultiView | Mapping[str, pd.DataFrame], n_draws: int) -> DrawnMoments:
    """Infer the factors of subjects under each of some draws of loadings, noise and intercepts, as they were drawn."""
    moments, views, preprocessing = _read(tree, new)
    layout = _arrange(moments, views, preprocessing)
    each = [_infer(layout, own, views).moments() for own in take_points(tree, n_draws)]
    return DrawnMoments.of(choose_places(tree, n_draws), each, str(tree.attrs.get("fingerprint", "")))


def _read(
    tree: xr.DataTree, new: MultiView | Mapping[str, pd.DataFrame]
) -> tuple[xr.Dataset, MultiView, Preprocessing]:
    """Read the stored moments, the new views with the features of the fit, and its centres and scales."""
    moments = tree.children["moments"].to_dataset()
    known = [str(name)[13:] for name in moments.data_vars if str(name).startswith("weights_mean_")]
    views = _match(moments, known, prepare_new(tree, as_views(tree, new)))
    return moments, views, Preprocessing(dataset=tree.children["preprocessing"].to_dataset())


def infer_views(moments: xr.Dataset, views: MultiView, preprocessing: Preprocessing) -> FactorMoments:
    """Infer q(z) of subjects from stored moments; `views` has the views and features of the fit."""
    return _infer(_arrange(moments, views, preprocessing), moments, views).moments()


def _arrange(moments: xr.Dataset, views: MultiView, preprocessing: Preprocessing) -> Layout:
    groups = [str(name) for name in moments["group"].values]
    return lay_out(views, preprocessing, find_known(views, preprocessing, groups))


def _infer(layout: Layout, moments: xr.Dataset, views: MultiView) -> Inference:
    layout, globals_ = _with_fit(layout, moments)
    factors = tuple(str(name) for name in moments["factor"].values)
    rows = infer_given_globals(layout, globals_, lambda group: _prior_of(moments, group))
    return Inference(layout, globals_, rows, factors, views)


def _prior_of(moments: xr.Dataset, group: int) -> RowPrior:
    """Prior of the factors of one group's subjects, as the fit learned it."""
    precision = np.ones(moments.sizes["factor"])
    if "factor_precision" in moments:
        precision = moments["factor_precision"].values[group]
    log_odds = moments["factor_log_odds"].values[group] if "factor_log_odds" in moments else np.empty(0)
    return RowPrior(precision, log_odds)


def _with_fit(layout: Layout, moments: xr.Dataset) -> tuple[Layout, dict[int, PartGlobals]]:
    """Give each part the curvature and cut points of the fit, and its globals."""
    parts, globals_ = [], {}
    for number, part in enumerate(layout.parts):
        state, own = part_state(moments, part.view, part)
        globals_[number] = state.summarise(own)
        parts.append(own)
    blocks = tuple(
        replace(
            block,
            cells={
                number: replace(cells, values=replace(cells.values, levels=parts[number].levels))
                for number, cells in block.cells.items()
            },
        )
        for block in layout.blocks
    )
    return replace(layout, parts=tuple(parts), blocks=blocks), globals_


def prepare_new(tree: xr.DataTree, views: MultiView) -> MultiView:
    """Prepare views as those of the fit were, unless they are so already.

    Raises
    ------
    DataError
        They are prepared, but not as those of the fit were.
    """
    own = views.preparation
    if "preparation" not in tree.children:
        if own is not None:
            raise DataError(
                "views",
                got="views that mb.prepare made",
                expected="views as they were measured, for those of the fit were not prepared",
                do="Pass those that were read.",
            )
        return views
    stored = Preparation.from_dataset(tree.children["preparation"].to_dataset())
    if own is None:
        return stored.apply(views)
    if not own.equals(stored):
        raise DataError(
            "views",
            got="views that were prepared in another way than those of the fit, or from other patients",
            expected="the views of the fit, or new ones as they were measured",
            do="Pass those that were read: they are prepared here.",
        )
    return views


def as_views(tree: xr.DataTree, new: object) -> MultiView:
    """Return views of new subjects, built from tables with the likelihoods of the fit where they are not views yet.

    A table without rows is a view that none of them has; one table at least must have some.
    """
    if isinstance(new, MultiView):
        return new
    if not isinstance(new, Mapping):
        raise DataError(
            "views of subjects",
            got=type(new).__name__,
            expected="a MultiView, or a mapping from view name to DataFrame",
            do='Write post.project({"rna": df_rna}).',
        )
    filled = {
        view: table for view, table in new.items() if not (isinstance(table, pd.DataFrame) and table.shape[0] == 0)
    }
    new = filled or new
    moments = tree.children["moments"].to_dataset()
    likelihoods, levels = {}, {}
    prepared = _prepared_features(tree)
    for view, table in new.items():
        if f"likelihood_{view}" in moments and isinstance(table, pd.DataFrame):
            columns = {str(name) for name in table.columns}
            levels[view] = {name: own for name, own in _levels(moments, view).items() if name in columns}
            stored = moments[f"likelihood_{view}"].to_series().to_dict() | dict.fromkeys(levels[view], CATEGORICAL)
            stored = dict.fromkeys(prepared.get(view, ()), "gaussian") | stored
            likelihoods[view] = {str(name): str(stored[str(name)]) for name in table.columns if str(name) in stored}
    return MultiView.from_frames(new, likelihoods=likelihoods, levels=levels, uninformative="keep")


def _prepared_features(tree: xr.DataTree) -> dict[str, tuple[str, ...]]:
    """View -> the real-valued features that its preparation starts from, of which the fit may have some only."""
    if "preparation" not in tree.children:
        return {}
    steps = Preparation.from_dataset(tree.children["preparation"].to_dataset()).steps
    return {view: own[0].features for view, own in steps.items() if own}


def _levels(moments: xr.Dataset, view: str) -> dict[str, list[str]]:
    """Levels of each categorical variable of the fit, by name."""
    levels: dict[str, list[str]] = {}
    if f"variable_{view}" in moments:
        is_categorical = moments[f"likelihood_{view}"].values == CATEGORICAL
        for name, variable in moments[f"variable_{view}"].to_series()[is_categorical].items():
            levels.setdefault(str(variable), []).append(str(name)[len(str(variable)) + 1 :])
    return levels


def _match(moments: xr.Dataset, known: list[str], new: MultiView) -> MultiView:
    """Bring new views to the model's views and features, in its order."""
    foreign = [view for view in new.names if view not in known]
    shared = [view for view in new.names if view in known]
    if not shared:
        raise DataError(
            "views to project",
            got=f"only views that the model does not know ({name_some(foreign)})",
            expected=f"at least one of {', '.join(known)}",
            do="Use the names of the fit.",
        )
    if foreign:
        warn(f"views {name_some(foreign)} are not in the model and are left out", IgnoredWarning)
    variables: dict[str, xr.DataArray] = {}
    coords = {"subject": new.dataset["subject"].values}
    for view in known:
        dim = f"feature_{view}"
        coords[dim] = moments[dim].values
        own = [name for name in (f"likelihood_{view}", f"variable_{view}") if name in moments]
        variables |= {name: moments[name] for name in own}
        if view in shared:
            if moments[f"has_exposure_{view}"].item() and new.exposure(view) is None:
                raise DataError(
                    f"exposures of view {view!r}",
                    got="none",
                    expected="exposures of the new subjects, as the model was fitted with",
                    do="Pass MultiView.from_frames(..., exposures={...}, uninformative='keep').",
                )
            variables[f"values_{view}"] = _match_features(moments, view, new)
        else:
            shape = (new.n_subjects, len(coords[dim]))
            variables[f"values_{view}"] = xr.DataArray(np.full(shape, np.nan), dims=("subject", dim))
    others = ["group", "covariates", *(f"exposure_{view}" for view in shared)]
    variables |= {name: new.dataset[name] for name in others if name in new.dataset}
    if "covariates" in variables:
        coords["covariate"] = new.dataset["covariate"].values
    return MultiView(xr.Dataset(variables, coords=coords))


def _match_features(moments: xr.Dataset, view: str, new: MultiView) -> xr.DataArray:
    dim = f"feature_{view}"
    features = [str(name) for name in moments[dim].values]
    unknown = sorted(set(new.features(view)) - set(features))
    if len(unknown) == len(new.features(view)):
        raise DataError(
            f"features of view {view!r}",
            got=f"none that the model knows ({name_some(unknown)})",
            expected=f"names such as {name_some(features, 3)}",
            do="Use the feature names of the fit.",
        )
    if unknown:
        warn(
            f"view {view!r}: {len(unknown)} features that the model does not know are left out",
            IgnoredWarning,
        )
    values = new[view].reindex({dim: features}).transpose("subject", dim)
    columns = moments[f"likelihood_{view}"].values == CATEGORICAL
    if columns.any():
        codes = moments[f"variable_{view}"].values[columns]
        values[:, columns] = complete_one_hot(values.values[:, columns], codes)
    for likelihood in dict.fromkeys(moments[f"likelihood_{view}"].values):
        columns = moments[f"likelihood_{view}"].values == likelihood
        outside = find_outside(str(likelihood), values.values[:, columns])
        if likelihood == "ordinal":
            largest = np.isfinite(moments[f"levels_{view}"].values[columns]).sum(axis=1)
            outside |= values.values[:, columns] > largest
        if outside.any():
            raise DataError(
                f"features of view {view!r} that the model knows as {likelihood}",
                got=f"other values in {name_some(np.asarray(features)[columns][outside.any(axis=0)])}",
                expected=SUPPORT.get(str(likelihood), "numbers"),
                do="Code them as they were coded for the fit.",
            )
    return values
