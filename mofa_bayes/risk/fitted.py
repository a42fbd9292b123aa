"""FittedRisk: the posterior of a risk model, and what it says of effects and of patients."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import logsumexp

from mofa_bayes.errors import DataError, MofaBayesWarning, SpecError, name_some, warn
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.evaluation.risks import Risks
from mofa_bayes.risk.inputs import HasMoments, Scaling, moments_of, read_predictors
from mofa_bayes.risk.kernels import Predictor, average_risks, predict_risks, split_blocks
from mofa_bayes.risk.quadrature import hermite_nodes
from mofa_bayes.risk.response import Array, Response
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
        draw, covariate) per unit of the covariate, both log hazard or log odds ratios, and the baseline's parameters,
        which are those of a patient with mean covariates and factors 0.
    scaling
        Mean and sd of the covariates.
    factors
        Names of the factors that a posterior must have to be predicted from.
    n_subjects
        How many patients it was fitted to.
    fingerprint
        Of the posterior that gave the factors, or empty.
    """

    spec: "RiskModel"
    response: Response
    tree: xr.DataTree
    scaling: Scaling
    factors: tuple[str, ...]
    n_subjects: int
    fingerprint: str

    def effects(self, *, level: float = 0.95) -> pd.DataFrame:
        """Summarise effects, one row for each factor and covariate.

        Parameters
        ----------
        level
            Posterior probability of the equal-tailed interval.

        Returns
        -------
        Columns `term, mean, sd, lower, upper, level, probability_positive` on the log scale, and the posterior median
        of the `hazard_ratio` or `odds_ratio` per unit of the term.
        """
        _require_level(level)
        draws = np.concatenate([self._draws("effect_factors"), self._draws("effect_covariates")], axis=1)
        lower, median, upper = np.quantile(draws, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
        return pd.DataFrame(
            {
                "term": [*self.factors, *self.scaling.names],
                "mean": draws.mean(axis=0),
                "sd": draws.std(axis=0, ddof=1),
                "lower": lower,
                "upper": upper,
                "level": level,
                "probability_positive": (draws > 0).mean(axis=0),
                self.response.ratio: np.exp(median),
            }
        )

    def predict(
        self,
        post: FactorMoments | HasMoments,
        clinical: pd.DataFrame | None = None,
        *,
        times: Sequence[float] | None = None,
        level: float = 0.95,
    ) -> Scores:
        """Predict every subject of a posterior or projection.

        The risk is P(event by t), averaged over the patient's factors and over parameters. Its interval holds what more
        data could change (factors and parameters), not the outcome's own chance: quantiles of the risk given factors
        and parameters, over both.

        Parameters
        ----------
        post
            A Posterior, projected patients, or `FactorMoments`, with the factors of the fit.
        clinical
            Covariates, indexed by subject; may be left out when the model has none.
        times
            Horizons, in the unit of the time column; none for a binary outcome.
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
        horizons = self.response.require_times(times)
        moments = self._moments_of(post)
        predictor = self._predictor(moments, clinical)
        is_beyond = self.response.is_beyond(horizons)
        if is_beyond.any():
            shown = ", ".join(f"{time:g}" for time in horizons[is_beyond])
            message = f"Horizons {shown} lie beyond the longest follow-up; the baseline hazard is extrapolated there."
            warn(message, ExtrapolationWarning)
        risks = predict_risks(self.response, predictor, self._parameters(), horizons, level, self.spec.n_nodes)
        linear_mean, linear_sd = predictor.summary()
        coords = {"subject": np.asarray(moments.subjects, dtype=np.str_), "time": horizons}
        dataset = xr.Dataset({name: (("subject", "time"), values) for name, values in risks.items()}, coords=coords)
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
        moments = self._moments_of(post)
        predictor, parameters = self._predictor(moments, clinical), self._parameters()
        kept = np.unique(np.linspace(0, len(predictor.mean) - 1, max(n_draws, 1)).astype(np.intp))
        predictor = Predictor(predictor.mean[kept], predictor.sd[kept])
        own = {name: draws[kept] for name, draws in parameters.items()}
        risk = average_risks(self.response, predictor, own, horizons, self.spec.n_nodes)
        return Risks(moments.subjects, horizons, risk, predictor.mean)

    def log_likelihood(self, post: FactorMoments | HasMoments, clinical: pd.DataFrame) -> xr.DataArray:
        """Log likelihood of each subject under each draw, dims (chain, draw, subject), for cross-validation.

        `plugin` and `cut` models are scored as they predict: see `predict`.
        """
        moments = self._moments_of(post)
        predictor = self._predictor(moments, clinical)
        design = self.response.design(self.spec.outcome.read(clinical, moments.subjects))
        parameters = self._parameters()
        nodes, log_weights = hermite_nodes(self.spec.n_nodes)
        values = np.empty(predictor.mean.shape)
        for draws in split_blocks(len(values), predictor.mean.shape[1] * len(nodes)):
            own = {name: draw[draws] for name, draw in parameters.items()}
            at_nodes = predictor.mean[draws, :, None] + predictor.sd[draws, :, None] * nodes
            by_node = self.response.log_likelihood(np, at_nodes, own, design)
            values[draws] = logsumexp(by_node + log_weights, axis=-1)
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

    def _moments_of(self, post: FactorMoments | HasMoments) -> FactorMoments:
        moments = moments_of(post)
        if moments.factors != self.factors:
            raise DataError(
                "factors",
                got=f"{len(moments.factors)} ({name_some(moments.factors)})",
                expected=f"those of the fit, in its order ({name_some(self.factors)})",
                do="Project these patients with the posterior that was used in the fit: post.project(new_views).",
            )
        return moments

    def _predictor(self, moments: FactorMoments, clinical: pd.DataFrame | None) -> Predictor:
        """Mean and sd of g'(c - mean) + b'z under each draw; `plugin` believes that z is m."""
        covariates = read_predictors(clinical, self.scaling.names, moments.subjects).to_numpy(dtype=np.float64)
        factors = self._draws("effect_factors")
        mean = factors @ moments.mean.T + self._draws("effect_covariates") @ (covariates - self.scaling.centre).T
        is_known = self.spec.method == "plugin"
        variance = np.zeros_like(mean) if is_known else np.maximum(moments.variance_along(factors), 0.0)
        return Predictor(mean, np.sqrt(variance))

    def _draws(self, name: str) -> Array:
        """Draws of a parameter, chains one after the other, shape (chain * draw, ...)."""
        posterior = self.tree["posterior"]
        if name not in posterior:
            return np.zeros((posterior.sizes["chain"] * posterior.sizes["draw"], 0))
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
