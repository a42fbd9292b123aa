"""Factors given loadings, block by block, and the sums over rows that loadings need."""

from dataclasses import replace

import numpy as np

from mofa_bayes.engines.gibbs.augment import AUGMENTATIONS
from mofa_bayes.engines.gibbs.kernels import draw_dispersion
from mofa_bayes.engines.gibbs.state import PartPoint, Point, Problem
from mofa_bayes.engines.vi.families import Local
from mofa_bayes.engines.vi.kernels import second_moments
from mofa_bayes.engines.vi.layout import Block, Part
from mofa_bayes.engines.vi.packed import Array, n_packed, pack, unpack
from mofa_bayes.engines.vi.rows import PartGlobals, RowPrior, Rows, Sums, add, collect_sums, infer_rows
from mofa_bayes.graph.likelihoods import NUISANCE_RATE

_CERTAIN = np.empty((1, 0))
_NOTHING = Rows(np.empty((0, 0)), np.empty((0, 0)))


def draw_nuisance(problem: Problem, point: Point, rng: np.random.Generator) -> tuple[PartPoint, ...]:
    """Draw the dispersions of negative binomial columns given eta, before any latent variable depends on them."""
    parts = list(point.parts)
    for number, part in enumerate(problem.layout.parts):
        if part.likelihood != "negative_binomial":
            continue
        blocks = [block for block in problem.layout.blocks if number in block.cells]
        values = [block.cells[number].values for block in blocks]
        own = parts[number]
        r = own.nuisance.copy()
        eta = np.concatenate([_terms(block, point) @ own.terms.T for block in blocks])
        y, observed = (np.concatenate([getattr(v, name) for v in values]) for name in ("y", "observed"))
        exposure = np.concatenate([v.log_exposure for v in values])
        draw_dispersion(y.astype(np.float64), eta, exposure, observed, r, NUISANCE_RATE, rng)
        parts[number] = PartPoint(own.terms, own.tau, r)
    return tuple(parts)


def draw_rows(problem: Problem, point: Point, rng: np.random.Generator) -> tuple[Array, Sums]:
    """Draw latent variables given eta, then factors given loadings and these.

    Returns
    -------
    Factors (N, K), and the sums over rows given them.
    """
    parts = problem.layout.parts
    pairs = enumerate(zip(parts, point.parts, strict=True))
    known = {number: _as_known(part, own, problem.layout.n_known) for number, (part, own) in pairs}
    factors = np.empty_like(point.factors)
    total: Sums | None = None
    for block in problem.layout.blocks:
        locals_ = _augment(block, parts, point, rng)
        if any(own.omega is not None for own in locals_.values()):
            block = replace(block, is_uniform=False)  # vi's bound on counts weighs all entries of a column alike
        prior = RowPrior(point.factor_precision[block.group], np.empty(0))
        rows, _ = infer_rows(block, parts, known, locals_, prior, _NOTHING)
        own = rows.mean + _draw_noise(rows, rng)
        factors[block.rows] = own
        certain = Rows(own, np.zeros((1, n_packed(point.n_factors))))
        sums = collect_sums(block, parts, certain, locals_, 0.0)
        total = sums if total is None else add(total, sums)
    assert total is not None
    return factors, total


def _terms(block: Block, point: Point) -> Array:
    return np.column_stack([point.factors[block.rows], block.design])


def _as_known(part: Part, own: PartPoint, n_known: int) -> PartGlobals:
    """Reduce loadings to what rows need to know; pairs only of columns that not all rows share."""
    if part.likelihood == "gaussian":
        pairs = second_moments(own.terms[part.scattered], _CERTAIN)
        total = np.stack([pack((own.terms * tau[:, None]).T @ own.terms) for tau in own.tau])
    else:
        pairs, total = second_moments(own.terms, _CERTAIN), np.empty((0, 0))
    n_factors = own.terms.shape[1] - n_known
    weighted = own.terms[:, :n_factors] * own.tau[:, :, None]
    return PartGlobals(own.terms, pairs, total, own.tau, own.tau, weighted, own.nuisance)


def _augment(block: Block, parts: tuple[Part, ...], point: Point, rng: np.random.Generator) -> dict[int, Local]:
    terms = _terms(block, point)
    found = {}
    for number, cells in block.cells.items():
        part, own = parts[number], point.parts[number]
        eta = np.empty(0) if part.likelihood == "gaussian" else terms @ own.terms.T
        augment = AUGMENTATIONS[part.likelihood]
        found[number] = augment(cells.values, eta, own.tau[block.group], own.nuisance, rng)
    return found


def _draw_noise(rows: Rows, rng: np.random.Generator) -> Array:
    """Draw from N(0, V_n) for each row."""
    noise = rng.standard_normal(rows.mean.shape)
    root = np.linalg.cholesky(unpack(rows.covariance, rows.mean.shape[1]))
    result: Array = noise @ root[0].T if len(root) == 1 else np.einsum("nkl,nl->nk", root, noise)
    return result
