"""From scores and what happened to tables: metrics with intervals, curves, and panels by subgroup."""

from mofa_bayes.risk.evaluation.evaluate import evaluate
from mofa_bayes.risk.evaluation.evaluation import Evaluation
from mofa_bayes.risk.evaluation.risks import Risks

__all__ = ["Evaluation", "Risks", "evaluate"]
