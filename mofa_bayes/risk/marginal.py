"""The integral over a subject's predictor, once for what is sampled and for what is scored."""

from types import ModuleType

from mofa_bayes.risk.links import log_sum_exp
from mofa_bayes.risk.quadrature import hermite_nodes
from mofa_bayes.risk.response import Design, Integrated, Parameters, Response, Tensor


def log_marginal(
    xp: ModuleType,
    response: Response,
    mean: Tensor,
    sd: Tensor,
    parameters: Parameters,
    design: Design,
    n_nodes: int,
) -> Tensor:
    """Log p(y_n) = log E[p(y_n | x)] for x ~ N(mean_n, sd_n^2).

    By the response's own formula if it has one, else log sum_q w_q p(y_n | mean_n + sd_n x_q) at Gauss-Hermite nodes.

    Parameters
    ----------
    xp
        numpy or pytensor.tensor.
    response, parameters, design
        The outcome's distribution; parameters may have draws as first axis.
    mean, sd
        Of the predictor, (..., subject).
    n_nodes
        Nodes of the quadrature.

    Returns
    -------
    Shape (..., subject).
    """
    if isinstance(response, Integrated):
        return response.log_marginal(xp, mean, sd, parameters, design, n_nodes)
    nodes, log_weights = hermite_nodes(n_nodes)
    predictor = mean[..., None] + sd[..., None] * nodes
    return log_sum_exp(xp, response.log_likelihood(xp, predictor, parameters, design) + log_weights)
