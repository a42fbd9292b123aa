"""p(z): factors under each prior of the spec."""

from functools import singledispatch
from typing import TYPE_CHECKING, Any

from mofa_bayes.errors import SpecError
from mofa_bayes.graph.cells import Index
from mofa_bayes.spec import ARDFactors, FactorPrior, SpikeSlabFactors, StandardFactors

if TYPE_CHECKING:
    from pytensor.tensor.variable import TensorVariable

_DIMS = ("subject", "factor")


@singledispatch
def draw_factors(prior: FactorPrior, group_of: Index) -> "TensorVariable[Any, Any]":  # noqa: ARG001
    """Draw `factors` (subject, factor) inside a model context; `group_of` numbers the group of each subject."""
    raise SpecError(
        "prior on factors", got=repr(prior), expected="a prior of the spec", do="Use one of mofa_bayes.spec."
    )


@draw_factors.register(StandardFactors)
def _(prior: StandardFactors, group_of: Index) -> "TensorVariable[Any, Any]":  # noqa: ARG001
    """Draw z ~ N(0, 1)."""
    import pymc as pm

    factors: TensorVariable[Any, Any] = pm.Normal("factors", 0.0, 1.0, dims=_DIMS)
    return factors


@draw_factors.register(ARDFactors)
def _(prior: ARDFactors, group_of: Index) -> "TensorVariable[Any, Any]":
    """Draw z ~ N(0, 1 / beta), beta ~ Gamma by group."""
    import pymc as pm

    factors: TensorVariable[Any, Any] = pm.Normal(
        "factors", 0.0, tau=draw_factor_precision(prior)[group_of], dims=_DIMS
    )
    return factors


@draw_factors.register(SpikeSlabFactors)
def _(prior: SpikeSlabFactors, group_of: Index) -> "TensorVariable[Any, Any]":
    """Draw z = s v, v ~ N(0, 1), s ~ Bernoulli(theta), theta ~ Beta by group."""
    import pymc as pm

    theta = pm.Beta("factor_inclusion", prior.inclusion_a, prior.inclusion_b, dims=("group", "factor"))
    active = pm.Bernoulli("factors_active", theta[group_of], dims=_DIMS)
    slab = pm.Normal("factors_slab", 0.0, 1.0, dims=_DIMS)
    factors: TensorVariable[Any, Any] = pm.Deterministic("factors", active * slab, dims=_DIMS)
    return factors


def draw_factor_precision(prior: ARDFactors) -> "TensorVariable[Any, Any]":
    """Draw `factor_precision` (group, factor), beta ~ Gamma."""
    import pymc as pm

    beta: TensorVariable[Any, Any] = pm.Gamma(
        "factor_precision", prior.precision.shape, prior.precision.rate, dims=("group", "factor")
    )
    return beta
