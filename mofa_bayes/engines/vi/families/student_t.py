"""y ~ Student-t(eta, 1 / sqrt(tau)) with 4 degrees of freedom: a Gaussian whose precision each entry scales."""

import numpy as np
from scipy.special import digamma, gammaln

from mofa_bayes.engines.vi.families.base import Array, Local, Plain, Values
from mofa_bayes.graph.likelihoods import DEGREES


class StudentT(Plain):
    """Scale mixture (Liu and Rubin 1995, Stat Sin 5:19): y ~ N(eta, 1 / (u tau)), u ~ Gamma(nu/2, nu/2).

    q(u) = Gamma((nu + 1) / 2, (nu + tau E[(y - eta)^2]) / 2); weight E[u], kappa E[u] y.
    """

    is_entrywise = True
    has_noise = True

    def local(self, values: Values, eta: Array, second: Array, tau: Array, nuisance: Array) -> Local:  # noqa: ARG002
        """See `Family`."""
        y = values.y.astype(np.float64)
        error = np.maximum(y**2 - 2 * y * eta + second, 0.0)
        shape, rate = (DEGREES + 1) / 2, (DEGREES + tau * error) / 2
        u = shape / rate
        log_u = digamma(shape) - np.log(rate)
        half = DEGREES / 2
        divergence = (
            (shape - half) * digamma(shape)
            - gammaln(shape)
            + gammaln(half)
            + half * (np.log(rate) - np.log(half))
            + shape * (half / rate - 1)
        )
        constant = np.sum(values.observed * (log_u / 2 - divergence), axis=1)
        omega = values.observed * u
        return Local(omega * y, omega, constant, np.sum(omega * y**2, axis=0))
