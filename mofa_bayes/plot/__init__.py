"""One function per question: each takes `ax`, draws what explain, risk or checks computed, and returns the Axes."""

from mofa_bayes.plot.axes import save_figure
from mofa_bayes.plot.calibration import plot_ranks
from mofa_bayes.plot.choice import plot_choice
from mofa_bayes.plot.diagnosis import plot_chain_ranks, plot_pareto_k, plot_predictive
from mofa_bayes.plot.effects import plot_contributions, plot_effects
from mofa_bayes.plot.evaluation import plot_calibration, plot_decision, plot_risk_distribution
from mofa_bayes.plot.fusion import plot_fusion
from mofa_bayes.plot.loadings import plot_factor, plot_loadings
from mofa_bayes.plot.risk import plot_risk
from mofa_bayes.plot.survival import plot_survival
from mofa_bayes.plot.variance import plot_variance

__all__ = [
    "plot_calibration",
    "plot_chain_ranks",
    "plot_choice",
    "plot_contributions",
    "plot_decision",
    "plot_effects",
    "plot_factor",
    "plot_fusion",
    "plot_loadings",
    "plot_pareto_k",
    "plot_predictive",
    "plot_ranks",
    "plot_risk",
    "plot_risk_distribution",
    "plot_survival",
    "plot_variance",
    "save_figure",
]
