"""What it means: variance explained, sharing of factors among views, biomarkers."""

from mofa_bayes.explain.biomarkers import biomarkers
from mofa_bayes.explain.sharing import sharing
from mofa_bayes.explain.summarise import summarise
from mofa_bayes.explain.variance import variance_explained

__all__ = ["biomarkers", "sharing", "summarise", "variance_explained"]
