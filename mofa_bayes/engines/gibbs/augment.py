"""Every likelihood as a Gaussian one, exactly: given latent variables, log p(y | eta) = kappa eta - omega eta^2 / 2.

The latent variables are drawn anew at each sweep and forgotten after it.
"""

from collections.abc import Callable

import numpy as np

from mofa_bayes.engines.gibbs.polya_gamma import fill_polya_gamma, fill_softplus_counts
from mofa_bayes.engines.vi.families import Local
from mofa_bayes.engines.vi.families.base import Values
from mofa_bayes.engines.vi.packed import Array
from mofa_bayes.graph.likelihoods import DEGREES

_NOTHING = np.empty(0)


def _local(kappa: Array, omega: Array, squares: Array = _NOTHING) -> Local:
    return Local(kappa, omega, np.zeros(len(kappa)), squares)


def augment_gaussian(values: Values, eta: Array, tau: Array, nuisance: Array, rng: np.random.Generator) -> Local:  # noqa: ARG001
    """Nothing to draw: kappa = y and weight 1, both times tau."""
    return Local(values.y, None, np.zeros(len(values.y)), _NOTHING, values.center, values.scale, values.has_holes)


def augment_student_t(values: Values, eta: Array, tau: Array, nuisance: Array, rng: np.random.Generator) -> Local:  # noqa: ARG001
    """Scale mixture: y ~ N(eta, 1 / (u tau)), u ~ Gamma(nu/2, nu/2), so u | y ~ Gamma((nu+1)/2, (nu + tau e^2)/2)."""
    error = values.y - eta
    u = rng.gamma((DEGREES + 1) / 2, 1.0, eta.shape) / ((DEGREES + tau * np.square(error)) / 2)
    omega = values.observed * u
    return _local(omega * values.y, omega, np.sum(omega * np.square(values.y), axis=0))


def augment_bernoulli(values: Values, eta: Array, tau: Array, nuisance: Array, rng: np.random.Generator) -> Local:  # noqa: ARG001
    """Draw omega ~ PG(1, eta); kappa = y - 1/2 (Polson, Scott and Windle 2013, JASA 108:1339)."""
    omega = np.empty_like(eta)
    fill_polya_gamma(np.ones((1, 1)), eta, values.observed, rng, omega)
    return _local(values.observed * (values.y - 0.5), omega)


def augment_negative_binomial(
    values: Values,
    eta: Array,
    tau: Array,  # noqa: ARG001
    nuisance: Array,
    rng: np.random.Generator,
) -> Local:
    """Draw omega ~ PG(y + r, psi), psi = eta + log exposure - log r; kappa = (y - r) / 2 - omega (psi - eta)."""
    offset = values.log_exposure[:, None] - np.log(nuisance)
    omega = np.empty_like(eta)
    fill_polya_gamma(values.y + nuisance, eta + offset, values.observed, rng, omega)
    return _local(values.observed * (values.y - nuisance) / 2 - omega * offset, omega)


def augment_poisson(values: Values, eta: Array, tau: Array, nuisance: Array, rng: np.random.Generator) -> Local:  # noqa: ARG001
    """Augment y ~ Poisson(exposure softplus(eta)) by Polya-Gamma variables: one for the exposure, one for each event.

    p(y | eta) is proportional to (1 + e^eta)^-exposure softplus(eta)^y. The first is e^(-exposure eta / 2) times a
    mixture of e^(-omega eta^2 / 2) over omega ~ PG(exposure, 0). For the second, softplus(eta) is the integral over t
    in (0, 1) of e^eta / (1 + t e^eta): each event has a t of its own, given which its share is logistic in
    psi = eta + log t, hence e^(psi / 2) times a mixture of e^(-omega psi^2 / 2) over omega ~ PG(1, 0). Given eta,
    log(1 + t e^eta) is uniform up to softplus(eta), omega ~ PG(exposure, eta) for the exposure and PG(1, psi) for each
    event. Exact, in time proportional to the counts; it moves slowly where these are in the tens.
    """
    kappa, omega = np.empty_like(eta), np.empty_like(eta)
    fill_softplus_counts(values.y, eta, np.exp(values.log_exposure), values.observed, rng, kappa, omega)
    return _local(kappa, omega)


Augmentation = Callable[[Values, Array, Array, Array, np.random.Generator], Local]
AUGMENTATIONS: dict[str, Augmentation] = {
    "gaussian": augment_gaussian,
    "student_t": augment_student_t,
    "bernoulli": augment_bernoulli,
    "poisson": augment_poisson,
    "negative_binomial": augment_negative_binomial,
}
