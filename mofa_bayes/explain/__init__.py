"""What it means: variance, sharing, biomarkers, enrichment, associations, information, contrasts, subgroups."""

from mofa_bayes.explain.association import associate, association_draws
from mofa_bayes.explain.biomarkers import biomarkers
from mofa_bayes.explain.contrast import contrast, match_factors
from mofa_bayes.explain.correlation import correlate_factors
from mofa_bayes.explain.enrichment import enrichment, enrichment_draws
from mofa_bayes.explain.enrichment_test import enrichment_test
from mofa_bayes.explain.genesets import read_gmt
from mofa_bayes.explain.groups import contrast_groups, variance_by_group
from mofa_bayes.explain.information import information, information_about, partial_information
from mofa_bayes.explain.profile import feature_profile, feature_shares
from mofa_bayes.explain.response import feature_response
from mofa_bayes.explain.sharing import sharing
from mofa_bayes.explain.subgroups import Subgroups, find_subgroups
from mofa_bayes.explain.summarise import summarise
from mofa_bayes.explain.variance import variance_explained

__all__ = [
    "Subgroups",
    "associate",
    "association_draws",
    "biomarkers",
    "contrast",
    "contrast_groups",
    "correlate_factors",
    "enrichment",
    "enrichment_draws",
    "enrichment_test",
    "feature_profile",
    "feature_response",
    "feature_shares",
    "find_subgroups",
    "information",
    "information_about",
    "match_factors",
    "partial_information",
    "read_gmt",
    "sharing",
    "summarise",
    "variance_by_group",
    "variance_explained",
]
