"""DrawnMoments: subjects' factors under each of some joint draws of loadings, noise and intercepts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.project_draws import mix


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DrawnMoments(FactorMoments):
    """Factors of subjects given draw s of everything else, z_n | s ~ N(m_n^s, V_n^s), and their mixture.

    As `FactorMoments` it is the mixture, E[V] + Var[m] of each subject. A risk model that is fitted to it takes what is
    not known of the loadings into account: see `RiskModel.fit`. Made by `post.project_draws`, or `DrawnMoments.of`.

    Attributes
    ----------
    places
        Which draws of the posterior, counted over chains, one after the other; shape (S,).
    each
        Moments under each of them.
    fingerprint
        Of the posterior.

    Notes
    -----
    Factors are N(0, 1) in the units of the cohort. Where the prior of loadings learns their scale (`mb.ARD`, for one)
    that is the model, and subjects of the fit get, on average over draws, the factors of the fit. Where the scale is
    fixed (`mb.Normal`) and far from that of the loadings, the model's own factors are wider: those of draws then are a
    little too near to zero, and effects too large. Take `mb.ARD` for fits whose draws are to be weighted.
    """

    places: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    each: tuple[FactorMoments, ...] = ()
    fingerprint: str = ""

    @classmethod
    def of(cls, places: NDArray[np.intp], each: Sequence[FactorMoments], fingerprint: str = "") -> "DrawnMoments":
        """Put moments under some draws together."""
        mixed = mix(iter(each))
        return cls(
            mixed.subjects,
            mixed.factors,
            mixed.mean,
            mixed.covariance,
            mixed.pattern,
            places=places,
            each=tuple(each),
            fingerprint=fingerprint,
        )

    def __repr__(self) -> str:
        return f"<DrawnMoments: {len(self.subjects)} subjects, {len(self.factors)} factors, {len(self.each)} draws>"
