"""The maps that bring draws of loadings to one rotation, sign, order and scale: pure array code.

A draw s has loadings W_s (D, K), cut into views, and a map T_s (K, K): its aligned loadings are W_s T_s and its aligned
factors Z_s T_s^-T, so that Z W' stays what it was. T_s = H_s R_s: H_s brings factors to unit variance, R_s is a
rotation, or a permutation with signs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mofa_bayes.engines.vi.varimax import varimax

Array = NDArray[np.float64]
Draws = NDArray[np.floating]
Freedom = Literal["rotation", "sign and order", "order"]

CELLS = 2_000_000
_TOLERANCE = 1e-6
_TINY = 1e-8
SAME = 0.85
STABLE = 0.95


def in_chunks(draws: Draws) -> Iterator[slice]:
    """Yield slices of the first axis whose parts, in double precision, stay in the tens of megabytes."""
    step = max(1, CELLS // max(int(np.prod(draws.shape[1:])), 1))
    for start in range(0, len(draws), step):
        yield slice(start, start + step)


def covariance_of(factors: Draws) -> Array:
    """Covariance of a draw's factors over subjects; (S, N, K) to (S, K, K)."""
    found = np.empty((len(factors), factors.shape[2], factors.shape[2]))
    for chunk in in_chunks(factors):
        z = factors[chunk].astype(np.float64)
        z -= z.mean(axis=1, keepdims=True)
        found[chunk] = np.swapaxes(z, 1, 2) @ z / z.shape[1]
    return found


def scale_to_unit(covariance: Array, freedom: Freedom) -> Array:
    """H with H^-1 S H^-1 = I where a rotation is free, and with ones on its diagonal otherwise; (S, K, K).

    The symmetric root of S, and not its diagonal, because it turns with the rotation of a draw: (R'SR)^1/2 =
    R'S^1/2 R. A direction without variance keeps its scale.
    """
    if freedom != "rotation":
        variance = np.diagonal(covariance, axis1=1, axis2=2)
        sd = np.sqrt(np.where(variance > _TINY * variance.max(initial=0.0), variance, 1.0))
        return sd[:, :, None] * np.eye(covariance.shape[1])
    values, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(np.where(values > _TINY * values.max(axis=1, keepdims=True), values, 1.0))
    return (vectors * root[:, None, :]) @ np.swapaxes(vectors, 1, 2)


def cross(loadings: Sequence[Draws], reference: Sequence[Array]) -> Array:
    """W_s' W* summed over views, (S, K, K)."""
    n_factors = loadings[0].shape[2]
    total = np.zeros((len(loadings[0]), n_factors, n_factors))
    for own, other in zip(loadings, reference, strict=True):
        for chunk in in_chunks(own):
            total[chunk] += np.swapaxes(own[chunk].astype(np.float64), 1, 2) @ other
    return total


def squares(loadings: Sequence[Draws]) -> Array:
    """W_s' W_s summed over views: only its diagonal, (S, K)."""
    total = np.zeros((len(loadings[0]), loadings[0].shape[2]))
    for own in loadings:
        for chunk in in_chunks(own):
            total[chunk] += np.einsum("sdk,sdk->sk", own[chunk], own[chunk], dtype=np.float64)
    return total


def average(loadings: Sequence[Draws], maps: Array) -> list[Array]:
    """Mean over draws of W_s T_s, one (D_m, K) per view."""
    means = []
    for own in loadings:
        total = np.zeros(own.shape[1:])
        for chunk in in_chunks(own):
            total += (own[chunk].astype(np.float64) @ maps[chunk]).sum(axis=0)
        means.append(total / len(own))
    return means


def rotate_to(products: Array) -> Array:
    """R = UV' of the singular value decomposition of each product A'B: the rotation with |A R - B| least.

    Schönemann 1966, Psychometrika 31:1.
    """
    left, _, right = np.linalg.svd(products)
    return np.asarray(left @ right)


def permute_to(products: Array, own: Array, other: Array, *, with_sign: bool) -> Array:
    """P, a permutation with signs, with |A P - B| least, by one assignment per draw.

    The cost of giving column i of A the place of column j of B is |a_i|^2 + |b_j|^2 - 2 |a_i.b_j|, and the sign is that
    of a_i.b_j; the idea of matching draws so is Poworoznek, Anceschi, Ferrari and Dunson 2021 (arXiv 2107.13783).

    Parameters
    ----------
    products
        A'B, (S, K, K).
    own, other
        Squared norms of the columns of A, (S, K), and of B, (K,).
    with_sign
        Whether a column may change its sign.
    """
    gain = np.abs(products) if with_sign else products
    cost = own[:, :, None] + other - 2 * gain
    maps = np.zeros_like(products)
    for s, each in enumerate(cost):
        rows, columns = linear_sum_assignment(each)
        sign = np.where(products[s, rows, columns] < 0, -1.0, 1.0) if with_sign else 1.0
        maps[s, rows, columns] = sign
    return maps


def match_to(loadings: Sequence[Draws], reference: Sequence[Array], scale: Array, freedom: Freedom) -> Array:
    """Find the maps T_s = H_s R_s that bring each draw nearest to a reference, (S, K, K)."""
    products = np.swapaxes(scale, 1, 2) @ cross(loadings, reference)
    if freedom == "rotation":
        return scale @ rotate_to(products)
    own = squares(loadings) * np.square(np.diagonal(scale, axis1=1, axis2=2))
    other = np.sum([np.square(view).sum(axis=0) for view in reference], axis=0)
    return scale @ permute_to(products, own, other, with_sign=freedom == "sign and order")


