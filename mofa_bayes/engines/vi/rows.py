"""What one block of rows contributes: q(z) given the globals, and the sums the globals need. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mofa_bayes.engines.vi.kernels import (
    Array,
    Index,
    diagonal_of,
    n_packed,
    pack,
    packed_positions,
    pair_weights,
    second_moments,
    solve_rows,
    unpack,
)
from mofa_bayes.engines.vi.layout import Block, Cells, Part


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
    """What rows need to know of one part.

    Attributes
    ----------
    weighted_mean
        Gaussian: tau E[w~], else E[w~]; (D, J), w~ being loadings and intercept.
    total
        Gaussian: packed sum_d tau_d E[w~ w~'], (P,).
    pairs
        Gaussian: tau_d E[w~ w~'] of scattered columns; Bernoulli: E[w~ w~'] of all columns; packed (., P).
    """

    weighted_mean: Array
    total: Array
    pairs: Array


@dataclass(frozen=True, slots=True)
class PartSums:
    """Sums over rows for one part: `cross` h (D, J), `grams` packed (n_grams, P), `constant` part of the bound."""

    cross: Array
    grams: Array
    constant: float


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over rows: per part, and `factors` sum_n E[z z'] packed (K(K+1)/2,), `kl` sum_n KL(q(z_n) | N(0, I))."""

    parts: Mapping[int, PartSums]
    factors: Array
    kl: float


def add(left: Sums, right: Sums) -> Sums:
    """Add the sums of two sets of rows."""
    parts = dict(left.parts)
    for number, own in right.parts.items():
        other = parts.get(number)
        parts[number] = own if other is None else _add_parts(other, own)
    return Sums(parts, left.factors + right.factors, left.kl + right.kl)


def _add_parts(left: PartSums, right: PartSums) -> PartSums:
    return PartSums(left.cross + right.cross, left.grams + right.grams, left.constant + right.constant)


def infer_rows(block: Block, known: Mapping[int, PartGlobals], before: Rows) -> tuple[Rows, Mapping[int, Array], float]:
    """Update q(z) of a block.

    q(z_n) has precision I + sum_d omega_nd E[w_d w_d'] and linear term sum_d E[w_d] kappa_nd - omega_nd E[w_d mu_d],
    over observed d, with omega = tau and kappa = tau y for gaussian features. For bernoulli features omega = tanh(xi/2)
    / (2 xi) and kappa = y - 1/2, the bound of Jaakkola and Jordan (2000, Stat Comput 10:25), which is also the
    expectation under the optimal Polya-Gamma factor (Durante and Rigon 2019, Stat Sci 34:472), with xi^2 = E[eta^2]
    under `before`.

    Returns
    -------
    The new rows; for each bernoulli part xi where observed, (n, D); and sum_n KL(q(z_n) | N(0, I)).
    """
    n_factors = before.mean.shape[1]
    size = n_packed(n_factors)
    n_precision = 1 if block.is_uniform else block.n_rows
    precision = np.zeros((n_precision, n_packed(n_factors + 1)))
    linear = np.zeros((block.n_rows, n_factors))
    xis = {}
    for number, cells in block.cells.items():
        globals_ = known[number]
        if cells.observed is None:
            precision += globals_.total
            if cells.gaps is not None:
                precision -= cells.gaps.over_columns(globals_.pairs)
        else:
            xis[number] = _expected_magnitude(before, globals_.pairs)
            precision += (cells.observed * polya_gamma_mean(xis[number])) @ globals_.pairs
        linear += cells.values @ globals_.weighted_mean[:, :n_factors].astype(cells.values.dtype)
    linear -= precision[:, size:-1]
    precision = precision[:, :size] + pack(np.eye(n_factors))
    if block.is_uniform:
        covariance, log_determinant = _invert_one(precision, n_factors)
        rows = Rows(linear @ covariance, pack(covariance)[None])
    else:
        rows = Rows(np.empty_like(linear), np.empty((block.n_rows, size)))
        log_determinant = solve_rows(precision, linear, rows.mean, rows.covariance)
    return rows, xis, _kl_to_prior(rows, log_determinant)


def collect_sums(block: Block, parts: tuple[Part, ...], rows: Rows, xis: Mapping[int, Array], kl: float) -> Sums:
    """Sum over the rows of a block what the update of the globals needs, given q(z)."""
    n_factors = rows.mean.shape[1]
    mean = np.column_stack([rows.mean, np.ones(block.n_rows)])
    pairs = np.empty((0, 0)) if block.is_uniform else second_moments(mean, rows.covariance)
    if block.is_uniform:
        whole = pack(mean.T @ mean)
        whole[: n_packed(n_factors)] += block.n_rows * rows.covariance[0]
    else:
        whole = pairs.sum(axis=0)
    sums = {}
    for number, cells in block.cells.items():
        cross = (cells.values.T @ mean.astype(cells.values.dtype)).astype(np.float64, copy=False)
        if cells.observed is None:
            sums[number] = PartSums(cross, _gaussian_grams(cells, parts[number], whole, pairs), 0.0)
        else:
            xi = xis[number]
            omega = cells.observed * polya_gamma_mean(xi)
            # log sigma(xi) - xi/2 + omega xi^2 / 2, with log sigma(xi) - xi/2 = -log(2 cosh(xi/2))
            constant = float(np.sum(omega * xi**2) / 2 - np.sum(cells.observed * (np.logaddexp(xi / 2, -xi / 2))))
            sums[number] = PartSums(cross, omega.T @ pairs, constant)
    return Sums(sums, whole[: n_packed(n_factors)], kl)


def polya_gamma_mean(xi: Array) -> Array:
    """E[omega] = tanh(xi/2) / (2 xi) of a Polya-Gamma PG(1, xi) variable (Polson et al. 2013, JASA 108:1339)."""
    safe = np.maximum(xi, 1e-6)
    result: Array = np.tanh(safe / 2) / (2 * safe)
    return result


def _expected_magnitude(rows: Rows, pairs: Array) -> Array:
    """sqrt(E[eta^2]) (n, D) under q(z) and q(w): eta^2 = <z~ z~', w~ w~'>."""
    mean = np.column_stack([rows.mean, np.ones(len(rows.mean))])
    weighted = second_moments(mean, rows.covariance) * pair_weights(mean.shape[1])
    result: Array = np.sqrt(np.maximum(weighted @ pairs.T, 0.0))
    return result


def _invert_one(precision: Array, n_factors: int) -> tuple[Array, Array]:
    mean, covariance = np.empty((1, n_factors)), np.empty_like(precision)
    log_determinant = solve_rows(precision, np.zeros((1, n_factors)), mean, covariance)
    rows, columns = np.tril_indices(n_factors)
    full = np.empty((n_factors, n_factors))
    full[rows, columns] = full[columns, rows] = covariance[0]
    return full, log_determinant


def _kl_to_prior(rows: Rows, log_determinant: Array) -> float:
    n, n_factors = rows.mean.shape
    share = n / len(log_determinant)
    trace = share * rows.covariance[:, diagonal_of(n_factors)].sum()
    return float((trace + np.sum(rows.mean**2) - n * n_factors - share * log_determinant.sum()) / 2)


def _gaussian_grams(cells: Cells, part: Part, whole: Array, pairs: Array) -> Array:
    grams = np.empty((part.n_grams, len(whole)))
    grams[:] = whole
    if cells.gaps is not None:
        grams[1:] -= cells.gaps.over_rows(pairs)
    return grams
