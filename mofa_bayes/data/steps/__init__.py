"""Preparation of views before the model: declared, learned once, stored with the posterior, undone for results."""

from mofa_bayes.data.steps.kinds import (
    CPM,
    Arcsinh,
    DropConstant,
    Log1p,
    Logit,
    QuantileNormal,
    Standardise,
    Step,
    TopVariance,
    Winsorise,
)
from mofa_bayes.data.steps.preparation import Preparation, prepare

__all__ = [
    "CPM",
    "Arcsinh",
    "DropConstant",
    "Log1p",
    "Logit",
    "Preparation",
    "QuantileNormal",
    "Standardise",
    "Step",
    "TopVariance",
    "Winsorise",
    "prepare",
]
