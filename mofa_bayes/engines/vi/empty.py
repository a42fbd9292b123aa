"""Emptying: take a factor that a view does not share out of that view at once, where that raises the bound.

Loadings that are near zero leave their indicators where the inclusion probability is, and the inclusion probability
where the indicators are: one by one they drift to zero over a hundred passes. Under sparse priors only.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mofa_bayes.engines.vi.globals import Globals
from mofa_bayes.engines.vi.layout import Layout
from mofa_bayes.engines.vi.packed import Array, Index
from mofa_bayes.engines.vi.part_state import PartState
from mofa_bayes.engines.vi.priors import SpikeSlabState
from mofa_bayes.engines.vi.variance import explained_by_factor

_FAINT = 1e-4


def find_faint(layout: Layout, globals_: Globals) -> Mapping[str, Index]:
    """Name, by view with a sparse prior, the factors that are not empty and explain nearly nothing of it."""
    explained = explained_by_factor(layout, globals_)
    found = {}
    for view, shares in zip(layout.views, explained, strict=True):
        own = globals_.views[view]
        if not isinstance(own, SpikeSlabState):
            continue
        is_empty = own.a - own.prior.inclusion_a < 1e-6 * own.b
        faint = np.flatnonzero((shares < _FAINT) & ~is_empty)
        if len(faint):
            found[view] = faint
    return found


def empty(layout: Layout, globals_: Globals, view: str, factors: Index) -> Globals:
    """Set q(s = 1) of some factors to 0 in every feature of a view, and what stands above to its optimum then."""
    parts = [
        _empty_part(state, factors) if part.view == view else state
        for part, state in zip(layout.parts, globals_.parts, strict=True)
    ]
    own = [state for part, state in zip(layout.parts, parts, strict=True) if part.view == view]
    square = np.concatenate([state.inclusion * (state.slab_mean**2 + state.slab_variance) for state in own])
    above, _ = globals_.views[view].update(square, np.concatenate([state.inclusion for state in own]))
    return replace(globals_, parts=tuple(parts), views={**globals_.views, view: above})


def _empty_part(state: PartState, factors: Index) -> PartState:
    def without(table: Array) -> Array:
        changed = table.copy()
        changed[:, factors] = 0.0
        return changed

    mean, spread, inclusion = (without(own) for own in (state.mean, state.spread, state.inclusion))
    return replace(state, mean=mean, spread=spread, inclusion=inclusion)
