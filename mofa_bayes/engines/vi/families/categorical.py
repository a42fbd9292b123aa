"""Unordered categories: y_l = 1 for one level l of a variable, p(y_l = 1) = e^eta_l / sum_j e^eta_j."""

import numpy as np

from mofa_bayes.engines.vi.families.base import Array, Local, Plain, Values, log_two_cosh, polya_gamma_mean

_PASSES = 25


class Categorical(Plain):
    """Softmax by a product of logistic functions (Bouchard 2007, NIPS workshop on approximate inference).

    log sum_l e^eta_l <= a + sum_l log(1 + e^(eta_l - a)) for every a, one per subject and variable; each logarithm is
    then bounded as that of `Bernoulli`. In terms of eta_l, kappa = y_l - 1/2 + omega_l a and the weight is
    omega_l = tanh(xi_l / 2) / (2 xi_l) with xi_l^2 = E[(eta_l - a)^2]. The bound is concave in a.
    """

    is_entrywise = True

    def start_intercept(self, mean: Array) -> Array:
        """See `Family`."""
        result: Array = np.log(np.clip(mean, 0.01, 0.99))
        return result

    def local(self, values: Values, eta: Array, second: Array, tau: Array, nuisance: Array) -> Local:  # noqa: ARG002
        """See `Family`."""
        variance = np.maximum(second - np.square(eta), 0.0)
        offset = _best_center(eta, variance, values.members) @ values.members.T
        xi = np.sqrt(variance + np.square(eta - offset))
        omega = values.observed * polya_gamma_mean(xi)
        kappa = values.observed * (values.y - 0.5) + omega * offset
        entries = values.observed * (offset / 2 - log_two_cosh(xi / 2)) + omega * (xi**2 - offset**2) / 2
        # Of a variable's indicators one is 1 where it is observed: weighing a by them counts each variable once.
        constant = entries.sum(axis=1) - np.sum(values.observed * values.y * offset, axis=1)
        return Local(kappa, omega, constant, np.empty(0))


def _best_center(eta: Array, variance: Array, members: Array) -> Array:
    """Maximise the bound over a, (n, V), by fixed points each of which raises it: a = (L/2 - 1 + sum w m) / sum w."""
    n_levels = members.sum(axis=0)
    center: Array = eta @ members / n_levels
    for _ in range(_PASSES):
        omega = polya_gamma_mean(np.sqrt(variance + np.square(eta - center @ members.T)))
        center = (n_levels / 2 - 1 + (omega * eta) @ members) / (omega @ members)
    return center
