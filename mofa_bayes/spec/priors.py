"""Priors on loadings and scales, as frozen values that print, compare and travel through TOML."""

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
    (Virtanen et al. 2012, AISTATS; Klami et al. 2015, IEEE TNNLS 26:2136).
    """

    kind: ClassVar[str] = "ard"
    precision: Gamma = field(default_factory=Gamma)

    def __post_init__(self) -> None:
        require_gamma("precision of an ARD prior", self.precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeSlab:
    """Sparse loadings: w = s v, v ~ N(0, 1/alpha), s ~ Bernoulli(theta), theta ~ Beta, per view and factor.

    The prior of MOFA (Argelaguet et al. 2018, Mol Syst Biol 14:e8124). Beta(1, 1) leaves the share of active features
    of a factor open.
    """

    kind: ClassVar[str] = "spike_slab"
    precision: Gamma = field(default_factory=Gamma)
    inclusion_a: float = 1.0
    inclusion_b: float = 1.0

    def __post_init__(self) -> None:
        require_gamma("precision of a spike-slab prior", self.precision)
        require_positive("inclusion_a of a spike-slab prior", self.inclusion_a)
        require_positive("inclusion_b of a spike-slab prior", self.inclusion_b)


Prior = ARD | SpikeSlab
PRIORS: dict[str, type[ARD] | type[SpikeSlab]] = {ARD.kind: ARD, SpikeSlab.kind: SpikeSlab}


def require_positive(what: str, value: object) -> None:
    """Raise SpecError unless `value` is a finite number above 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= sys.float_info.max:  # type: ignore[operator]
        raise SpecError(what, got=repr(value)[:80], expected="a finite number above 0", do="Correct or leave it out.")


def require_gamma(what: str, value: object) -> None:
    """Raise SpecError unless `value` is a Gamma prior."""
    if not isinstance(value, Gamma):
        raise SpecError(what, got=repr(value)[:80], expected="a Gamma prior", do="Write Gamma(shape=..., rate=...).")
