"""How many factors? As many as predict entries that were hidden from the fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mofa_bayes.card import render_card
from mofa_bayes.data.categories import CATEGORICAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.tables import find_uninformative
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.errors import FitError
from mofa_bayes.fitting import fit
from mofa_bayes.interrupts import heed_interrupts
from mofa_bayes.posterior.density import predictive_log_density
from mofa_bayes.seeds import make_rng
from mofa_bayes.spec import FactorModel
from mofa_bayes.spec.model import is_whole


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Choice:
    """What was found by `choose_n_factors`.

    Attributes
    ----------
    table
        One row per candidate: `n_factors`; `kept`, those that explain something; `log_density`, mean log predictive
        density of a hidden entry, on the data's scale; `behind`, by how much that is lower than the best one;
        `behind_se`, its standard error over subjects, paired; and one column of log densities per view.
    best
        Candidate of the highest log density.
    recommended
        The fewest factors that are not behind the best by more than one standard error.
    """

    table: pd.DataFrame
    best: int
    recommended: int

    def __repr__(self) -> str:
        return (
            f"<Choice: {self.recommended} factors recommended; the best of {len(self.table)} candidates is {self.best}>"
        )

    def _repr_html_(self) -> str:
        return render_card(repr(self), self.table, index=False)


def choose_n_factors(
    views: MultiView,
    spec: FactorModel | None = None,
    *,
    candidates: Sequence[int] = (1, 2, 4, 6, 8, 10, 15, 20),
    fraction: float = 0.1,
    n_repeats: int = 3,
    n_draws: int = 200,
    settings: Ascent | None = None,
    seed: int | np.random.Generator = 0,
    progress: bool = True,
) -> Choice:
    """Fit models of several sizes to views with some entries hidden, and see which predict these best.

    Scattered entries are hidden, the same for every candidate; a categorical variable is hidden whole.

    Parameters
    ----------
    views
        The cohort.
    spec
        The model; its `n_factors` is replaced by each candidate.
    candidates
        Numbers of factors to try.
    fraction
        Share of each view's observed entries that is hidden.
    n_repeats
        How often, each time with other entries hidden.
    n_draws
        Draws of each fit from which the density is averaged.
    settings, seed, progress
        As in `fit`.

    Raises
    ------
    FitError
        A candidate, `fraction` or `n_repeats` cannot be used.
    """
    spec = FactorModel() if spec is None else spec
    sizes = _require_arguments(views, candidates, fraction, n_repeats)
    if settings is not None and settings.checkpoint is not None:
        raise FitError(
            "settings",
            got="a checkpoint",
            expected="settings without one",
            do="Leave it out: a checkpoint belongs to one fit, and this makes many.",
        )
    rng = make_rng(seed)
    scores: dict[int, list[pd.DataFrame]] = {size: [] for size in sizes}
    kept: dict[int, list[int]] = {size: [] for size in sizes}
    for own in rng.spawn(n_repeats):
        hide_rng, *fit_rngs = own.spawn(1 + len(sizes))
        cells = _choose_cells(views, fraction, hide_rng)
        seen = _hide(views, cells)
        for size, fit_rng in zip(sizes, fit_rngs, strict=True):
            fit_seed, draw_rng = fit_rng.spawn(2)
            with heed_interrupts():
                post = fit(
                    seen,
                    replace(spec, n_factors=size),
                    seed=fit_seed,
                    n_draws=n_draws,
                    settings=settings,
                    progress=progress,
                )
            moments = post.factor_moments().sel(views.subjects)
            density = predictive_log_density(post.tree, views, moments, cells, draw_rng)
            scores[size].append(_sum_by_subject(views, cells, density))
            kept[size].append(len(post.factor_names))
    return _conclude(sizes, scores, kept, views.names)


def _require_arguments(views: MultiView, candidates: Sequence[int], fraction: float, n_repeats: int) -> list[int]:
    usable = isinstance(candidates, Sequence) and len(candidates) > 0
    if not usable or not all(is_whole(size) and 0 < size < views.n_subjects for size in candidates):
        raise FitError(
            "candidates",
            got=repr(candidates)[:80],
            expected=f"whole numbers from 1 up to below the number of subjects ({views.n_subjects})",
            do="Write candidates=(2, 5, 10).",
        )
    if not isinstance(fraction, float) or not 0 < fraction <= 0.5:
        raise FitError(
            "fraction", got=repr(fraction)[:80], expected="a share above 0 and up to 0.5", do="0.1 is usual."
        )
    if not is_whole(n_repeats) or n_repeats < 1:
        raise FitError("n_repeats", got=repr(n_repeats)[:80], expected="a whole number from 1 up", do="3 is usual.")
    return sorted({int(size) for size in candidates})


def _choose_cells(views: MultiView, fraction: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Choose observed entries to hide, (subject, feature) by view: none of a column that would not vary without them.

    Names are gone through in their order, so that no other order of the cohort matters.
    """
    rows = np.argsort(np.asarray(views.subjects), kind="stable")
    cells = {}
    for view in sorted(views.names):
        values = views[view].values
        variables = np.where(views.likelihoods(view).values == CATEGORICAL, views.variables(view), views.features(view))
        names, member = np.unique(variables, return_inverse=True)
        drawn = rng.random((len(rows), len(names))) < fraction
        hidden = np.empty_like(drawn)
        hidden[rows] = drawn
        hidden = hidden[:, member] & ~np.isnan(values)
        fixed = find_uninformative(np.where(hidden, np.nan, values))
        is_kept = np.isin(member, np.unique(member[fixed]))
        cells[view] = hidden & ~is_kept
    return cells


