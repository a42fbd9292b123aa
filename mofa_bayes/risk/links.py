"""Functions that numpy lacks and the families need, for numpy arrays and PyTensor variables alike."""

from types import ModuleType

import numpy as np
from scipy import special

from mofa_bayes.risk.response import Tensor

_LOG_2 = float(np.log(2.0))


def log_sum_exp(xp: ModuleType, x: Tensor) -> Tensor:
    """log(sum(exp(x))) over the last axis."""
    return special.logsumexp(x, axis=-1) if xp is np else xp.logsumexp(x, axis=-1)


def log_one_minus_exp(xp: ModuleType, x: Tensor) -> Tensor:
    """log(1 - exp(-x)) for x > 0, by the form that loses no digits (Maechler 2012, cutting at log 2).

    Each branch sees only numbers that it can take, so that no gradient is lost to an infinity of the other.
    """
    near, far = xp.minimum(x, _LOG_2), xp.maximum(x, _LOG_2)
    return xp.where(x < _LOG_2, xp.log(-xp.expm1(-near)), xp.log1p(-xp.exp(-far)))
