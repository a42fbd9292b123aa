"""The marginal likelihood of competing risks as a PyMC model: causes share the factors that are integrated out."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.competing import CompetingResponse
from mofa_bayes.risk.effects import FactorPrior, Strength, draw_covariate_effects, draw_factor_effects
from mofa_bayes.risk.graph import Method
from mofa_bayes.risk.joint import find_root, place_predictors
from mofa_bayes.risk.links import log_sum_exp
from mofa_bayes.risk.quadrature import product_nodes, root_of
from mofa_bayes.risk.response import Array, Design, Parameters, Tensor, tensors

if TYPE_CHECKING:
    import pymc as pm


def build_competing_graph(
    response: CompetingResponse,
    design: Design,
    moments: FactorMoments,
    covariates: tuple[str, ...],
    standardised: Array,
    *,
    method: Method,
    strength: Strength,
    n_nodes: int,
    prior: FactorPrior = "mixture",
) -> "pm.Model":
    """Build the PyMC model of competing risks given factors that are integrated out.

        predictor_nc = g_c'c_n + b_c'z_n,   z_n ~ N(m_n, V_n),   y_n ~ response(predictor_n1, ..., predictor_nC)

    Only B z_n matters, which is N(B m_n, B V_n B'); p(y_n) is a sum over a product of Gauss-Hermite rules at
    B m_n + L x_q with L L' = B V_n B'. Parameters as in `build_graph`.
    """
    import pymc as pm

    pt = tensors()
    coords = {"factor": list(moments.factors), **({"covariate": list(covariates)} if covariates else {})}
    n_causes, n_factors = len(response.causes), len(moments.factors)
    with pm.Model(coords={**coords, **response.coords()}) as model:
        data = {name: pm.Data(f"outcome_{name}", values) for name, values in design.items()}
        effects = draw_factor_effects(strength.factors, prior, dims=("cause", "factor"))
        centre = pt.dot(pm.Data("factors_mean", moments.mean), effects.T)
        if covariates:
            slopes = draw_covariate_effects(strength.covariates, dims=("cause", "covariate"))
            centre = centre + pt.dot(pm.Data("covariates", standardised), slopes.T)
        turned = pt.zeros((1, n_factors, n_causes))
        pattern = pt.zeros_like(centre[:, 0], dtype="int64")
        if method == "marginal":
            turned = pt.dot(pm.Data("factors_root", root_of(moments.covariance)), effects.T)
            pattern = pm.Data("pattern", moments.pattern)
        density = log_joint_marginal(
            pt,
            response,
            [centre[:, c] for c in range(n_causes)],
            find_root(pt, turned, n_factors, n_causes),
            pattern,
            response.draw_parameters(),
            data,
            n_nodes if method == "marginal" else 1,
        )
        pm.Potential("log_likelihood", density.sum())
    return model


def log_joint_marginal(
    xp: ModuleType,
    response: CompetingResponse,
    mean: Sequence[Tensor],
    root: Sequence[Sequence[Tensor]],
    pattern: Tensor,
    parameters: Parameters,
    design: Mapping[str, Tensor],
    n_nodes: int,
) -> Tensor:
    """Log p(y_n) = log E[p(y_n | x)] for x ~ N(mean_n, L L'), given survival to entry where that was late.

    Parameters
    ----------
    xp
        numpy or pytensor.tensor.
    response, parameters, design
        The outcome's distribution; parameters may have draws as first axis.
    mean
        Of each predictor, (..., subject).
    root, pattern
        L by pattern, as from `find_root`, and the pattern of each subject.
    n_nodes
        As in `product_nodes`.

    Returns
    -------
    Shape (..., subject).
    """
    points, log_weights = product_nodes(n_nodes, len(root[-1]))
    predictors = place_predictors(mean, root, pattern, points)
    density = log_sum_exp(xp, response.log_likelihood(xp, predictors, parameters, design) + log_weights)
    if not response.is_truncated(design):
        return density
    return density - log_sum_exp(xp, response.log_entry(xp, predictors, parameters, design) + log_weights)
