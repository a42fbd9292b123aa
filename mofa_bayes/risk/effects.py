"""Priors of effects: what is believed of factors, covariates and their interactions before the outcome is seen."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from mofa_bayes.risk.response import Array, Tensor, tensors
from mofa_bayes.spec.priors import require_positive

Dims = str | tuple[str, ...]
FactorPrior = Literal["mixture", "horseshoe", "ard", "normal"]
_N_SCALES = 12
_N_LOCAL = 20
_GLOBAL = np.geomspace(0.03, 1.0, 8)
"""Grid of the horseshoe's global scale, in units of the slab: from every effect below what 10,000 events could show, to
no shrinkage at all."""
_GLOBAL_SCALE = 0.1
"""Half-Cauchy scale of the global scale: one relevant factor among ten, and effects of the others a tenth of it."""
_ARD_SCALE = 0.2
"""Scale of the Cauchy distribution that ARD's effects have: half of them within 0.2 of zero, and 13 % beyond 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """Prior scales of effects.

    Attributes
    ----------
    covariates
        Normal sd of the effect of a covariate per its own sd: 2.5 log units, a ratio of 12. Light on purpose: clinical
        covariates are few and chosen for a reason, and are hardly shrunk.
    factors
        Half-normal scale of the sd s_k of factor k's effect per unit of the factor (about its sd): scale 1 is a ratio
        of 2.7, as strong as prognostic factors get. Each factor has its own s_k: an effect that data put at zero is
        pulled to zero, a strong one is left alone. In a normal-means calculation at standard error 0.2 the mean squared
        error of a null effect falls to 0.52 of that without shrinkage (N(0, 1): 0.92), so that factors which predict
        nothing cost little beside clinical covariates, and 95 % intervals of effects from 0 to 1 cover 93 to 98 %. One
        s shared by all factors shrinks nulls more, but also a lone true effect: among 10 factors (N = 300, reliability
        0.5) its posterior mean was 0.53, and 0.73 so; and the spike of that prior at b = 0 is where chains get stuck.
    interactions
        The same scale for what a sd of a covariate changes in a factor's effect: half as large, since a change of the
        effect is usually smaller than the effect.
    """

    covariates: float = 2.5
    factors: float = 1.0
    interactions: float = 0.5

    def __post_init__(self) -> None:
        require_positive("prior scale of covariate effects", self.covariates)
        require_positive("prior scale of factor effects", self.factors)
        require_positive("prior scale of interactions", self.interactions)


def draw_covariate_effects(scale: float, *, dims: Dims = "covariate") -> Tensor:
    """g_c ~ N(0, scale^2) per standard deviation of the covariate."""
    import pymc as pm

    return pm.Normal("standardised_effects", 0.0, scale, dims=dims)


def draw_factor_effects(
    scale: float, prior: FactorPrior = "mixture", *, name: str = "effect_factors", dims: Dims = "factor"
) -> Tensor:
    """Declare effects under one of four priors, whose scales are all summed out.

    No scale is a parameter: sampled, it forms with its effect a funnel (centred) or a ridge (non-centred), and NUTS
    diverges in either: at K = 1, N = 300 the non-centred form gave 22 divergences and 56 effective of 1,000 draws.

    Parameters
    ----------
    scale
        Of effects that matter.
    prior
        `mixture`: b_k | s_k ~ N(0, s_k^2), s_k ~ half-normal(scale), as 12 equally likely s_k. `horseshoe`: most
        effects nearly 0 and few as large as `scale`, how many being learnt from all together. `ard`: a precision for
        each effect, gamma(1/2) distributed, which leaves a Cauchy distribution. `normal`: N(0, scale^2), no selection.
    name, dims
        Of the variable.
    """
    import pymc as pm

    if prior == "normal":
        return pm.Normal(name, 0.0, scale, dims=dims)
    if prior == "ard":
        return pm.Cauchy(name, 0.0, _ARD_SCALE * scale, dims=dims)
    if prior == "horseshoe":
        return _draw_horseshoe(scale, name, dims)
    weights = np.full(_N_SCALES, 1 / _N_SCALES)
    return pm.NormalMixture(name, w=weights, mu=0.0, sigma=effect_scales(scale), dims=dims)


def effect_scales(scale: float) -> Array:
    """Equally likely quantiles of a half-normal distribution, shape (12,)."""
    midpoints = (np.arange(_N_SCALES) + 0.5) / _N_SCALES
    scales: Array = scale * ndtri(0.5 + midpoints / 2)
    return scales


def horseshoe_scales(scale: float) -> tuple[Array, Array]:
    """Sds of effects under the regularised horseshoe (Piironen and Vehtari 2017, Electronic J. Statistics 11:5018).

    b_k | tau, lambda_k ~ N(0, t^2 s^2 / (t^2 + s^2)) with t = tau lambda_k and s = scale, the slab;
    lambda_k ~ half-Cauchy(1) on 20 equally likely quantiles, tau ~ half-Cauchy(0.1 scale) on a grid of 8.

    Returns
    -------
    Sds, shape (tau, lambda), and log weights of tau, (tau,).
    """
    local = np.tan(np.pi / 2 * (np.arange(_N_LOCAL) + 0.5) / _N_LOCAL)
    spread = _GLOBAL[:, None] * local
    sds: Array = scale * spread / np.sqrt(1.0 + spread**2)
    # on a grid of even steps of log tau, the density of log tau: that of tau times tau
    weights = _GLOBAL / (1.0 + (_GLOBAL / _GLOBAL_SCALE) ** 2)
    return np.maximum(sds, 0.01 * scale), np.log(weights / weights.sum())


def _draw_horseshoe(scale: float, name: str, dims: Dims) -> Tensor:
    """p(b) = sum_tau p(tau) prod_k mean_lambda N(b_k; 0, sd(tau, lambda)^2), over the last axis of b."""
    import pymc as pm

    pt = tensors()
    sds, log_weights = horseshoe_scales(scale)

    def log_density(effects: Tensor, zero: Tensor) -> Tensor:
        own = (effects - zero)[..., None, :, None] / sds[:, None, :]
        each = pt.logsumexp(-0.5 * own**2 - np.log(sds)[:, None, :] - 0.5 * np.log(2 * np.pi), axis=-1)
        given = (each - np.log(_N_LOCAL)).sum(axis=-1)
        return pt.logsumexp(given + log_weights, axis=-1)

    def draw(zero: Array, rng: np.random.Generator, size: tuple[int, ...] | None = None) -> Array:
        shape = (*(size or ()), zero.shape[-1])
        of_all = rng.choice(len(sds), size=shape[:-1], p=np.exp(log_weights))
        chosen = sds[of_all[..., None], rng.integers(_N_LOCAL, size=shape)]
        drawn: Array = zero + chosen * rng.normal(size=shape)
        return drawn

    coords = pm.modelcontext(None).coords
    shape = [len(coords[dim]) for dim in ([dims] if isinstance(dims, str) else dims)]
    return pm.CustomDist(
        name,
        np.zeros(shape),
        logp=log_density,
        random=draw,
        support_point=lambda variable, size, zero: pt.zeros_like(variable),  # noqa: ARG005  (PyMC's signature)
        signature="(k)->(k)",
        dims=dims,
    )
