"""The marginal likelihood as a PyMC model: how an outcome arises from factors that are known only as Gaussians."""

from typing import TYPE_CHECKING, Literal

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.effects import FactorPrior, Strength, draw_covariate_effects, draw_factor_effects
from mofa_bayes.risk.interactions import Interactions, find_profiles
from mofa_bayes.risk.observe import observe
from mofa_bayes.risk.quadrature import root_of
from mofa_bayes.risk.response import Array, Design, Response, Tensor, tensors

if TYPE_CHECKING:
    import pymc as pm

Method = Literal["marginal", "plugin", "cut"]
_EPSILON = 1e-12
_NONE = Interactions()


def build_graph(
    response: Response,
    design: Design,
    outcome: Array,
    moments: FactorMoments,
    covariates: tuple[str, ...],
    standardised: Array,
    *,
    method: Method,
    strength: Strength,
    n_nodes: int,
    prior: FactorPrior = "mixture",
    interactions: Interactions = _NONE,
) -> "pm.Model":
    """Build the PyMC model of an outcome given factors that are integrated out.

        predictor_n = g'c_n + b'z_n,   z_n ~ N(m_n, V_n),   y_n ~ response(predictor_n, parameters)

    Only b'z_n matters: b'z_n ~ N(b'm_n, b'V_n b), so p(y_n) = sum_q w_q p(y_n | g'c_n + b'm_n + sqrt(b'V_n b) x_q).
    With interactions b is b + sum_c d_c c_n, each patient's own.

    Parameters
    ----------
    response, design
        The outcome's distribution, and what it needs of each subject.
    outcome
        The outcome itself, (N,): what draws of the model resemble.
    moments
        m and V of the N subjects and K factors.
    covariates, standardised
        Names, and values of mean 0 and sd 1, shape (N, C).
    method
        `marginal` as above; `plugin` and `cut` take factors as known: V is 0 and one node is left.
    strength, prior
        Prior scales of effects, and the shape of the factors' prior.
    n_nodes
        Gauss-Hermite nodes.
    interactions
        Pairs of a factor and a covariate.

    Notes
    -----
    Whatever depends on the cohort is `pm.Data`, the centres of priors included. As a constant it would be part of the
    compiled code, and the next fit would not find that in the compiler's cache: 4 to 6 s instead of 1.

    sqrt has no derivative at b'Vb = 0, where b = 0 lies; a variance of 1e-12 is added. It changes nothing: nodes are
    symmetric, so the likelihood is a smooth function of b'Vb and only the division 0/0 has to be avoided.
    """
    import pymc as pm

    pt = tensors()
    coords = {
        "factor": list(moments.factors),
        **({"covariate": list(covariates)} if covariates else {}),
        **({"interaction": list(interactions.names)} if interactions.names else {}),
    }
    with pm.Model(coords={**coords, **response.coords()}) as model:
        data = {name: pm.Data(f"outcome_{name}", values) for name, values in design.items()}
        effects = draw_factor_effects(strength.factors, prior)
        moderators, spread = interactions.moderate(standardised), interactions.spread(len(moments.factors))
        changes = _draw_changes(strength.interactions, prior, interactions)
        directions = _turn(effects, changes, pm.Data("moderators", moderators), spread)
        centre = (pm.Data("factors_mean", moments.mean) * directions).sum(axis=-1)
        if covariates:
            centre = centre + pt.dot(pm.Data("covariates", standardised), draw_covariate_effects(strength.covariates))
        sd = pt.zeros_like(centre)
        if method == "marginal":
            profiles = find_profiles(moments, moderators)
            directions = _turn(effects, changes, pm.Data("profile_moderators", profiles.moderators), spread)
            roots = pm.Data("factors_root", root_of(profiles.covariance))
            along = (roots * directions[..., None, :]).sum(axis=-1)
            sd = pt.sqrt((along**2).sum(axis=-1) + _EPSILON)[pm.Data("pattern", profiles.profile)]
        if response.unit != 1.0:
            unit = pm.Data("unit", response.unit)
            centre, sd = unit * centre, unit * sd
        observe(response, centre, sd, response.draw_parameters(), data, outcome, n_nodes if method == "marginal" else 1)
    return model


def _draw_changes(scale: float, prior: FactorPrior, interactions: Interactions) -> Tensor | None:
    """d, by how much a sd of a covariate changes the effect of a factor, (interaction,)."""
    if not interactions.names:
        return None
    return draw_factor_effects(scale, prior, name="standardised_interactions", dims="interaction")


def _turn(effects: Tensor, changes: Tensor | None, moderators: Tensor, spread: Array) -> Tensor:
    """B + sum_c d_c c, (row, factor); b alone, (factor,), when no effect depends on a covariate."""
    if changes is None:
        return effects
    return effects + (moderators * changes) @ spread
