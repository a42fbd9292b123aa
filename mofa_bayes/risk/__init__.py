"""What to expect: outcome families, the marginal likelihood that ties them to factors, and scores with intervals."""

from mofa_bayes.risk.accuracy import QuadratureError, QuadratureWarning
from mofa_bayes.risk.binary import Binary
from mofa_bayes.risk.competing import CompetingRisks
from mofa_bayes.risk.continuous import Continuous
from mofa_bayes.risk.count import Count
from mofa_bayes.risk.density import Compiled
from mofa_bayes.risk.evaluation import Evaluation, Risks, evaluate
from mofa_bayes.risk.files import load_risk
from mofa_bayes.risk.fitted import ExtrapolationWarning, FittedRisk
from mofa_bayes.risk.model import RiskModel
from mofa_bayes.risk.ordinal import Ordinal
from mofa_bayes.risk.panel import MultiContinuous
from mofa_bayes.risk.scores import Scores
from mofa_bayes.risk.survival import Survival

__all__ = [
    "Binary",
    "CompetingRisks",
    "Compiled",
    "Continuous",
    "Count",
    "Evaluation",
    "ExtrapolationWarning",
    "FittedRisk",
    "MultiContinuous",
    "Ordinal",
    "QuadratureError",
    "QuadratureWarning",
    "RiskModel",
    "Risks",
    "Scores",
    "Survival",
    "evaluate",
    "load_risk",
]
