"""What to expect: outcome families, the marginal likelihood that ties them to factors, and scores with intervals."""

from mofa_bayes.risk.binary import Binary
from mofa_bayes.risk.fitted import ExtrapolationWarning, FittedRisk
from mofa_bayes.risk.model import RiskModel
from mofa_bayes.risk.scores import Scores
from mofa_bayes.risk.survival import Survival

__all__ = ["Binary", "ExtrapolationWarning", "FittedRisk", "RiskModel", "Scores", "Survival"]
