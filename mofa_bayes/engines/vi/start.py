"""Where ascent starts: the leading left singular vectors of all views together, each view counting the same."""

import numpy as np

from mofa_bayes.engines.vi.families import Local
from mofa_bayes.engines.vi.layout import Block, Cells, Layout, Part
from mofa_bayes.engines.vi.packed import Array, n_packed
from mofa_bayes.engines.vi.rows import Rows

_OVERSAMPLE = 10
_POWERS = 4


def start_factors(layout: Layout, n_factors: int, rng: np.random.Generator) -> Array:
    """Find K orthogonal scores of unit variance by a randomised range finder (Halko et al. 2011, SIAM Rev 53:217).

    Missing entries count as their feature's mean, or near it. Views are scaled to unit total variance, so that a wide
    view does not take every factor; columns are centred by group, and counts enter as log(1 + y / exposure). Directions
    past the data's rank are filled with standard normal numbers.

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


def jitter(scores: Array, rng: np.random.Generator) -> Array:
    """Another start: the same directions and as many random ones, mixed by a random rotation."""
    n_rows, n_factors = scores.shape
    wide = np.column_stack([scores, rng.standard_normal((n_rows, n_factors))])
    rotation, _ = np.linalg.qr(rng.standard_normal((2 * n_factors, 2 * n_factors)))
    mixed = wide @ rotation[:, :n_factors]
    result: Array = mixed / np.maximum(mixed.std(axis=0), 1e-12)
    return result


def as_rows(scores: Array) -> Rows:
    """Take scores as known factors."""
    return Rows(scores, np.zeros((1, n_packed(scores.shape[1]))))


def _centers_and_weights(layout: Layout) -> tuple[list[Array], list[float]]:
    """Mean of each column per group (G, D), and one over the variance of each part's view."""
    totals = dict.fromkeys(layout.views, 0.0)
    centers = []
    for number, part in enumerate(layout.parts):
        sums, count = np.zeros_like(part.n_observed), np.zeros_like(part.n_observed)
        square = np.zeros(part.n_features)
        for block in _with(layout, number):
            own = _real(part, block.cells[number])
            sums[block.group] += own.cross(np.ones((block.n_rows, 1)))[:, 0]
            count[block.group] += _n_seen(part, block, number)
            if part.likelihood != "gaussian":
                square += np.square(own.kappa).sum(axis=0, dtype=np.float64)
        if part.likelihood == "gaussian":
            square = part.sum_squares.sum(axis=0)
        center = sums / np.maximum(count, 1.0)
        totals[part.view] += float(np.maximum(square - (count * center**2).sum(axis=0), 0.0).sum())
        centers.append(center)
    return centers, [1 / max(totals[part.view], 1e-300) for part in layout.parts]


def _with(layout: Layout, number: int) -> list[Block]:
    return [block for block in layout.blocks if number in block.cells]


def _n_seen(part: Part, block: Block, number: int) -> Array:
    cells = block.cells[number]
    if part.likelihood != "gaussian":
        seen: Array = cells.values.observed.sum(axis=0)
        return seen
    count = np.full(part.n_features, float(block.n_rows))
    if cells.gaps is not None:
        seen_there = count[part.scattered][:, None]
        cells.gaps.take_rows(np.ones((block.n_rows, 1)), seen_there)
        count[part.scattered] = seen_there[:, 0]
    return count


def _real(part: Part, cells: Cells) -> Local:
    """Values as real numbers, 0 where missing: counts by log(1 + y / exposure)."""
    values, nothing = cells.values, np.empty(0)
    if not part.family.is_count:
        return Local(values.y, None, nothing, nothing, values.center, values.scale, values.has_holes)
    return Local(np.log1p(values.y / np.exp(values.log_exposure)[:, None]), None, nothing, nothing)


def _times_gram(layout: Layout, centers: list[Array], weights: list[float], basis: Array) -> Array:
    """Sum over parts of weight Y Y' basis, Y centred, without forming a centred copy."""
    result = np.zeros_like(basis)
    for number, (part, center, weight) in enumerate(zip(layout.parts, centers, weights, strict=True)):
        inner = np.zeros((part.n_features, basis.shape[1]))
        for block in _with(layout, number):
            own = basis[block.rows]
            inner += _real(part, block.cells[number]).cross(own) - np.outer(center[block.group], own.sum(axis=0))
        for block in _with(layout, number):
            result[block.rows] += weight * (_real(part, block.cells[number]).times(inner) - center[block.group] @ inner)
    return result
