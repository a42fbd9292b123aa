"""Loadings and noise given factors: three ways to draw them, each exact, each where it is the quickest."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import eigh

from mofa_bayes.engines.gibbs.above import Above, draw_precisions
from mofa_bayes.engines.gibbs.kernels import draw_elements, draw_gaussians, redraw_active
from mofa_bayes.engines.gibbs.state import PartPoint, Problem
from mofa_bayes.engines.vi.kernels import quadratics
from mofa_bayes.engines.vi.layout import Part
from mofa_bayes.engines.vi.packed import Array, Index, unpack
from mofa_bayes.engines.vi.rows import PartSums
from mofa_bayes.spec import Gamma

_CHUNK = 512


def draw_loadings(
    problem: Problem, number: int, own: PartPoint, above: Above, rows: slice, sums: PartSums, rng: np.random.Generator
) -> PartPoint:
    """Draw loadings, coefficients of known terms and noise of one part.

    Parameters
    ----------
    number, own
        The part and its point.
    above, rows
        What stands above the loadings of its view, and which rows of that are the part's.
    sums
        Sums over rows, stacked by group.
    """
    part = problem.layout.parts[number]
    prior = above.precision if len(above.precision) == 1 else above.precision[rows]
    prior = np.column_stack([prior, np.full((len(prior), problem.n_known), problem.known_precision)])
    target = _Target(
        prior,
        above.log_odds if len(above.log_odds) else np.zeros(problem.spec.n_factors),
        is_sparse=len(above.log_odds) > 0,
        is_positive=problem.spec.loadings_of(part.view).positive,
    )
    if target.is_together and len(prior) == 1 and sums.grams.shape[:2] == (1, 1):
        terms = _draw_in_eigenbasis(sums.cross[0], sums.grams[0, 0], own.tau[0], prior[0], rng)
    else:
        terms = _draw_each(part, own, sums, target, rng)
    own = replace(own, terms=terms)
    return _draw_noise(part, own, sums, problem.spec.noise, rng) if part.family.has_noise else own


@dataclass(frozen=True, slots=True)
class _Target:
    """The prior of a part's terms given what stands above: precisions (D or 1, J), logit theta (K,), and its kind."""

    prior: Array
    log_odds: Array
    is_sparse: bool
    is_positive: bool

    @property
    def is_together(self) -> bool:
        """Whether a feature's terms are drawn together."""
        return not (self.is_sparse or self.is_positive)


def _draw_in_eigenbasis(cross: Array, gram: Array, tau: Array, prior: Array, rng: np.random.Generator) -> Array:
    """Draw all features at once where they share one Gram matrix and one prior (DESIGN section 4, dense W | Z).

    With A = diag(prior) and A^-1/2 G A^-1/2 = Q diag(l) Q', T = A^-1/2 Q turns every feature's precision into
    tau_d diag(l) + I: w_d = T u, u_k ~ N(tau_d (T' h_d)_k / (tau_d l_k + 1), 1 / (tau_d l_k + 1)).
    """
    root = prior**-0.5
    values, vectors = eigh(root[:, None] * unpack(gram, len(prior)) * root)
    basis = root[:, None] * vectors
    precision = np.outer(tau, np.maximum(values, 0.0)) + 1
    u = (tau[:, None] * (cross @ basis)) / precision
    u += rng.standard_normal(u.shape) / np.sqrt(precision)
    result: Array = u @ basis.T
    return result


def _draw_each(part: Part, own: PartPoint, sums: PartSums, target: _Target, rng: np.random.Generator) -> Array:
    """Draw feature by feature, a chunk of them at a time so that their precisions are never all there at once."""
    terms = own.terms.copy()
    gram_of = _gram_numbers(part, sums)
    for start in range(0, len(terms), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        tau, prior = own.tau[:, chunk, None], target.prior
        prior = prior if len(prior) == 1 else prior[chunk]
        linear = (tau * sums.cross[:, chunk]).sum(axis=0)
        precision = (tau * sums.grams[:, gram_of[chunk]]).sum(axis=0)
        if target.is_together:
            draw_gaussians(precision, linear, prior, rng, terms[chunk])
            continue
        kind = target.log_odds, target.is_sparse, target.is_positive
        draw_elements(precision, linear, prior, *kind, rng, terms[chunk])
        if not target.is_positive:
            redraw_active(precision, linear, prior, rng, terms[chunk])
    return terms


def _gram_numbers(part: Part, sums: PartSums) -> Index:
    """Which Gram matrix each column uses: the shared one (0) or its own."""
    return part.gram_of if part.likelihood == "gaussian" else np.arange(sums.grams.shape[1])


def _draw_noise(part: Part, own: PartPoint, sums: PartSums, prior: Gamma, rng: np.random.Generator) -> PartPoint:
    """Draw tau ~ Gamma(a + n / 2, b + sum omega (y - eta)^2 / 2) per group and column."""
    squares = sums.squares if sums.squares.size else part.sum_squares
    residual = squares + _quadratic_forms(part, own.terms, sums)
    return replace(own, tau=draw_precisions(prior, part.n_observed, np.maximum(residual, 0.0), rng))


def _quadratic_forms(part: Part, terms: Array, sums: PartSums) -> Array:
    """w~' G w~ - 2 h' w~ of each column in each group (G, D)."""
    if sums.grams.shape[1] == 1 and part.likelihood == "gaussian":
        full = unpack(sums.grams[:, 0], terms.shape[1])
        result: Array = np.einsum("dj,gdj->gd", terms, terms @ full - 2 * sums.cross)
        return result
    out = np.empty(sums.cross.shape[:2])
    quadratics(sums.cross, sums.grams, _gram_numbers(part, sums), terms, np.zeros_like(terms), False, out)
    return out
