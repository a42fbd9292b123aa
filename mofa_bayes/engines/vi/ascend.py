"""The ascent: passes over blocks and updates of the globals until the bound rises no more."""

import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mofa_bayes.engines.vi.expand import best_rotation, best_scale, can_rotate, rotate
from mofa_bayes.engines.vi.globals import (
    Globals,
    dense_priors,
    first_globals,
    follow,
    priors_of,
    update_globals,
)
from mofa_bayes.engines.vi.kernels import Array, pack
from mofa_bayes.engines.vi.layout import Block, Layout
from mofa_bayes.engines.vi.rows import (
    PartGlobals,
    Rows,
    Sums,
    add,
    bound_entries,
    collect_sums,
    infer_rows,
    score_nuisance,
)
from mofa_bayes.engines.vi.start import as_rows, start_factors
from mofa_bayes.engines.vi.varimax import varimax
from mofa_bayes.errors import ConvergenceWarning, SpecError
from mofa_bayes.spec import FactorModel

logger = logging.getLogger(__name__)

Progress = Callable[[int, float], object]
_PATIENCE = 3
_DENSE_PASSES = 20
_MAX_INNER = 500
_INNER_TOLERANCE = 1e-8
_NUISANCE_EVERY = 5
_MODES = {"fast": 1e-6, "medium": 1e-7, "slow": 1e-8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ascent:
    """How long and how hard to climb.

    Parameters
    ----------
    max_iterations
        Passes over the data at most.
    mode
        Stop when the bound rises by less than this share of itself three times in a row: `fast` 1e-6, `medium` 1e-7,
        `slow` 1e-8, or a number. MOFA's modes of the same names stop at 5e-6, 5e-7 and 5e-8 of the first bound over five
        iterations.
    max_seconds
        Stop after this many seconds with what has been reached.
    n_threads
        Threads over blocks of rows; the answer does not depend on it. None takes the machine's cores, 4 at most.
    expand
        Use parameter expansion. Off only to measure what it brings.
    """

    max_iterations: int = 2000
    mode: Literal["fast", "medium", "slow"] | float = "medium"
    max_seconds: float = float("inf")
    n_threads: int | None = None
    expand: bool = True

    def __post_init__(self) -> None:
        for name, value in (("max_iterations", self.max_iterations), ("n_threads", self.n_threads or 1)):
            if not isinstance(value, int) or value < 1:
                raise SpecError(name, got=repr(value), expected="a whole number from 1 up", do="Correct it.")
        if self.mode not in _MODES and not (isinstance(self.mode, int | float) and 0 < self.mode < 1):
            raise SpecError(
                "mode", got=repr(self.mode), expected=f"one of {', '.join(_MODES)} or a number in (0, 1)", do="Choose one."
            )
        if not isinstance(self.max_seconds, int | float) or not self.max_seconds > 0:
            raise SpecError("max_seconds", got=repr(self.max_seconds), expected="a number above 0", do="Correct it.")

    @property
    def tolerance(self) -> float:
        """Smallest rise of the bound, as a share of itself, that counts."""
        return _MODES[self.mode] if isinstance(self.mode, str) else float(self.mode)


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
    *,
    scores: Array | None = None,
) -> Fitted:
    """Fit a factor model by coordinate ascent on the evidence lower bound.

    A dense model is fitted first for a few passes, because its rotations find which views share a factor; every other
    model then starts from it. Factors that explain less than `spec.min_variance` of every view are dropped at the end
    and the ascent resumed. An interrupt (Ctrl-C) ends the ascent with what has been reached.

    Parameters
    ----------
    layout, spec, settings, rng
        Data, model, effort, and the randomness of the start.
    progress
        Called after each pass with its number and bound; the ascent ends when it returns True.
    scores
        Factors to start from (n_subjects, K), rows in canonical order; the leading singular vectors when left out.

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
            converged = climber.run(start_factors(layout, spec.n_factors, rng) if scores is None else scores)
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


Mapper = Callable[[Callable[[int], object], range], list[object]]


def map_sum(
    function: Callable[[Block, Rows], tuple[Rows, Sums]],
    blocks: Sequence[Block],
    rows: Sequence[Rows],
    mapper: Callable[..., list[tuple[Rows, Sums]]],
) -> tuple[list[Rows], Sums]:
    """Apply `function` to every block and add up the sums, always in the same order."""
    results = mapper(lambda b: function(blocks[b], rows[b]), range(len(blocks)))
    return [own for own, _ in results], reduce(add, (sums for _, sums in results))


class _Climber:
    """The state of one ascent, so that an interrupt finds it whole: each step assigns rows, globals and bound last."""

    def __init__(self, layout: Layout, spec: FactorModel, settings: Ascent, progress: Progress | None) -> None:
        self.layout, self.spec, self.settings, self.progress = layout, spec, settings, progress
        self.own_priors = priors_of(spec, layout)
        self.priors = dense_priors(self.own_priors)
        self.globals = first_globals(layout, spec, self.priors)
        self.rows: list[Rows] = []
        self.bounds: list[float] = []
        self.counts: list[int] = []
        self.map: Callable[..., list[tuple[Rows, Sums]]] = lambda function, items: [function(item) for item in items]
        self.n_passes = 0
        self.stopped = False
        self.start = time.perf_counter()
        self.steps = {
            number: np.full(part.n_features, 0.5)
            for number, part in enumerate(layout.parts)
            if part.family.has_nuisance
        }

    def run(self, scores: Array) -> bool:
        self._take_scores(scores)
        if self.own_priors != self.priors:
            self._climb(_DENSE_PASSES)
            if can_rotate(self.priors, self.globals):
                self._turn(self._sparsest_rotation())
            self._make_positive()
            self.globals = follow(self.globals, self.layout, self.own_priors)
            self.priors = self.own_priors
            self.bounds, self.counts = [], []
        converged = self._climb(self.settings.max_iterations)
        if converged and self._drop_factors():
            converged = self._climb(self.settings.max_iterations)
        return converged

    def _take_scores(self, scores: Array) -> None:
        """Fit the globals to given scores, as if they were the factors."""
        known = self.globals.summarise(self.layout)

        def sums_of(block: Block, rows: Rows) -> tuple[Rows, Sums]:
            full = rows if block.is_uniform else Rows(rows.mean, np.repeat(rows.covariance, block.n_rows, axis=0))
            nothing = Rows(np.zeros_like(full.mean), full.covariance)
            locals_ = bound_entries(block, self.layout.parts, known, nothing)
            return full, collect_sums(block, self.layout.parts, full, locals_, 0.0)

        given = [as_rows(scores[block.rows]) for block in self.layout.blocks]
        self.rows, sums = map_sum(sums_of, self.layout.blocks, given, self.map)
        self.globals, _ = update_globals(self.layout, self.spec, self.priors, self.globals, sums)

    def _climb(self, max_iterations: int) -> bool:
        settled = 0
        for iteration in range(max_iterations):
            if self.steps and iteration % _NUISANCE_EVERY == 0:
                self._search_nuisance()
            sums = self._step()
            if len(self.bounds) > 1 and self.counts[-1] == self.counts[-2]:
                rise = self.bounds[-1] - self.bounds[-2]
                settled = settled + 1 if abs(rise) < self.settings.tolerance * abs(self.bounds[-1]) else 0
                if settled >= max(_PATIENCE, _NUISANCE_EVERY + 1 if self.steps else 0):
                    return True
            if self.stopped or time.perf_counter() - self.start > self.settings.max_seconds:
                return False
            if self.settings.expand:
                self._expand(sums)
        return False

    def _step(self) -> Sums:
        known = self.globals.summarise(self.layout)
        parts = self.layout.parts

        def update(block: Block, before: Rows) -> tuple[Rows, Sums]:
            locals_ = bound_entries(block, parts, known, before)
            rows, entropy = infer_rows(block, parts, known, locals_, self.globals.factor_precision(block.group))
            return rows, collect_sums(block, parts, rows, locals_, entropy)

        rows, sums = map_sum(update, self.layout.blocks, self.rows, self.map)
        globals_, bound = update_globals(self.layout, self.spec, self.priors, self.globals, sums)
        self.rows, self.globals = rows, globals_
        self.bounds.append(bound)
        self.counts.append(globals_.n_factors)
        self.n_passes += 1
        if self.progress is not None and self.progress(self.n_passes, bound) is True:
            self.stopped = True
        return sums

    def _search_nuisance(self) -> None:
        """Move each feature's own parameter up or down by its step where that raises the bound; else halve the step."""
        known = self.globals.summarise(self.layout)
        candidates = {
            number: self.globals.parts[number].nuisance * np.exp(np.array([[-1.0], [0.0], [1.0]]) * step)
            for number, step in self.steps.items()
        }
        results = self.map(
            lambda b: score_nuisance(self.layout.blocks[b], self.layout.parts, known, self.rows[b], candidates),
            range(len(self.layout.blocks)),
        )
        parts = list(self.globals.parts)
        for number, values in candidates.items():
            scores = sum((own[number] for own in results if number in own), np.zeros_like(values))  # type: ignore[call-overload,misc]
            best = np.where(scores.max(axis=0) > scores[1], scores.argmax(axis=0), 1)
            parts[number] = replace(parts[number], nuisance=values[best, np.arange(values.shape[1])])
            self.steps[number] = np.where(best == 1, self.steps[number] / 2, np.minimum(self.steps[number] * 1.5, 1.0))
        self.globals = replace(self.globals, parts=tuple(parts))

    def _expand(self, sums: Sums) -> None:
        if can_rotate(self.priors, self.globals):
            turn = best_rotation(self.layout, self.globals, sums)
            if turn is not None:
                self._turn(turn)
            return
        scale = best_scale(self.globals, sums, len(self.layout.subjects))
        if scale is not None:
            self.globals = self.globals.rescale(scale)
            self.rows = [rows.transform(np.diag(scale)) for rows in self.rows]

    def _turn(self, turn: Array) -> None:
        self.globals = rotate(self.layout, self.globals, turn)
        self.rows = [rows.transform(np.linalg.inv(turn).T) for rows in self.rows]

    def _sparsest_rotation(self) -> Array:
        """Where several factors are shared by the same views, a dense model leaves their rotation open."""
        pairs = list(zip(self.layout.parts, self.globals.parts, strict=True))
        size = self.globals.n_factors
        views = (np.concatenate([s.mean[:, :size] for p, s in pairs if p.view == view]) for view in self.layout.views)
        return varimax(list(views))

    def _make_positive(self) -> None:
        """Turn each factor so that its loadings in views that admit no negative ones are positive in sum."""
        positive = [s for p, s in zip(self.layout.parts, self.globals.parts, strict=True) if self._is_positive(p.view)]
        if positive:
            size = self.globals.n_factors
            sign = np.sign(sum((state.mean[:, :size] ** 3).sum(axis=0) for state in positive))
            sign = np.where(sign == 0, 1.0, sign)
            self.globals = self.globals.rescale(sign)
            self.rows = [rows.transform(np.diag(sign)) for rows in self.rows]

    def _is_positive(self, view: str) -> bool:
        return self.own_priors[view].positive

    def _drop_factors(self) -> bool:
        explained = explained_by_factor(self.layout, self.globals).max(axis=0)
        kept = np.flatnonzero(explained >= self.spec.min_variance)
        if len(kept) == self.globals.n_factors:
            return False
        if len(kept) == 0:
            logger.warning("no factor explains %g of any view; the strongest is kept", self.spec.min_variance)
            kept = explained.argmax(keepdims=True)
        logger.info("dropped %d factors that explain nothing", self.globals.n_factors - len(kept))
        self.globals = self.globals.keep(kept)
        self.rows = [rows.keep(kept) for rows in self.rows]
        return True


