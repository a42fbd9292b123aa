"""What we believe before seeing data: priors and the factor model, as values. No data, no PyMC."""

from mofa_bayes.spec.model import FactorModel, ViewModel
from mofa_bayes.spec.priors import (
    ARD,
    ARDFactors,
    FactorPrior,
    Gamma,
    Horseshoe,
    Laplace,
    Normal,
    Prior,
    SpikeSlab,
    SpikeSlabFactors,
    StandardFactors,
)

__all__ = [
    "ARD",
    "ARDFactors",
    "FactorModel",
    "FactorPrior",
    "Gamma",
    "Horseshoe",
    "Laplace",
    "Normal",
    "Prior",
    "SpikeSlab",
    "SpikeSlabFactors",
    "StandardFactors",
    "ViewModel",
]
