"""Predictions of competing risks: incidences of each cause, averaged over factors and parameters."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from mofa_bayes.risk.competing import CompetingResponse
from mofa_bayes.risk.competing_graph import log_joint_marginal
from mofa_bayes.risk.joint import JointPredictor, find_root
from mofa_bayes.risk.kernels import split_blocks, thin
from mofa_bayes.risk.quadrature import product_nodes, spread_nodes
from mofa_bayes.risk.response import Array, Design

MAX_DRAWS = 250
"""Draws that predict: each costs a sum over time at every node. Quantiles over them stray by 0.1 posterior sd."""
_SHARE_OF_NODES = 0.7
"""An incidence lies between 0 and 1, and needs fewer nodes than a density: so many err by less than 0.0005."""
_N_SPREAD = 24


def predict_incidences(
    response: CompetingResponse,
    predictor: JointPredictor,
    parameters: Mapping[str, Array],
    times: Array,
    level: float,
    n_nodes: int,
) -> dict[str, Array]:
    """Average the conditional incidence r_c of each cause, and say where its uncertainty comes from.

    Whether cause c happens by t is Bernoulli(r_c), so its variance splits as in `predict_outcomes`.

    Parameters
    ----------
    response, parameters
        The outcome's distribution and S draws of its parameters.
    predictor
        Of N subjects under the same draws.
    times
        T horizons.
    level
        Probability of the interval: quantiles of r_c over draws and equally likely points of z.
    n_nodes
        Of the fit.

    Returns
    -------
    `risk`, `lower`, `upper`, `share_factors`, `share_parameters`, `share_outcome`, each (N, T, C).
    """
    kept = thin(len(predictor.mean), MAX_DRAWS)
    predictor, parameters = predictor.take(kept), {name: draws[kept] for name, draws in parameters.items()}
    nodes, log_weights = _nodes(predictor, n_nodes)
    weights = np.exp(log_weights)
    points = spread_nodes(len(kept), _N_SPREAD, predictor.n_dims)
    tails = [(1 - level) / 2, (1 + level) / 2]
    blocks = []
    for rows in _split(response, predictor, times, len(nodes)):
        risk = response.incidence(predictor.place(nodes, rows), parameters, times)
        given_parameters = np.einsum("snqtc,q->sntc", risk, weights)
        by_factors = np.einsum("snqtc,q->ntc", (risk - given_parameters[:, :, None]) ** 2, weights) / len(risk)
        pooled = response.incidence(predictor.place(points, rows), parameters, times).transpose(1, 0, 2, 3, 4)
        lower, upper = np.quantile(pooled.reshape(len(pooled), -1, *pooled.shape[3:]), tails, axis=1)
        blocks.append((given_parameters.mean(axis=0), lower, upper, by_factors, given_parameters.var(axis=0)))
    risk, lower, upper, by_factors, by_parameters = (np.concatenate(own) for own in zip(*blocks, strict=True))
    total = risk * (1 - risk)
    safe = np.where(total > 0, total, 1.0)  # a risk of exactly 0 or 1 has no variance to split: all is outcome
    shares = np.minimum(by_factors / safe, 1.0), np.minimum(by_parameters / safe, 1.0)
    return {
        "risk": risk,
        "lower": lower,
        "upper": upper,
        "share_factors": shares[0],
        "share_parameters": shares[1],
        "share_outcome": 1.0 - shares[0] - shares[1],
    }


def average_incidences(
    response: CompetingResponse, predictor: JointPredictor, parameters: Mapping[str, Array], times: Array, n_nodes: int
) -> Array:
    """Average the incidences over factors under each draw of the parameters, shape (S, N, T, C)."""
    nodes, log_weights = _nodes(predictor, n_nodes)
    blocks = [
        np.einsum(
            "snqtc,q->sntc",
            response.incidence(predictor.place(nodes, rows), parameters, times),
            np.exp(log_weights),
        )
        for rows in _split(response, predictor, times, len(nodes))
    ]
    return np.concatenate(blocks, axis=1)


def _nodes(predictor: JointPredictor, n_nodes: int) -> tuple[Array, Array]:
    return product_nodes(max(2, round(_SHARE_OF_NODES * n_nodes)), predictor.n_dims)


def _split(response: CompetingResponse, predictor: JointPredictor, times: Array, n_nodes: int) -> list[slice]:
    """Blocks of subjects of which all nodes and times fit in memory."""
    n_points = len(response.grid(times)[0])
    return split_blocks(predictor.mean.shape[1], len(predictor.mean) * n_nodes * n_points)


def tabulate_incidences(response: CompetingResponse, values: Mapping[str, Array], subjects: Sequence[str], times: Array,
                        predictor: JointPredictor) -> xr.Dataset:  # fmt: skip
    """Label predictions: dims (subject, time, cause), and each cause's linear predictor (subject, cause)."""
    coords = {
        "subject": np.asarray(subjects, dtype=np.str_),
        "time": times,
        "cause": np.asarray(response.causes, dtype=np.str_),
        "code": ("cause", np.asarray(response.codes)),
    }
    dims = ("subject", "time", "cause")
    dataset = xr.Dataset({name: (dims, value) for name, value in values.items()}, coords=coords)
    for name, value in zip(("linear_predictor", "linear_predictor_sd"), predictor.summary(), strict=True):
        dataset[name] = (("subject", "cause"), value)
    return dataset


def score_jointly(
    response: CompetingResponse,
    predictor: JointPredictor,
    parameters: Mapping[str, Array],
    design: Design,
    n_nodes: int,
) -> Array:
    """Log likelihood of each subject under each draw, (S, N)."""
    n_draws, n_subjects, n_causes = predictor.mean.shape
    n_points = len(product_nodes(n_nodes, predictor.n_dims)[0])
    values = np.empty((n_draws, n_subjects))
    for block in split_blocks(n_draws, n_subjects * n_points):
        few = predictor.take(np.arange(n_draws)[block])
        root = find_root(np, few.turned, *few.turned.shape[-2:])
        mean = [few.mean[..., c] for c in range(n_causes)]
        own = {name: draws[block] for name, draws in parameters.items()}
        values[block] = log_joint_marginal(np, response, mean, root, few.pattern, own, design, n_nodes)
    return values
