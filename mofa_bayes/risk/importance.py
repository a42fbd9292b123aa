"""Adaptive multiple importance sampling: a posterior of some twenty parameters in a few thousand evaluations.

Cornuet, Marin, Mira and Robert 2012 (Scand J Stat 39:798): rounds of pilot draws from a proposal, which is refitted to
all weighted draws so far; every draw is weighted by the mixture of the proposals used, q(x) = sum_r (n_r / n) q_r(x).
Those weights are a little too small, since later proposals have been fitted to the draws that they weigh (log evidence
0.03 too low, four standard errors, for a funnel of nine dimensions). So the pilot serves adaptation alone, and results
are fresh draws from the last proposal. Large weights are smoothed by a generalised Pareto distribution, whose shape k
says whether to trust them (Vehtari et al. 2024, JMLR 25:72): above 0.7 averages do not settle at any affordable number
of draws.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from mofa_bayes.risk.density import Density, Fall
from mofa_bayes.risk.explore import explore
from mofa_bayes.risk.proposals import Array, Mixture

LARGEST_K = 0.7
_LEAST_WEIGHT = 600.0
_FEWEST = 25
_PILOT = 400
_MOST_PILOTS = 5
_PILOT_PER_DIM = 25
"""Effective pilot draws for each parameter, after which the proposal is taken: its components share them."""
_BATCH = (400, 4000)
_MOST_BATCHES = 12


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
    density: Density,
    n_effective: float,
    rng: np.random.Generator,
    *,
    proposal: Mixture | None = None,
    n_pilots: int = _MOST_PILOTS,
) -> Weighted:
    """Draw from a posterior until there are `n_effective` draws, but in 12 batches at most.

    Parameters
    ----------
    density
        Of the posterior, constants included.
    n_effective
        How many effective draws are wanted.
    proposal
        Where to start; found by `explore` when left out.
    n_pilots
        Most rounds in which it is refitted.
    """
    proposal = _adapt(density.fall, explore(density) if proposal is None else proposal, rng, n_pilots)
    n_batch = int(np.clip(n_effective // 2, *_BATCH))
    points, log_weights = np.empty((0, proposal.centres.shape[1])), np.empty(0)
    for _ in range(_MOST_BATCHES):
        new = proposal.draw(n_batch, rng)
        points = np.concatenate([points, new])
        log_weights = np.append(log_weights, _evaluate(density.fall, new) - proposal.log_density(new))
        if _count_effective(log_weights) >= n_effective:
            break
    smoothed, shape = smooth(log_weights)
    total = logsumexp(log_weights)
    variance = np.exp(logsumexp(2 * (log_weights - total))) - 1 / len(points)
    return Weighted(
        points,
        np.exp(smoothed - logsumexp(smoothed)),
        float(total - np.log(len(points))),
        float(np.sqrt(max(variance, 0.0))),
        shape,
        proposal,
    )


def _adapt(fall: Fall, proposal: Mixture, rng: np.random.Generator, n_pilots: int) -> Mixture:
    """Refit a proposal in rounds of pilot draws, until these are effective enough."""
    points, log_target = np.empty((0, proposal.centres.shape[1])), np.empty(0)
    used: list[Mixture] = []
    log_proposals: list[Array] = []
    for _ in range(n_pilots):
        new = proposal.draw(_PILOT, rng)
        log_proposals = [
            np.append(values, own.log_density(new)) for values, own in zip(log_proposals, used, strict=True)
        ]
        points = np.concatenate([points, new])
        log_target = np.append(log_target, _evaluate(fall, new))
        used.append(proposal)
        log_proposals.append(proposal.log_density(points))
        log_weights = log_target - (logsumexp(log_proposals, axis=0) - np.log(len(used)))
        proposal = proposal.refit(points, log_weights)
        if _count_effective(log_weights) >= _PILOT_PER_DIM * points.shape[1]:
            break
    return proposal


def _count_effective(log_weights: Array) -> float:
    """Kish's effective number of draws."""
    return float(np.exp(2 * logsumexp(log_weights) - logsumexp(2 * log_weights)))


def smooth(log_weights: Array) -> tuple[Array, float]:
    """Smooth the largest of log weights (n,); return them, and the shape k of their distribution.

    Fewer than 25 are left as they are, and k is NaN.
    """
    import arviz_stats.base

    stats: Any = arviz_stats.base.array_stats  # type: ignore[attr-defined]
    if len(log_weights) < _FEWEST:
        return log_weights, float("nan")
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
