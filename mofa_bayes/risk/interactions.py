"""Interactions: factors whose effect depends on a covariate, so that each patient has a direction of their own.

The effect of factor k on patient i is b_k + sum_c d_kc c_i, with c_i measured from the cohort's mean, and what
enters the outcome is b(c_i)'z_i ~ N(b(c_i)'m_i, b(c_i)'V_i b(c_i)).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.errors import DataError, SpecError, name_some
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.kernels import Predictor, split_blocks
from mofa_bayes.risk.response import Array

Interaction = str | tuple[str, str]


@dataclass(frozen=True, slots=True)
class Interactions:
    """Pairs of a factor and a covariate, by name and by position.

    Attributes
    ----------
    names
        `factor x covariate`, one for each pair.
    factor, covariate
        Their positions.
    """

    names: tuple[str, ...] = ()
    factor: tuple[int, ...] = ()
    covariate: tuple[int, ...] = ()

    @classmethod
    def find(cls, asked: Sequence[Interaction], factors: Sequence[str], covariates: Sequence[str]) -> "Interactions":
        """Look up what was asked for; a covariate alone stands for all factors with it.

        Raises
        ------
        DataError
            The posterior has no such factor.
        """
        pairs = [
            pair
            for entry in asked
            for pair in ([(factor, entry) for factor in factors] if isinstance(entry, str) else [entry])
        ]
        unknown = [factor for factor, _ in pairs if factor not in factors]
        if unknown:
            raise DataError(
                "interactions",
                got=f"factors that the posterior does not have ({name_some(unknown)})",
                expected=f"among {name_some(factors, 20)}",
                do="Correct the name.",
            )
        pairs = list(dict.fromkeys(pairs))
        return cls(
            tuple(f"{factor} x {covariate}" for factor, covariate in pairs),
            tuple(list(factors).index(factor) for factor, _ in pairs),
            tuple(list(covariates).index(covariate) for _, covariate in pairs),
        )

    def spread(self, n_factors: int) -> Array:
        """One-hot rows of the factors, (interaction, factor)."""
        return np.eye(n_factors)[list(self.factor), :]

    def moderate(self, covariates: Array) -> Array:
        """Values of the pairs' covariates, (subject, interaction), from values (subject, covariate)."""
        return covariates[:, list(self.covariate)]


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """Subjects who share the covariance of their factors and the covariates that change effects share a variance b'Vb.

    Attributes
    ----------
    covariance, moderators
        Of each of R profiles, (R, K, K) and (R, P).
    profile
        Of each subject, (N,).
    """

    covariance: Array
    moderators: Array
    profile: NDArray[np.intp]


def find_profiles(moments: FactorMoments, moderators: Array) -> Profiles:
    """Find the profiles among N subjects with covariates (N, P) that change effects."""
    keys, profile = np.unique(np.column_stack([moments.pattern, moderators]), axis=0, return_inverse=True)
    return Profiles(moments.covariance[keys[:, 0].astype(np.intp)], keys[:, 1:], profile.ravel().astype(np.intp))


def require_interactions(asked: object, covariates: Sequence[str]) -> tuple[Interaction, ...]:
    """Return what was asked for as a tuple; raise SpecError when it names a covariate that the model does not have."""
    entries = () if isinstance(asked, str) or not isinstance(asked, Sequence) else tuple(asked)
    pairs = tuple(tuple(entry) if isinstance(entry, list | tuple) else entry for entry in entries)
    is_right = [
        pair in covariates
        if isinstance(pair, str)
        else isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and pair[1] in covariates
        for pair in pairs
    ]
    if isinstance(asked, str) or not isinstance(asked, Sequence) or not all(is_right):
        raise SpecError(
            "interactions",
            got=repr(asked)[:80],
            expected=f"covariates of the model, or (factor, covariate), with covariates among "
            f"{name_some(covariates) or 'none'}",
            do='Write covariates=["treatment"], interactions=["treatment"] or interactions=[("F1", "treatment")].',
        )
    return pairs


def combine(
    moments: FactorMoments, effects: Array, covariates: Array, slopes: Array, pairs: Interactions, changes: Array
) -> Predictor:
    """Linear predictor of every subject under every draw, as a normal over the subject's factors.

    Parameters
    ----------
    moments
        Of N subjects and K factors.
    effects, slopes, changes
        Draws of b (S, K), of covariates' effects (S, C) and of the pairs' d (S, P).
    covariates
        Centred, (N, C).
    pairs
        The P interactions.
    """
    mean = effects @ moments.mean.T + slopes @ covariates.T
    if not pairs.names:
        variance = moments.variance_along(effects)
        return Predictor(mean, np.sqrt(np.maximum(variance, 0.0)))
    moderators, spread = pairs.moderate(covariates), pairs.spread(effects.shape[1])
    mean = mean + changes @ (moderators * moments.mean[:, list(pairs.factor)]).T
    variance = np.empty_like(mean)
    for rows in split_blocks(len(moderators), effects.size):
        turned = np.einsum("sp,np,pk->snk", changes, moderators[rows], spread, optimize=True)
        directions = effects[:, None] + turned
        along = directions[..., None, :] @ moments.covariances()[rows]
        variance[:, rows] = (along[..., 0, :] * directions).sum(axis=-1)
    return Predictor(mean, np.sqrt(np.maximum(variance, 0.0)))
