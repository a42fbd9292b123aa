"""How well 95 % intervals of loadings cover under vi, as measured: what a fit of such a size can expect.

Measured by `tests/benchmarks/calibration.py`, 12 to 30 cohorts a cell (standard errors .003 to .03, largest for sparse
priors and 90 features), drawn from the model with three views of equal width and three factors; of `other` the third
view is bernoulli and the figure, of 90 features, is over all views. With sparse priors and 90 features a few cohorts
miss by much and most do not. Coverage in between is interpolated in the logarithms of both sizes; beyond the table its
edge stands.
"""

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.spec import ARD, Normal

SUBJECTS = (50, 200, 1000)
FEATURES = (90, 900)
# Rows by number of subjects, columns by number of features, all views together.
COVERAGE = {
    "dense, gaussian": ((0.939, 0.941), (0.950, 0.938), (0.947, 0.952)),
    "sparse, gaussian": ((0.918, 0.947), (0.903, 0.959), (0.902, 0.964)),
    "dense, other": ((0.911, 0.911), (0.922, 0.922), (0.903, 0.903)),
    "sparse, other": ((0.907, 0.907), (0.911, 0.911), (0.873, 0.873)),
}


def expected_coverage(post: Posterior) -> float:
    """Coverage to expect of 95 % intervals of loadings, the least over views."""
    n_features = sum(len(post.features(view)) for view in post.views)
    axes = np.log(SUBJECTS), np.log(FEATURES)
    sizes = np.log([len(post.subjects), n_features])
    at = np.clip(sizes, [axis[0] for axis in axes], [axis[-1] for axis in axes])
    found = []
    for view in post.views:
        prior = post.spec.loadings_of(view)
        is_dense = isinstance(prior, ARD | Normal) and not prior.positive
        is_gaussian = bool((post.likelihoods(view) == "gaussian").all())
        kind = f"{'dense' if is_dense else 'sparse'}, {'gaussian' if is_gaussian else 'other'}"
        found.append(RegularGridInterpolator(axes, np.array(COVERAGE[kind]))(at).item())
    return float(min(found))
