"""Where ascent starts: the leading left singular vectors of all views together, each view counting the same."""

import numpy as np

from mofa_bayes.engines.vi.kernels import Array, n_packed
from mofa_bayes.engines.vi.layout import Layout
from mofa_bayes.engines.vi.rows import Rows

_OVERSAMPLE = 10
_POWERS = 4


def start_factors(layout: Layout, n_factors: int, rng: np.random.Generator) -> Array:
    """Find K orthogonal scores of unit variance by a randomised range finder (Halko et al. 2011, SIAM Rev 53:217).

    Missing entries count as their feature's mean. Views are scaled to unit total variance, so that a wide view does not
    take every factor. Directions past the data's rank are filled with standard normal numbers.

    Returns
    -------
    Scores, shape (n_subjects, n_factors), rows in canonical order.
    """
    n_rows = len(layout.subjects)
    width = min(n_factors + _OVERSAMPLE, n_rows)
    centers, weights = _centers_and_weights(layout)
    basis = rng.standard_normal((n_rows, width))
    for _ in range(_POWERS):
        basis, _ = np.linalg.qr(_times_gram(layout, centers, weights, basis))
    values, vectors = np.linalg.eigh(basis.T @ _times_gram(layout, centers, weights, basis))
    order = np.argsort(values)[::-1][:n_factors]
    scores = (basis @ vectors[:, order])[:, values[order] > 1e-10 * max(values.max(), 1e-300)]
    scores = scores * np.sign(scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])])
    filler = rng.standard_normal((n_rows, n_factors - scores.shape[1])) / np.sqrt(n_rows)
    filled: Array = np.column_stack([scores, filler]) * np.sqrt(n_rows)
    return filled


def as_rows(scores: Array) -> Rows:
    """Take scores as known factors."""
    return Rows(scores, np.zeros((1, n_packed(scores.shape[1]))))


def _centers_and_weights(layout: Layout) -> tuple[list[Array], list[float]]:
    totals = dict.fromkeys(layout.views, 0.0)
    centers = []
    for number, part in enumerate(layout.parts):
        own = [block.cells[number].values for block in layout.blocks if number in block.cells]
        count = np.maximum(part.n_observed, 1.0)
        center = sum((cells.sum(axis=0, dtype=np.float64) for cells in own), np.zeros(part.n_features)) / count
        square = sum((np.square(cells).sum(axis=0, dtype=np.float64) for cells in own), np.zeros(part.n_features))
        totals[part.view] += float(np.maximum(square - count * center**2, 0.0).sum())
        centers.append(center)
    return centers, [1 / max(totals[part.view], 1e-300) for part in layout.parts]


def _times_gram(layout: Layout, centers: list[Array], weights: list[float], basis: Array) -> Array:
    """Sum over parts of weight Y Y' basis, Y centred where observed, without forming a centred copy."""
    result = np.zeros_like(basis)
    for number, (center, weight) in enumerate(zip(centers, weights, strict=True)):
        blocks = [block for block in layout.blocks if number in block.cells]
        inner = np.zeros((len(center), basis.shape[1]))
        for block in blocks:
            values = block.cells[number].values
            own = basis[block.rows]
            inner += values.T @ own.astype(values.dtype) - np.outer(center, own.sum(axis=0))
        for block in blocks:
            values = block.cells[number].values
            result[block.rows] += weight * (values @ inner.astype(values.dtype) - center @ inner)
    return result
