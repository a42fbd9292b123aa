"""One function per question: each takes `ax`, draws what explain, risk or checks computed, and returns the Axes."""

from mofa_bayes.plot.axes import save_figure
from mofa_bayes.plot.calibration import plot_ranks
from mofa_bayes.plot.choice import plot_choice
from mofa_bayes.plot.diagnosis import plot_chain_ranks, plot_pareto_k, plot_predictive
from mofa_bayes.plot.loadings import plot_factor, plot_loadings
from mofa_bayes.plot.risk import plot_risk
from mofa_bayes.plot.variance import plot_variance

__all__ = [
    "plot_chain_ranks",
    "plot_choice",
    "plot_factor",
    "plot_loadings",
    "plot_pareto_k",
    "plot_predictive",
    "plot_ranks",
    "plot_risk",
    "plot_variance",
    "save_figure",
]
