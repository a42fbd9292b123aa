"""Adaptive multiple importance sampling: a posterior of some twenty parameters in a few thousand evaluations.

Cornuet, Marin, Mira and Robert 2012 (Scand J Stat 39:798): rounds of draws from a proposal, each refitted to all
weighted draws so far; every draw is weighted by the mixture of all proposals used, q(x) = sum_r (n_r / n) q_r(x). Large
weights are smoothed by a generalised Pareto distribution, whose shape k says whether to trust them (Vehtari et al.
2024, JMLR 25:72): above 0.7 averages do not settle at any affordable number of draws.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from mofa_bayes.risk.density import Density, Fall
from mofa_bayes.risk.modes import explore
from mofa_bayes.risk.proposals import Array, Mixture

LARGEST_K = 0.7
_LEAST_WEIGHT = 600.0
_ROUND = 400
_MOST_ROUNDS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """Weighted draws of a posterior.

    Attributes
    ----------
    points
        Shape (n, P), in the unconstrained space.
    weights
        Smoothed, of sum 1; shape (n,).
    log_evidence, log_evidence_se
        Log of the density's integral, which is log p(y), and its standard error.
    pareto_k
        Shape of the largest weights.
    proposal
        Refitted to all draws: where to start for a similar posterior.
    """

    points: Array
    weights: Array
    log_evidence: float
    log_evidence_se: float
    pareto_k: float
    proposal: Mixture

    @property
    def n_effective(self) -> float:
        """Kish's effective number of draws."""
        return float(1 / np.square(self.weights).sum())

    @property
    def is_reliable(self) -> bool:
        """Whether weights are even enough for averages."""
        return self.pareto_k <= LARGEST_K

    def resample(self, n_points: int, rng: np.random.Generator) -> Array:
        """Draw points of equal weight, each as often as its weight says to within one, in random order."""
        points: Array = self.points[resample(self.weights, n_points, rng)]
        return points


def sample_weighted(
    density: Density, n_effective: float, rng: np.random.Generator, *, proposal: Mixture | None = None
) -> Weighted:
    """Draw from a posterior until there are `n_effective` draws, or for 12 rounds.

    Parameters
    ----------
    density
        Of the posterior, constants included.
    n_effective
        How many effective draws are wanted.
    proposal
        Where to start; found by `explore` when left out.
    """
    proposal = explore(density) if proposal is None else proposal
    n_round = max(_ROUND, int(n_effective) // 2)
    points, log_target = np.empty((0, proposal.centres.shape[1])), np.empty(0)
    used: list[Mixture] = []
    log_proposals: list[Array] = []
    for _ in range(_MOST_ROUNDS):
        new = proposal.draw(n_round, rng)
        log_proposals = [
            np.append(values, own.log_density(new)) for values, own in zip(log_proposals, used, strict=True)
        ]
        points = np.concatenate([points, new])
        log_target = np.append(log_target, _evaluate(density.fall, new))
        used.append(proposal)
        log_proposals.append(proposal.log_density(points))
        log_weights = log_target - (logsumexp(log_proposals, axis=0) - np.log(len(used)))
        proposal = proposal.refit(points, log_weights)
        if np.exp(2 * logsumexp(log_weights) - logsumexp(2 * log_weights)) >= n_effective:
            break
    return _smooth(points, log_weights, proposal)


def smooth(log_weights: Array) -> tuple[Array, float]:
    """Smooth the largest of log weights (n,); return them, and the shape k of their distribution."""
    import arviz_stats.base

    stats: Any = arviz_stats.base.array_stats  # type: ignore[attr-defined]
    bounded = np.maximum(log_weights, log_weights.max() - _LEAST_WEIGHT)
    smoothed, shape = stats.psislw(-bounded)  # it takes log densities to be divided by
    return np.asarray(smoothed), float(shape)


def resample(weights: Array, n_points: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw n_points places with probabilities `weights`, systematically, and shuffle them."""
    edges = np.cumsum(weights)
    places = np.searchsorted(edges / edges[-1], (np.arange(n_points) + rng.uniform()) / n_points, side="right")
    return rng.permutation(np.minimum(places, len(weights) - 1))


def _evaluate(fall: Fall, points: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far out a hazard may leave the floats
        values = np.array([-fall(point)[0] for point in points])
    return np.where(np.isfinite(values), values, -np.inf)


def _smooth(points: Array, log_weights: Array, proposal: Mixture) -> Weighted:
    smoothed, shape = smooth(log_weights)
    total = logsumexp(log_weights)
    weights = np.exp(log_weights - total)
    variance = np.square(weights).sum() - 1 / len(weights)
    smoothed_weights = np.exp(smoothed - logsumexp(smoothed))
    return Weighted(
        points, smoothed_weights, float(total - np.log(len(points))), float(np.sqrt(variance)), shape, proposal
    )