def _hide(views: MultiView, cells: Mapping[str, np.ndarray]) -> MultiView:
    hidden = {
        f"values_{view}": views.dataset[f"values_{view}"].copy(data=np.where(own, np.nan, views[view].values))
        for view, own in cells.items()
    }
    return MultiView(views.dataset.assign(hidden))


def _sum_by_subject(
    views: MultiView, cells: Mapping[str, np.ndarray], density: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Sum log densities by subject, one column per view, and count the entries: a categorical variable is one."""
    columns: dict[str, np.ndarray] = {}
    for view, own in density.items():
        counted = cells[view] & ((views.likelihoods(view).values != CATEGORICAL) | (views[view].values == 1))
        columns[view] = np.nansum(own, axis=1)
        columns[f"n {view}"] = counted.sum(axis=1)
    return pd.DataFrame(columns, index=pd.Index(views.subjects, name="subject"))


def _conclude(
    sizes: list[int], scores: Mapping[int, list[pd.DataFrame]], kept: Mapping[int, list[int]], names: tuple[str, ...]
) -> Choice:
    views, counts = list(names), [f"n {view}" for view in names]
    # Each subject once, whatever the number of repeats: its entries are not independent of each other.
    stacked = {size: pd.concat(own).groupby(level="subject").sum() for size, own in scores.items()}
    n_entries = float(stacked[sizes[0]][counts].to_numpy().sum())
    by_subject = {size: own[views].sum(axis=1).to_numpy() for size, own in stacked.items()}
    best = max(sizes, key=lambda size: (by_subject[size].sum(), -size))
    rows = []
    for size in sizes:
        behind = by_subject[best] - by_subject[size]
        error = float(np.sqrt(len(behind)) * behind.std(ddof=1)) if len(behind) > 1 else np.nan
        own = stacked[size]
        per_view = [float(own[view].sum() / max(own[f"n {view}"].sum(), 1)) for view in views]
        total = float(by_subject[size].sum())
        rows.append(
            (
                size,
                float(np.mean(kept[size])),
                total / n_entries,
                float(behind.sum()) / n_entries,
                error / n_entries,
                *per_view,
            )
        )
    columns = ["n_factors", "kept", "log_density", "behind", "behind_se", *views]
    table = pd.DataFrame(rows, columns=columns)
    close = table.loc[table["behind"] <= table["behind_se"], "n_factors"]
    return Choice(table, best, int(close.min()))
