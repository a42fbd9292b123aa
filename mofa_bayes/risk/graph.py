"""The marginal likelihood as a PyMC model: how an outcome arises from factors that are known only as Gaussians."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import ndtri

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.quadrature import hermite_nodes, root_of
from mofa_bayes.risk.response import Array, Design, Response, Tensor, tensors

if TYPE_CHECKING:
    import pymc as pm

Method = Literal["marginal", "plugin", "cut"]
_EPSILON = 1e-12
_N_SCALES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """Prior scales of effects.

    Attributes
    ----------
    covariates
        Normal sd of the effect of a covariate per its own sd: 2.5 log units, a ratio of 12. Light on purpose: clinical
        covariates are few and chosen for a reason, and are hardly shrunk.
    factors
        Half-normal scale of the common sd s of factor effects, b_k | s ~ N(0, s^2), per factor sd. All factors share s:
        when none predicts, s goes to zero and takes every b_k with it, which leaves the clinical-only model. When one
        does, s grows: at scale 1 a log ratio of 1 per sd (as strong as prognostic factors get) is pulled towards zero
        by about one posterior variance, 0.03 for a standard error of 0.18.
    """

    covariates: float = 2.5
    factors: float = 1.0


def build_graph(
    response: Response,
    design: Design,
    moments: FactorMoments,
    covariates: tuple[str, ...],
    standardised: Array,
    *,
    method: Method,
    strength: Strength,
    n_nodes: int,
) -> "pm.Model":
    """Build the PyMC model of an outcome given factors that are integrated out.

        predictor_n = g'c_n + b'z_n,   z_n ~ N(m_n, V_n),   y_n ~ response(predictor_n, parameters)

    Only b'z_n matters: b'z_n ~ N(b'm_n, b'V_n b), so p(y_n) = sum_q w_q p(y_n | g'c_n + b'm_n + sqrt(b'V_n b) x_q).

    Parameters
    ----------
    response, design
        The outcome's distribution, and what it needs of each subject.
    moments
        m and V of the N subjects and K factors.
    covariates, standardised
        Names, and values of mean 0 and sd 1, shape (N, C).
    method
        `marginal` as above; `plugin` and `cut` take factors as known: V is 0 and one node is left.
    strength
        Prior scales of effects.
    n_nodes
        Gauss-Hermite nodes.

    Notes
    -----
    Every array is `pm.Data`: as constants they would be part of the compiled code, and the next fit would not find it
    in the compiler's cache.

    sqrt has no derivative at b'Vb = 0, where b = 0 lies; a variance of 1e-12 is added. It changes nothing: nodes are
    symmetric, so the likelihood is a smooth function of b'Vb and only the division 0/0 has to be avoided.
    """
    import pymc as pm

    pt = tensors()
    nodes, log_weights = hermite_nodes(n_nodes if method == "marginal" else 1)
    coords = {"factor": list(moments.factors), **({"covariate": list(covariates)} if covariates else {})}
    with pm.Model(coords={**coords, **response.coords()}) as model:
        data = {name: pm.Data(f"outcome_{name}", values) for name, values in design.items()}
        effects = draw_factor_effects(len(moments.factors), strength.factors)
        centre = pt.dot(pm.Data("factors_mean", moments.mean), effects)
        if covariates:
            centre = centre + pt.dot(pm.Data("covariates", standardised), draw_covariate_effects(strength.covariates))
        predictor = centre[:, None]
        if method == "marginal":
            roots = pm.Data("factors_root", root_of(moments.covariance))
            variance = (pt.dot(roots, effects) ** 2).sum(axis=-1) + _EPSILON
            spread = pt.sqrt(variance)[pm.Data("pattern", moments.pattern)]
            predictor = predictor + spread[:, None] * nodes
        log_likelihood = response.log_likelihood(pt, predictor, response.draw_parameters(), data)
        pm.Potential("log_likelihood", pt.logsumexp(log_likelihood + log_weights, axis=-1).sum())
    return model


def draw_covariate_effects(scale: float) -> Tensor:
    """g_c ~ N(0, scale^2) per standard deviation of the covariate."""
    import pymc as pm

    return pm.Normal("standardised_effects", 0.0, scale, dims="covariate")


def draw_factor_effects(n_factors: int, scale: float) -> Tensor:
    """b_k | s ~ N(0, s^2), s ~ half-normal(scale), with s summed out.

    s is put on 24 equally likely quantiles of its prior, so the prior of b is a finite mixture of spherical normals
    and s is no parameter. Sampled, s and b form a funnel (centred) or a ridge (non-centred), and NUTS diverges in
    either: at K = 1, N = 300 the non-centred form gave 22 divergences and 56 effective of 1,000 draws.
    """
    import pymc as pm

    pt = tensors()
    scales = effect_scales(scale)

    def log_density(value: Tensor, centre: Tensor) -> Tensor:
        square = ((value - centre) ** 2).sum(axis=-1)
        by_scale = -0.5 * square[..., None] / scales**2 - n_factors * np.log(scales)
        return pt.logsumexp(by_scale, axis=-1) - np.log(_N_SCALES) - n_factors / 2 * np.log(2 * np.pi)

    def draw(centre: Array, rng: np.random.Generator, size: tuple[int, ...] | None = None) -> Array:
        chosen = rng.choice(scales, size=size)
        return np.asarray(centre + np.expand_dims(chosen, -1) * rng.normal(size=(*(size or ()), n_factors)))

    def middle(rv: Tensor, size: Tensor, centre: Tensor) -> Tensor:  # noqa: ARG001  (PyMC names the arguments)
        return pt.zeros_like(rv)

    return pm.CustomDist(
        "effect_factors",
        np.zeros(n_factors),
        logp=log_density,
        random=draw,
        support_point=middle,
        signature="(k)->(k)",
        dims="factor",
    )


def effect_scales(scale: float) -> Array:
    """Equally likely quantiles of a half-normal distribution, shape (24,)."""
    midpoints = (np.arange(_N_SCALES) + 0.5) / _N_SCALES
    scales: Array = scale * ndtri(0.5 + midpoints / 2)
    return scales
