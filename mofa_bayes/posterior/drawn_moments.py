"""DrawnMoments: subjects' factors under each of some joint draws of loadings, noise and intercepts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.project_draws import mix


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DrawnMoments:
    """Factors of subjects given draw s of everything else: z_n | s ~ N(m_n^s, V_n^s).

    A risk model that is fitted to it takes what is not known of the loadings into account: see `RiskModel.fit`.

    Attributes
    ----------
    places
        Which draws of the posterior, counted over chains, one after the other; shape (S,).
    each
        Moments under each of them.
    fingerprint
        Of the posterior.
    """

    places: NDArray[np.intp]
    each: tuple[FactorMoments, ...]
    fingerprint: str = ""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the N rows."""
        return self.each[0].subjects

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the K factors."""
        return self.each[0].factors

    def factor_moments(self) -> FactorMoments:
        """Mix the draws: E[V] + Var[m], one covariance for each subject."""
        return mix(iter(self.each))

    def __repr__(self) -> str:
        return f"<DrawnMoments: {len(self.subjects)} subjects, {len(self.factors)} factors, {len(self.each)} draws>"
