"""One function per question: each takes `ax`, draws what explain, risk or checks computed, and returns the Axes."""

from mofa_bayes.plot.axes import save_figure
from mofa_bayes.plot.calibration import plot_coverage, plot_ranks
from mofa_bayes.plot.choice import plot_choice
from mofa_bayes.plot.data import plot_data_heatmap, plot_data_scatter
from mofa_bayes.plot.diagnosis import plot_chain_ranks, plot_pareto_k, plot_predictive
from mofa_bayes.plot.effects import plot_contributions, plot_effects
from mofa_bayes.plot.evaluation import plot_calibration, plot_decision, plot_risk_distribution
from mofa_bayes.plot.factors import plot_factor_correlation, plot_factor_scatter, plot_factor_values
from mofa_bayes.plot.fit import plot_bound, plot_starts
from mofa_bayes.plot.fusion import plot_fusion
from mofa_bayes.plot.image import plot_loadings_image
from mofa_bayes.plot.loadings import plot_factor, plot_loadings, plot_loadings_ranked, plot_top_features
from mofa_bayes.plot.loadings_maps import plot_loadings_heatmap, plot_loadings_scatter
from mofa_bayes.plot.meaning import plot_associations, plot_enrichment, plot_information
from mofa_bayes.plot.risk import plot_risk
from mofa_bayes.plot.sharing import plot_sharing
from mofa_bayes.plot.survival import plot_survival
from mofa_bayes.plot.variance import plot_feature_profile, plot_variance
from mofa_bayes.plot.views import plot_views

__all__ = [
    "plot_associations",
    "plot_bound",
    "plot_calibration",
    "plot_chain_ranks",
    "plot_choice",
    "plot_contributions",
    "plot_coverage",
    "plot_data_heatmap",
    "plot_data_scatter",
    "plot_decision",
    "plot_effects",
    "plot_enrichment",
    "plot_factor",
    "plot_factor_correlation",
    "plot_factor_scatter",
    "plot_factor_values",
    "plot_feature_profile",
    "plot_fusion",
    "plot_information",
    "plot_loadings",
    "plot_loadings_heatmap",
    "plot_loadings_image",
    "plot_loadings_ranked",
    "plot_loadings_scatter",
    "plot_pareto_k",
    "plot_predictive",
    "plot_ranks",
    "plot_risk",
    "plot_risk_distribution",
    "plot_sharing",
    "plot_starts",
    "plot_survival",
    "plot_top_features",
    "plot_variance",
    "plot_views",
    "save_figure",
]
