"""How data arise: a spec and views as a PyMC model, the reference meaning that every engine is tested against."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from mofa_bayes.graph.conditional import draw_factors_given, score_subjects
from mofa_bayes.graph.model import graph

if TYPE_CHECKING:
    import pymc as pm

    from mofa_bayes.data.multiview import MultiView
    from mofa_bayes.spec import FactorModel

__all__ = ["draw_factors_given", "graph", "score_subjects"]


class _Callable(ModuleType):
    """The import system binds this folder's name in the package, where `mb.graph(views, spec)` must be a call."""

    def __call__(self, views: "MultiView", spec: "FactorModel", *, integrate: bool = False) -> "pm.Model":
        return graph(views, spec, integrate=integrate)


sys.modules[__name__].__class__ = _Callable
