"""Whether to believe a fit: convergence, the distance of q, predictive checks, leave-one-out, and a verdict."""

from mofa_bayes.posterior.diagnose.diagnose import Limits, diagnose
from mofa_bayes.posterior.diagnose.verdict import Check, Diagnosis

__all__ = ["Check", "Diagnosis", "Limits", "diagnose"]