def match_together(
    loadings: Sequence[Draws], reference: Sequence[Array], scale: Array, freedom: Freedom, max_iterations: int
) -> tuple[Array, list[Array], int]:
    """Match draws to a reference and replace it by their mean, until it stays; return maps, reference, iterations.

    Generalised Procrustes analysis (Gower 1975, Psychometrika 40:33).
    """
    count, is_moving = 0, True
    while is_moving and count < max_iterations:
        maps = match_to(loadings, reference, scale, freedom)
        before, reference = reference, average(loadings, maps)
        moved = sum(np.square(a - b).sum() for a, b in zip(reference, before, strict=True))
        is_moving = moved > _TOLERANCE**2 * sum(np.square(own).sum() for own in reference)
        count += 1
    return maps, list(reference), count


def congruence(a: Sequence[Array], b: Sequence[Array]) -> Array:
    """Tucker's congruence a_k.b_k / |a_k||b_k| of columns over all views, (..., K); 0 where a column is zero."""
    product, own, other = (
        np.sum([np.einsum("...dk,...dk->...k", x, y) for x, y in zip(first, second, strict=True)], axis=0)
        for first, second in ((a, b), (a, a), (b, b))
    )
    norm = np.sqrt(own * other)
    return np.asarray(product / np.where(norm > 0, norm, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """Maps of all draws, and what they were matched to.

    Attributes
    ----------
    maps
        T (C, S, K, K).
    reference
        Mean of the aligned loadings of the chains in the main mode, one (D_m, K) per view.
    is_main
        Which chains found the main mode, (C,).
    n_iterations
        Passes over the draws of the chain that needed most, and over all of them together.
    """

    maps: Array
    reference: list[Array]
    is_main: NDArray[np.bool_]
    n_iterations: int


def match_chains(loadings: Sequence[Draws], scale: Array, freedom: Freedom, max_iterations: int) -> Match:
    """Match draws within each chain, then chains with each other, then the draws of the chains that agree.

    Within first, so that a chain in another mode is mapped as a whole and its draws are not scattered over a reference
    that is not theirs. The main mode is what most chains found.

    Parameters
    ----------
    loadings
        One (C, S, D_m, K) per view.
    scale
        H (C, S, K, K).
    freedom
        What the model leaves open.
    max_iterations
        Limit to the passes of each of the two stages.
    """
    n_chains = len(scale)
    maps = np.empty_like(scale)
    centres, halves, most = [], [], 0
    for c in range(n_chains):
        own = [view[c] for view in loadings]
        start = average([view[-1:] for view in own], scale[c, -1:])
        maps[c], centre, count = match_together(own, start, scale[c], freedom, max_iterations)
        centres.append(centre)
        middle = len(maps[c]) // 2
        halves.append(
            [average([v[part] for v in own], maps[c, part]) for part in (slice(None, middle), slice(middle, None))]
        )
        most = max(most, count)
    main = _find_main(centres, halves, freedom)
    chief = int(main.argmax())
    for c in range(n_chains):
        maps[c] = maps[c] @ _map_between(centres[c], centres[chief], freedom)
    chosen = [(view if main.all() else view[main]).reshape(-1, *view.shape[2:]) for view in loadings]
    merged = (-1, *scale.shape[2:])
    reference = average(chosen, maps[main].reshape(merged))
    if main.sum() > 1:
        found, reference, count = match_together(
            chosen, reference, scale[main].reshape(merged), freedom, max_iterations
        )
        maps[main] = found.reshape(maps[main].shape)
        most += count
    turn = _present(reference, freedom)
    return Match(maps @ turn, [view @ turn for view in reference], main, most)


def _map_between(centre: Sequence[Array], other: Sequence[Array], freedom: Freedom) -> Array:
    """Map of one mean of loadings to another, (K, K)."""
    n_factors = centre[0].shape[1]
    found: Array = match_to([view[None] for view in centre], other, np.eye(n_factors)[None], freedom)[0]
    return found


def _find_main(centres: list[list[Array]], halves: list[list[list[Array]]], freedom: Freedom) -> NDArray[np.bool_]:
    """Find the largest set of chains that agree with one of them on every factor that it is sure of itself."""
    agree = np.eye(len(centres), dtype=np.bool_)
    for a, b in np.ndindex(agree.shape):
        turn = _principal_axes(centres[a], freedom)
        sure = congruence(*([view @ turn for view in half] for half in halves[a])) >= STABLE
        there = _map_between(centres[b], centres[a], freedom) @ turn
        alike = congruence([view @ turn for view in centres[a]], [view @ there for view in centres[b]]) >= SAME
        agree[a, b] = alike[sure].all()
    agree &= agree.T
    return np.asarray(agree[agree.sum(axis=1).argmax()])


def _principal_axes(reference: Sequence[Array], freedom: Freedom) -> Array:
    """Rotation to principal axes, where weak directions do not hide behind strong ones; the identity where fixed."""
    gram = np.sum([view.T @ view for view in reference], axis=0)
    return np.linalg.eigh(gram)[1] if freedom == "rotation" else np.eye(len(gram))


def _present(reference: Sequence[Array], freedom: Freedom) -> Array:
    """Map to the form that is reported: varimax, factors by the variance they explain, largest loading positive."""
    turn = varimax(reference) if freedom == "rotation" else np.eye(reference[0].shape[1])
    turned = [view @ turn for view in reference]
    order = np.argsort(-np.sum([np.square(view).mean(axis=0) for view in turned], axis=0), kind="stable")
    stacked = np.concatenate(turned)[:, order]
    largest = stacked[np.abs(stacked).argmax(axis=0), np.arange(len(order))]
    sign = np.where((largest < 0) & (freedom != "order"), -1.0, 1.0)
    return turn[:, order] * sign
