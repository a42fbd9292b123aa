"""Where chains start: draws from vi's q, spread wider than it is, because it is narrower than the posterior."""

import warnings
from dataclasses import replace

import numpy as np

from mofa_bayes.engines.gibbs.state import PartPoint, Point, first_point
from mofa_bayes.engines.vi.ascend import Fitted, ascend
from mofa_bayes.engines.vi.layout import Layout
from mofa_bayes.engines.vi.packed import unpack
from mofa_bayes.engines.vi.part_state import PartState
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.engines.vi.start import start_factors
from mofa_bayes.errors import ConvergenceWarning
from mofa_bayes.spec import FactorModel

# Enough passes to be near a mode; chains do the rest.
_ASCENT = Ascent(max_iterations=100, mode="fast")
_SPREAD = 2.0
_LOG_SPREAD = 0.5


def start_chains(
    layout: Layout, spec: FactorModel, rng: np.random.Generator, n_chains: int, n_threads: int | None = None
) -> list[Point]:
    """Fit vi for a few passes, and draw a start for each chain with twice its standard deviations.

    An interrupt meanwhile is one: no draw has been kept that would be worth going on for.
    """
    spec = replace(spec, min_variance=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = start_factors(layout, spec.n_factors, rng)
        fitted = ascend(layout, spec, replace(_ASCENT, n_threads=n_threads), scores, keep_interrupted=False)
    return [_disperse(fitted, spec, own) for own in rng.spawn(n_chains)]


def _disperse(fitted: Fitted, spec: FactorModel, rng: np.random.Generator) -> Point:
    layout, globals_ = fitted.layout, fitted.globals
    point = first_point(layout, spec)
    factors = np.empty_like(point.factors)
    for block, rows in zip(layout.blocks, fitted.rows, strict=True):
        root = np.linalg.cholesky(unpack(rows.covariance, point.n_factors))
        noise = rng.standard_normal(rows.mean.shape)
        factors[block.rows] = rows.mean + _SPREAD * np.einsum(
            "nkl,nl->nk", np.broadcast_to(root, (len(noise), *root.shape[1:])), noise
        )
    parts = tuple(
        _disperse_part(own, state, spec.loadings_of(part.view).positive, rng)
        for part, own, state in zip(layout.parts, point.parts, globals_.parts, strict=True)
    )
    point = replace(point, factors=factors, parts=parts)
    above = {view: own.redraw(point.loadings(layout, view), rng) for view, own in point.above.items()}
    return replace(point, above=above)


def _disperse_part(own: PartPoint, state: PartState, positive: bool, rng: np.random.Generator) -> PartPoint:
    sd = np.sqrt(np.maximum(state.variances(), 0.0))
    terms = state.mean + _SPREAD * sd * rng.standard_normal(sd.shape)
    loadings = terms[:, : state.n_factors]
    loadings[rng.random(loadings.shape) >= state.inclusion] = 0.0
    if positive:
        np.abs(loadings, out=loadings)
    tau = state.tau * np.exp(_LOG_SPREAD * rng.standard_normal(state.tau.shape)) if state.tau.size else own.tau
    return PartPoint(terms, np.clip(tau, 1e-6, 1e6), state.nuisance)
