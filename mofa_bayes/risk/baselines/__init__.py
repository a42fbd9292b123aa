"""Baseline hazards: how the hazard of a patient with predictor 0 moves with time."""

from collections.abc import Mapping

from mofa_bayes.risk.baselines.baseline import Baseline
from mofa_bayes.risk.baselines.m_spline import MSpline
from mofa_bayes.risk.baselines.piecewise import PiecewiseExponential
from mofa_bayes.risk.baselines.weibull import Weibull

__all__ = ["BASELINES", "Baseline", "MSpline", "PiecewiseExponential", "Weibull"]

BASELINES: Mapping[str, type[MSpline] | type[PiecewiseExponential] | type[Weibull]] = {
    "m_spline": MSpline,
    "piecewise_exponential": PiecewiseExponential,
    "weibull": Weibull,
}
