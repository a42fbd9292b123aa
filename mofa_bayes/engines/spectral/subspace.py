"""Singular vectors of one view: by the smaller Gram matrix, or by a randomised range finder when neither is small."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh, svds

from mofa_bayes.engines.spectral.kernels import shuffle_rows
from mofa_bayes.engines.spectral.tables import Table
from mofa_bayes.engines.vi.packed import Array

_SMALL = 1500
_OVERSAMPLE = 10
_POWERS = 6
_TINY = 64


def lead(table: Table, n_vectors: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Find the leading left singular vectors of a table, and its squared singular values.

    Exactly, from the Gram matrix of rows or of columns, where the smaller of the two sizes is at most 1,500; else by
    subspace iteration from a random start (Halko, Martinsson and Tropp 2011, SIAM Rev 53:217).

    Returns
    -------
    Vectors (n, k), orthonormal, and squared singular values (k,), falling; k is `n_vectors`, or less at full rank.
    """
    n, n_features = table.values.shape
    n_vectors = min(n_vectors, n, n_features)
    if min(n, n_features) > _SMALL:
        return _iterate(table, n_vectors, rng)
    if n <= n_features:
        gram = np.zeros((n, n))
        for tile in table.tiles():
            columns = np.ascontiguousarray(table.values[:, tile].T, dtype=np.float64)
            gram += columns.T @ columns
        squares, vectors = np.linalg.eigh(gram)
        return np.ascontiguousarray(vectors[:, ::-1][:, :n_vectors]), np.maximum(squares[::-1][:n_vectors], 0.0)
    values = table.values.astype(np.float64)
    squares, right = np.linalg.eigh(values.T @ values)
    kept = np.maximum(squares[::-1][:n_vectors], 0.0)
    # Orthonormal also where a singular value is all but zero.
    vectors, _ = np.linalg.qr(values @ right[:, ::-1][:, :n_vectors])
    return vectors, kept


def _iterate(table: Table, n_vectors: int, rng: np.random.Generator) -> tuple[Array, Array]:
    n, n_features = table.values.shape
    basis = rng.standard_normal((n, min(n_vectors + _OVERSAMPLE, n, n_features)))
    for _ in range(_POWERS):
        basis, _ = np.linalg.qr(times_gram(table, basis))
    squares, turn = np.linalg.eigh(basis.T @ times_gram(table, basis))
    order = np.argsort(squares)[::-1][:n_vectors]
    return basis @ turn[:, order], np.maximum(squares[order], 0.0)


def times_gram(table: Table, basis: Array) -> Array:
    """Multiply Y Y' with a matrix (n, k), a tile of columns at a time."""
    result = np.zeros_like(basis)
    for tile in table.tiles():
        values = table.values[:, tile]
        result += values @ (values.T @ basis.astype(values.dtype))
    return result


def top_of_noise(table: Table, vectors: Array, seed: np.uint64) -> float:
    """Largest squared singular value of what the vectors leave, after every column was permuted on its own.

    Permutation keeps each column's values and breaks what columns have in common (Horn 1965, Psychometrika 30:179;
    Buja and Eyuboglu 1992, Multivar Behav Res 27:509).
    """
    n, n_features = table.values.shape
    if min(n, n_features) > _SMALL:
        return _top_of_large(table, vectors, seed)
    if n <= n_features:
        whole = np.zeros((n, n))
        for number, tile in enumerate(table.tiles()):
            shuffled = _shuffle_tile(table, tile, vectors, seed + np.uint64(number))
            whole += shuffled.T @ shuffled
    else:
        shuffled = _shuffle_tile(table, slice(None), vectors, seed)
        whole = (shuffled @ shuffled.T).astype(np.float64)
    start = np.random.default_rng(int(seed)).standard_normal(len(whole))
    if len(whole) <= _TINY:
        return float(np.linalg.eigvalsh(whole)[-1])
    return float(eigsh(whole, k=1, v0=start, tol=1e-4, return_eigenvectors=False)[0])


def _shuffle_tile(table: Table, tile: slice, vectors: Array, seed: np.uint64) -> NDArray[np.float32]:
    """Columns of a tile less what the vectors explain, each permuted; transposed, (columns, n)."""
    values = table.values[:, tile].astype(np.float32)
    known = vectors.astype(np.float32)
    rest = np.ascontiguousarray((values - known @ (known.T @ values)).T)
    shuffle_rows(rest, seed)
    return rest


def _top_of_large(table: Table, vectors: Array, seed: np.uint64) -> float:
    shuffled = np.empty((table.n_features, len(table.values)), dtype=np.float32)
    for number, tile in enumerate(table.tiles()):
        shuffled[tile] = _shuffle_tile(table, tile, vectors, seed + np.uint64(number))
    start = np.random.default_rng(int(seed)).standard_normal(min(shuffled.shape)).astype(np.float32)
    return float(svds(shuffled, k=1, v0=start, tol=1e-2, return_singular_vectors=False)[0]) ** 2
