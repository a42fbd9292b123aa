"""The data as the engine sees it: parts (columns of one likelihood) by blocks (rows that have the same views).

Rows and columns are put in a canonical order (by name), so that the answer does not depend on the order they came in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from mofa_bayes.data.categories import CATEGORICAL, one_hot_groups
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.vi.families import FAMILIES, Family
from mofa_bayes.engines.vi.families.base import Values
from mofa_bayes.engines.vi.gaps import Gaps, find_gaps
from mofa_bayes.engines.vi.known import Known, canonical_order
from mofa_bayes.engines.vi.packed import Array, Index
from mofa_bayes.errors import FitError

MAX_ROWS = 256
IN_PLACE_BYTES = 8 * 2**20
_TILE_ROWS = 64
_MAX_OFFSET = 30.0


@dataclass(frozen=True, slots=True)
class Part:
    """Columns of one view that share a likelihood.

    Attributes
    ----------
    view, likelihood
        Their names.
    features
        Names of the columns, in canonical order.
    scattered
        Positions of the columns with a missing entry in some row that has the view.
    n_observed, sum_squares
        Per group and column: observed entries, and the sum of their squares on the model's scale, (G, D).
    mean, variance, largest
        Of the observed values of each column, (D,).
    exposure
        Mean exposure of the subjects, 1 where there is none.
    curvature
        Weight of the square of eta in each column's bound, apart from what entries or noise add, (D,).
    levels
        Ordinal only: standard-normal quantiles of the cumulative frequencies (D, L + 1); empty otherwise.
    members
        Categorical only: which columns code which variable (D, V), 1 or 0; empty otherwise.
    """

    view: str
    likelihood: str
    features: tuple[str, ...]
    scattered: NDArray[np.intp]
    n_observed: Array
    sum_squares: Array
    mean: Array
    variance: Array
    largest: Array
    exposure: float
    curvature: Array
    levels: Array
    members: Array

    @property
    def family(self) -> Family:
        """The likelihood's bound."""
        return FAMILIES[self.likelihood]

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.features)

    @property
    def gram_of(self) -> NDArray[np.intp]:
        """Which Gram matrix each column uses: the shared one (0) or its own (1, 2, ...)."""
        if self.family.is_entrywise:
            return np.arange(self.n_features)
        index = np.zeros(self.n_features, dtype=np.intp)
        index[self.scattered] = 1 + np.arange(len(self.scattered))
        return index

    @property
    def n_grams(self) -> int:
        """How many Gram matrices the part needs."""
        return self.n_features if self.family.is_entrywise else 1 + len(self.scattered)


