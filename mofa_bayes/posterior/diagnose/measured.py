"""How well 95 % intervals of loadings cover under vi, as measured: what a fit of such a size can expect.

Measured by `tests/benchmarks/calibration.py`, 12 to 60 cohorts a cell (standard errors .002 to .03, largest for sparse
priors and 90 features), drawn from the model with three views of equal width and three factors, for these:

- loadings under a spike-slab prior (`sparse`) and under ARD or Normal (`dense`), none of them positive;
- all views gaussian, of 90 and 900 features together, and the third view bernoulli, of 90 features together, where the
  figure is over all views;
- 50, 200 and 1000 subjects.

With sparse priors and 90 features a few cohorts miss by much and most do not. Coverage in between is interpolated in
the logarithms of both sizes, and its edge stands for sizes up to twice beyond. Nothing is said of other priors,
likelihoods and sizes.
"""

import numpy as np

from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.spec import ARD, Normal, SpikeSlab

SUBJECTS = (50, 200, 1000)
FEATURES = (90, 900)
# Rows by number of subjects, columns by number of features, all views together.
COVERAGE = {
    "dense, gaussian": ((0.944, 0.941), (0.948, 0.938), (0.949, 0.952)),
    "sparse, gaussian": ((0.921, 0.948), (0.921, 0.959), (0.903, 0.964)),
    "dense, bernoulli": ((0.911,), (0.922,), (0.903,)),
    "sparse, bernoulli": ((0.907,), (0.911,), (0.873,)),
}
_REACH = 2


def expected_coverage(post: Posterior) -> float | None:
    """Coverage to expect of 95 % intervals of loadings, the least over views; None where it has not been measured."""
    n_subjects, n_features = len(post.subjects), sum(len(post.features(view)) for view in post.views)
    found = []
    for view in post.views:
        table = np.array(COVERAGE.get(_name_kind(post, view), ()))
        widths = FEATURES[: len(table.T)]
        if not (len(table) and _is_near(n_subjects, SUBJECTS) and _is_near(n_features, widths)):
            return None
        by_width = [np.interp(np.log(n_subjects), np.log(SUBJECTS), column) for column in table.T]
        found.append(np.interp(np.log(n_features), np.log(widths), by_width))
    return float(min(found))


def _name_kind(post: Posterior, view: str) -> str:
    prior, likelihoods = post.spec.loadings_of(view), set(post.likelihoods(view).values)
    if (
        prior.positive
        or not isinstance(prior, ARD | Normal | SpikeSlab)
        or not likelihoods <= {"gaussian", "bernoulli"}
    ):
        return "another"
    density = "sparse" if isinstance(prior, SpikeSlab) else "dense"
    return f"{density}, {'bernoulli' if 'bernoulli' in likelihoods else 'gaussian'}"


def _is_near(size: int, measured: tuple[int, ...]) -> bool:
    return measured[0] / _REACH <= size <= measured[-1] * _REACH
