"""y ~ NegativeBinomial of mean exposure e^eta and variance mean + mean^2 / r."""

import numpy as np
from scipy.special import gammaln

from mofa_bayes.engines.vi.families.base import Array, Local, Plain, Values, log_two_cosh, polya_gamma_mean


class NegativeBinomial(Plain):
    """Polya-Gamma bound (Polson, Scott and Windle 2013, JASA 108:1339): p(y) ~ (e^psi)^y / (1 + e^psi)^(y + r).

    psi = eta + log exposure - log r are the log odds; in terms of psi, kappa = (y - r) / 2 and the weight is
    (y + r) tanh(xi/2) / (2 xi) with xi^2 = E[psi^2]. r, one per column, maximises the bound at a fixed mean.
    """

    is_entrywise = True
    has_nuisance = True
    is_count = True

    def start_intercept(self, mean: Array) -> Array:
        """See `Family`."""
        return np.log(np.maximum(mean, 1e-3))

    def start_nuisance(self, mean: Array, variance: Array) -> Array:
        """Match moments: variance = mean + mean^2 / r."""
        result: Array = np.clip(mean**2 / np.maximum(variance - mean, 1e-2 * mean + 1e-12), 0.1, 100.0)
        return result

    def local(self, values: Values, eta: Array, second: Array, tau: Array, nuisance: Array) -> Local:  # noqa: ARG002
        """See `Family`."""
        y = values.y.astype(np.float64)
        offset = values.log_exposure[:, None] - np.log(nuisance)
        xi = np.sqrt(np.maximum(second + 2 * offset * eta + offset**2, 0.0))
        omega = values.observed * (y + nuisance) * polya_gamma_mean(xi)
        kappa = values.observed * (y - nuisance) / 2
        total = values.observed * (
            gammaln(y + nuisance) - gammaln(nuisance) - gammaln(y + 1) - (y + nuisance) * log_two_cosh(xi / 2)
        )
        # kappa psi - omega psi^2 / 2 in terms of eta = psi - offset.
        constant = np.sum(total + omega * xi**2 / 2 + kappa * offset - omega * offset**2 / 2, axis=1)
        return Local(kappa - omega * offset, omega, constant, np.empty(0))

    def objective(self, values: Values, eta: Array, second: Array, nuisance: Array) -> Array:
        """See `Family`."""
        y = values.y.astype(np.float64)
        offset = values.log_exposure[:, None] - np.log(nuisance)
        xi = np.sqrt(np.maximum(second + 2 * offset * eta + offset**2, 0.0))
        result: Array = values.observed * (
            gammaln(y + nuisance)
            - gammaln(nuisance)
            + (y - nuisance) / 2 * (eta + offset)
            - (y + nuisance) * log_two_cosh(xi / 2)
        )
        return result
