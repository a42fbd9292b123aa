"""Patterns: subjects of one group with the same observed entries, and what is enough to know of their values."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing, fit_preprocessing
from mofa_bayes.errors import FitError, name_some
from mofa_bayes.graph.cells import Index
from mofa_bayes.spec import ARDFactors, FactorModel, StandardFactors

Array = NDArray[np.float64]

ALL = "all"
MAX_PATTERNS = 24
"""Each pattern is a piece of graph of its own: past a few dozen, compiling costs more than integrating brings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Subjects of one group whose observed entries are the same.

    Attributes
    ----------
    subjects
        Their positions (n,).
    group
        Number of their group.
    columns
        View -> observed columns, a slice where all are; views of which nothing is observed are left out.
    values
        View -> values (n, D_v) of those columns, on the model's scale.
    design
        Known terms of each subject (n, G + C): one column per group, then standardised covariates.
    """

    subjects: Index
    group: int
    columns: Mapping[str, Index | slice]
    values: Mapping[str, Array]
    design: Array

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return len(self.subjects)

    @property
    def n_entries(self) -> int:
        """Number of observed entries of each subject."""
        return sum(own.shape[1] for own in self.values.values())

    def compress(self) -> tuple[dict[str, Array], Array]:
        """Reduce values and design to rows with the same second moments: sufficient statistics.

        With Y = [values, design] and Y = Q R, R'R = Y'Y: sums of squares and products of residuals Y_v - X B over
        subjects are those over the rows of R, of which there are at most as many as columns.
        """
        stacked = np.column_stack([*self.values.values(), self.design])
        if len(stacked) > stacked.shape[1]:
            stacked = np.linalg.qr(stacked, mode="r")
        ends = np.cumsum([own.shape[1] for own in self.values.values()])
        *pieces, design = np.split(stacked, ends, axis=1)
        return dict(zip(self.values, pieces, strict=True)), design


def number_groups(views: MultiView) -> tuple[list[str], Index]:
    """Name the groups in the order of their names, and number each subject's; one group of all where there are none."""
    if views.groups is None:
        return [ALL], np.zeros(views.n_subjects, dtype=np.intp)
    names, number = np.unique(views.groups.values.astype(np.str_), return_inverse=True)
    return [str(name) for name in names], number.astype(np.intp)


def count_patterns(views: MultiView) -> int:
    """Count patterns of observed entries, group by group; subjects of whom nothing is observed have none."""
    return len(_group_rows(views))


def prepare(views: MultiView, spec: FactorModel) -> Preprocessing:
    """Learn centres and scales as the spec asks."""
    scales = {view: spec.scale_of(view) for view in views.names}
    return fit_preprocessing(views, scales, scale_groups=spec.scale_groups)


def scale_values(views: MultiView, view: str, preprocessing: Preprocessing) -> Array:
    """Bring a view's values (N, D) to the model's scale."""
    groups, group_of = number_groups(views)
    values = views[view].values.astype(np.float64)
    return preprocessing.apply(view, values, [groups[number] for number in group_of]).astype(np.float64)


def can_integrate(views: MultiView, spec: FactorModel) -> bool:
    """Say whether the factors can be integrated out: all gaussian, few patterns of observed entries."""
    return is_normal(views, spec) and count_patterns(views) <= MAX_PATTERNS


def is_normal(views: MultiView, spec: FactorModel) -> bool:
    """Say whether factors and observations are normal given all else."""
    return isinstance(spec.factors, StandardFactors | ARDFactors) and not _other_views(views)


def _other_views(views: MultiView) -> list[str]:
    return [view for view in views.names if (views.likelihoods(view).values != "gaussian").any()]


def require_integrable(views: MultiView, spec: FactorModel) -> None:
    """Raise FitError unless the factors can be integrated out."""
    problem, expected = "", ""
    if other := _other_views(views):
        problem, expected = f"features that are not gaussian in {name_some(other)}", "gaussian features only"
    elif not is_normal(views, spec):
        problem, expected = f"a {spec.factors.kind} prior on factors", "normal factors"
    elif (n_patterns := count_patterns(views)) > MAX_PATTERNS:
        problem, expected = f"{n_patterns} patterns of observed entries", f"at most {MAX_PATTERNS}"
    if problem:
        raise FitError(
            "an integrated graph",
            got=problem,
            expected=expected,
            do="Build the graph with its factors, where anything goes: mb.graph(views, spec).",
        )


def find_patterns(views: MultiView, preprocessing: Preprocessing) -> list[Pattern]:
    """Collect subjects by pattern.

    Parameters
    ----------
    views
        A cohort of real values.
    preprocessing
        Brings values to the model's scale and standardises covariates.
    """
    groups, group_of = number_groups(views)
    tables = {view: scale_values(views, view, preprocessing) for view in views.names}
    design = np.eye(len(groups))[group_of]
    if views.covariates is not None:
        design = np.column_stack([design, preprocessing.standardise(views.covariates.values)])
    patterns = []
    for rows in _group_rows(views):
        seen = {view: ~np.isnan(table[rows[0]]) for view, table in tables.items()}
        columns = {view: slice(None) if own.all() else np.flatnonzero(own) for view, own in seen.items() if own.any()}
        patterns.append(
            Pattern(
                subjects=rows,
                group=int(group_of[rows[0]]),
                columns=columns,
                values={view: tables[view][rows][:, own] for view, own in columns.items()},
                design=design[rows],
            )
        )
    return patterns


def _group_rows(views: MultiView) -> list[Index]:
    """Positions of the subjects of each pattern."""
    _, group_of = number_groups(views)
    seen = np.column_stack([~np.isnan(views[view].values) for view in views.names])
    keys = np.column_stack([group_of.astype("<u4").view(np.uint8).reshape(len(seen), -1), np.packbits(seen, axis=1)])
    _, pattern = np.unique(keys, axis=0, return_inverse=True)
    rows = [np.flatnonzero(pattern == number) for number in range(int(pattern.max()) + 1)]
    return [own for own in rows if seen[own[0]].any()]