@dataclass(frozen=True, slots=True)
class Cells:
    """One block of one part.

    Attributes
    ----------
    values
        What was seen, on the model's scale.
    gaps
        For columns with one weight: the scattered missing entries, None when there are none.
    """

    values: Values
    gaps: Gaps | None


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one group that have the same views.

    Attributes
    ----------
    rows
        Positions in canonical order (n,).
    group
        Number of their group.
    cells
        Part number -> data.
    design
        Known terms beside the factors: one column per group (1 for its members) and per covariate, (n, F).
    weights
        How much each row counts in the likelihood (n,), None where each counts once.
    is_uniform
        Whether all its rows have the same posterior covariance.
    """

    rows: NDArray[np.intp]
    group: int
    cells: Mapping[int, Cells]
    design: Array
    weights: Array | None
    is_uniform: bool

    @property
    def n_rows(self) -> int:
        """Number of subjects in the block."""
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole cohort.

    Attributes
    ----------
    subjects
        Names of the rows in canonical order.
    parts, blocks
        Columns and rows.
    groups, covariates
        Names of the known terms, in the order of `Block.design`.
    """

    subjects: tuple[str, ...]
    parts: tuple[Part, ...]
    blocks: tuple[Block, ...]
    groups: tuple[str, ...]
    covariates: tuple[str, ...]

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views in canonical order."""
        return tuple(dict.fromkeys(part.view for part in self.parts))

    @property
    def n_known(self) -> int:
        """Number of known terms: intercepts and covariates."""
        return len(self.groups) + len(self.covariates)


def lay_out(views: MultiView, preprocessing: Preprocessing, known: Known) -> Layout:
    """Arrange a cohort as parts and blocks.

    Raises
    ------
    FitError
        A feature has a likelihood that this engine does not have.
    """
    order = canonical_order(views)
    present = {view: views.has_view(view).values[order] for view in sorted(views.names)}
    groups = _group_rows(np.column_stack([known.group_of, *present.values()]))
    parts: list[Part] = []
    cells: list[dict[int, Cells]] = [{} for _ in groups]
    for view in present:
        names = views.features(view)
        own = [b for b, rows in enumerate(groups) if present[view][rows[0]]]
        exposure = known.exposures.get(view, np.zeros(len(order)))
        for likelihood, columns in _split_view(views, view):
            names_of = [known.groups[known.group_of[groups[b][0]]] for b in own]
            tables = [
                _read(views, preprocessing, view, order[groups[b]], columns, group)
                for b, group in zip(own, names_of, strict=True)
            ]
            part = _describe(
                view, likelihood, tuple(names[d] for d in columns), tables, [groups[b] for b in own], known
            )
            if likelihood == CATEGORICAL:
                part = replace(part, members=one_hot_groups(views.variables(view)[columns]))
            for b, table in zip(own, tables, strict=True):
                cells[b][len(parts)] = _make_cells(table, part, exposure[groups[b]])
            parts.append(part)
    blocks = tuple(_make_block(rows, own, parts, known) for rows, own in zip(groups, cells, strict=True))
    subjects = views.subjects
    return Layout(tuple(subjects[n] for n in order), tuple(parts), blocks, known.groups, known.covariates)


def _split_view(views: MultiView, view: str) -> list[tuple[str, NDArray[np.intp]]]:
    likelihoods = views.likelihoods(view).values
    unsupported = sorted(set(likelihoods) - set(FAMILIES))
    if unsupported:
        raise FitError(
            f"likelihood of view {view!r} in engine 'vi'",
            got=", ".join(unsupported),
            expected=f"one of {', '.join(FAMILIES)}",
            do="Declare another likelihood for these columns, or encode them as 0/1 columns.",
        )
    by_name = np.argsort(np.asarray(views.features(view)), kind="stable")
    pieces = ((kind, by_name[likelihoods[by_name] == kind]) for kind in FAMILIES)
    return [piece for piece in pieces if len(piece[1])]


@dataclass(frozen=True, slots=True)
class _Table:
    """Some rows of a part: a scaled copy, or a view of the user's array with what would scale it."""

    values: NDArray[np.floating]
    center: Array
    scale: Array

    def scaled(self, rows: slice) -> NDArray[np.floating]:
        """Bring some rows to the model's scale."""
        values = self.values[rows]
        if not self.scale.size:
            return values
        center, scale = self.center.astype(values.dtype), self.scale.astype(values.dtype)
        scaled: NDArray[np.floating] = (values - center) / scale
        return scaled


def _read(views: MultiView, preprocessing: Preprocessing, view: str, rows: Index, columns: Index, group: str) -> _Table:
    """Read some rows of one group and some columns: as a view where nothing has to be moved, else as a copy.

    A large view in the order of its names is then never copied; small ones always are, so that every order of the same
    cohort goes through the very same arithmetic. Where the centre of a feature is many times its scale,
    single precision would lose digits in products with values as they are, and a scaled copy is made all the same.
    """
    values = views[view].values
    nothing = np.empty(0)
    is_ordered = len(columns) == values.shape[1] and bool((np.diff(columns) == 1).all() and (np.diff(rows) == 1).all())
    in_place = is_ordered and values.nbytes >= IN_PLACE_BYTES
    if in_place and values.dtype.kind == "f" and set(views.likelihoods(view).values) == {"gaussian"}:
        own = values[rows[0] : rows[-1] + 1]
        center = preprocessing.center(view)
        scale = preprocessing.scale(view) * preprocessing.group_scale(view, [group])
        limit = _MAX_OFFSET if values.dtype == np.float32 else _MAX_OFFSET**2
        if np.abs(center).max() <= limit * scale.min():
            return _Table(own, center, scale)
    return _Table(preprocessing.apply(view, values[rows], [group] * len(rows))[:, columns], nothing, nothing)


