"""One function per question: each takes `ax`, draws what explain or risk computed, and returns the Axes."""

from mofa_bayes.plot.axes import save_figure
from mofa_bayes.plot.choice import plot_choice
from mofa_bayes.plot.loadings import plot_factor, plot_loadings
from mofa_bayes.plot.risk import plot_risk
from mofa_bayes.plot.variance import plot_variance

__all__ = ["plot_choice", "plot_factor", "plot_loadings", "plot_risk", "plot_variance", "save_figure"]
