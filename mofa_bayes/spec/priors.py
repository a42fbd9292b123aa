"""Priors on loadings, factors and scales, as frozen values that print, compare and travel through TOML."""

import sys
from dataclasses import dataclass, field
from typing import ClassVar

from mofa_bayes.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Gamma distribution of a precision, by shape and rate.

    The default is vague on purpose: where features outnumber subjects an informative prior on the precision of loadings
    decides how scale is split between factors and loadings, and biases what is read from the loadings alone.
    """

    shape: float = 1e-3
    rate: float = 1e-3

    def __post_init__(self) -> None:
        require_positive("shape of a Gamma prior", self.shape)
        require_positive("rate of a Gamma prior", self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class ARD:
    """Dense loadings with one precision per view and factor: w ~ N(0, 1/alpha), alpha ~ Gamma.

    A factor that a view does not share gets a large precision there: this is the prior of group factor analysis
    (Virtanen et al. 2012, AISTATS; Klami et al. 2015, IEEE TNNLS 26:2136). With `positive`, loadings are half-normal.
    """

    kind: ClassVar[str] = "ard"
    precision: Gamma = field(default_factory=Gamma)
    positive: bool = False

    def __post_init__(self) -> None:
        require_prior(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeSlab:
    """Sparse loadings: w = s v, v ~ N(0, 1/alpha), s ~ Bernoulli(theta), theta ~ Beta, per view and factor.

    The prior of MOFA (Argelaguet et al. 2018, Mol Syst Biol 14:e8124). Beta(1, 1) leaves the share of active features
    of a factor open. With `positive`, v is half-normal.
    """

    kind: ClassVar[str] = "spike_slab"
    precision: Gamma = field(default_factory=Gamma)
    inclusion_a: float = 1.0
    inclusion_b: float = 1.0
    positive: bool = False

    def __post_init__(self) -> None:
        require_positive("inclusion_a of a spike-slab prior", self.inclusion_a)
        require_positive("inclusion_b of a spike-slab prior", self.inclusion_b)
        require_prior(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Normal:
    """Dense loadings of one fixed size: w ~ N(0, scale^2), in standard deviations of a scaled feature or log-odds.

    1 lets a factor explain all of a standardised feature. With `positive`, loadings are half-normal.
    """

    kind: ClassVar[str] = "normal"
    scale: float = 1.0
    positive: bool = False

    def __post_init__(self) -> None:
        require_positive("scale of a normal prior", self.scale)
        require_prior(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Laplace:
    """Loadings shrunk towards zero: w ~ Laplace with rate lambda per view and factor, lambda ~ Gamma.

    The prior whose mode is the lasso (Park and Casella 2008, JASA 103:681). With `positive`, loadings are exponential.
    """

    kind: ClassVar[str] = "laplace"
    rate: Gamma = field(default_factory=Gamma)
    positive: bool = False

    def __post_init__(self) -> None:
        require_prior(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Horseshoe:
    """Loadings of which few escape shrinkage: w ~ N(0, l^2 / alpha), l ~ half-Cauchy(1), alpha ~ Gamma.

    alpha, per view and factor, is the global scale (Carvalho, Polson and Scott 2010, Biometrika 97:465). With
    `positive`, the normal is half-normal.
    """

    kind: ClassVar[str] = "horseshoe"
    precision: Gamma = field(default_factory=Gamma)
    positive: bool = False

    def __post_init__(self) -> None:
        require_prior(self)


Prior = ARD | SpikeSlab | Normal | Laplace | Horseshoe
PRIORS: dict[str, type[Prior]] = {prior.kind: prior for prior in (SpikeSlab, ARD, Horseshoe, Laplace, Normal)}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardFactors:
    """z ~ N(0, 1) in every group."""

    kind: ClassVar[str] = "standard"
    is_learned: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ARDFactors:
    """z ~ N(0, 1/beta) with one beta per group and factor, beta ~ Gamma: a factor may be silent in some groups."""

    kind: ClassVar[str] = "ard"
    is_learned: ClassVar[bool] = True
    precision: Gamma = field(default_factory=Gamma)

    def __post_init__(self) -> None:
        require_gamma("precision of the factors' prior", self.precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeSlabFactors:
    """z = s v, v ~ N(0, 1), s ~ Bernoulli(theta), theta ~ Beta, per group and factor: most subjects may lack a factor.

    The slab has unit variance, which leaves scale to the loadings; a group without a factor has a small theta.
    """

    kind: ClassVar[str] = "spike_slab"
    is_learned: ClassVar[bool] = True
    inclusion_a: float = 1.0
    inclusion_b: float = 1.0

    def __post_init__(self) -> None:
        require_positive("inclusion_a of a spike-slab prior on factors", self.inclusion_a)
        require_positive("inclusion_b of a spike-slab prior on factors", self.inclusion_b)


FactorPrior = StandardFactors | ARDFactors | SpikeSlabFactors
FACTOR_PRIORS: dict[str, type[FactorPrior]] = {
    prior.kind: prior for prior in (StandardFactors, ARDFactors, SpikeSlabFactors)
}


def require_positive(what: str, value: object) -> None:
    """Raise SpecError unless `value` is a finite number above 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= sys.float_info.max:  # type: ignore[operator]
        raise SpecError(what, got=repr(value)[:80], expected="a finite number above 0", do="Correct or leave it out.")


def require_gamma(what: str, value: object) -> None:
    """Raise SpecError unless `value` is a Gamma prior."""
    if not isinstance(value, Gamma):
        raise SpecError(what, got=repr(value)[:80], expected="a Gamma prior", do="Write Gamma(shape=..., rate=...).")


def require_prior(prior: Prior) -> None:
    """Raise SpecError unless what the priors on loadings have in common is of the right type."""
    for name in ("precision", "rate"):
        if hasattr(prior, name):
            require_gamma(f"{name} of a {prior.kind} prior", getattr(prior, name))
    if not isinstance(prior.positive, bool):
        raise SpecError(
            f"positive of a {prior.kind} prior", got=repr(prior.positive), expected="True or False", do="Correct it."
        )
