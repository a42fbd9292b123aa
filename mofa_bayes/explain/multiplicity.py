"""Many questions at once: the false discovery rate of lists of p values."""

import numpy as np
from numpy.typing import NDArray


def adjust(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest false discovery rate at which each of some p values (n,) is called; NaN counts as not asked.

    Benjamini and Hochberg 1995, J R Stat Soc B 57:289.
    """
    adjusted = np.full(p.shape, np.nan)
    asked = np.flatnonzero(~np.isnan(p))
    order = asked[np.argsort(-p[asked], kind="stable")]
    rank = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum.accumulate(np.minimum(p[order] * len(order) / rank, 1.0))
    return adjusted
