"""How much memory a fit needs beside its views, told before it starts."""

from collections.abc import Mapping

import numpy as np

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.vi.families import FAMILIES
from mofa_bayes.engines.vi.layout import IN_PLACE_BYTES, MAX_ROWS
from mofa_bayes.engines.vi.packed import n_packed
from mofa_bayes.spec import FactorModel, SpikeSlab

_DOUBLE, _SINGLE = 8, 4
# Tables of a value per feature and term that live at once: means, spreads, slabs, sums, and what an update makes anew.
_TABLES = 16


def estimate_memory(views: MultiView, spec: FactorModel, n_draws: int, n_threads: int) -> Mapping[str, float]:
    """Estimate the bytes that a fit needs beside its views, by what needs them.

    Returns
    -------
    `data` (scaled copies, masks, and the bounds of rows in work), `parameters` (q of loadings and the sums they are
    updated from) and `draws` (what the posterior keeps).
    """
    n_terms = spec.n_factors + _n_known(views)
    needs = {"data": 0.0, "parameters": 0.0, "draws": 0.0}
    needs["draws"] += n_draws * views.n_subjects * spec.n_factors * _SINGLE
    for view in views.names:
        values, kinds = views[view].values, views.likelihoods(view).values
        n_features = values.shape[1]
        missing = np.isnan(values[views.has_view(view).values])
        entrywise = sum(FAMILIES[str(kind)].is_entrywise for kind in kinds)
        bounded = int((kinds != "gaussian").sum())
        scattered = int(missing.any(axis=0).sum())
        is_in_place = values.nbytes >= IN_PLACE_BYTES and bounded == 0 and scattered == 0
        needs["data"] += 0 if is_in_place else values.nbytes + missing.size
        needs["data"] += bounded * _DOUBLE * (len(values) + 6 * n_threads * min(MAX_ROWS, len(values)))
        n_grams = 3 * max(scattered, entrywise)
        needs["parameters"] += _DOUBLE * (n_features * n_terms * _TABLES + n_grams * n_packed(n_terms))
        per_loading = _SINGLE + (1 if isinstance(spec.loadings_of(view), SpikeSlab) else 0)
        needs["draws"] += n_draws * n_features * (spec.n_factors * per_loading + _SINGLE * (_n_known(views) + 1))
    return needs


def _n_known(views: MultiView) -> int:
    n_groups = 1 if views.groups is None else len(np.unique(views.groups.values))
    return n_groups + (0 if views.covariates is None else views.covariates.sizes["covariate"])
