"""Mixture of normal distributions behind uncertain values: EM in the precision form, pure array code.

What subject n's data say of z_n is a likelihood exp(h'z - z'L z / 2) with its own L (K, K), perhaps singular. Under
z ~ sum_c p_c N(u_c, S_c), with C = (S_c^-1 + L)^-1 and a = S_c^-1 u_c + h, z given the component is N(C a, C), and the
evidence of the component is, up to a constant of the subject,

    (log|S_c^-1| + log|C| + a' C a - u_c' S_c^-1 u_c) / 2.

Extreme deconvolution (Bovy, Hogg and Roweis 2011, Ann Appl Stat 5:1657), which has it for L = V^-1 and h = V^-1 m; this
form also takes subjects of whom a direction was not measured at all.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Array = NDArray[np.float64]
Shape = Literal["full", "diagonal", "shared"]
SHAPES = ("full", "diagonal", "shared")


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What data say of N subjects: `linear` h (N, K), `precision` L (P, K, K) and `pattern` (N,), which of these."""

    linear: Array
    precision: Array
    pattern: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Components: `weights` (C,), `means` (C, K), `covariances` (C, K, K)."""

    weights: Array
    means: Array
    covariances: Array

    def n_parameters(self, shape: Shape) -> int:
        """Free parameters."""
        n, k = len(self.means), len(self.means[0])
        own = {"full": n * k * (k + 1) // 2, "diagonal": n * k, "shared": k * (k + 1) // 2}[shape]
        return n - 1 + n * k + own


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """Of each subject: log evidence (N,), probabilities of components (N, C), and z given each, mean and covariance."""

    log_evidence: Array
    share: Array
    mean: Array
    covariance: Array


def expect(mixture: Mixture, evidence: Evidence) -> Expected:
    """Take expectations under a mixture: means (N, C, K), covariances (P, C, K, K)."""
    inverse = np.linalg.inv(mixture.covariances)
    covariance = np.linalg.inv(inverse + evidence.precision[:, None])
    linear = (inverse @ mixture.means[:, :, None])[:, :, 0]
    a = linear + evidence.linear[:, None]
    mean = (covariance[evidence.pattern] @ a[..., None])[..., 0]
    log_det = np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(mixture.covariances)[1]
    height = log_det[evidence.pattern] + (a * mean).sum(axis=2) - (linear * mixture.means).sum(axis=1)
    joint = height / 2 + np.log(np.maximum(mixture.weights, 1e-300))
    total = logsumexp(joint, axis=1)
    return Expected(total, np.exp(joint - total[:, None]), mean, covariance)


def maximise(expected: Expected, pattern: NDArray[np.intp], shape: Shape, floor: float) -> Mixture:
    """Update a mixture from expectations; `floor` is added to the diagonals of covariances, which else could vanish."""
    share = expected.share
    counts = np.maximum(share.sum(axis=0), 1e-10)
    means = np.einsum("nc,nck->ck", share, expected.mean) / counts[:, None]
    n_patterns = len(expected.covariance)
    by_pattern = np.zeros((n_patterns, share.shape[1]))
    np.add.at(by_pattern, pattern, share)
    gap = expected.mean - means
    scatter = np.einsum("nc,nck,ncl->ckl", share, gap, gap, optimize=True)
    scatter += np.einsum("pc,pckl->ckl", by_pattern, expected.covariance)
    if shape == "shared":
        covariances = np.broadcast_to(scatter.sum(axis=0) / len(share), scatter.shape)
    else:
        covariances = scatter / counts[:, None, None]
    identity = np.eye(means.shape[1])
    if shape == "diagonal":
        covariances = covariances * identity
    return Mixture(counts / counts.sum(), means, covariances + floor * identity)


def climb(
    start: Mixture, evidence: Evidence, *, shape: Shape, floor: float, max_iterations: int, tolerance: float
) -> tuple[Mixture, float, bool]:
    """Climb by EM from a start; return the mixture, its log evidence (up to a constant), and whether it settled."""
    mixture, before = start, -np.inf
    for _ in range(max_iterations):
        expected = expect(mixture, evidence)
        now = float(expected.log_evidence.sum())
        if abs(now - before) <= tolerance * len(evidence.linear):
            return mixture, now, True
        mixture, before = maximise(expected, evidence.pattern, shape, floor), now
    return mixture, float(expect(mixture, evidence).log_evidence.sum()), False


def scatter_starts(points: Array, n_components: int, rng: np.random.Generator) -> Mixture:
    """Start from means that are far apart among the points (N, K), and the covariance of what is around them.

    The choice of k-means++ (Arthur and Vassilvitskii 2007, SODA).
    """
    chosen = [int(rng.integers(len(points)))]
    scale = np.maximum(points.std(axis=0), 1e-12)
    for _ in range(n_components - 1):
        gaps = np.square((points[:, None] - points[chosen]) / scale).sum(axis=2).min(axis=1)
        total = gaps.sum()
        chosen.append(int(rng.choice(len(points), p=gaps / total if total > 0 else None)))
    means = points[chosen]
    nearest = np.square((points[:, None] - means) / scale).sum(axis=2).argmin(axis=1)
    left = points - means[nearest]
    spread = left.T @ left / len(points) + np.diag(1e-3 * scale**2)
    weights = np.maximum(np.bincount(nearest, minlength=n_components), 1).astype(np.float64)
    return Mixture(weights / weights.sum(), means, np.broadcast_to(spread, (n_components, *spread.shape)).copy())
