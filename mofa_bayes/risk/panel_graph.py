"""A panel of responses as a PyMC model: effects that learn from each other, factors integrated out."""

from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.interactions import Interactions, find_profiles
from mofa_bayes.risk.panel import Cells, PanelResponse, find_cells, log_density
from mofa_bayes.risk.quadrature import root_of
from mofa_bayes.risk.response import Array, Design, Tensor, tensors

if TYPE_CHECKING:
    import pymc as pm

FACTORS, COVARIATES, INTERACTIONS = 0.5, 1.0, 0.25
"""Prior scales, in sds of a response, of both the mean of an effect over responses and its sd among them. A factor that
explains a quarter of a response's variance has an effect of 0.5; covariates are shrunk less, interactions more. Of
factors and interactions these are the most: how large their effects are together is learnt, since fifty effects of 0.5
would explain twelve times the variance that there is."""
NOISE = (-0.3, 0.5)
"""Mean and sd of the log of the typical noise, in sds of a response: 0.74, and 95 % between 0.28 and 2."""
NOISE_SPREAD = (-1.6, 0.5)
"""Mean and sd of the log of how much log noise varies among responses: 0.2, and 95 % between 0.08 and 0.54. Bounded
away from 0, so that few responses leave no funnel there."""


def build_panel_graph(
    response: PanelResponse,
    design: Design,
    moments: FactorMoments,
    covariates: tuple[str, ...],
    standardised: Array,
    *,
    is_known: bool,
    interactions: Interactions,
) -> "pm.Model":
    """Build the PyMC model of R responses given K factors that are integrated out.

        y_n ~ N(intercept + G c_n + B m_n, B V_n B' + diag(noise_sd^2)),   B_rk = mu_k + s_k b_rk,   b_rk ~ N(0, 1)
        mu_k ~ N(0, t^2),   s_k ~ half-normal(t),   t ~ half-normal(0.5)

    Responses share, for each factor, the mean mu_k of their effects and the sd s_k around it, so that a factor which
    does nothing to most is shrunk in all, and one with a general effect pulls those responses along that were measured
    in few patients. Factors share t, which falls with their number. It is written non-centred: s_k goes to 0 for a
    factor that does nothing, and the centred form has a funnel there. Noise has a log-normal prior whose location and
    spread are learnt from all responses.

    Parameters
    ----------
    response, design
        The panel, and its values (N, R).
    moments
        m and V of N subjects.
    covariates, standardised
        Names, and values of mean 0 and sd 1, (N, C).
    is_known
        Take factors as known, at m.
    interactions
        Pairs of a factor and a covariate.
    """
    import pymc as pm

    pt = tensors()
    dims = {"factor": list(moments.factors), "covariate": list(covariates), "interaction": list(interactions.names)}
    coords = {**{dim: names for dim, names in dims.items() if names}, **response.coords()}
    moderators, spread = interactions.moderate(standardised), interactions.spread(len(moments.factors))
    profiles = find_profiles(moments, moderators)
    covariance = profiles.covariance * (0.0 if is_known else 1.0)
    cells, own = find_cells(design["is_known"], profiles.profile, root_of(covariance))
    with pm.Model(coords=coords) as model:
        unit = pm.Data("unit", response.unit)
        effects = _share("effect_factors", "factor", _draw_overall("effect_factors", FACTORS))
        predictor = pt.dot(pm.Data("factors_mean", moments.mean), effects.T)
        if covariates:
            slopes = _share("standardised_effects", "covariate", COVARIATES)
            predictor = predictor + pt.dot(pm.Data("covariates", standardised), slopes.T)
        if interactions.names:
            overall = _draw_overall("standardised_interactions", INTERACTIONS)
            changes = _share("standardised_interactions", "interaction", overall)
            moved = moments.mean[:, list(interactions.factor)] * moderators
            predictor = predictor + pt.dot(pm.Data("moderated_mean", moved), changes.T)
            of_group = pm.Data("group_moderators", profiles.moderators[own])
            effects = effects + (of_group[:, None, :] * changes) @ spread
        level = pm.Normal("standardised_intercept", 0.0, 1.0, dims="response")
        typical, varying = pm.Normal("log_noise", *NOISE), pm.LogNormal("log_noise_sd", *NOISE_SPREAD)
        noise = pm.LogNormal("standardised_noise", typical, varying, dims="response")
        intercept = pm.Deterministic("intercept", pm.Data("centre", response.centres) + unit * level, dims="response")
        noise_sd = pm.Deterministic("noise_sd", unit * noise, dims="response")
        held = Cells(
            pm.Data("outcome_is_known", cells.is_known),
            pm.Data("kinds", cells.kinds),
            pm.Data("factors_root", cells.roots),
            pm.Data("pattern", cells.group),
        )
        _observe(intercept + unit * predictor, unit[:, None] * effects, noise_sd, held, response, design)
    return model


def _draw_overall(name: str, scale: float) -> Tensor:
    """How large the effects of many terms are together."""
    import pymc as pm

    return pm.HalfNormal(f"{name}_overall", scale)


def _share(name: str, dim: str, scale: Tensor) -> Tensor:
    """Effects of every response that share a mean and an sd for each term, (response, dim)."""
    import pymc as pm

    mean = pm.Deterministic(f"{name}_mean", scale * pm.Normal(f"{name}_raw_mean", 0.0, 1.0, dims=dim), dims=dim)
    sd = pm.Deterministic(f"{name}_sd", scale * pm.HalfNormal(f"{name}_raw_sd", 1.0, dims=dim), dims=dim)
    raw = pm.Normal(f"{name}_raw", 0.0, 1.0, dims=("response", dim))
    return pm.Deterministic(name, mean + sd * raw, dims=("response", dim))


def _observe(
    mean: Tensor, effects: Tensor, noise_sd: Tensor, cells: Cells, response: PanelResponse, design: Design
) -> None:
    """Declare `outcome`; the density reads the values from the data, and draws come for every response."""
    import pymc as pm

    pt = tensors()
    value = pm.Data("outcome_value", design["value"])

    def density(_: Tensor, centre: Tensor, b: Tensor, sd: Tensor, seen: Tensor, *held: Tensor) -> Tensor:
        return log_density(pt, seen - centre, b, sd, Cells(*held), n_factors)

    def draw(
        centre: Array,
        b: Array,
        sd: Array,
        _: Array,
        *held: Array,
        rng: np.random.Generator,
        size: object = None,  # noqa: ARG001  (PyMC's signature)
    ) -> Array:
        own = Cells(*held)
        noise = rng.normal(size=(len(centre), own.roots.shape[-1]))
        factors = np.einsum("nkl,nk->nl", own.roots[own.group], noise)
        moved = factors @ b.T if b.ndim == 2 else np.einsum("nk,nrk->nr", factors, b[own.group])
        drawn: Array = centre + moved + sd * rng.normal(size=centre.shape)
        return drawn

    n_factors = len(pm.modelcontext(None).coords["factor"])
    of_group = "(g,r,k)" if effects.ndim == 3 else "(r,k)"
    pm.CustomDist(
        "outcome",
        mean,
        effects,
        noise_sd,
        value,
        cells.is_known,
        cells.kinds,
        cells.roots,
        cells.group,
        logp=density,
        random=draw,
        signature=f"(n,r),{of_group},(r),(n,r),(n,r),(g,r),(g,k,k),(n)->(n,r)",
        observed=np.where(design["is_known"] > 0, design["value"], response.centres),
    )
