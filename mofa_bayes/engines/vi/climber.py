"""The climber: one ascent's state and its moves, phase by phase."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mofa_bayes.engines.vi.checkpoint import Checkpoint, fill
from mofa_bayes.engines.vi.empty import empty, find_faint
from mofa_bayes.engines.vi.expand import best_rotation, best_scale, can_rotate, rotate
from mofa_bayes.engines.vi.globals import (
    Bound,
    Globals,
    dense_factors,
    dense_priors,
    first_globals,
    follow,
    priors_of,
    update_globals,
    update_view,
)
from mofa_bayes.engines.vi.layout import Block, Layout
from mofa_bayes.engines.vi.packed import Array
from mofa_bayes.engines.vi.rows import (
    Rows,
    Sums,
    add,
    bound_entries,
    collect_sums,
    infer_rows,
    score_nuisance,
)
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.engines.vi.start import as_rows
from mofa_bayes.engines.vi.stride import Stride
from mofa_bayes.engines.vi.variance import explained_by_factor
from mofa_bayes.engines.vi.varimax import varimax
from mofa_bayes.spec import FactorModel, Horseshoe, Laplace, SpikeSlab

logger = logging.getLogger(__name__)

Progress = Callable[[int, float], object]
_PATIENCE = 3
# Passes of the dense start. Two are enough for simulated factors where bounds are exact or tight; on the CLL cohort
# five seeds ended in two optima after 6 passes, and all in the higher one after 10. Looser bounds move slowly, and a
# rotation chosen before they have moved mixes factors.
_DENSE_PASSES, _DENSE_PASSES_LOOSE = 10, 20
_PASSES_PAST_LIMIT = 50
_NUISANCE_EVERY = 5
_EMPTY_EVERY = 5
_DROP_EVERY = 20


Mapper = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


def map_sum(
    function: Callable[[Block, Rows], tuple[Rows, Sums]],
    blocks: Sequence[Block],
    rows: Sequence[Rows],
    mapper: Mapper = map,
) -> tuple[list[Rows], Sums]:
    """Apply `function` to every block and add up the sums as they come, always in the same order."""
    found: list[Rows] = []
    total: Sums | None = None
    for own, sums in mapper(lambda b: function(blocks[b], rows[b]), range(len(blocks))):
        found.append(own)
        total = sums if total is None else add(total, sums)
        del sums  # before the next block makes its own
    assert total is not None
    return found, total


class Climber:
    """The state of one ascent, so that an interrupt finds it whole: each step assigns rows, globals and bound last.

    An ascent goes through phases: `start`, `dense` (the model that every other starts from), `own` (the model asked
    for) and `trimmed` (after factors were dropped).
    """

    def __init__(
        self,
        layout: Layout,
        spec: FactorModel,
        settings: Ascent,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.layout, self.spec, self.settings = layout, spec, settings
        self.progress, self.checkpoint = progress, checkpoint
        self.own_priors = priors_of(spec, layout)
        self.priors = dense_priors(self.own_priors)
        self.globals = first_globals(layout, spec, self.priors)
        self.rows: list[Rows] = []
        self.bounds: list[float] = []
        self.counts: list[int] = []
        self.phase, self.n_passes, self.in_phase, self.settled = "start", 0, 0, 0
        self.stride = Stride()
        self.map: Mapper = map
        self.stopped = False
        self.start = self.written = time.perf_counter()
        self.steps = {
            number: np.full(part.n_features, 0.5)
            for number, part in enumerate(layout.parts)
            if part.family.has_nuisance
        }

    def run(self, scores: Array) -> bool:
        """Climb from some scores, or from where a checkpoint was written; say whether the bound settled."""
        self._resume()
        if self.phase == "start":
            self._take_scores(scores)
            self._enter("dense" if self._has_dense_start() else "own")
        if self.phase == "dense":
            is_loose = any(
                part.family.is_count or part.likelihood in ("ordinal", "categorical") for part in self.layout.parts
            )
            self._climb(_DENSE_PASSES_LOOSE if is_loose else _DENSE_PASSES)
            self._leave_dense()
            self._enter("own")
            if self.stopped:  # one pass, so that what is returned is of the model asked for
                self._step()
                return False
        converged = self._climb(self._passes_left())
        if self.phase == "own" and not self.stopped and self._drop_factors():
            self._enter("trimmed")
            converged = self._climb(self._passes_left())
        return converged

    def _passes_left(self) -> int:
        """Count the passes that this phase may have: a few past the limit where factors were dropped at it.

        Without these, loadings and noises would still be those beside factors that are gone.
        """
        limit = self.settings.max_iterations
        is_spent = self.phase == "trimmed" and len(self.bounds) - self.in_phase >= limit
        return min(limit, _PASSES_PAST_LIMIT) if is_spent else limit

    def _has_dense_start(self) -> bool:
        return self.own_priors != self.priors or dense_factors(self.spec.factors) != self.spec.factors

    def _enter(self, phase: str) -> None:
        self.phase, self.in_phase, self.settled = phase, 0, 0

    def _leave_dense(self) -> None:
        if can_rotate(self.priors, self.globals):
            self._turn(self._sparsest_rotation())
        self._make_positive()
        self.globals = follow(self.globals, self.layout, self.own_priors, self.spec.factors)
        self.priors = self.own_priors
        self.bounds, self.counts = [], []

    def _state(self) -> dict[str, object]:
        return {
            "globals": self.globals,
            "rows": self.rows,
            "bounds": np.asarray(self.bounds),
            "counts": np.asarray(self.counts),
            "phase": self.phase,
            "n_passes": self.n_passes,
            "in_phase": self.in_phase,
            "settled": self.settled,
            "steps": self.steps,
            "stride": self.stride,
        }

    def _resume(self) -> None:
        arrays = None if self.checkpoint is None else self.checkpoint.read()
        if arrays is None:
            return
        self.phase = str(arrays["/phase"])
        if self.phase != "dense":
            self.priors = self.own_priors
            dense = first_globals(self.layout, self.spec, dense_priors(self.own_priors))
            self.globals = follow(dense, self.layout, self.own_priors, self.spec.factors)
        count = arrays["/globals/parts/0/inclusion"].shape[1]
        self.globals = fill(self.globals.keep(np.arange(count)), arrays, "/globals")
        nothing = Rows(np.empty(0), np.empty(0))
        self.rows = fill([nothing] * len(self.layout.blocks), arrays, "/rows")
        self.bounds, self.counts = arrays["/bounds"].tolist(), arrays["/counts"].tolist()
        self.n_passes, self.in_phase = int(arrays["/n_passes"]), int(arrays["/in_phase"])
        moved = [name for name in arrays if name.startswith("/stride/before/")]
        self.stride = fill(Stride(before=(np.empty(0),) * len(moved)), arrays, "/stride")
        self.settled, self.steps = int(arrays["/settled"]), fill(self.steps, arrays, "/steps")

    def _write(self) -> None:
        now = time.perf_counter()
        if self.checkpoint is not None and now - self.written >= self.checkpoint.seconds:
            self.checkpoint.write(self._state())
            self.written = now

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
        patience = max(_PATIENCE, _NUISANCE_EVERY + 1 if self.steps else 0)
        while self.in_phase < max_iterations:
            if (
                self.phase != "dense"
                and self.settings.drop == "during"
                and self.in_phase % _DROP_EVERY == _DROP_EVERY - 1
            ):
                self._drop_factors()
            if self.steps and self.in_phase % _NUISANCE_EVERY == 0:
                self._search_nuisance()
            sums = self._step()
            self.in_phase += 1
            if self.in_phase > 1:
                rise = self.bounds[-1] - self.bounds[-2]
                self.settled = self.settled + 1 if abs(rise) < self.settings.tolerance * abs(self.bounds[-1]) else 0
                if self.settled >= patience:
                    return True
            if self.stopped:
                return False
            if self.settings.expand:
                self._expand(sums)
            del sums  # before the next pass makes its own
            self._write()
        return False

    def _infer(self) -> tuple[list[Rows], Sums]:
        """Update q(z) of every block, and sum over them; what rows need to know of the globals is given up after it."""
        known = self.stride.carry(self.globals).summarise(self.layout)
        parts = self.layout.parts

        def update(block: Block, before: Rows) -> tuple[Rows, Sums]:
            locals_ = bound_entries(block, parts, known, before)
            prior = self.globals.factors.prior_of(block.group)
            rows, entropy = infer_rows(block, parts, known, locals_, prior, before)
            return rows, collect_sums(block, parts, rows, locals_, entropy)

        return map_sum(update, self.layout.blocks, self.rows, self.map)

    def _step(self) -> Sums:
        rows, sums = self._infer()
        globals_, bound = update_globals(self.layout, self.spec, self.priors, self.globals, sums, self.map)
        if self.stride.is_long and bound.total < self.bounds[-1]:
            self.stride = Stride()
            return self._step()
        # Not where features have parameters of their own: their search takes each rise for its own, and stops short.
        if self.settings.expand and self.phase != "dense" and not self.steps:
            self.stride = self.stride.follow(self.globals)
        if self.settings.expand and self.in_phase % _EMPTY_EVERY == _EMPTY_EVERY - 1:
            globals_, bound = self._empty(globals_, bound, sums)
        self.rows, self.globals = rows, globals_
        self.bounds.append(bound.total)
        self.counts.append(globals_.n_factors)
        self.n_passes += 1
        told = self.progress is not None and self.progress(self.n_passes, bound.total) is True
        self.stopped = told or time.perf_counter() - self.start > self.settings.max_seconds
        return sums

    def _empty(self, globals_: Globals, bound: Bound, sums: Sums) -> tuple[Globals, Bound]:
        """Take faint factors out of views where that raises the bound."""
        by_view = dict(bound.by_view)
        for view, factors in find_faint(self.layout, globals_).items():
            candidate = empty(self.layout, globals_, view, factors)
            candidate, own = update_view(self.layout, self.spec, self.priors[view], candidate, view, sums, self.map)
            if own > by_view[view]:
                globals_, by_view[view] = candidate, own
        return globals_, replace(bound, by_view=by_view)

    def _search_nuisance(self) -> None:
        """Move each feature's own parameter up or down by its step where that raises the bound; else halve the step."""
        known = self.globals.summarise(self.layout)
        candidates = {
            number: self.globals.parts[number].nuisance * np.exp(np.array([[-1.0], [0.0], [1.0]]) * step)
            for number, step in self.steps.items()
        }
        results = [
            score_nuisance(block, self.layout.parts, known, rows, candidates)
            for block, rows in zip(self.layout.blocks, self.rows, strict=True)
        ]
        parts = list(self.globals.parts)
        for number, values in candidates.items():
            scores = sum((own[number] for own in results if number in own), np.zeros_like(values))
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
        scale = best_scale(self.globals, sums)
        if scale is not None:
            self.globals, self.stride = self.globals.rescale(scale), self.stride.turn(np.diag(1 / scale))
            self.rows = [rows.transform(np.diag(scale)) for rows in self.rows]

    def _turn(self, turn: Array) -> None:
        self.stride = self.stride.turn(turn)
        self.globals = rotate(self.layout, self.globals, turn)
        self.rows = [rows.transform(np.linalg.inv(turn).T) for rows in self.rows]

    def _sparsest_rotation(self) -> Array:
        """Where several factors are shared by the same views, a dense model leaves their rotation open.

        What is to be sparse chooses it: loadings, or else the factors themselves.
        """
        if not any(isinstance(prior, SpikeSlab | Horseshoe | Laplace) for prior in self.own_priors.values()):
            return varimax([np.concatenate([rows.mean for rows in self.rows])])
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
        self.globals, self.stride = self.globals.keep(kept), Stride()
        self.rows = [rows.keep(kept) for rows in self.rows]
        return True
