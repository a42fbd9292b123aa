"""Is it calibrated: simulation-based calibration and coverage of intervals, for any model and engine."""

from mofa_bayes.checking.calibration import Calibration
from mofa_bayes.checking.check import check_calibration
from mofa_bayes.checking.sizes import Sizes

__all__ = ["Calibration", "Sizes", "check_calibration"]
