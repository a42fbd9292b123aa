"""The report's table of features: biomarkers of all views and factors as columns of whole numbers, which are short."""

from typing import Any

import numpy as np
import pandas as pd

from mofa_bayes.explain import biomarkers
from mofa_bayes.posterior import Posterior

MOST_ROWS = 60_000
"""Of more rows the surest are shown: a page of 5 MB holds about this many."""

_SHARE = 10_000
_DIGITS = 4


def collect_features(post: Posterior, *, level: float) -> dict[str, Any]:
    """Tabulate every loading, surest first.

    Returns
    -------
    `names` (feature names by view), and by row `view`, `factor` and `feature` as positions among names, `mean`, `lower`
    and `upper` in multiples of `unit`, `surety` (inclusion probability under a sparse prior, sign probability under a
    dense one) and `fdr` in ten-thousandths; `n_left_out` rows are not there.
    """
    table = biomarkers(post, level=level)
    n_left_out = max(len(table) - MOST_ROWS, 0)
    table = table.iloc[:MOST_ROWS]
    names = {view: list(post.features(view)) for view in post.views}
    place = {view: pd.Index(own) for view, own in names.items()}
    feature = np.empty(len(table), dtype=np.intp)
    for view in post.views:
        own = (table["view"] == view).to_numpy()
        feature[own] = place[view].get_indexer(pd.Index(table.loc[own, "feature"].astype(str)))
    numbers = table[["mean", "lower", "upper"]].to_numpy(dtype=np.float64)
    largest = float(np.abs(numbers).max(initial=0.0))
    unit = 10.0 ** (np.floor(np.log10(largest)) - _DIGITS + 1) if largest > 0 else 1.0
    whole = np.round(numbers / unit).astype(np.int64)
    shares = {
        "surety": (1 - table["local_fdr"]).to_numpy(dtype=np.float64),
        "fdr": table["fdr"].to_numpy(dtype=np.float64),
    }
    return {
        "names": names,
        "unit": unit,
        "level": level,
        "n_left_out": n_left_out,
        "view": pd.Index(post.views).get_indexer(pd.Index(table["view"])).tolist(),
        "factor": pd.Index(post.factor_names).get_indexer(pd.Index(table["factor"])).tolist(),
        "feature": feature.tolist(),
        "mean": whole[:, 0].tolist(),
        "lower": whole[:, 1].tolist(),
        "upper": whole[:, 2].tolist(),
        **{name: np.round(_SHARE * own).astype(np.int64).tolist() for name, own in shares.items()},
    }
