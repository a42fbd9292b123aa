"""Fits: how factors are fitted to the training patients of a fold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.errors import FitError
from mofa_bayes.fitting import fit
from mofa_bayes.fitting.request import require_fit
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.spec import FactorModel

Engine = Literal["vi", "spectral", "gibbs", "nuts"]
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

    def __repr__(self) -> str:
        parts = self.spec.to_toml(), self.engine, self.settings, sorted(self.options.items())
        return f"Fits{parts!r}"
