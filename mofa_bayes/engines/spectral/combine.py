"""One subspace for all views: the average of their projectors, never formed, with absent rows filled in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.engines.vi.packed import Array, Index

_N_PERMUTATIONS = 100
_LEVEL = 0.05
_MAX_PASSES = 200
_TOLERANCE = 1e-6
_LEAST_RIDGE = 1e-3
_LEAST_CUT = 0.01


@dataclass(frozen=True, slots=True)
class Joint:
    """What the views' subspaces have in common, and each of its own.

    Attributes
    ----------
    vectors
        Orthonormal directions, shared ones first, (n_subjects, K).
    eigenvalues
        Of the average of the views' projectors, falling: 1 for a direction that all views have, 1/M for one that only
        one view has.
    cut
        Eigenvalues below it belong to the difference between two views' estimates of one direction.
    """

    vectors: Array
    eigenvalues: Array
    cut: float


def combine(subspaces: Sequence[Array], rows: Sequence[Index], n_subjects: int, rng: np.random.Generator) -> Joint:
    """Average the projectors of the views' subspaces and count their distinct directions.

    The left singular vectors of [U_1 .. U_M] / sqrt(M) are the eigenvectors of the average projector, and its squared
    singular values the eigenvalues (Mauri and Dunson 2025, arXiv 2509.02772). A direction that views share to a
    correlation r splits in two, near (1 + r)/M and (1 - r)/M; only the first is a factor. Directions of unrelated views
    correlate by chance too, so the cut is the 5 % quantile of the smallest eigenvalue when every view's subjects are
    shuffled on their own.

    A subject without a view has no row in that view's vectors. Its row is filled in with the regression of the view's
    vectors on the joint ones, given by the other views, and everything is repeated until the joint ones settle: least
    squares over the rows that were observed. A direction that only absent views have stays at 0, its prior mean.

    Parameters
    ----------
    subspaces
        Per view orthonormal columns (n_m, k_m) over its own rows.
    rows
        Per view the positions of its rows among all subjects.
    n_subjects
        Number of all subjects.
    rng
        Shuffles subjects.
    """
    filled = [np.zeros((n_subjects, own.shape[1])) for own in subspaces]
    present = np.zeros((n_subjects, len(rows)), dtype=np.bool_)
    for number, (own, where) in enumerate(zip(subspaces, rows, strict=True)):
        filled[number][where] = own * np.sqrt(len(where))
        present[where, number] = True
    joint = _average(filled, None, rng)
    for _ in range(0 if present.all() else _MAX_PASSES):
        _fill(filled, present, joint.vectors * np.sqrt(n_subjects))
        before, joint = joint.vectors, _average(filled, joint.cut, rng)
        same = before.shape == joint.vectors.shape
        if same and np.linalg.norm(joint.vectors - before @ (before.T @ joint.vectors)) < _TOLERANCE:
            break
    return joint


def _fill(filled: Sequence[Array], present: NDArray[np.bool_], factors: Array) -> None:
    """Fill, in place, the rows of absent views with their ridge regression on those that are present."""
    slopes, residual, count = [], 0.0, 0
    for own, has in zip(filled, present.T, strict=True):
        slope = np.linalg.lstsq(factors[has], own[has], rcond=None)[0]
        residual += float(np.sum(np.square(own[has] - factors[has] @ slope)))
        count += own[has].size
        slopes.append(slope)
    ridge = max(residual / max(count, 1), _LEAST_RIDGE) * np.eye(factors.shape[1])
    patterns, pattern_of = np.unique(present, axis=0, return_inverse=True)
    views = range(len(filled))
    for number, has in enumerate(patterns):
        if has.all():
            continue
        where = np.flatnonzero(pattern_of == number)
        known = np.concatenate([slopes[m] for m in views if has[m]], axis=1)
        seen = np.concatenate([filled[m][where] for m in views if has[m]], axis=1)
        scores = np.linalg.solve(known @ known.T + ridge, known @ seen.T).T
        for m in views:
            if not has[m]:
                filled[m][where] = scores @ slopes[m]


def _average(filled: Sequence[Array], cut: float | None, rng: np.random.Generator) -> Joint:
    bases = [np.linalg.qr(own)[0] for own in filled if own.shape[1]]
    stacked = np.concatenate(bases, axis=1) / np.sqrt(len(filled))
    squares, right = np.linalg.eigh(stacked.T @ stacked)
    squares, right = squares[::-1], right[:, ::-1]
    if cut is None:
        cut = _find_cut(bases, len(filled), rng)
    kept = squares >= cut
    vectors = stacked @ (right[:, kept] / np.sqrt(squares[kept]))
    return Joint(vectors, squares, cut)


def _find_cut(bases: Sequence[Array], n_views: int, rng: np.random.Generator) -> float:
    smallest = []
    for _ in range(_N_PERMUTATIONS):
        shuffled = np.concatenate([own[rng.permutation(len(own))] for own in bases], axis=1)
        smallest.append(float(np.linalg.eigvalsh(shuffled.T @ shuffled)[0]))
    # A lone view gives 1 exactly, so leave room for rounding; more directions than subjects give 0.
    return max(float(np.quantile(smallest, _LEVEL)) * (1 - 1e-6), _LEAST_CUT) / n_views
