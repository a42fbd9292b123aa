"""What one block of rows contributes: q(z) given the globals, and the sums the globals need. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mofa_bayes.engines.vi.families import Local
from mofa_bayes.engines.vi.kernels import second_moments, solve_rows, sweep_elements
from mofa_bayes.engines.vi.layout import Block, Cells, Part
from mofa_bayes.engines.vi.packed import (
    Array,
    Index,
    diagonal_of,
    n_packed,
    pack,
    packed_positions,
    pair_weights,
    unpack,
)


@dataclass(frozen=True, slots=True)
class Rows:
    """q(z) of a block.

    Attributes
    ----------
    mean, covariance
        (n, K), and packed (n, K(K+1)/2) or (1, .) where all rows share it.
    slab_mean, slab_variance, inclusion
        Where factors are sparse: location and scale of q(z | s = 1), and q(s = 1), each (n, K); empty otherwise.
    """

    mean: Array
    covariance: Array
    slab_mean: Array = field(default_factory=lambda: np.empty((0, 0)))
    slab_variance: Array = field(default_factory=lambda: np.empty((0, 0)))
    inclusion: Array = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def is_sparse(self) -> bool:
        """Whether each factor of each row may be zero."""
        return self.inclusion.size > 0

    @property
    def active(self) -> Array:
        """Sum of q(s = 1) over rows (K,): their number where factors are not sparse."""
        if self.is_sparse:
            total: Array = self.inclusion.sum(axis=0)
            return total
        return np.full(self.mean.shape[1], float(len(self.mean)))

    def transform(self, matrix: Array) -> "Rows":
        """Return q of z @ matrix (K, K), which only moves, turns and scales single factors where they are sparse."""
        mean, covariance = self.mean @ matrix, pack(matrix.T @ unpack(self.covariance, len(matrix)) @ matrix)
        if not self.is_sparse:
            return Rows(mean, covariance)
        moved = self.slab_mean @ matrix, self.slab_variance @ np.square(matrix), self.inclusion @ (matrix != 0)
        return Rows(mean, covariance, *moved)

    def keep(self, factors: Index) -> "Rows":
        """Keep some factors, in the order given."""
        slabs = (self.slab_mean, self.slab_variance, self.inclusion)
        kept = (own[:, factors] for own in slabs) if self.is_sparse else slabs
        pairs = self.covariance[:, packed_positions(factors)]
        return Rows(*(np.ascontiguousarray(own) for own in (self.mean[:, factors], pairs, *kept)))


@dataclass(frozen=True, slots=True)
class RowPrior:
    """Prior of the factors of a group's rows: precision (K,), and E[logit theta] (K,), empty unless they are sparse."""

    precision: Array
    log_odds: Array


@dataclass(frozen=True, slots=True)
class PartGlobals:
    """What rows need to know of one part; w~ is loadings and known terms.

    Attributes
    ----------
    mean
        E[w~] (D, J).
    pairs
        Packed E[w~ w~'] (., P): of all columns for entrywise families, of scattered columns otherwise.
    total
        Packed sum_d weight_d E[w~ w~'] per group (G, P); for entrywise families empty.
    kappa_weight, square_weight
        What multiplies kappa and the square of each column, per group (G, D): tau where there is noise.
    weighted
        Loadings times `kappa_weight`, (G, D, K).
    nuisance
        The columns' own parameters (D,).
    """

    mean: Array
    pairs: Array
    total: Array
    kappa_weight: Array
    square_weight: Array
    weighted: Array
    nuisance: Array


