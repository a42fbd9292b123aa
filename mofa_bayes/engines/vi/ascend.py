"""The ascent: passes over blocks and updates of the globals until the bound rises no more."""

import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mofa_bayes.engines.vi.expand import best_rotation, best_scale, is_dense, rescale, rotate
from mofa_bayes.engines.vi.globals import (
    Globals,
    ViewState,
    first_globals,
    priors_of,
    sparsify,
    update_globals,
)
from mofa_bayes.engines.vi.kernels import Array, Index, pack, packed_positions
from mofa_bayes.engines.vi.layout import Block, Layout
from mofa_bayes.engines.vi.rows import PartGlobals, Rows, Sums, add, collect_sums, infer_rows
from mofa_bayes.engines.vi.start import as_rows, start_factors
from mofa_bayes.engines.vi.varimax import varimax
from mofa_bayes.errors import ConvergenceWarning, SpecError
from mofa_bayes.spec import FactorModel

logger = logging.getLogger(__name__)

Progress = Callable[[int, float], None]
_PATIENCE = 3
_DENSE_PASSES = 20
_MAX_INNER = 500
_INNER_TOLERANCE = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Ascent:
    """How long and how hard to climb.

    Parameters
    ----------
    max_iterations
        Passes over the data at most.
    tolerance
        Stop when the bound rises by less than this share of itself three times in a row.
    n_threads
        Threads over blocks of rows; the answer does not depend on it. None takes the machine's cores, 4 at most.
    expand
        Use parameter expansion. Off only to measure what it brings.
    """

    max_iterations: int = 2000
    tolerance: float = 1e-7
    n_threads: int | None = None
    expand: bool = True

    def __post_init__(self) -> None:
        for name, value in (("max_iterations", self.max_iterations), ("n_threads", self.n_threads or 1)):
            if not isinstance(value, int) or value < 1:
                raise SpecError(name, got=repr(value), expected="a whole number from 1 up", do="Correct it.")
        if not 0 < self.tolerance < 1:
            raise SpecError("tolerance", got=repr(self.tolerance), expected="a number in (0, 1)", do="1e-7 is usual.")


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the ascent ends with: rows by block, globals, and the bound and number of factors after each iteration."""

    layout: Layout
    globals: Globals
    rows: tuple[Rows, ...]
    bound: Array
    n_factors: NDArray[np.intp]
    converged: bool
    seconds: float


def ascend(
    layout: Layout,
    spec: FactorModel,
    settings: Ascent,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a factor model by coordinate ascent on the evidence lower bound.

    A dense model is fitted first for a few passes, because its rotations find which views share a factor; a sparse
    model then starts from it. Factors that explain less than `spec.min_variance` of every view are dropped at the end
    and the ascent resumed. An interrupt (Ctrl-C) ends the ascent with what has been reached.

    Returns
    -------
    Fitted
        `bound` holds the trace under the model's own priors, constants included. It never falls while `n_factors` stays
        the same; where factors were dropped it is that of a smaller model from there on.
    """
    start = time.perf_counter()
    climber = _Climber(layout, spec, settings, progress)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(settings.n_threads or _default_threads()) as pool:
        climber.map = lambda function, items: list(pool.map(function, items))
        try:
            converged = climber.run(start_factors(layout, spec.n_factors, rng))
        except KeyboardInterrupt:
            if not climber.bounds:
                raise
            converged = False
    if not converged:
        warnings.warn(
            f"vi stopped after {len(climber.bounds)} iterations before the bound settled; raise max_iterations",
            ConvergenceWarning,
            stacklevel=2,
        )
    seconds = time.perf_counter() - start
    bound, n_factors = np.asarray(climber.bounds), np.asarray(climber.counts)
    return Fitted(layout, climber.globals, tuple(climber.rows), bound, n_factors, converged, seconds)


