"""p(w): loadings under each prior of the spec."""

from functools import singledispatch
from typing import TYPE_CHECKING, Any

from mofa_bayes.errors import SpecError
from mofa_bayes.spec import ARD, Horseshoe, Laplace, Normal, Prior, SpikeSlab

if TYPE_CHECKING:
    from pytensor.tensor.variable import TensorVariable


@singledispatch
def draw_loadings(prior: Prior, view: str) -> "TensorVariable[Any, Any]":
    """Draw `loadings_<view>` (feature, factor) inside a model context."""
    raise SpecError(
        f"prior on loadings of view {view!r}",
        got=repr(prior),
        expected="a prior of the spec",
        do="Use one of mofa_bayes.spec.",
    )


@draw_loadings.register(ARD)
def _(prior: ARD, view: str) -> "TensorVariable[Any, Any]":
    """Draw w = v / sqrt(alpha), v ~ N(0, 1), alpha ~ Gamma."""
    import pymc as pm

    alpha = pm.Gamma(f"ard_{view}", prior.precision.shape, prior.precision.rate, dims=("factor",))
    return _name(view, _draw_slab(prior, view) / pm.math.sqrt(alpha))


@draw_loadings.register(SpikeSlab)
def _(prior: SpikeSlab, view: str) -> "TensorVariable[Any, Any]":
    """Draw w = s v / sqrt(alpha), s ~ Bernoulli(theta), theta ~ Beta."""
    import pymc as pm

    alpha = pm.Gamma(f"ard_{view}", prior.precision.shape, prior.precision.rate, dims=("factor",))
    theta = pm.Beta(f"inclusion_{view}", prior.inclusion_a, prior.inclusion_b, dims=("factor",))
    v = _draw_slab(prior, view)
    s = pm.Bernoulli(f"active_{view}", theta, dims=(f"feature_{view}", "factor"))
    return _name(view, s * v / pm.math.sqrt(alpha))


@draw_loadings.register(Normal)
def _(prior: Normal, view: str) -> "TensorVariable[Any, Any]":
    """Draw w = scale v."""
    return _name(view, prior.scale * _draw_slab(prior, view))


@draw_loadings.register(Laplace)
def _(prior: Laplace, view: str) -> "TensorVariable[Any, Any]":
    """Draw w = v / lambda, v ~ Laplace(0, 1) or Exponential(1), lambda ~ Gamma."""
    import pymc as pm

    dims = (f"feature_{view}", "factor")
    rate = pm.Gamma(f"rate_{view}", prior.rate.shape, prior.rate.rate, dims=("factor",))
    slab = f"slab_{view}"
    v = pm.Exponential(slab, 1.0, dims=dims) if prior.positive else pm.Laplace(slab, 0.0, 1.0, dims=dims)
    return _name(view, v / rate)


@draw_loadings.register(Horseshoe)
def _(prior: Horseshoe, view: str) -> "TensorVariable[Any, Any]":
    """Draw w ~ N(0, 1 / p), p = alpha / l^2, l ~ half-Cauchy(1), as w = v / sqrt(p + N), v ~ N(0, 1 + N / p).

    Half-way between centred and not (Papaspiliopoulos, Roberts and Sköld 2007, Stat Sci 22:59): N subjects tell of w
    with a precision of about N, so v has about unit variance given the data whether w is shrunk or has escaped.
    """
    import pymc as pm

    alpha = pm.Gamma(f"ard_{view}", prior.precision.shape, prior.precision.rate, dims=("factor",))
    local = pm.HalfCauchy(f"local_{view}", 1.0, dims=(f"feature_{view}", "factor"))
    precision, n_subjects = alpha / local**2, len(pm.modelcontext(None).coords["subject"])
    slab = _draw_slab(prior, view, pm.math.sqrt(1 + n_subjects / precision))
    return _name(view, slab / pm.math.sqrt(precision + n_subjects))


def _draw_slab(prior: Prior, view: str, scale: "float | TensorVariable[Any, Any]" = 1.0) -> "TensorVariable[Any, Any]":
    """Draw v, standard normal unless scaled, or half-normal where loadings may not be negative."""
    import pymc as pm

    dims, name = (f"feature_{view}", "factor"), f"slab_{view}"
    slab: TensorVariable[Any, Any] = (
        pm.HalfNormal(name, scale, dims=dims) if prior.positive else pm.Normal(name, 0.0, scale, dims=dims)
    )
    return slab


def _name(view: str, loadings: "TensorVariable[Any, Any]") -> "TensorVariable[Any, Any]":
    import pymc as pm

    named: TensorVariable[Any, Any] = pm.Deterministic(f"loadings_{view}", loadings, dims=(f"feature_{view}", "factor"))
    return named
