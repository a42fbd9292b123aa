"""y ~ N(eta, 1 / tau): its own bound."""

import numpy as np

from mofa_bayes.engines.vi.families.base import Array, Local, Plain, Values


class Gaussian(Plain):
    """Exact: kappa = y and weight 1, both times tau."""

    has_noise = True

    def local(self, values: Values, eta: Array, second: Array, tau: Array, nuisance: Array) -> Local:  # noqa: ARG002
        """See `Family`."""
        constant = np.zeros(len(values.y))
        return Local(values.y, None, constant, np.empty(0), values.center, values.scale, values.has_holes)
