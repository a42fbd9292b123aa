"""Does it hold up? Cross-validation without leakage, and strategies of fusion side by side."""

from mofa_bayes.validation.cross_validate import cross_validate
from mofa_bayes.validation.fusion import Fusion, compare_fusion
from mofa_bayes.validation.validated import CrossValidation

__all__ = ["CrossValidation", "Fusion", "compare_fusion", "cross_validate"]
