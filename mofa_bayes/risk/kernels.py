"""From draws of predictors and parameters to averaged risks, intervals and the split of variance: arrays only."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mofa_bayes.risk.quadrature import hermite_nodes, stratified_nodes
from mofa_bayes.risk.response import Array, Response

_MAX_CELLS = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """Linear predictor of N subjects under S draws of the effects: N(mean, sd^2) over the factors, each (S, N)."""

    mean: Array
    sd: Array

    def summary(self) -> tuple[Array, Array]:
        """Mean and sd over draws and factors, each (N,)."""
        variance = self.mean.var(axis=0) + (self.sd**2).mean(axis=0)
        return self.mean.mean(axis=0), np.sqrt(variance)


def predict_risks(
    response: Response, predictor: Predictor, parameters: Mapping[str, Array], times: Array, level: float, n_nodes: int
) -> dict[str, Array]:
    """Average the conditional risk r over factors z and parameters theta, and say where its uncertainty comes from.

    With y ~ Bernoulli(r(theta, z)) the law of total variance splits exactly

        var y = E[r (1 - r)]  +  var_theta(E_z r)  +  E_theta(var_z r)
                outcome          parameters           factors

    Parameters
    ----------
    response, parameters
        The outcome's distribution and S draws of its parameters.
    predictor
        Of N subjects under the same draws.
    times
        T horizons.
    level
        Probability of the interval: quantiles of r over draws and equally likely points of z.
    n_nodes
        Points for z: Gauss-Hermite for averages, equally likely ones for quantiles.

    Returns
    -------
    `risk`, `lower`, `upper` and the shares `share_factors`, `share_parameters`, `share_outcome` of var y, each (N, T).
    """
    nodes, log_weights = hermite_nodes(n_nodes)
    weights = np.exp(log_weights)
    points = stratified_nodes(len(predictor.mean), n_nodes)
    tails = [(1 - level) / 2, (1 + level) / 2]
    blocks = []
    for rows in split_blocks(predictor.mean.shape[1], len(points) * n_nodes * len(times)):
        mean, sd = predictor.mean[:, rows, None], predictor.sd[:, rows, None]
        risk = response.risk(mean + sd * nodes, parameters, times)
        given_parameters = np.einsum("snqt,q->snt", risk, weights)
        average = given_parameters.mean(axis=0)
        by_parameters = given_parameters.var(axis=0)
        by_factors = np.einsum("snqt,q->nt", (risk - given_parameters[:, :, None]) ** 2, weights) / len(risk)
        pooled = np.moveaxis(response.risk(mean + sd * points[:, None, :], parameters, times), 1, 0)
        lower, upper = np.quantile(pooled.reshape(len(pooled), -1, len(times)), tails, axis=1)
        blocks.append((average, lower, upper, by_factors, by_parameters))
    average, lower, upper, by_factors, by_parameters = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    total = average * (1 - average)
    safe = np.where(total > 0, total, 1.0)  # a risk of exactly 0 or 1 has no variance to split: all is outcome
    shares = np.minimum(by_factors / safe, 1.0), np.minimum(by_parameters / safe, 1.0)
    return {
        "risk": average,
        "lower": lower,
        "upper": upper,
        "share_factors": shares[0],
        "share_parameters": shares[1],
        "share_outcome": 1.0 - shares[0] - shares[1],
    }


def average_risks(
    response: Response, predictor: Predictor, parameters: Mapping[str, Array], times: Array, n_nodes: int
) -> Array:
    """Average the conditional risk over factors under each draw of the parameters, shape (S, N, T)."""
    nodes, log_weights = hermite_nodes(n_nodes)
    weights = np.exp(log_weights)
    blocks = []
    for rows in split_blocks(predictor.mean.shape[1], len(predictor.mean) * n_nodes * len(times)):
        at_nodes = predictor.mean[:, rows, None] + predictor.sd[:, rows, None] * nodes
        blocks.append(np.einsum("snqt,q->snt", response.risk(at_nodes, parameters, times), weights))
    return np.concatenate(blocks, axis=1)


def split_blocks(n_rows: int, cells_per_row: int) -> list[slice]:
    """Cut rows into blocks of at most four million cells, so that temporaries stay under 32 MB each."""
    size = max(1, _MAX_CELLS // max(cells_per_row, 1))
    return [slice(start, start + size) for start in range(0, n_rows, size)]
