"""y ~ Poisson(exposure softplus(eta)), softplus(x) = log(1 + e^x)."""

import numpy as np
from scipy.special import expit, gammaln

from mofa_bayes.engines.vi.families.base import Array, Local, Plain, Values


class Poisson(Plain):
    """Bounded curvature (Seeger and Bouchard 2012, AISTATS): one weight for all entries of a column.

    With f(eta) = exposure softplus(eta) - y log softplus(eta), f'' <= exposure / 4 + 0.17 y, so
    -f(eta) >= -f(zeta) - f'(zeta) (eta - zeta) - weight (eta - zeta)^2 / 2 at the best zeta = E[eta].
    """

    is_count = True

    def curvature(self, largest: Array, exposure: float) -> Array:
        """See `Family`."""
        result: Array = 0.25 * exposure + 0.17 * largest
        return result

    def start_intercept(self, mean: Array) -> Array:
        """Invert softplus."""
        floor = np.maximum(mean, 1e-3)
        result: Array = floor + np.log(-np.expm1(-floor))
        return result

    def local(self, values: Values, eta: Array, second: Array, tau: Array, nuisance: Array) -> Local:  # noqa: ARG002
        """See `Family`; `tau` is the curvature of the columns."""
        y, exposure = values.y.astype(np.float64), np.exp(values.log_exposure)[:, None]
        rate = np.maximum(np.logaddexp(0.0, eta), 1e-300)
        value = exposure * rate - y * (np.log(rate) + values.log_exposure[:, None]) + gammaln(y + 1)
        slope = expit(eta) * (exposure - y / rate)
        kappa = values.observed * (tau * eta - slope)
        constant = np.sum(values.observed * (slope * eta - value - tau * eta**2 / 2), axis=1)
        return Local(kappa, None, constant, np.empty(0))
