"""Fits: how factors are fitted to the training patients of a fold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.errors import FitError
from mofa_bayes.fitting import fit
from mofa_bayes.fitting.request import require_fit
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.risk import Compiled, FittedRisk, MultiContinuous, RiskModel
from mofa_bayes.spec import FactorModel

Engine = Literal["vi", "spectral", "gibbs", "nuts"]
_OPTIONS = {"n_chains": 1, "n_draws": 400}
_N_DRAWS = 2
"""Draws of factors and loadings: risk models use moments, and only sampling engines need more (their own number)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fits:
    """How factors and risks are fitted in a fold.

    Attributes
    ----------
    spec, engine, settings
        As in `mb.fit`.
    options
        Further arguments of `RiskModel.fit`.
    """

    spec: FactorModel
    engine: Engine = "vi"
    settings: Ascent | Sampling | None = None
    options: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        spec: FactorModel,
        engine: Engine,
        settings: Ascent | Sampling | None,
        options: Mapping[str, Any] | None,
    ) -> "Fits":
        """Fill in what was left out: normal approximations of risk models, and as many draws as scores need."""
        return cls(spec=spec, engine=engine, settings=settings, options={**_OPTIONS, **(options or {})})

    def require(self, views: MultiView) -> None:
        """Raise FitError where the cohort cannot be fitted so."""
        require_fit(views, self.spec, self.engine, None, self.settings)
        if getattr(self.settings, "checkpoint", None) is not None:
            raise FitError(
                "settings",
                got="a checkpoint",
                expected="settings without one, which belongs to a single fit",
                do="Write checkpoint=... of the validation itself.",
            )

    def fit_factors(self, train: MultiView, rng: np.random.Generator) -> Posterior:
        """Fit the factor model to training patients, whose views may be fewer than those of the model."""
        own = {name: view for name, view in self.spec.views.items() if name in train.names}
        n_draws = _N_DRAWS if self.engine in ("vi", "spectral") else None
        return fit(
            train,
            replace(self.spec, views=own),
            engine=self.engine,
            seed=rng,
            n_draws=n_draws,
            settings=self.settings,
            progress=False,
        )

    def pad(self, moments: FactorMoments) -> FactorMoments:
        """Add factors that are zero for everyone, up to the model's number.

        Folds and views keep different numbers of factors, and risk models are compiled anew for each number: 6 s of the
        6.1 that a fit took. An effect of nothing has its prior for a posterior and changes no prediction.
        """
        n_known, n_missing = len(moments.factors), self.spec.n_factors - len(moments.factors)
        if n_missing <= 0:
            return moments
        covariance = np.zeros((len(moments.covariance), self.spec.n_factors, self.spec.n_factors))
        covariance[:, :n_known, :n_known] = moments.covariance
        return FactorMoments(
            moments.subjects,
            (*moments.factors, *(f"nothing {number + 1}" for number in range(n_missing))),
            np.pad(moments.mean, ((0, 0), (0, n_missing))),
            covariance,
            moments.pattern,
        )

    def fit_risk(
        self,
        risk: RiskModel,
        train: FactorMoments,
        clinical: pd.DataFrame,
        rng: np.random.Generator,
        compiled: Compiled,
    ) -> FittedRisk:
        """Fit a risk model to training patients; `compiled` serves all fits of a process."""
        quick = {} if isinstance(risk.outcome, MultiContinuous) else {"sampler": "laplace"}
        return risk.fit(train, clinical, seed=rng, compiled=compiled, **{**quick, **self.options})

    def __repr__(self) -> str:
        parts = self.spec.to_toml(), self.engine, self.settings, sorted(self.options.items())
        return f"Fits{parts!r}"
