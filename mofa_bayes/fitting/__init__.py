"""How a fit is asked for and run: checks, engines, progress, provenance."""

from mofa_bayes.fitting.fit import fit

__all__ = ["fit"]
