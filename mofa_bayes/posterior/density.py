"""Log predictive density: how probable a fit held values that it did not see."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.vi.known import canonical_order, find_known
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.outcomes import log_density
from mofa_bayes.posterior.predict import CHUNK, ViewDraws


def predictive_log_density(
    tree: xr.DataTree,
    views: MultiView,
    moments: FactorMoments,
    cells: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> Mapping[str, np.ndarray]:
    """Evaluate log p(y | what was fitted) at some entries of views.

    Parameters
    ----------
    tree
        A posterior's tree.
    views
        Views that have the entries' values.
    moments
        Factors of their subjects, inferred without these entries.
    cells
        View -> which entries (subject, feature).
    rng
        Draws factors; loadings come from the tree's draws.

    Returns
    -------
    View -> log density (subject, feature), on the scale of the data, NaN at the other entries: the logarithm of the
    mean over draws of p(y | eta). Of a categorical variable the indicator that is 1 carries it, the others have 0.
    """
    preprocessing = Preprocessing(dataset=tree.children["preprocessing"].to_dataset())
    stored = tree.children["moments"].to_dataset()
    known = find_known(views, preprocessing, [str(name) for name in stored["group"].values])
    place = np.argsort(canonical_order(views))
    groups = np.asarray(known.groups)[known.group_of[place]]
    found = {}
    for view, chosen in cells.items():
        model = ViewDraws.read(tree, views, view, known, place)
        own = preprocessing.subset(view, views.features(view))
        values = own.apply(view, views[view].values.astype(np.float64), groups)
        log_scale = np.log(np.abs(own.invert(view, np.ones_like(values), groups) - own.center(view)))
        result = np.full(values.shape, np.nan)
        rows, columns = np.nonzero(chosen & ~np.isnan(values))
        for start in range(0, len(rows), CHUNK):
            n, d = rows[start : start + CHUNK], columns[start : start + CHUNK]
            for part in model.predict(moments, n, d, rng):
                at = n[part.positions], d[part.positions]
                density = log_density(part.cells, values[at])
                result[at] = logsumexp(density, axis=0) - np.log(len(density))
                if part.cells.likelihood in REAL:
                    result[at] -= log_scale[at]
        found[view] = result
    return found