@dataclass(frozen=True, slots=True)
class PartSums:
    """Sums over the rows of one group for one part.

    `cross` sum kappa z~ (D, J), `grams` packed (n_grams, P), `squares` sum omega y^2 (D,) or empty, and `constant`.
    """

    cross: Array
    grams: Array
    squares: Array
    constant: float

    def absorb(self, other: "PartSums") -> "PartSums":
        """Add the sums of other rows into the arrays of these, which are given up: a second table may not fit."""
        for mine, theirs in ((self.cross, other.cross), (self.grams, other.grams), (self.squares, other.squares)):
            np.add(mine, theirs, out=mine)
        return replace(self, constant=self.constant + other.constant)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over rows.

    Attributes
    ----------
    parts
        (part, group) -> sums.
    factors
        Group -> sum_n E[z z'] packed (K(K+1)/2,).
    active
        Group -> sum_n q(s_n = 1) (K,): the number of rows where factors are not sparse.
    entropy
        sum_n of the entropy of q(z_n, s_n) less active (log 2 pi) / 2: sum_n (log|V_n| + K) / 2 where not sparse.
    """

    parts: Mapping[tuple[int, int], PartSums]
    factors: Mapping[int, Array]
    active: Mapping[int, Array]
    entropy: float


def add(left: Sums, right: Sums) -> Sums:
    """Add the sums of two sets of rows; `left` is given up."""
    parts = dict(left.parts)
    for key, part in right.parts.items():
        parts[key] = parts[key].absorb(part) if key in parts else part
    factors, active = (_add_groups(*both) for both in ((left.factors, right.factors), (left.active, right.active)))
    return Sums(parts, factors, active, left.entropy + right.entropy)


def _add_groups(left: Mapping[int, Array], right: Mapping[int, Array]) -> dict[int, Array]:
    return {group: sum(own[group] for own in (left, right) if group in own) for group in {**left, **right}}  # type: ignore[misc]


def bound_entries(
    block: Block, parts: tuple[Part, ...], known: Mapping[int, PartGlobals], rows: Rows
) -> Mapping[int, Local]:
    """Bound the likelihood of every entry of a block at its best point under `rows`."""
    pairs = np.empty((0, 0))
    if any(parts[number].family.is_entrywise for number in block.cells):
        pairs = _pairs(block, rows) * pair_weights(rows.mean.shape[1] + block.design.shape[1])
    terms = np.column_stack([rows.mean, block.design])
    found = {}
    for number, cells in block.cells.items():
        found[number] = _bound_part(block, parts[number], cells, known[number], terms, pairs)
    return found


def _bound_part(block: Block, part: Part, cells: Cells, known: PartGlobals, terms: Array, pairs: Array) -> Local:
    tau = known.kappa_weight[block.group] if part.family.has_noise else known.square_weight[block.group]
    if part.likelihood == "gaussian":
        return part.family.local(cells.values, np.empty(0), np.empty(0), tau, known.nuisance)
    eta, second = _predict(part, known, terms, pairs)
    return part.family.local(cells.values, eta, second, tau, known.nuisance)


def _predict(part: Part, known: PartGlobals, terms: Array, pairs: Array) -> tuple[Array, Array]:
    """E[eta] and, for entrywise families, E[eta^2], both (n, D)."""
    eta = terms @ known.mean.T
    second = pairs @ known.pairs.T if part.family.is_entrywise else np.square(eta)
    return eta, second


def collect_terms(
    block: Block, parts: tuple[Part, ...], known: Mapping[int, PartGlobals], locals_: Mapping[int, Local]
) -> tuple[Array, Array]:
    """Sum what the parts in `locals_` say of each row's factors: packed precision (n or 1, P) and linear term (n, K).

    Terms of the likelihood alone; the prior is not in them, so that those of some parts add up to those of all.
    """
    n_factors = next(iter(known.values())).weighted.shape[2]
    size, n_terms = n_packed(n_factors), n_factors + block.design.shape[1]
    precision = np.zeros((1 if block.is_uniform else block.n_rows, n_packed(n_terms)))
    linear = np.zeros((block.n_rows, n_factors))
    for number, local in locals_.items():
        own, cells = known[number], block.cells[number]
        if local.omega is None:
            precision += own.total[block.group]
            if cells.gaps is not None:
                scattered = parts[number].scattered
                precision -= cells.gaps.over_columns(own.pairs, own.square_weight[block.group][scattered])
        else:
            precision += (local.omega * own.square_weight[block.group]) @ own.pairs
        linear += local.times(own.weighted[block.group])
    for f, column in enumerate(block.design.T):
        start = n_packed(n_factors + f)
        linear -= column[:, None] * precision[:, start : start + n_factors]
    if block.weights is not None:
        linear *= block.weights[:, None]
        precision *= block.weights[:1, None] if block.is_uniform else block.weights[:, None]
    return precision[:, :size], linear


def infer_rows(
    block: Block,
    parts: tuple[Part, ...],
    known: Mapping[int, PartGlobals],
    locals_: Mapping[int, Local],
    prior: RowPrior,
    before: Rows,
) -> tuple[Rows, float]:
    """Update q(z) of a block.

    q(z_n) has precision diag(prior) + sum_d omega_nd E[w_d w_d'] and linear term
    sum_d kappa_nd E[w_d] - omega_nd E[w_d u_d'] x_n over observed d, x_n being the known terms and u_d their
    coefficients; kappa and omega carry tau where there is noise. Sparse factors are updated one by one, from `before`.

    Returns
    -------
    The new rows, and the entropy of q(z, s) less active (log 2 pi) / 2, summed over rows.
    """
    n_factors = len(prior.precision)
    size = n_packed(n_factors)
    precision, linear = collect_terms(block, parts, known, locals_)
    if prior.log_odds.size:
        return _sweep_rows(precision, linear, prior, before)
    precision = precision + pack(np.diag(prior.precision))
    if block.is_uniform:
        covariance, log_determinant = _invert_one(precision, n_factors)
        rows = Rows(linear @ covariance, pack(covariance)[None])
    else:
        rows = Rows(np.empty_like(linear), np.empty((block.n_rows, size)))
        log_determinant = solve_rows(precision, linear, rows.mean, rows.covariance)
    share = block.n_rows / len(log_determinant)
    return rows, float((share * log_determinant.sum() + block.n_rows * n_factors) / 2)


def _sweep_rows(precision: Array, linear: Array, prior: RowPrior, before: Rows) -> tuple[Rows, float]:
    """Update sparse factors as `sweep_elements` updates sparse loadings: a row's likelihood is its Gram matrix."""
    n_rows, n_factors = linear.shape
    mean = before.mean.copy()
    slab_mean, slab_variance, inclusion, variance, square = (np.empty_like(mean) for _ in range(5))
    gained, ones = np.zeros(n_factors + 1), np.ones((1, n_rows))
    gram_of = np.arange(n_rows) if len(precision) == n_rows else np.zeros(n_rows, dtype=np.intp)
    above = prior.precision[None], np.log(prior.precision)[None], prior.log_odds, 1.0
    own = mean, slab_mean, slab_variance, inclusion, variance, square
    grams = np.ascontiguousarray(precision)[None]
    sweep_elements(linear[None], grams, gram_of, ones, ones, *above, True, False, *own, gained)
    covariance = np.zeros((n_rows, n_packed(n_factors)))
    covariance[:, diagonal_of(n_factors)] = variance
    return Rows(mean, covariance, slab_mean, slab_variance, inclusion), float(gained.sum())


def collect_sums(
    block: Block, parts: tuple[Part, ...], rows: Rows, locals_: Mapping[int, Local], entropy: float
) -> Sums:
    """Sum over the rows of a block what the update of the globals needs, given q(z)."""
    n_factors = rows.mean.shape[1]
    terms = np.column_stack([rows.mean, block.design])
    weights = np.ones(block.n_rows) if block.weights is None else block.weights
    is_shared = block.is_uniform and len(rows.covariance) == 1
    pairs = np.empty((0, 0)) if is_shared else _pairs(block, rows)
    if is_shared:
        whole = pack((terms * weights[:, None]).T @ terms)
        whole[: n_packed(n_factors)] += weights.sum() * rows.covariance[0]
    else:
        pairs = pairs if block.weights is None else pairs * weights[:, None]
        whole = pairs.sum(axis=0)
    sums = {}
    for number, cells in block.cells.items():
        local = locals_[number]
        weighted = terms if block.weights is None else terms * weights[:, None]
        cross = local.cross(weighted)
        grams = _shared_grams(cells, parts[number], whole, pairs) if local.omega is None else local.omega.T @ pairs
        squares = local.squares
        if len(squares) and block.weights is not None:
            squares = weights @ (local.omega * np.square(cells.values.y))
        sums[number, block.group] = PartSums(cross, grams, squares, float(weights @ local.constant))
    factors = pack(rows.mean.T @ rows.mean) + block.n_rows / len(rows.covariance) * rows.covariance.sum(axis=0)
    return Sums(sums, {block.group: factors}, {block.group: rows.active}, entropy)


def score_nuisance(
    block: Block, parts: tuple[Part, ...], known: Mapping[int, PartGlobals], rows: Rows, candidates: Mapping[int, Array]
) -> dict[int, Array]:
    """Bound of each column of the parts that have parameters of their own, at candidates (C, D) for them: (C, D)."""
    terms = np.column_stack([rows.mean, block.design])
    pairs = _pairs(block, rows) * pair_weights(terms.shape[1])
    weights = np.ones(block.n_rows) if block.weights is None else block.weights
    scores = {}
    for number, values in candidates.items():
        if number not in block.cells:
            continue
        part, cells = parts[number], block.cells[number]
        eta, second = _predict(part, known[number], terms, pairs)
        scores[number] = np.stack([weights @ part.family.objective(cells.values, eta, second, own) for own in values])
    return scores


def _pairs(block: Block, rows: Rows) -> Array:
    """Packed E[z~ z~'] of each row (n, P)."""
    result: Array = second_moments(np.column_stack([rows.mean, block.design]), rows.covariance)
    return result


def _invert_one(precision: Array, n_factors: int) -> tuple[Array, Array]:
    mean, covariance = np.empty((1, n_factors)), np.empty_like(precision)
    log_determinant = solve_rows(precision, np.zeros((1, n_factors)), mean, covariance)
    return unpack(covariance[0], n_factors), log_determinant


def _shared_grams(cells: Cells, part: Part, whole: Array, pairs: Array) -> Array:
    grams = np.empty((part.n_grams, len(whole)))
    grams[:] = whole
    if cells.gaps is not None:
        cells.gaps.take_rows(pairs, grams[1:])
    return grams
