"""One sweep: every variable of the model drawn once given the others, then moves along the invariance."""

from dataclasses import replace

import numpy as np

from mofa_bayes.engines.gibbs.loadings import draw_loadings
from mofa_bayes.engines.gibbs.moves import move
from mofa_bayes.engines.gibbs.rotation import rotate
from mofa_bayes.engines.gibbs.rows import draw_nuisance, draw_rows
from mofa_bayes.engines.gibbs.state import Point, Problem
from mofa_bayes.engines.vi.globals import sums_by_group
from mofa_bayes.engines.vi.rows import Sums


def sweep(problem: Problem, point: Point, rng: np.random.Generator) -> Point:
    """Draw the next point of a chain.

    In this order, which never conditions on a latent variable that is out of date: dispersions given eta; latent
    variables of the likelihoods given eta; factors; loadings and noise; rotations of factors, which leave eta alone,
    with what stands above loadings integrated out; what stands above loadings; moves that leave eta alone, and with
    them what stands above factors.
    """
    point = replace(point, parts=draw_nuisance(problem, point, rng))
    factors, sums = draw_rows(problem, point, rng)
    point = _draw_loadings(problem, replace(point, factors=factors), sums, rng)
    point = _redraw_above(problem, rotate(problem, point, rng), rng)
    return move(problem, point, rng)


def _draw_loadings(problem: Problem, point: Point, sums: Sums, rng: np.random.Generator) -> Point:
    parts = list(point.parts)
    for view, own in point.above.items():
        start = 0
        for number in problem.view_of[view]:
            stop = start + problem.layout.parts[number].n_features
            by_group = sums_by_group(problem.layout, number, sums)
            parts[number] = draw_loadings(problem, number, parts[number], own, slice(start, stop), by_group, rng)
            start = stop
    return replace(point, parts=tuple(parts))


def _redraw_above(problem: Problem, point: Point, rng: np.random.Generator) -> Point:
    above = {view: own.redraw(point.loadings(problem.layout, view), rng) for view, own in point.above.items()}
    return replace(point, above=above)
