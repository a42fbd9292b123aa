"""What one block of rows contributes: q(z) given the globals, and the sums the globals need. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mofa_bayes.engines.vi.families import Local
from mofa_bayes.engines.vi.kernels import second_moments, solve_rows
from mofa_bayes.engines.vi.layout import Block, Cells, Part
from mofa_bayes.engines.vi.packed import Array, Index, n_packed, pack, packed_positions, pair_weights, unpack


@dataclass(frozen=True, slots=True)
class Rows:
    """q(z) of a block: `mean` (n, K) and packed `covariance` (n, K(K+1)/2), or (1, .) where all rows share it."""

    mean: Array
    covariance: Array

    def transform(self, matrix: Array) -> "Rows":
        """Return q of z @ matrix (K, K)."""
        turned = matrix.T @ unpack(self.covariance, len(matrix)) @ matrix
        return Rows(self.mean @ matrix, pack(turned))

    def keep(self, factors: Index) -> "Rows":
        """Keep some factors, in the order given."""
        pairs = packed_positions(factors)
        return Rows(np.ascontiguousarray(self.mean[:, factors]), np.ascontiguousarray(self.covariance[:, pairs]))


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
    nuisance
        The columns' own parameters (D,).
    """

    mean: Array
    pairs: Array
    total: Array
    kappa_weight: Array
    square_weight: Array
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
    entropy
        sum_n of the entropy of q(z_n) plus log 2 pi terms of its prior: sum_n (log|V_n| + K) / 2.
    """

    parts: Mapping[tuple[int, int], PartSums]
    factors: Mapping[int, Array]
    entropy: float


def add(left: Sums, right: Sums) -> Sums:
    """Add the sums of two sets of rows; `left` is given up."""
    parts, factors = dict(left.parts), dict(left.factors)
    for key, part in right.parts.items():
        parts[key] = parts[key].absorb(part) if key in parts else part
    for group, own in right.factors.items():
        factors[group] = factors[group] + own if group in factors else own
    return Sums(parts, factors, left.entropy + right.entropy)


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


def infer_rows(
    block: Block, parts: tuple[Part, ...], known: Mapping[int, PartGlobals], locals_: Mapping[int, Local], prior: Array
) -> tuple[Rows, float]:
    """Update q(z) of a block.

    q(z_n) has precision diag(prior) + sum_d omega_nd E[w_d w_d'] and linear term
    sum_d kappa_nd E[w_d] - omega_nd E[w_d u_d'] x_n over observed d, x_n being the known terms and u_d their
    coefficients; kappa and omega carry tau where there is noise.

    Returns
    -------
    The new rows, and sum_n (log|V_n| + K) / 2.
    """
    n_factors = len(prior)
    size = n_packed(n_factors)
    n_terms = n_factors + block.design.shape[1]
    precision = np.zeros((1 if block.is_uniform else block.n_rows, n_packed(n_terms)))
    linear = np.zeros((block.n_rows, n_factors))
    for number, cells in block.cells.items():
        own, local = known[number], locals_[number]
        if local.omega is None:
            precision += own.total[block.group]
            if cells.gaps is not None:
                scattered = parts[number].scattered
                precision -= cells.gaps.over_columns(own.pairs * own.square_weight[block.group][scattered, None])
        else:
            precision += (local.omega * own.square_weight[block.group]) @ own.pairs
        weighted = own.mean[:, :n_factors] * own.kappa_weight[block.group][:, None]
        linear += local.times(weighted)
    for f, column in enumerate(block.design.T):
        start = n_packed(n_factors + f)
        linear -= column[:, None] * precision[:, start : start + n_factors]
    if block.weights is not None:
        linear *= block.weights[:, None]
        precision *= block.weights[:1, None] if block.is_uniform else block.weights[:, None]
    precision = precision[:, :size] + pack(np.diag(prior))
    if block.is_uniform:
        covariance, log_determinant = _invert_one(precision, n_factors)
        rows = Rows(linear @ covariance, pack(covariance)[None])
    else:
        rows = Rows(np.empty_like(linear), np.empty((block.n_rows, size)))
        log_determinant = solve_rows(precision, linear, rows.mean, rows.covariance)
    share = block.n_rows / len(log_determinant)
    return rows, float((share * log_determinant.sum() + block.n_rows * n_factors) / 2)


def collect_sums(
    block: Block, parts: tuple[Part, ...], rows: Rows, locals_: Mapping[int, Local], entropy: float
) -> Sums:
    """Sum over the rows of a block what the update of the globals needs, given q(z)."""
    n_factors = rows.mean.shape[1]
    terms = np.column_stack([rows.mean, block.design])
    weights = np.ones(block.n_rows) if block.weights is None else block.weights
    pairs = np.empty((0, 0)) if block.is_uniform else _pairs(block, rows)
    if block.is_uniform:
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
    return Sums(sums, {block.group: factors}, entropy)


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
        grams[1:] -= cells.gaps.over_rows(pairs)
    return grams
