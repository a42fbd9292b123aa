"""From draws of predictors and parameters to averages, intervals and the split of variance: arrays only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.risk.quadrature import hermite_nodes, stratified_nodes
from mofa_bayes.risk.response import Array, Measured, Response

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

    def shift(self, offset: Array) -> "Predictor":
        """Add a number for each subject, (N,)."""
        return Predictor(self.mean + offset, self.sd)

    def take(self, draws: NDArray[np.intp]) -> "Predictor":
        """Return some of the draws, by position."""
        return Predictor(self.mean[draws], self.sd[draws])


def predict_outcomes(
    response: Response,
    predictor: Predictor,
    parameters: Mapping[str, Array],
    places: NDArray[Any],
    level: float,
    n_nodes: int,
) -> dict[str, Array]:
    """Average the conditional mean r over factors z and parameters theta, and say where its uncertainty comes from.

    With y of mean r(theta, z) and variance v(theta, z) the law of total variance splits exactly

        var y = E[v]       +  var_theta(E_z r)  +  E_theta(var_z r)
                outcome       parameters           factors

    where y ~ Bernoulli(r) has v = r (1 - r), so that var y = E r (1 - E r).

    Parameters
    ----------
    response, parameters
        The outcome's distribution and S draws of its parameters.
    predictor
        Of N subjects under the same draws.
    places
        T horizons, categories or responses.
    level
        Probability of the interval: quantiles of r over draws and equally likely points of z.
    n_nodes
        Points for z: Gauss-Hermite for averages, equally likely ones for quantiles.

    Returns
    -------
    The estimate (named by the response's labels), `lower`, `upper` and the shares `share_factors`, `share_parameters`,
    `share_outcome` of var y, each (N, T). A number that is measured or counted also has `predictive_lower`,
    `predictive_upper`, quantiles of y itself, and `predictive_sd`, the square root of var y.
    """
    nodes, log_weights = hermite_nodes(n_nodes)
    weights = np.exp(log_weights)
    points = stratified_nodes(len(predictor.mean), n_nodes)
    tails = [(1 - level) / 2, (1 + level) / 2]
    blocks = []
    for rows in split_blocks(predictor.mean.shape[1], len(points) * n_nodes * len(places)):
        mean, sd = predictor.mean[:, rows, None], predictor.sd[:, rows, None]
        expected = response.expect(mean + sd * nodes, parameters, places)
        given_parameters = np.einsum("snqt,q->snt", expected, weights)
        average = given_parameters.mean(axis=0)
        by_parameters = given_parameters.var(axis=0)
        by_factors = np.einsum("snqt,q->nt", (expected - given_parameters[:, :, None]) ** 2, weights) / len(expected)
        by_outcome = np.einsum("snqt,q->nt", response.variance(expected, parameters), weights) / len(expected)
        pooled = np.moveaxis(response.expect(mean + sd * points[:, None, :], parameters, places), 1, 0)
        lower, upper = np.quantile(pooled.reshape(len(pooled), -1, len(places)), tails, axis=1)
        blocks.append((average, lower, upper, by_factors, by_parameters, by_outcome))
    average, lower, upper, *parts = (np.concatenate(own) for own in zip(*blocks, strict=True))
    total = np.sum(parts, axis=0)
    safe = np.where(total > 0, total, 1.0)  # a risk of exactly 0 or 1 has no variance to split: all is outcome
    by_factors, by_parameters = parts[0] / safe, parts[1] / safe
    prediction = {
        response.labels.estimate: average,
        "lower": lower,
        "upper": upper,
        "share_factors": by_factors,
        "share_parameters": by_parameters,
        "share_outcome": 1.0 - by_factors - by_parameters,
    }
    if isinstance(response, Measured):
        quantiles = response.predictive_quantiles(predictor.mean, predictor.sd, parameters, tails)
        prediction["predictive_lower"], prediction["predictive_upper"] = quantiles[..., None]
        prediction["predictive_sd"] = np.sqrt(total)
    return prediction


def average_outcomes(
    response: Response, predictor: Predictor, parameters: Mapping[str, Array], places: NDArray[Any], n_nodes: int
) -> Array:
    """Average the conditional mean over factors under each draw of the parameters, shape (S, N, T)."""
    nodes, log_weights = hermite_nodes(n_nodes)
    weights = np.exp(log_weights)
    blocks = []
    for rows in split_blocks(predictor.mean.shape[1], len(predictor.mean) * n_nodes * len(places)):
        at_nodes = predictor.mean[:, rows, None] + predictor.sd[:, rows, None] * nodes
        blocks.append(np.einsum("snqt,q->snt", response.expect(at_nodes, parameters, places), weights))
    return np.concatenate(blocks, axis=1)


def thin(n_draws: int, n_kept: int) -> NDArray[np.intp]:
    """Positions of at most `n_kept` draws, evenly spaced."""
    return np.unique(np.linspace(0, n_draws - 1, max(min(n_kept, n_draws), 1)).astype(np.intp))


def split_blocks(n_rows: int, cells_per_row: int) -> list[slice]:
    """Cut rows into blocks of at most four million cells, so that temporaries stay under 32 MB each."""
    size = max(1, _MAX_CELLS // max(cells_per_row, 1))
    return [slice(start, start + size) for start in range(0, n_rows, size)]
