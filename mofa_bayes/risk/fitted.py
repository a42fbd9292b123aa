"""FittedRisk: the posterior of a risk model, and what it says of effects and of patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.card import render_card
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError, MofaBayesWarning, SpecError, name_some, warn
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.risk.accuracy import N_CHECKED, QuadratureError, measure_quadrature
from mofa_bayes.risk.competing import CompetingResponse
from mofa_bayes.risk.competing_predict import (
    average_incidences,
    predict_incidences,
    score_jointly,
    tabulate_incidences,
)
from mofa_bayes.risk.contributions import split_predictors, value_views
from mofa_bayes.risk.evaluation.risks import Risks
from mofa_bayes.risk.files import write_risk
from mofa_bayes.risk.inputs import HasMoments, Scaling, moments_of, read_predictors
from mofa_bayes.risk.interactions import Interactions, combine, find_profiles
from mofa_bayes.risk.joint import JointPredictor
from mofa_bayes.risk.kernels import Predictor, average_outcomes, predict_outcomes, split_blocks, thin
from mofa_bayes.risk.marginal import log_marginal
from mofa_bayes.risk.panel import find_cells, score_draws
from mofa_bayes.risk.quadrature import root_of
from mofa_bayes.risk.response import RISK, Array, Design, Joint, Response, read_offset
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
            A Posterior, projected patients, or `FactorMoments`, with the factors of the fit.
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
        if isinstance(self.response, CompetingResponse):
            joint, parameters = self._joint_predictor(moments, clinical), self._parameters()
            risks = predict_incidences(self.response, joint, parameters, places, level, self.spec.n_nodes)
            dataset = tabulate_incidences(self.response, risks, moments.subjects, places, joint)
            return Scores(dataset=dataset, level=level, provenance=self._provenance(post))
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
        moments = self._moments_of(post)
        parameters = self._parameters()
        kept = thin(len(next(iter(parameters.values()))), n_draws)
        own = {name: draws[kept] for name, draws in parameters.items()}
        if isinstance(self.response, CompetingResponse):
            joint, c = self._joint_predictor(moments, clinical).take(kept), self.response.require_cause(cause)
            risks = average_incidences(self.response, joint, own, horizons, self.spec.n_nodes)[..., c]
            return Risks(moments.subjects, horizons, risks, joint.mean[..., c], cause=self.response.codes[c])
        predictor = self._predictor(moments, clinical).take(kept)
        risk = average_outcomes(self.response, predictor, own, horizons, self.spec.n_nodes)
        return Risks(moments.subjects, horizons, risk, predictor.mean)

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
        parameters = self._parameters()
        if isinstance(self.response, CompetingResponse):
            joint = self._joint_predictor(moments, clinical)
            values = score_jointly(self.response, joint, parameters, design, n_nodes)
        elif isinstance(self.response, Joint):
            values = self._score_jointly(moments, clinical, design)
        else:
            predictor = self._predictor(moments, clinical)
            values = np.empty(predictor.mean.shape)
            for draws in split_blocks(len(values), predictor.mean.shape[1] * n_nodes):
                own = {name: draw[draws] for name, draw in parameters.items()}
                normal = predictor.mean[draws], predictor.sd[draws]
                values[draws] = log_marginal(np, self.response, *normal, own, design, n_nodes)
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
        return self._draws(f"effect_{what}")

    def _predict_each(
        self, response: Joint, moments: FactorMoments, clinical: pd.DataFrame | None, level: float
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

    def _score_jointly(self, moments: FactorMoments, clinical: pd.DataFrame, design: Design) -> Array:
        """Log density of each subject's responses under each draw, a block of draws at a time."""
        covariates = read_predictors(clinical, self.scaling.names, moments.subjects).to_numpy(dtype=np.float64)
        centred, parameters = covariates - self.scaling.centre, self._parameters()
        factors, slopes, changes = map(self._draws, ("effect_factors", "effect_covariates", "effect_interactions"))
        pairs = self.interactions
        moderators, spread = pairs.moderate(centred), pairs.spread(factors.shape[-1])
        profiles = find_profiles(moments, moderators)
        is_uncertain = float(self.spec.method != "plugin")
        cells, of_group = find_cells(design["is_known"], profiles.profile, root_of(is_uncertain * profiles.covariance))
        moved = moments.mean[:, list(pairs.factor)] * moderators
        blocks = []
        for draws in split_blocks(len(factors), design["value"].size * (1 + len(pairs.names))):
            mean = moments.mean @ np.swapaxes(factors[draws], 1, 2) + centred @ np.swapaxes(slopes[draws], 1, 2)
            mean = mean + moved @ np.swapaxes(changes[draws], 1, 2)
            effects = factors[draws]
            if pairs.names:
                own = profiles.moderators[of_group][:, None, :] * changes[draws, None]
                effects = effects[:, None] + own @ spread
            at = {name: draw[draws] for name, draw in parameters.items()}
            blocks.append(score_draws(effects, mean, at, design, cells))
        return np.concatenate(blocks)

    def _predictor(
        self,
        moments: FactorMoments,
        clinical: pd.DataFrame | None,
        *,
        part: int | None = None,
        draws: NDArray[np.intp] | slice = slice(None),
    ) -> Predictor:
        """Mean and sd of g'(c - mean) + b(c)'z under each draw; `plugin` believes that z is m."""
        covariates = read_predictors(clinical, self.scaling.names, moments.subjects).to_numpy(dtype=np.float64)
        factors, slopes, changes = (
            own[draws] if part is None else own[draws, part]
            for own in map(self._draws, ("effect_factors", "effect_covariates", "effect_interactions"))
        )
        centred = covariates - self.scaling.centre
        predictor = combine(moments, factors, centred, slopes, self.interactions, changes)
        is_known = self.spec.method == "plugin"
        return Predictor(predictor.mean, np.zeros_like(predictor.sd)) if is_known else predictor

    def _joint_predictor(self, moments: FactorMoments, clinical: pd.DataFrame | None) -> JointPredictor:
        """Predictors of all causes under each draw; `plugin` believes that z is m."""
        covariates = read_predictors(clinical, self.scaling.names, moments.subjects).to_numpy(dtype=np.float64)
        offset = np.swapaxes(self._draws("effect_covariates") @ (covariates - self.scaling.centre).T, 1, 2)
        predictor = JointPredictor.combine(moments, self._draws("effect_factors"), offset)
        return predictor.known() if self.spec.method == "plugin" else predictor

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
