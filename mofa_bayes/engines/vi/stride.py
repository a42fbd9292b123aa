"""Over-relaxation: rows are inferred from loadings carried on along the way that they last moved.

Adaptive overrelaxed bound optimisation (Salakhutdinov and Roweis 2003, ICML): the stride grows while the bound rises,
and a pass that lowers it is taken again without one. Whatever loadings rows are inferred from, theirs is a q(z), so the
bound is as valid as that of a plain pass.
"""

from dataclasses import dataclass, replace

import numpy as np

from mofa_bayes.engines.vi.globals import Globals
from mofa_bayes.engines.vi.packed import Array

_GROWTH, _LONGEST = 1.1, 1.9


@dataclass(frozen=True, slots=True)
class Stride:
    """How far the next pass goes.

    Attributes
    ----------
    length
        In steps: 1 is the plain pass.
    before
        E[w~] of each part (D, J) before the last pass; empty after a start.
    """

    length: float = 1.0
    before: tuple[Array, ...] = ()

    @property
    def is_long(self) -> bool:
        """Whether the next pass goes further than a plain one."""
        return self.length > 1.0 and len(self.before) > 0

    def carry(self, globals_: Globals) -> Globals:
        """Move loadings on, with the spreads that they have."""
        if not self.is_long:
            return globals_
        pairs = zip(globals_.parts, self.before, strict=True)
        moved = tuple(replace(own, mean=own.mean + (self.length - 1) * (own.mean - was)) for own, was in pairs)
        return replace(globals_, parts=moved)

    def follow(self, globals_: Globals) -> "Stride":
        """Take note of where the loadings are before a pass, and grow."""
        before = tuple(own.mean for own in globals_.parts)
        return Stride(min(self.length * _GROWTH, _LONGEST) if self.before else 1.0, before)

    def turn(self, turn: Array) -> "Stride":
        """Follow w -> w A (K, K)."""
        size = len(turn)
        before = tuple(np.column_stack([own[:, :size] @ turn, own[:, size:]]) for own in self.before)
        return replace(self, before=before)