def _describe(
    view: str,
    likelihood: str,
    features: tuple[str, ...],
    tables: list[_Table],
    rows: list[Index],
    known: Known,
) -> Part:
    """Count and sum a part over its blocks, always in the same order."""
    shape = (len(known.groups), len(features))
    n_observed, sum_squares, n_seen = np.zeros(shape), np.zeros(shape), np.zeros(len(features))
    total, square, largest, n_rows = (np.zeros(len(features)) for _ in range(4))
    for whole, whole_rows in zip(tables, rows, strict=True):
        group = known.group_of[whole_rows[0]]
        for start in range(0, len(whole_rows), _TILE_ROWS):
            table, own = whole.scaled(slice(start, start + _TILE_ROWS)), whole_rows[start : start + _TILE_ROWS]
            seen = ~np.isnan(table)
            filled = np.where(seen, table, 0).astype(np.float64)
            squared, count = np.square(filled), seen.sum(axis=0)
            n_rows += len(table)
            n_seen += count
            total += filled.sum(axis=0)
            square += squared.sum(axis=0)
            largest = np.maximum(largest, filled.max(axis=0))
            weights = None if known.weights is None else known.weights[own]
            n_observed[group] += count if weights is None else weights @ seen.astype(np.float64)
            sum_squares[group] += squared.sum(axis=0) if weights is None else weights @ squared
    count = np.maximum(n_seen, 1)
    mean = total / count
    exposures = np.exp(known.exposures[view]) if view in known.exposures else np.ones(1)
    return Part(
        view=view,
        likelihood=likelihood,
        features=features,
        scattered=np.flatnonzero(n_seen < n_rows),
        n_observed=n_observed,
        sum_squares=sum_squares,
        mean=mean,
        variance=np.maximum(square / count - mean**2, 0.0),
        largest=largest,
        exposure=float(exposures.mean()),
        curvature=FAMILIES[likelihood].curvature(largest, float(exposures.max())),
        levels=_find_levels([table.values for table in tables], largest, n_seen)
        if likelihood == "ordinal"
        else np.empty((0, 0)),
        members=np.empty((0, 0)),
    )


def _find_levels(tables: list[NDArray[np.floating]], largest: Array, n_seen: Array) -> Array:
    """Standard-normal quantiles of the cumulative frequencies of each column's levels, half a count added to each."""
    n_levels = int(largest.max()) + 1
    counts = np.stack([sum((table == level).sum(axis=0) for table in tables) for level in range(n_levels)])
    smoothed = np.where(np.arange(n_levels)[:, None] <= largest, counts + 0.5, 0.0)
    shares = np.cumsum(smoothed, axis=0) / (n_seen + 0.5 * (largest + 1))
    levels = np.full((len(largest), n_levels + 1), np.inf)
    levels[:, 0] = -np.inf
    inner = np.arange(n_levels)[:, None] < largest
    levels[:, 1:][inner.T] = ndtri(np.clip(shares, 0, 1)).T[inner.T]
    return levels


def _make_block(rows: NDArray[np.intp], cells: Mapping[int, Cells], parts: Sequence[Part], known: Known) -> Block:
    weights = None if known.weights is None else known.weights[rows]
    same_weight = weights is None or bool((weights == weights[0]).all())
    simple = all(own.gaps is None and not parts[number].family.is_entrywise for number, own in cells.items())
    return Block(rows, int(known.group_of[rows[0]]), cells, known.design[rows], weights, simple and same_weight)


def _group_rows(patterns: NDArray[np.intp]) -> Sequence[NDArray[np.intp]]:
    _, pattern = np.unique(patterns, axis=0, return_inverse=True)
    groups = []
    for p in range(int(pattern.max()) + 1):
        rows = np.flatnonzero(pattern == p)
        groups += np.array_split(rows, -(-len(rows) // MAX_ROWS))
    return groups


def _make_cells(table: _Table, part: Part, log_exposure: Array) -> Cells:
    """Make a block's cells; a copy is its own to fill with zeros where values are missing."""
    if table.scale.size:
        gaps = find_gaps(np.isnan(table.values[:, part.scattered]), part.scattered, table.values)
        values = Values(
            table.values, np.empty((0, 0)), log_exposure, part.levels, table.center, table.scale, gaps is not None
        )
        return Cells(values, gaps)
    missing = np.isnan(table.values)
    y = np.ascontiguousarray(table.values)
    y[missing] = 0
    # A gaussian column needs no mask: its bound is linear in y, and a missing y of 0 adds nothing to it.
    observed = np.empty((0, 0)) if part.likelihood == "gaussian" else (~missing).astype(np.float64)
    gaps = None if part.family.is_entrywise else find_gaps(missing[:, part.scattered], part.scattered, np.empty((0, 0)))
    return Cells(Values(y, observed, log_exposure, part.levels, members=part.members), gaps)