def explained_by_factor(layout: Layout, globals_: Globals) -> Array:
    """Share of each view's variance that each factor alone explains, with unit-variance factors; shape (view, factor).

    Features without gaussian noise count on the scale of eta, where their likelihood has a variance of its own.
    """
    size = globals_.n_factors
    signal = {view: np.zeros(size) for view in layout.views}
    total = dict.fromkeys(layout.views, 0.0)
    for part, state in zip(layout.parts, globals_.parts, strict=True):
        square = np.square(state.mean[:, :size])
        signal[part.view] += square.sum(axis=0)
        residual = latent_variance(part.likelihood, part.mean, state.nuisance)
        if part.family.has_noise:
            count = np.maximum(part.n_observed, 1e-12)
            residual = residual * (count / state.tau).sum(axis=0) / count.sum(axis=0)
        total[part.view] += float(square.sum() + residual.sum())
    return np.stack([signal[view] / max(total[view], 1e-300) for view in layout.views])


def latent_variance(likelihood: str, mean: Array, nuisance: Array) -> Array:
    """Variance of each feature's likelihood on the scale of eta (of unit noise precision where there is noise).

    gaussian 1; student_t nu / (nu - 2) = 2; bernoulli pi^2 / 3 (logistic); ordinal 1 (normal); negative_binomial
    log(1 + 1/mean + 1/r) (Nakagawa, Johnson and Schielzeth 2017, J R Soc Interface 14:20170213); poisson by the delta
    method for its softplus link, mean / (1 - e^-mean)^2.
    """
    ones = np.ones_like(mean)
    match likelihood:
        case "bernoulli":
            return ones * np.pi**2 / 3
        case "student_t":
            return 2 * ones
        case "poisson":
            floor = np.maximum(mean, 1e-6)
            rate: Array = floor / np.square(np.expm1(-floor))
            return rate
        case "negative_binomial":
            result: Array = np.log1p(1 / np.maximum(mean, 1e-6) + 1 / nuisance)
            return result
        case _:
            return ones


def infer_given_globals(
    layout: Layout, known: Mapping[int, PartGlobals], precision: Callable[[int], Array]
) -> tuple[Rows, ...]:
    """Infer the rows of a layout under fixed globals, each block until its q(z) settles (at once when gaussian)."""
    found = []
    for block in layout.blocks:
        prior = precision(block.group)
        rows = Rows(np.zeros((block.n_rows, len(prior))), pack(np.diag(1 / prior))[None])
        for _ in range(_MAX_INNER):
            before = rows
            locals_ = bound_entries(block, layout.parts, known, before)
            rows, _ = infer_rows(block, layout.parts, known, locals_, prior)
            is_exact = all(layout.parts[number].likelihood == "gaussian" for number in block.cells)
            if is_exact or np.abs(rows.mean - before.mean).max() < _INNER_TOLERANCE:
                break
        found.append(rows)
    return tuple(found)
