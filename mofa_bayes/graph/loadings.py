"""p(w): loadings under each prior of the spec."""

from functools import singledispatch
from typing import TYPE_CHECKING, Any

from mofa_bayes.errors import SpecError
from mofa_bayes.spec import ARD, Prior, SpikeSlab

if TYPE_CHECKING:
    from pytensor.tensor.variable import TensorVariable


@singledispatch
def draw_loadings(prior: Prior, view: str) -> "TensorVariable[Any, Any]":
    """Draw `loadings_<view>` (feature, factor) inside a model context."""
    raise SpecError(
        f"prior on loadings of view {view!r}",
        got=repr(prior),
        expected="a prior of the spec",
        do="Use ARD or SpikeSlab.",
    )


@draw_loadings.register(ARD)
def _(prior: ARD, view: str) -> "TensorVariable[Any, Any]":
    """Draw w = v / sqrt(alpha), v ~ N(0, 1), alpha ~ Gamma."""
    import pymc as pm

    dims = (f"feature_{view}", "factor")
    alpha = pm.Gamma(f"ard_{view}", prior.precision.shape, prior.precision.rate, dims=("factor",))
    v = pm.Normal(f"slab_{view}", 0.0, 1.0, dims=dims)
    loadings: TensorVariable[Any, Any] = pm.Deterministic(f"loadings_{view}", v / pm.math.sqrt(alpha), dims=dims)
    return loadings


@draw_loadings.register(SpikeSlab)
def _(prior: SpikeSlab, view: str) -> "TensorVariable[Any, Any]":
    """Draw w = s v / sqrt(alpha), s ~ Bernoulli(theta), theta ~ Beta."""
    import pymc as pm

    dims = (f"feature_{view}", "factor")
    alpha = pm.Gamma(f"ard_{view}", prior.precision.shape, prior.precision.rate, dims=("factor",))
    theta = pm.Beta(f"inclusion_{view}", prior.inclusion_a, prior.inclusion_b, dims=("factor",))
    v = pm.Normal(f"slab_{view}", 0.0, 1.0, dims=dims)
    s = pm.Bernoulli(f"active_{view}", theta, dims=dims)
    loadings: TensorVariable[Any, Any] = pm.Deterministic(f"loadings_{view}", s * v / pm.math.sqrt(alpha), dims=dims)
    return loadings
