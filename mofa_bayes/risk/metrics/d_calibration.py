"""D-calibration: whether survival probabilities at the time of the event are uniform over patients."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2

from mofa_bayes.errors import DataError
from mofa_bayes.risk.metrics.checks import Array, read_follow_up, read_values


@dataclass(frozen=True, slots=True, eq=False)
class DCalibration:
    """Test of Haider et al. 2020, J Mach Learn Res 21:85.

    Attributes
    ----------
    shares
        Share of patients in each bin of the survival probability, from the bin at 0 to that at 1, (..., bin).
    statistic, p_value
        Pearson's chi-square against equal shares and its upper tail with one degree less than bins, (...).
    """

    shares: Array
    statistic: Array
    p_value: Array


def d_calibration(survival: ArrayLike, event: ArrayLike, *, n_bins: int = 10) -> DCalibration:
    """Compare S_i(t_i) with a uniform distribution.

    Who was censored at s = S_i(t_i) would have had the event at a probability uniform on (0, s), and is spread over
    these bins accordingly. Spread patients vary less than whole ones, so that under censoring the test rejects a true
    model less often than its level says.

    Parameters
    ----------
    survival
        Each subject's predicted survival at its own time, (..., subject): see `survival_at_own_time`.
    event
        1 where that time is an event, 0 where it is censored, (subject,).
    n_bins
        Bins of equal width; at least 2.
    """
    values = read_values("survival", survival, np.size(event), is_probability=True)
    _, codes = read_follow_up(np.zeros(np.size(event)), event)
    if n_bins < 2:
        raise DataError("n_bins", got=repr(n_bins), expected="2 or more", do="10 is usual.")
    edges = np.linspace(0, 1, n_bins + 1)
    own = np.minimum((values * n_bins).astype(np.int64), n_bins - 1)
    is_own = own[..., None] == np.arange(n_bins)
    covered = np.clip(values[..., None] - edges[:-1], 0.0, 1 / n_bins)
    spread = np.where(values[..., None] > 0, covered / np.where(values > 0, values, 1.0)[..., None], is_own)
    counts = np.where(codes[:, None] > 0, is_own, spread).sum(axis=-2)
    expected = len(codes) / n_bins
    statistic = ((counts - expected) ** 2 / expected).sum(axis=-1)
    return DCalibration(counts / len(codes), statistic, np.asarray(chi2.sf(statistic, n_bins - 1)))
