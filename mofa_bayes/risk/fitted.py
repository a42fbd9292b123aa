"""FittedRisk: the posterior of a risk model, and what it says of effects and of patients."""

import html
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.errors import DataError, MofaBayesWarning, SpecError, name_some
from mofa_bayes.posterior.drawn_moments import DrawnMoments
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.evaluation.risks import Risks
from mofa_bayes.risk.inputs import HasMoments, Scaling, moments_of, read_predictors
from mofa_bayes.risk.interactions import Interactions, combine
from mofa_bayes.risk.kernels import Predictor, average_outcomes, predict_outcomes, split_blocks, thin
from mofa_bayes.risk.loadings import PLACE
from mofa_bayes.risk.marginal import log_marginal
from mofa_bayes.risk.response import RISK, Array, Joint, Response, read_offset
from mofa_bayes.risk.scores import Scores

if TYPE_CHECKING:
    from mofa_bayes.risk.model import RiskModel

_MAX_DRAWS_EACH = 400
"""Draws that predict each of several responses; 200 responses of all 4,000 would take minutes."""


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
        the dim `response` after `draw`.
    scaling
        Mean and sd of the covariates.
    factors
        Names of the factors that a posterior must have to be predicted from.
    n_subjects
        How many patients it was fitted to.
    fingerprint
        Of the posterior that gave the factors, or empty.
    interactions
        Factors whose effect depends on a covariate.
    """

    spec: "RiskModel"
    response: Response
    tree: xr.DataTree
    scaling: Scaling
    factors: tuple[str, ...]
    n_subjects: int
    fingerprint: str
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
        draws = np.concatenate([self._draws(name) for name in names], axis=-1)
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
            warnings.warn(message, ExtrapolationWarning, stacklevel=2)
        labels = self.response.labels
        coords = {"subject": np.asarray(moments.subjects, dtype=np.str_), labels.dim: places}
        if isinstance(self.response, Joint):
            values = self._predict_each(self.response, moments, clinical, level)
        else:
            predictor = self._predictor(moments, clinical)
            values = predict_outcomes(
                self.response, predictor.shift(offset), self._parameters(), places, level, self.spec.n_nodes
            )
        dataset = xr.Dataset({name: (("subject", labels.dim), value) for name, value in values.items()}, coords=coords)
        if not isinstance(self.response, Joint):
            linear_mean, linear_sd = predictor.summary()
            dataset["linear_predictor"] = ("subject", linear_mean)
            dataset["linear_predictor_sd"] = ("subject", linear_sd)
        return Scores(dataset=dataset, level=level, provenance=self._provenance(post))

    def draw_risks(
        self,
        post: FactorMoments | HasMoments,
        clinical: pd.DataFrame | None = None,
        *,
        times: Sequence[float] | None = None,
        n_draws: int = 400,
    ) -> Risks:
        """Predict every subject under draws of the parameters, averaged over the subject's factors.

        For `mb.evaluate(..., interval="posterior")`: how sure the model can be of its own merits. Parameters and errors
        as in `predict`.

        Parameters
        ----------
        n_draws
            How many draws, evenly spaced among all.
        """
        horizons = self.response.require_times(times)
        if self.response.labels is not RISK:
            raise DataError(
                "draws of risks",
                got=f"a model of {self.spec.outcome!r}",
                expected="an outcome that happens or not",
                do="Use predict, whose intervals hold what is uncertain.",
            )
        moments = self._moments_of(post)
        predictor, parameters = self._predictor(moments, clinical), self._parameters()
        kept = thin(len(predictor.mean), n_draws)
        predictor = predictor.take(kept)
        own = {name: draws[kept] for name, draws in parameters.items()}
        risk = average_outcomes(self.response, predictor, own, horizons, self.spec.n_nodes)
        return Risks(moments.subjects, horizons, risk, predictor.mean)

    def log_likelihood(self, post: FactorMoments | HasMoments, clinical: pd.DataFrame) -> xr.DataArray:
        """Log likelihood of each subject under each draw, dims (chain, draw, subject), for cross-validation.

        `plugin` and `cut` models are scored as they predict: see `predict`.
        """
        moments = self._moments_of(post)
        design = self.response.design(self.spec.outcome.read(clinical, moments.subjects))
        parameters = self._parameters()
        predictor = self._predictor(moments, clinical)
        values = np.empty(predictor.mean.shape)
        for draws in split_blocks(len(values), predictor.mean.shape[1] * self.spec.n_nodes):
            own = {name: draw[draws] for name, draw in parameters.items()}
            normal = predictor.mean[draws], predictor.sd[draws]
            values[draws] = log_marginal(np, self.response, *normal, own, design, self.spec.n_nodes)
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

    def summary(self) -> pd.DataFrame:
        """Effects with 95 % intervals, indexed by term. Holds no patient's data."""
        return self.effects().set_index("term")

    def __repr__(self) -> str:
        terms = f"{len(self.factors)} factors, {len(self.scaling.names)} covariates"
        return f"<FittedRisk: {self.spec.outcome!r}, {self.spec.method}; {terms}; {self.n_subjects} subjects>"

    def _repr_html_(self) -> str:
        table = self.summary().to_html(border=0, float_format=lambda x: f"{x:.3g}")
        return f"<div><strong>{html.escape(repr(self)[1:-1])}</strong>{table}</div>"

    def _moments_of(self, post: FactorMoments | HasMoments) -> FactorMoments | DrawnMoments:
        """Moments of the factors: under each draw of the loadings where the fit has them and they are given."""
        moments = post if isinstance(post, DrawnMoments) and PLACE in self.tree["posterior"] else moments_of(post)
        if moments.factors != self.factors:
            raise DataError(
                "factors",
                got=f"{len(moments.factors)} ({name_some(moments.factors)})",
                expected=f"those of the fit, in its order ({name_some(self.factors)})",
                do="Project these patients with the posterior that was used in the fit: post.project(new_views).",
            )
        if isinstance(moments, DrawnMoments) and not np.isin(self._draws(PLACE), moments.places).all():
            raise DataError(
                "draws of the loadings",
                got=f"{len(moments.places)} that are not those of the fit",
                expected="the same draws of the same posterior",
                do="Call post.project_draws with the n_draws that the fit had.",
            )
        return moments

    def _predict_each(
        self,
        response: Joint,
        moments: FactorMoments | DrawnMoments,
        clinical: pd.DataFrame | None,
        level: float,
    ) -> dict[str, Array]:
        """Predict several responses, one after the other, from a part of the draws."""
        parameters = self._parameters()
        kept = thin(len(next(iter(parameters.values()))), _MAX_DRAWS_EACH)
        each = []
        for part, own in enumerate(response.parts):
            predictor = self._predictor(moments, clinical, part=part, draws=kept)
            at = {name: draws[kept, part] for name, draws in parameters.items()}
            each.append(predict_outcomes(own, predictor, at, own.require_times(None), level, self.spec.n_nodes))
        return {name: np.concatenate([values[name] for values in each], axis=1) for name in each[0]}

    def _predictor(
        self,
        moments: FactorMoments | DrawnMoments,
        clinical: pd.DataFrame | None,
        *,
        part: int | None = None,
        draws: NDArray[np.intp] | slice = slice(None),
    ) -> Predictor:
        """Mean and sd of g'(c - mean) + b(c)'z under each draw; `plugin` believes that z is m."""
        if isinstance(moments, DrawnMoments):
            return self._predictor_by_draw(moments, clinical, part, draws)
        covariates = read_predictors(clinical, self.scaling.names, moments.subjects).to_numpy(dtype=np.float64)
        factors, slopes, changes = (
            own[draws] if part is None else own[draws, part]
            for own in map(self._draws, ("effect_factors", "effect_covariates", "effect_interactions"))
        )
        centred = covariates - self.scaling.centre
        predictor = combine(moments, factors, centred, slopes, self.interactions, changes)
        is_known = self.spec.method == "plugin"
        return Predictor(predictor.mean, np.zeros_like(predictor.sd)) if is_known else predictor

    def _predictor_by_draw(
        self,
        moments: DrawnMoments,
        clinical: pd.DataFrame | None,
        part: int | None,
        draws: NDArray[np.intp] | slice,
    ) -> Predictor:
        """Predictor of each draw of the effects, with the factors under its own draw of the loadings."""
        places = self._draws(PLACE)[draws]
        rows = np.arange(len(self._draws(PLACE)))[draws]
        mean = np.empty((len(rows), len(moments.subjects)))
        sd = np.empty_like(mean)
        for place, own in zip(moments.places, moments.each, strict=True):
            found = np.flatnonzero(places == place)
            if len(found):
                predictor = self._predictor(own, clinical, part=part, draws=rows[found])
                mean[found], sd[found] = predictor.mean, predictor.sd
        return Predictor(mean, sd)

    def _draws(self, name: str) -> Array:
        """Draws of a parameter, chains one after the other, shape (chain * draw, ...)."""
        posterior = self.tree["posterior"]
        if name not in posterior:
            sizes = posterior["effect_factors"].transpose("chain", "draw", ...).shape
            return np.zeros((sizes[0] * sizes[1], *sizes[2:-1], 0))
        values = posterior[name].transpose("chain", "draw", ...).values.astype(np.float64)
        return values.reshape(-1, *values.shape[2:])

    def _parameters(self) -> Mapping[str, Array]:
        return {name: self._draws(name) for name in self.response.parameters}

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
