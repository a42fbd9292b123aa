"""The marginal likelihood as a PyMC model: how an outcome arises from factors that are known only as Gaussians."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import ndtri

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.marginal import log_marginal
from mofa_bayes.risk.quadrature import root_of
from mofa_bayes.risk.response import Array, Design, Response, Tensor, tensors
from mofa_bayes.spec.priors import require_positive

if TYPE_CHECKING:
    import pymc as pm

Method = Literal["marginal", "plugin", "cut"]
_EPSILON = 1e-12
_N_SCALES = 12


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
    """

    covariates: float = 2.5
    factors: float = 1.0

    def __post_init__(self) -> None:
        require_positive("prior scale of covariate effects", self.covariates)
        require_positive("prior scale of factor effects", self.factors)


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
    Whatever depends on the cohort is `pm.Data`, the centres of priors included. As a constant it would be part of the
    compiled code, and the next fit would not find that in the compiler's cache: 4 to 6 s instead of 1.

    sqrt has no derivative at b'Vb = 0, where b = 0 lies; a variance of 1e-12 is added. It changes nothing: nodes are
    symmetric, so the likelihood is a smooth function of b'Vb and only the division 0/0 has to be avoided.
    """
    import pymc as pm

    pt = tensors()
    coords = {"factor": list(moments.factors), **({"covariate": list(covariates)} if covariates else {})}
    with pm.Model(coords={**coords, **response.coords()}) as model:
        data = {name: pm.Data(f"outcome_{name}", values) for name, values in design.items()}
        effects = draw_factor_effects(strength.factors)
        centre = pt.dot(pm.Data("factors_mean", moments.mean), effects)
        if covariates:
            centre = centre + pt.dot(pm.Data("covariates", standardised), draw_covariate_effects(strength.covariates))
        spread = pt.zeros_like(centre)
        if method == "marginal":
            roots = pm.Data("factors_root", root_of(moments.covariance))
            variance = (pt.dot(roots, effects) ** 2).sum(axis=-1) + _EPSILON
            spread = pt.sqrt(variance)[pm.Data("pattern", moments.pattern)]
        if response.unit != 1.0:
            unit = pm.Data("unit", response.unit)
            centre, spread = unit * centre, unit * spread
        nodes = n_nodes if method == "marginal" else 1
        density = log_marginal(pt, response, centre, spread, response.draw_parameters(), data, nodes)
        pm.Potential("log_likelihood", density.sum())
    return model


def draw_covariate_effects(scale: float) -> Tensor:
    """g_c ~ N(0, scale^2) per standard deviation of the covariate."""
    import pymc as pm

    return pm.Normal("standardised_effects", 0.0, scale, dims="covariate")


def draw_factor_effects(scale: float) -> Tensor:
    """b_k | s_k ~ N(0, s_k^2), s_k ~ half-normal(scale), with s_k summed out.

    s_k is put on 12 equally likely quantiles of its prior, so b_k has a finite mixture of normals and s_k is no
    parameter. Sampled, s and b form a funnel (centred) or a ridge (non-centred), and NUTS diverges in either: at K = 1,
    N = 300 the non-centred form gave 22 divergences and 56 effective of 1,000 draws.
    """
    import pymc as pm

    weights = np.full(_N_SCALES, 1 / _N_SCALES)
    return pm.NormalMixture("effect_factors", w=weights, mu=0.0, sigma=effect_scales(scale), dims="factor")


def effect_scales(scale: float) -> Array:
    """Equally likely quantiles of a half-normal distribution, shape (12,)."""
    midpoints = (np.arange(_N_SCALES) + 0.5) / _N_SCALES
    scales: Array = scale * ndtri(0.5 + midpoints / 2)
    return scales
