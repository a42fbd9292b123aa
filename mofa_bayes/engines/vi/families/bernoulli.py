"""y ~ Bernoulli(sigma(eta))."""

import numpy as np
from scipy.special import logit

from mofa_bayes.engines.vi.families.base import Array, Local, Plain, Values, log_two_cosh, polya_gamma_mean


class Bernoulli(Plain):
    """The bound of Jaakkola and Jordan (2000, Stat Comput 10:25).

    kappa = y - 1/2 and weight tanh(xi/2) / (2 xi) with xi^2 = E[eta^2]: also the expectation under the optimal
    Polya-Gamma factor (Durante and Rigon 2019, Stat Sci 34:472).
    """

    is_entrywise = True

    def start_intercept(self, mean: Array) -> Array:
        """See `Family`."""
        result: Array = logit(np.clip(mean, 0.01, 0.99))
        return result

    def local(self, values: Values, eta: Array, second: Array, tau: Array, nuisance: Array) -> Local:  # noqa: ARG002
        """See `Family`."""
        xi = np.sqrt(np.maximum(second, 0.0))
        omega = values.observed * polya_gamma_mean(xi)
        constant = np.sum(omega * xi**2 / 2 - values.observed * log_two_cosh(xi / 2), axis=1)
        return Local(values.observed * (values.y - 0.5), omega, constant, np.empty(0))
