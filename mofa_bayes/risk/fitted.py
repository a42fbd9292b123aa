"""FittedRisk: the posterior of a risk model, and what it says of effects and of patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.card import render_card
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError, MofaBayesWarning, SpecError, name_some, warn
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.risk.accuracy import N_CHECKED, QuadratureError, measure_quadrature
from mofa_bayes.risk.competing import CompetingResponse
from mofa_bayes.risk.contributions import split_predictors, value_views
from mofa_bayes.risk.drawn import Drawn
from mofa_bayes.risk.evaluation.risks import Risks
from mofa_bayes.risk.files import write_risk
from mofa_bayes.risk.inputs import HasMoments, Scaling, moments_of
from mofa_bayes.risk.interactions import Interactions
from mofa_bayes.risk.predict import draw_risks, predict_subjects, score_subjects
from mofa_bayes.risk.response import RISK, Array, Joint, Response, read_offset
from mofa_bayes.risk.scores import Scores

if TYPE_CHECKING:
    from mofa_bayes.risk.model import RiskModel


class ExtrapolationWarning(MofaBayesWarning):
    """A prediction reaches beyond what was observed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class FittedRisk:
    """What `RiskModel.fit` learned. Holds no patient's row.

    Attributes
    ----------
    spec, response
        The model, and the outcome's distribution with the time scale and cut points learnt from the cohort.
    tree
        Draws: `effect_factors` (chain, draw, factor) per unit of a factor (about one sd), `effect_covariates` (chain,
        draw, covariate) per unit of the covariate, `effect_interactions` (chain, draw, interaction) per unit of both,
        all of them log hazard, odds or rate ratios, or differences of the outcome; and the baseline's parameters, which
        are those of a patient with mean covariates and factors 0. With several responses, effects and parameters have
        the dim `response` after `draw`, with competing risks `cause`.
    scaling
        Mean and sd of the covariates.
    factors
        Names of the factors that a posterior must have to be predicted from.
    n_subjects
        How many patients it was fitted to.
    fingerprint
        Of the posterior that gave the factors, or empty.
    quadrature_error
        How far the integrals over factors are from exact; None where factors are taken as known.
    interactions
        Factors whose effect depends on a covariate.
    """

    spec: "RiskModel"
    response: Response | Joint | CompetingResponse
    tree: xr.DataTree
    scaling: Scaling
    factors: tuple[str, ...]
    n_subjects: int
    fingerprint: str
    quadrature_error: QuadratureError | None = field(default=None)
    interactions: Interactions = field(default_factory=Interactions)

    def effects(self, *, level: float = 0.95) -> pd.DataFrame:
        """Summarise effects, one row for each factor, covariate and interaction.

        With interactions, the effect of a factor is that at the covariates' mean, and `F1 x treatment` is by how much
        it grows per unit of the covariate.

        Parameters
        ----------
        level
            Posterior probability of the equal-tailed interval.

        Returns
        -------
        Columns `term, mean, sd, lower, upper, level, probability_positive`, and where exp(effect) has a name the
        posterior median of it, the `hazard_ratio`, `odds_ratio` or `rate_ratio` per unit of the term. With several
        responses, first `response`, and a row for each response and term.
        """
        _require_level(level)
        terms = [*self.factors, *self.scaling.names, *self.interactions.names]
        names = ("effect_factors", "effect_covariates", "effect_interactions")
        draws = np.concatenate([self._drawn.of(name) for name in names], axis=-1)
        outer = draws.shape[1:-1]
        draws = draws.reshape(len(draws), -1)
        lower, median, upper = np.quantile(draws, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
        table = pd.DataFrame(
            {
                "term": terms * int(np.prod(outer, dtype=int)),
                "mean": draws.mean(axis=0),
                "sd": draws.std(axis=0, ddof=1),
                "lower": lower,
                "upper": upper,
                "level": level,
                "probability_positive": (draws > 0).mean(axis=0),
            }
        )
        if self.response.ratio:
            table[self.response.ratio] = np.exp(median)
        if outer:
            of_factors = self.tree["posterior"].to_dataset()["effect_factors"].transpose("chain", "draw", ..., "factor")
            dim = str(of_factors.dims[2])
            table.insert(0, dim, np.repeat(of_factors[dim].values.astype(object), len(terms)))
        return table

    def predict(
        self,
        post: FactorMoments | HasMoments,
        clinical: pd.DataFrame | None = None,
        *,
        times: Sequence[float] | None = None,
        level: float = 0.95,
    ) -> Scores:
        """Predict every subject of a posterior or projection.

        The estimate is P(event by t), the probability of each category, or the expected value, averaged over the
        patient's factors and over parameters. Its interval holds what more data could change (factors and parameters),
        not the outcome's own chance: quantiles of the estimate given factors and parameters, over both. What is
        measured or counted also has a predictive interval, which is of the outcome itself.

        Parameters
        ----------
        post
            A Posterior, projected patients, or `FactorMoments`, with the factors of the fit. Where the fit was to
            `post.project_draws(views)`, pass `post.project_draws(new_views)`: a patient's predictor is then the mixture
            over draws s of N(b_s'm^s, b_s'V^s b_s). Moments that are not of single draws serve too, as N(b'm, b'Vb)
            under every draw of b.
        clinical
            Covariates, and the exposure of a count, indexed by subject; may be left out when the model has none.
        times
            Horizons of a survival outcome, in the unit of the time column; none for others.
        level
            Probability of the interval.

        Raises
        ------
        DataError
            Factors differ from the fit's, covariates or rows are absent, or times are not increasing positive numbers.

        Warns
        -----
        ExtrapolationWarning
            A horizon lies beyond the longest follow-up of the fitted cohort.
        """
        _require_level(level)
        places = self.response.require_times(times)
        moments = self._moments_of(post)
        offset = read_offset(self.spec.outcome, clinical, moments.subjects)
        is_beyond = self.response.is_beyond(places)
        if is_beyond.any():
            shown = ", ".join(f"{time:g}" for time in places[is_beyond])
            message = f"Horizons {shown} lie beyond the longest follow-up; the baseline hazard is extrapolated there."
            warn(message, ExtrapolationWarning)
        dataset = predict_subjects(self._drawn, moments, clinical, offset, places, level)
        return Scores(dataset=dataset, level=level, provenance=self._provenance(post))

    def draw_risks(
        self,
        post: FactorMoments | HasMoments,
        clinical: pd.DataFrame | None = None,
        *,
        times: Sequence[float] | None = None,
        n_draws: int = 400,
        cause: str | None = None,
    ) -> Risks:
        """Predict every subject under draws of the parameters, averaged over the subject's factors.

        For `mb.evaluate(..., interval="posterior")`: how sure the model can be of its own merits. Parameters and errors
        as in `predict`.

        Parameters
        ----------
        n_draws
            How many draws, evenly spaced among all.
        cause
            Of competing risks, the one whose risk is asked for.
        """
        horizons = self.response.require_times(times)
        if self.response.labels is not RISK or isinstance(self.response, Joint):
            raise DataError(
                "draws of risks",
                got=f"a model of {self.spec.outcome!r}",
                expected="an outcome that happens or not",
                do="Use predict, whose intervals hold what is uncertain.",
            )
        return draw_risks(self._drawn, self._moments_of(post), clinical, horizons, n_draws, cause)

    def contributions(
        self,
        post: Posterior,
        views: MultiView | Mapping[str, pd.DataFrame],
        clinical: pd.DataFrame | None = None,
        *,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Say what each view and each covariate put into a patient's predictor.

        b'm_n = sum_m b'V_n W_m' Sigma_m^-1 (x_nm - mu_m), additive and exact whatever is missing, and g_c (c_n - mean)
        for each covariate. Summed over the rows of a patient, `contribution` is the mean linear predictor of
        `predict(post.project(views), clinical)`.

        Parameters
        ----------
        post
            The posterior whose factors the model was fitted to.
        views
            Views of the patients: those of the fit, or new ones.
        clinical
            Covariates, indexed by subject; may be left out when the model has none.
        level
            Probability of the intervals, which are over draws of the effects.

        Returns
        -------
        One row for each subject and source: `subject, source, kind` (view or covariate), `is_seen, contribution, sd,
        lower, upper, level`. A view that the patient lacks contributes exactly 0.

        Raises
        ------
        FitError, DataError
            `post` is not the posterior of the fit, its factors are sparse, or covariates are absent.
        """
        _require_level(level)
        return split_predictors(self, post, views, clinical, level)

    def value_of_views(
        self, post: Posterior, views: MultiView | Mapping[str, pd.DataFrame], *, level: float = 0.95
    ) -> pd.DataFrame:
        """Say what measuring a view that a patient lacks would buy: b'V_S b - b'V_(S+m) b.

        Parameters and errors as in `contributions`.

        Returns
        -------
        One row for each subject and view that it lacks: `subject, view, value`, the expected reduction of the
        predictor's variance if all features of the view were seen, `lower, upper, level` over draws of the effects,
        `variance`, the predictor's variance now, and `share`, the part of it that would go.
        """
        _require_level(level)
        return value_views(self, post, views, level)

    def log_likelihood(
        self, post: FactorMoments | HasMoments, clinical: pd.DataFrame, *, n_nodes: int | None = None
    ) -> xr.DataArray:
        """Log likelihood of each subject under each draw, dims (chain, draw, subject), for cross-validation.

        `plugin` and `cut` models are scored as they predict: see `predict`. `n_nodes` is that of the model when left
        out.
        """
        n_nodes = self.spec.n_nodes if n_nodes is None else n_nodes
        moments = self._moments_of(post)
        design = self.response.design(self.spec.outcome.read(clinical, moments.subjects))
        values = score_subjects(self._drawn, moments, clinical, design, n_nodes)
        chains, draws_each = (self.tree["posterior"].sizes[dim] for dim in ("chain", "draw"))
        return xr.DataArray(
            values.reshape(chains, draws_each, -1),
            dims=("chain", "draw", "subject"),
            coords={
                "chain": self.tree["posterior"]["chain"].values,
                "draw": self.tree["posterior"]["draw"].values,
                "subject": np.asarray(moments.subjects, dtype=np.str_),
            },
            name="log_likelihood",
        )

    def check_quadrature(self, post: FactorMoments | HasMoments, clinical: pd.DataFrame) -> "FittedRisk":
        """Return this fit with its `quadrature_error` at these patients; warn where it is large."""
        n_draws = self.tree["posterior"].sizes["draw"]
        kept = np.unique(np.linspace(0, n_draws - 1, N_CHECKED).astype(np.intp))
        few = replace(
            self,
            tree=xr.DataTree.from_dict({"posterior": self.tree["posterior"].to_dataset().isel(draw=kept, chain=[0])}),
        )

        def score(n_nodes: int) -> Array:
            values: Array = few.log_likelihood(post, clinical, n_nodes=n_nodes).values[0]
            return values

        return replace(self, quadrature_error=measure_quadrature(score, self.spec.n_nodes))

    def summary(self) -> pd.DataFrame:
        """Effects with 95 % intervals, indexed by term. Holds no patient's data."""
        return self.effects().set_index("term")

    def save(self, path: str | Path) -> None:
        """Write to a NetCDF file, atomically; `mb.load_risk` reads it. Nothing of a patient is in it.

        Raises
        ------
        FileError
            The place cannot be written; what was there before is untouched.
        """
        write_risk(self, Path(path))

    def __repr__(self) -> str:
        terms = f"{len(self.factors)} factors, {len(self.scaling.names)} covariates"
        return f"<FittedRisk: {self.spec.outcome!r}, {self.spec.method}; {terms}; {self.n_subjects} subjects>"

    def _repr_html_(self) -> str:
        return render_card(repr(self), self.summary())

    def _moments_of(self, post: FactorMoments | HasMoments) -> FactorMoments:
        moments = moments_of(post)
        self.require_factors(moments)
        return moments

    def require_factors(self, moments: FactorMoments) -> None:
        """Raise DataError unless the factors are those of the fit."""
        if moments.factors != self.factors:
            raise DataError(
                "factors",
                got=f"{len(moments.factors)} ({name_some(moments.factors)})",
                expected=f"those of the fit, in its order ({name_some(self.factors)})",
                do="Project these patients with the posterior that was used in the fit: post.project(new_views).",
            )

    def effects_of(self, what: Literal["factors", "covariates", "interactions"]) -> Array:
        """Draws of the effects, chains one after the other, (draw, [response,] term)."""
        return self._drawn.of(f"effect_{what}")

    @property
    def _drawn(self) -> Drawn:
        return Drawn(
            posterior=self.tree["posterior"].to_dataset(),
            response=self.response,
            scaling=self.scaling,
            interactions=self.interactions,
            is_known=self.spec.method == "plugin",
            n_nodes=self.spec.n_nodes,
        )

    def _provenance(self, post: object) -> dict[str, str]:
        try:
            package = version("mofa-bayes")
        except PackageNotFoundError:
            package = "unknown"
        return {
            "package": "mofa-bayes",
            "version": package,
            "outcome": repr(self.spec.outcome),
            "covariates": ", ".join(self.scaling.names),
            "method": self.spec.method,
            "fingerprint_fitted": self.fingerprint,
            "fingerprint_predicted": str(getattr(post, "fingerprint", "")),
        }


def _require_level(level: float) -> None:
    if not isinstance(level, int | float) or not 0 < level < 1:
        raise SpecError("level", got=repr(level), expected="a probability between 0 and 1", do="0.95 is usual.")
