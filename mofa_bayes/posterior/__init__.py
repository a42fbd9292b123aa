"""What we learned: the Posterior, its file, and what follows from it for other patients and missing entries."""

from mofa_bayes.posterior.posterior import Posterior, load

__all__ = ["Posterior", "load"]
