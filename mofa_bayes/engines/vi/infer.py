"""q(z) of new rows under fixed globals."""

import warnings
from collections.abc import Callable, Mapping

import numpy as np

from mofa_bayes.engines.vi.layout import Layout
from mofa_bayes.engines.vi.packed import pack
from mofa_bayes.engines.vi.rows import PartGlobals, RowPrior, Rows, bound_entries, infer_rows
from mofa_bayes.errors import ConvergenceWarning

_MAX_INNER = 3000
_INNER_TOLERANCE = 1e-6


def infer_given_globals(
    layout: Layout, known: Mapping[int, PartGlobals], prior_of: Callable[[int], RowPrior]
) -> tuple[Rows, ...]:
    """Infer the rows of a layout under fixed globals, each block until its q(z) settles (at once where it is exact)."""
    found = []
    for block in layout.blocks:
        prior = prior_of(block.group)
        rows = Rows(np.zeros((block.n_rows, len(prior.precision))), pack(np.diag(1 / prior.precision))[None])
        for _ in range(_MAX_INNER):
            before = rows
            locals_ = bound_entries(block, layout.parts, known, before)
            rows, _ = infer_rows(block, layout.parts, known, locals_, prior, before)
            is_exact = not prior.log_odds.size and all(
                layout.parts[number].likelihood == "gaussian" for number in block.cells
            )
            if is_exact or np.abs(rows.mean - before.mean).max() < _INNER_TOLERANCE:
                break
        else:
            warnings.warn("q(z) of some new subjects has not settled", ConvergenceWarning, stacklevel=2)
        found.append(rows)
    return tuple(found)