def _default_threads() -> int:
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def map_sum(
    function: Callable[[Block, Rows], tuple[Rows, Sums]],
    blocks: Sequence[Block],
    rows: Sequence[Rows],
    mapper: Callable[[Callable[[int], tuple[Rows, Sums]], range], list[tuple[Rows, Sums]]],
) -> tuple[list[Rows], Sums]:
    """Apply `function` to every block and add up the sums, always in the same order."""
    results = mapper(lambda b: function(blocks[b], rows[b]), range(len(blocks)))
    return [own for own, _ in results], reduce(add, (sums for _, sums in results))


class _Climber:
    """The state of one ascent, so that an interrupt finds it whole: each step assigns rows, globals and bound last."""

    def __init__(self, layout: Layout, spec: FactorModel, settings: Ascent, progress: Progress | None) -> None:
        self.layout, self.spec, self.settings, self.progress = layout, spec, settings, progress
        self.priors = priors_of(spec, layout, dense=True)
        self.globals = first_globals(layout, self.priors, spec.n_factors)
        self.rows: list[Rows] = []
        self.bounds: list[float] = []
        self.counts: list[int] = []
        self.map: Callable[..., list[tuple[Rows, Sums]]] = lambda function, items: [function(item) for item in items]
        self.n_passes = 0

    def run(self, scores: Array) -> bool:
        self._take_scores(scores)
        own = priors_of(self.spec, self.layout, dense=False)
        if not is_dense(own):
            self._climb(_DENSE_PASSES)
            self._turn(self._sparsest_rotation())
            self.priors = own
            self.globals = sparsify(self.globals, self.layout, own)
            self.bounds, self.counts = [], []
        converged = self._climb(self.settings.max_iterations)
        if converged and self._drop_factors():
            converged = self._climb(self.settings.max_iterations)
        return converged

    def _take_scores(self, scores: Array) -> None:
        """Fit the globals to given scores, as if they were the factors."""

        def sums_of(block: Block, rows: Rows) -> tuple[Rows, Sums]:
            xis = {b: np.zeros_like(cells.values) for b, cells in block.cells.items() if cells.observed is not None}
            full = rows if block.is_uniform else Rows(rows.mean, np.repeat(rows.covariance, block.n_rows, axis=0))
            return full, collect_sums(block, self.layout.parts, full, xis, 0.0)

        given = [as_rows(scores[block.rows]) for block in self.layout.blocks]
        self.rows, sums = map_sum(sums_of, self.layout.blocks, given, self.map)
        self.globals, _ = update_globals(self.layout, self.spec, self.priors, self.globals, sums)

    def _climb(self, max_iterations: int) -> bool:
        settled = 0
        for _ in range(max_iterations):
            sums = self._step()
            if len(self.bounds) > 1 and self.counts[-1] == self.counts[-2]:
                rise = self.bounds[-1] - self.bounds[-2]
                settled = settled + 1 if abs(rise) < self.settings.tolerance * abs(self.bounds[-1]) else 0
                if settled >= _PATIENCE:
                    return True
            if self.settings.expand:
                self._expand(sums)
        return False

    def _step(self) -> Sums:
        known = self.globals.summarise(self.layout)

        def update(block: Block, before: Rows) -> tuple[Rows, Sums]:
            return _update_block(block, before, known, self.layout)

        rows, sums = map_sum(update, self.layout.blocks, self.rows, self.map)
        globals_, bound = update_globals(self.layout, self.spec, self.priors, self.globals, sums)
        self.rows, self.globals = rows, globals_
        self.bounds.append(bound)
        self.counts.append(globals_.n_factors)
        self.n_passes += 1
        if self.progress is not None:
            self.progress(self.n_passes, bound)
        return sums

    def _expand(self, sums: Sums) -> None:
        n_rows = len(self.layout.subjects)
        if is_dense(self.priors):
            turn = best_rotation(self.layout, self.globals, self.priors, sums.factors, n_rows)
            if turn is not None:
                self._turn(turn)
            return
        scale = best_scale(self.globals, self.priors, sums.factors, n_rows)
        self.globals = rescale(self.globals, scale)
        self.rows = [rows.transform(np.diag(scale)) for rows in self.rows]

    def _turn(self, turn: Array) -> None:
        self.globals = rotate(self.layout, self.globals, self.priors, turn)
        self.rows = [rows.transform(np.linalg.inv(turn).T) for rows in self.rows]

    def _sparsest_rotation(self) -> Array:
        """Where several factors are shared by the same views, a dense model leaves their rotation open."""
        pairs = list(zip(self.layout.parts, self.globals.parts, strict=True))
        views = (np.concatenate([s.mean[:, :-1] for p, s in pairs if p.view == view]) for view in self.layout.views)
        return varimax(list(views))

    def _drop_factors(self) -> bool:
        explained = explained_by_factor(self.layout, self.globals).max(axis=0)
        kept = np.flatnonzero(explained >= self.spec.min_variance)
        if len(kept) == self.globals.n_factors:
            return False
        if len(kept) == 0:
            logger.warning("no factor explains %g of any view; the strongest is kept", self.spec.min_variance)
            kept = explained.argmax(keepdims=True)
        logger.info("dropped %d factors that explain nothing", self.globals.n_factors - len(kept))
        self.globals = keep_factors(self.globals, kept)
        self.rows = [rows.keep(kept) for rows in self.rows]
        return True


