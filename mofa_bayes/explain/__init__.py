"""What it means: variance, sharing, biomarkers, enrichment, associations, information."""

from mofa_bayes.explain.association import associate, association_draws
from mofa_bayes.explain.biomarkers import biomarkers
from mofa_bayes.explain.enrichment import enrichment, enrichment_draws
from mofa_bayes.explain.enrichment_test import enrichment_test
from mofa_bayes.explain.genesets import read_gmt
from mofa_bayes.explain.information import information, information_about, partial_information
from mofa_bayes.explain.profile import feature_profile, feature_shares
from mofa_bayes.explain.sharing import sharing
from mofa_bayes.explain.summarise import summarise
from mofa_bayes.explain.variance import variance_explained

__all__ = [
    "associate",
    "association_draws",
    "biomarkers",
    "enrichment",
    "enrichment_draws",
    "enrichment_test",
    "feature_profile",
    "feature_shares",
    "information",
    "information_about",
    "partial_information",
    "read_gmt",
    "sharing",
    "summarise",
    "variance_explained",
]
