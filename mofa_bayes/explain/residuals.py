"""What the factors leave of the data: standardised residuals, and how far features of a set share them."""

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.diagnose.draws import read_draws
from mofa_bayes.posterior.likelihoods import Own, expect_values

Array = NDArray[np.float64]
_N_MOST = 50
"""Draws over which the fitted values are averaged."""


def residuals(post: Posterior, views: MultiView, view: str) -> Array:
    """Observed minus fitted values of a view, each feature divided by their root mean square; (N, D), NaN if missing.

    Rows are in the order of `views`, columns in that of `post.features(view)`. The fitted value is the posterior mean
    of E[y | eta] over some fifty draws; of a categorical column, of its eta.

    Raises
    ------
    DataError
        `views` are not those of the fit.
    """
    model = read_draws(post, views, _N_MOST)
    own = next(one for one in model.views if one.view == view)
    fitted = np.zeros(own.values.shape)
    every = np.arange(fitted.shape[1])
    for s in range(model.n_draws):
        eta = own.known(s, every, model.group_of, model.covariates)
        eta += model.factors[s].astype(np.float64) @ own.loadings[s].astype(np.float64).T
        for kind in dict.fromkeys(own.likelihoods):
            columns = np.flatnonzero(own.likelihoods == kind)
            means = Own(
                precision=np.ones(len(columns)),
                nuisance=own.own(s, columns),
                log_exposure=own.log_exposure[:, None],
                limits=own.limits(s, columns) if kind == "ordinal" else np.empty((len(columns), 0)),
                code=np.zeros(len(columns), dtype=np.intp),
            )
            fitted[:, columns] += expect_values(str(kind), eta[:, columns], means)
    left = own.values - fitted / model.n_draws
    left -= np.nanmean(left, axis=0)
    place = {feature: d for d, feature in enumerate(views.features(view))}
    left = left[:, [place[feature] for feature in post.features(view)]]
    scale = np.sqrt(np.nanmean(np.square(left), axis=0))
    return np.asarray(left / np.where(scale > 0, scale, 1.0))


def mean_correlation(left: Array, members: NDArray[np.bool_]) -> Array:
    """Mean correlation of the residuals of two features of each set; (N, D) and (S, D) to (S,).

    sum over pairs and subjects of r_nd r_ne over the number of such terms that are observed; with standardised
    residuals and nothing missing this is the mean of the pairwise correlations, and costs one product of matrices.
    """
    seen = ~np.isnan(left)
    filled, weights = np.where(seen, left, 0.0), members.astype(np.float64)
    product = np.square(weights @ filled.T).sum(axis=1) - weights @ np.square(filled).sum(axis=0)
    pairs = np.square(weights @ seen.T).sum(axis=1) - weights @ seen.sum(axis=0)
    return np.asarray(product / np.maximum(pairs, 1.0))