def _update_block(block: Block, before: Rows, known: Mapping[int, PartGlobals], layout: Layout) -> tuple[Rows, Sums]:
    rows, xis, kl = infer_rows(block, known, before)
    return rows, collect_sums(block, layout.parts, rows, xis, kl)


def explained_by_factor(layout: Layout, globals_: Globals) -> Array:
    """Share of each view's variance that each factor alone explains, with unit-variance factors; shape (view, factor).

    Bernoulli features count on the scale of the log-odds, whose own variance is pi^2 / 3.
    """
    signal = {view: np.zeros(globals_.n_factors) for view in layout.views}
    total = dict.fromkeys(layout.views, 0.0)
    for part, state in zip(layout.parts, globals_.parts, strict=True):
        square = np.square(state.mean[:, :-1])
        signal[part.view] += square.sum(axis=0)
        if part.likelihood == "bernoulli":
            total[part.view] += square.sum() + part.n_features * np.pi**2 / 3
        else:
            centred = part.sum_squares / np.maximum(part.n_observed, 1) - state.mean[:, -1] ** 2
            total[part.view] += float(np.maximum(centred, 0).sum())
    return np.stack([signal[view] / max(total[view], 1e-300) for view in layout.views])


def keep_factors(globals_: Globals, factors: Index) -> Globals:
    """Keep some factors, in the order given."""
    terms = np.append(factors, globals_.n_factors)
    parts = []
    for state in globals_.parts:
        spread = state.spread[:, terms if state.is_sparse else packed_positions(terms)]
        parts.append(
            replace(
                state,
                mean=np.ascontiguousarray(state.mean[:, terms]),
                spread=np.ascontiguousarray(spread),
                slab_mean=np.ascontiguousarray(state.slab_mean[:, factors]),
                slab_variance=np.ascontiguousarray(state.slab_variance[:, factors]),
                inclusion=np.ascontiguousarray(state.inclusion[:, factors]),
            )
        )
    views = {
        view: ViewState(*(x[factors] if len(x) else x for x in (own.ard_shape, own.ard_rate, own.theta_a, own.theta_b)))
        for view, own in globals_.views.items()
    }
    return Globals(tuple(parts), views)


def infer_given_globals(layout: Layout, known: Mapping[int, PartGlobals], n_factors: int) -> tuple[Rows, ...]:
    """Infer the rows of a layout under fixed globals, each block until its q(z) settles (at once when gaussian)."""
    found = []
    for block in layout.blocks:
        rows = Rows(np.zeros((block.n_rows, n_factors)), pack(np.eye(n_factors))[None])
        for _ in range(_MAX_INNER):
            before = rows
            rows, xis, _ = infer_rows(block, known, before)
            if not xis or np.abs(rows.mean - before.mean).max() < _INNER_TOLERANCE:
                break
        found.append(rows)
    return tuple(found)
