"""An observed outcome in a PyMC model: its density is the marginal one, and it can be drawn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.risk.marginal import log_marginal
from mofa_bayes.risk.response import Array, Parameters, Response, Tensor, tensors


def observe(
    response: Response,
    centre: Tensor,
    sd: Tensor,
    parameters: Parameters,
    design: dict[str, Tensor],
    outcome: NDArray[Any],
    n_nodes: int,
) -> Tensor:
    """Declare `outcome` in the PyMC model at hand: y_n ~ p(y_n) = E[p(y_n | x)], x ~ N(centre_n, sd_n^2).

    The density reads the outcome from `design`, where it is coded as the formulas want it. Draws, of
    `pm.sample_prior_predictive` for instance, come as numbers of the outcome's own kind: x is drawn, then y given x.

    Parameters
    ----------
    response, parameters, design
        The outcome's distribution, its parameters, and what it needs of each subject.
    centre, sd
        Of the predictor, (N,).
    outcome
        Shape (N,).
    n_nodes
        Nodes of the quadrature.
    """
    import pymc as pm

    pt = tensors()
    names, fields = list(parameters), list(design)

    def unpack(rest: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        own = dict(zip(names, rest[: len(names)], strict=True))
        return own, dict(zip(fields, rest[len(names) :], strict=True))

    def log_density(_: Tensor, mean: Tensor, spread: Tensor, *rest: Tensor) -> Tensor:
        own, known = unpack(rest)
        return log_marginal(pt, response, mean, spread, own, known, n_nodes)

    def draw(
        mean: Array, spread: Array, *rest: Array, rng: np.random.Generator, size: tuple[int, ...] | None = None
    ) -> Array:
        own, known = unpack(rest)
        shape = (*(size or ()), *mean.shape)
        return response.draw(rng, mean + spread * rng.normal(size=shape), own, known)

    inputs = [*parameters.values(), *design.values()]
    marks = [f"({','.join(f'd{k}{axis}' for axis in range(value.ndim))})" for k, value in enumerate(inputs)]
    return pm.CustomDist(
        "outcome",
        centre,
        sd,
        *inputs,
        logp=log_density,
        random=draw,
        signature=f"(n),(n),{','.join(marks)}->(n)",
        observed=outcome,
    )
