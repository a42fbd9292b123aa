"""What we believe before seeing data: priors and the factor model, as values. No data, no PyMC."""

from mofa_bayes.spec.model import FactorModel, ViewModel
from mofa_bayes.spec.priors import ARD, Gamma, Prior, SpikeSlab

__all__ = ["ARD", "FactorModel", "Gamma", "Prior", "SpikeSlab", "ViewModel"]
