"""What is not known of the loadings: joint draws of the factor model, weighted by how well the outcome goes with them.

Under draw s of loadings, noise and intercepts the factors are N(m^s, V^s), and the risk model is fitted to these. By
Bayes' theorem the posterior given views X and outcome y is the mixture

    p(b | X, y) = sum_s W_s p(b | y, s),   W_s ~ Z_s = p(y | s) = integral p(y | b, s) p(b) db

for draws s from p(. | X): the evidence Z_s, which importance sampling gives, is the weight. Weights are
Pareto-smoothed; above k = 0.7 the outcome says so much about the loadings that no draw made without it serves.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from mofa_bayes.errors import ConvergenceWarning, DataError, ModelWarning, warn
from mofa_bayes.posterior.drawn_moments import DrawnMoments
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.density import Density
from mofa_bayes.risk.importance import LARGEST_K, Weighted, resample, sample_weighted, smooth
from mofa_bayes.risk.kernels import Predictor
from mofa_bayes.risk.proposals import Array
from mofa_bayes.risk.sampling import Sampling

PLACE = "loadings_draw"
"""Variable of the tree that says which draw of the factor model a draw of the effects belongs to."""
_EFFECTIVE = 100
_PILOTS = 1


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """Fits to S draws of the factor model.

    Attributes
    ----------
    fits
        One for each draw.
    weights
        Of the draws, of sum 1, shape (S,).
    pareto_k
        Of the evidences; NaN with fewer than 25 draws.
    """

    fits: tuple[Weighted, ...]
    weights: Array
    pareto_k: float

    def resample(self, n_points: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
        """Draw points (n_points, P) of equal weight, and which fit each is from (n_points,)."""
        origin = resample(self.weights, n_points, rng)
        points = np.empty((n_points, self.fits[0].points.shape[1]))
        for fit in np.unique(origin):
            rows = np.flatnonzero(origin == fit)
            points[rows] = self.fits[fit].resample(len(rows), rng)
        return points, origin

    def describe(self) -> dict[str, str | float]:
        """Say in attributes how it went."""
        evidence = np.array([fit.log_evidence for fit in self.fits])
        return {
            "sampler": "importance",
            "loadings": f"{len(self.fits)} draws",
            "loadings_pareto_k": self.pareto_k,
            "loadings_n_effective": float(1 / np.square(self.weights).sum()),
            "pareto_k": float(self.weights @ [fit.pareto_k for fit in self.fits]),
            "log_evidence": float(logsumexp(evidence) - np.log(len(evidence))),
        }


def pool(fits: list[Weighted]) -> Pooled:
    """Weigh fits by their evidence."""
    smoothed, shape = smooth(np.array([fit.log_evidence for fit in fits]))
    return Pooled(tuple(fits), np.exp(smoothed - logsumexp(smoothed)), shape)


def sample_like(density: Density, like: Weighted, rng: np.random.Generator) -> Weighted:
    """Sample a posterior that is similar to another, in some 100 effective draws."""
    return sample_weighted(density, _EFFECTIVE, rng, proposal=like.proposal, n_pilots=_PILOTS)


def warn_uneven(pooled: Pooled) -> None:
    """Warn where a few draws carry all weight, or single fits are not to be trusted."""
    found = pooled.describe()
    if pooled.pareto_k > LARGEST_K:
        warn(
            f"the outcome prefers few of {len(pooled.fits)} draws of the loadings (Pareto k {pooled.pareto_k:.2f}, "
            f"{found['loadings_n_effective']:.0f} effective): effects are not settled. Take more draws, or fit views "
            "and outcome together: fit_joint",
            ModelWarning,
        )
    if float(found["pareto_k"]) > LARGEST_K:
        warn(
            f"importance sampling under single draws of the loadings has a Pareto k of {found['pareto_k']:.2f}: fit to "
            "the posterior itself with sampler='nuts', and compare",
            ConvergenceWarning,
        )


def label_places(tree: xr.DataTree, places: NDArray[np.intp], sampling: Sampling) -> xr.DataTree:
    """Add to a tree which draw of the factor model each draw belongs to."""
    shape = (sampling.n_chains, sampling.n_draws)
    posterior = tree["posterior"].to_dataset()
    return xr.DataTree.from_dict({"posterior": posterior.assign({PLACE: (("chain", "draw"), places.reshape(shape))})})


def combine_by_draw(
    moments: DrawnMoments,
    places: NDArray[np.intp],
    rows: NDArray[np.intp],
    predict: Callable[[FactorMoments, NDArray[np.intp]], Predictor],
) -> Predictor:
    """Give each draw of the effects the factors under its own draw of the loadings.

    Parameters
    ----------
    moments
        Of the subjects to predict.
    places, rows
        Which draw of the loadings each draw of the effects belongs to, and its own number; (draw,).
    predict
        From moments and numbers of draws of the effects to the predictor.

    Raises
    ------
    DataError
        The moments are not under the draws that the fit was to.
    """
    if not np.isin(places, moments.places).all():
        raise DataError(
            "draws of the loadings",
            got=f"{len(moments.places)} that are not those of the fit",
            expected="the same draws of the same posterior",
            do="Call post.project_draws with the n_draws that the fit had.",
        )
    mean = np.empty((len(rows), len(moments.subjects)))
    sd = np.empty_like(mean)
    for place, own in zip(moments.places, moments.each, strict=True):
        found = np.flatnonzero(places == place)
        if len(found):
            predictor = predict(own, rows[found])
            mean[found], sd[found] = predictor.mean, predictor.sd
    return Predictor(mean, sd)
