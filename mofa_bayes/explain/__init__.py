"""What it means: variance explained, sharing of factors among views, biomarkers."""

from mofa_bayes.explain.biomarkers import biomarkers
from mofa_bayes.explain.correlation import correlate_factors
from mofa_bayes.explain.response import feature_response
from mofa_bayes.explain.sharing import sharing
from mofa_bayes.explain.summarise import summarise
from mofa_bayes.explain.variance import variance_explained

__all__ = ["biomarkers", "correlate_factors", "feature_response", "sharing", "summarise", "variance_explained"]
