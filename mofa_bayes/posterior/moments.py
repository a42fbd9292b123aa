"""FactorMoments: each subject's factors as a Gaussian, the form in which risk models take them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.errors import DataError, name_some

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FactorMoments:
    """Factors of subjects: z_n ~ N(mean_n, covariance_pattern(n)).

    Attributes
    ----------
    subjects, factors
        Names of the N rows and K factors.
    mean
        Shape (N, K).
    covariance
        Shape (P, K, K): one matrix per pattern of observed entries.
    pattern
        Which of the P patterns each subject has, shape (N,).
    given_loadings
        The same under the loadings of the fit as they are, where `covariance` also holds the error that is common to
        all subjects (`mb.cross_fit`). Risk models and imputation take these: they live in the coordinates of the fit.
    inclusion
        Probability that each factor of each subject is not zero (N, K), under `SpikeSlabFactors`; None where factors
        are never zero. The moments hold either way.
    """

    subjects: tuple[str, ...]
    factors: tuple[str, ...]
    mean: Array
    covariance: Array
    pattern: NDArray[np.intp]
    given_loadings: "FactorMoments | None" = None
    inclusion: Array | None = None

    def covariances(self) -> Array:
        """Covariance of every subject, shape (N, K, K)."""
        return self.covariance[self.pattern]

    def variance_along(self, direction: Array) -> Array:
        """Variance b' V_n b of the factors along directions of shape (..., K); shape (..., N)."""
        by_pattern = np.einsum("...k,pkl,...l->...p", direction, self.covariance, direction)
        return np.asarray(by_pattern[..., self.pattern])

    def draw(self, rows: NDArray[np.intp], n_draws: int, rng: np.random.Generator) -> Array:
        """Draw the factors of some subjects (S, R, K): normal, or with `inclusion` zero or from a normal slab.

        A factor that is not zero with probability p, and then N(m, v), has mean p m and mean square p (v + m^2), which
        gives back the slab; given the loadings such factors are independent of each other.
        """
        mean, noise = self.mean[rows], rng.standard_normal((n_draws, len(rows), len(self.factors)))
        if self.inclusion is None:
            root = np.linalg.cholesky(self.covariance)[self.pattern[rows]]
            return np.asarray(mean + np.einsum("nkl,snl->snk", root, noise, optimize=True))
        share = np.maximum(self.inclusion[rows], 1e-300)
        square = np.diagonal(self.covariance, axis1=1, axis2=2)[self.pattern[rows]] + np.square(mean)
        slab_sd = np.sqrt(np.maximum(square / share - np.square(mean / share), 0.0))
        return np.where(rng.random(noise.shape) < share, mean / share + slab_sd * noise, 0.0)

    def sel(self, subjects: Sequence[str]) -> "FactorMoments":
        """Return some subjects, in the order asked for; raise DataError when one is unknown."""
        row = {subject: n for n, subject in enumerate(self.subjects)}
        unknown = [subject for subject in subjects if str(subject) not in row]
        if unknown:
            raise DataError(
                "subjects of the posterior",
                got=f"{len(unknown)} that it does not have ({name_some(unknown)})",
                expected="subjects that were fitted or projected",
                do="Project them first: post.project(new_views).",
            )
        rows = np.array([row[str(subject)] for subject in subjects], dtype=np.intp)
        own = self.given_loadings
        return FactorMoments(
            tuple(str(s) for s in subjects),
            self.factors,
            self.mean[rows],
            self.covariance,
            self.pattern[rows],
            None if own is None else own.sel(subjects),
            None if self.inclusion is None else self.inclusion[rows],
        )

    def to_dataset(self) -> xr.Dataset:
        """Label the moments: `factors_mean`, `factors_cov` (pattern, factor, factor_bis), `pattern_of` (subject).

        With them `factors_inclusion` (subject, factor), where factors may be zero.
        """
        own = {} if self.inclusion is None else {"factors_inclusion": (("subject", "factor"), self.inclusion)}
        return xr.Dataset(
            {
                "factors_mean": (("subject", "factor"), self.mean),
                "factors_cov": (("pattern", "factor", "factor_bis"), self.covariance),
                "pattern_of": (("subject",), self.pattern),
                **own,
            },
            coords={
                "subject": np.asarray(self.subjects, dtype=np.str_),
                "factor": np.asarray(self.factors, dtype=np.str_),
                "factor_bis": np.asarray(self.factors, dtype=np.str_),
            },
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> "FactorMoments":
        """Read what `to_dataset` wrote."""
        return cls(
            tuple(str(s) for s in dataset["subject"].values),
            tuple(str(f) for f in dataset["factor"].values),
            dataset["factors_mean"].values.astype(np.float64),
            dataset["factors_cov"].values.astype(np.float64),
            dataset["pattern_of"].values.astype(np.intp),
            inclusion=dataset["factors_inclusion"].values if "factors_inclusion" in dataset else None,
        )

    @classmethod
    def from_draws(cls, factors: xr.DataArray) -> "FactorMoments":
        """Summarise draws of dims (chain, draw, subject, factor), a covariance per subject."""
        draws = factors.stack(point=("chain", "draw")).transpose("point", "subject", "factor").values.astype(np.float64)
        mean = draws.mean(axis=0)
        centred = draws - mean
        covariance = np.einsum("snk,snl->nkl", centred, centred) / max(len(draws) - 1, 1)
        subjects = tuple(str(s) for s in factors["subject"].values)
        return cls(
            subjects, tuple(str(f) for f in factors["factor"].values), mean, covariance, np.arange(len(subjects))
        )

    def __repr__(self) -> str:
        return f"<FactorMoments: {len(self.subjects)} subjects, {len(self.factors)} factors>"
