"""q(z) of new rows under fixed globals."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from mofa_bayes.engines.vi.layout import Block, Layout
from mofa_bayes.engines.vi.packed import pack
from mofa_bayes.engines.vi.rows import PartGlobals, RowPrior, Rows, bound_entries, infer_rows
from mofa_bayes.errors import ConvergenceWarning, warn

_MAX_CYCLES = 1000
_TOLERANCE = 1e-6
_LONGEST = 64.0


def infer_given_globals(
    layout: Layout, known: Mapping[int, PartGlobals], prior_of: Callable[[int], RowPrior]
) -> tuple[Rows, ...]:
    """Infer the rows of a layout under fixed globals, each block until its q(z) settles (at once where it is exact)."""
    found = []
    for block in layout.blocks:
        prior = prior_of(block.group)
        rows = Rows(np.zeros((block.n_rows, len(prior.precision))), pack(np.diag(1 / prior.precision))[None])

        def update(before: Rows, block: Block = block, prior: RowPrior = prior) -> Rows:
            locals_ = bound_entries(block, layout.parts, known, before)
            return infer_rows(block, layout.parts, known, locals_, prior, before)[0]

        is_gaussian = all(layout.parts[number].likelihood == "gaussian" for number in block.cells)
        found.append(update(rows) if is_gaussian and not prior.log_odds.size else _settle(update, rows))
    return tuple(found)


def _settle(update: Callable[[Rows], Rows], rows: Rows) -> Rows:
    """Repeat an update until no mean moves, with a squared extrapolation after every two (Varadhan and Roland 2008).

    Rows are independent given the globals, and each has a step of its own (Scand J Stat 35:335, scheme S3). Loose
    bounds contract by as little as 0.998 a time; a row whose next move is larger than its last one goes back to that.
    """
    for _ in range(_MAX_CYCLES):
        first = update(rows)
        second = update(first)
        move, last = first.mean - rows.mean, second.mean - first.mean
        if np.abs(last).max() < _TOLERANCE:
            return second
        bend = last - move
        length = np.linalg.norm(move, axis=1) / np.maximum(np.linalg.norm(bend, axis=1), 1e-300)
        length = np.clip(length, 1.0, _LONGEST)[:, None]
        far = replace(second, mean=rows.mean + 2 * length * move + length**2 * bend)
        reached = update(far)
        is_worse = np.abs(reached.mean - far.mean).max(axis=1) > np.abs(last).max(axis=1)
        # A row that went too far starts again from where two plain steps had brought it.
        rows = replace(reached, mean=np.where(is_worse[:, None], second.mean, reached.mean))
    warn("q(z) of some new subjects has not settled", ConvergenceWarning)
    return rows
