"""RiskModel: which outcome, which covariates, and how the uncertainty of factors enters, as one value."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from mofa_bayes.card import render_card
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.sampling import Sampling as Effort
from mofa_bayes.errors import SpecError, name_some
from mofa_bayes.posterior.drawn_moments import DrawnMoments
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.risk.attenuation import warn_attenuated
from mofa_bayes.risk.competing import CompetingResponse
from mofa_bayes.risk.competing_graph import build_competing_graph
from mofa_bayes.risk.density import Compiled
from mofa_bayes.risk.effects import FactorPrior, Strength
from mofa_bayes.risk.fitted import FittedRisk
from mofa_bayes.risk.graph import Method, build_graph
from mofa_bayes.risk.inputs import HasMoments, Scaling, moments_of, read_predictors
from mofa_bayes.risk.interactions import Interaction, Interactions, require_interactions
from mofa_bayes.risk.panel import PanelResponse
from mofa_bayes.risk.panel_graph import build_panel_graph
from mofa_bayes.risk.response import Family, Joint
from mofa_bayes.risk.sample import Prepared, Sampler, draw_pooled, draw_posterior, require_sampler
from mofa_bayes.risk.sampling import Sampling
from mofa_bayes.risk.together import Learned, sample_joint
from mofa_bayes.seeds import make_rng
from mofa_bayes.spec import FactorModel

if TYPE_CHECKING:
    import pymc as pm


@dataclass(frozen=True, slots=True)
class RiskModel:
    """An outcome explained by factors, known with uncertainty, and by clinical covariates, known exactly.

    Parameters
    ----------
    outcome
        `Survival(time, event)`, `CompetingRisks(time, cause)`, `Binary(column)`, `Continuous(column)`, `Count(column)`,
        `Ordinal(column, levels)` or `MultiContinuous(columns)`.
    covariates
        Columns of the clinical table, numbers; standardised inside, reported in their own units.
    interactions
        Covariates, or pairs (factor, covariate), whose value changes the effect of every factor, or of that one:
        `["treatment"]`, `[("F1", "treatment")]`.
    method
        `marginal`: factors integrated out of each patient's likelihood. The other two are comparators that are known to
        fail when factors are uncertain: `plugin` takes posterior means as the factors, `cut` averages fits over draws
        of the factors.
    prior
        Of the factors' effects: `mixture` (the default: each effect is shrunk by what it shows itself), `horseshoe`
        (how many factors matter is learnt; of many factors, most vanish), `ard` (heavy tails, a spike at nothing) or
        `normal` (no selection). Responses of a MultiContinuous outcome share a prior of their own instead.
    strength
        Prior scales of effects.
    n_nodes
        Gauss-Hermite nodes of the integral over a patient's predictor; of competing risks see `product_nodes`.

    Raises
    ------
    SpecError
        A value is not acceptable.
    """

    outcome: Family
    covariates: Sequence[str] = ()
    interactions: Sequence[Interaction] = field(default=(), kw_only=True)
    method: Method = field(default="marginal", kw_only=True)
    prior: FactorPrior = field(default="mixture", kw_only=True)
    strength: Strength = field(default_factory=Strength, kw_only=True)
    n_nodes: int = field(default=20, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.outcome, type) or not isinstance(self.outcome, Family):
            raise SpecError(
                "outcome",
                got=repr(self.outcome)[:80],
                expected="Survival, CompetingRisks, Binary, Continuous, MultiContinuous, Count or Ordinal",
                do='Write RiskModel(Survival("time", "event")).',
            )
        if isinstance(self.covariates, str) or not all(isinstance(name, str) for name in self.covariates):
            raise SpecError(
                "covariates",
                got=repr(self.covariates)[:80],
                expected="a list of column names",
                do='Write covariates=["age", "sex"].',
            )
        object.__setattr__(self, "covariates", tuple(self.covariates))
        leaking = [name for name in self.covariates if name in self.outcome.columns]
        doubled = [name for name in dict.fromkeys(self.covariates) if list(self.covariates).count(name) > 1]
        if leaking or doubled:
            raise SpecError(
                "covariates",
                got=f"{name_some(leaking)}, the outcome itself" if leaking else f"{name_some(doubled)} twice",
                expected="columns other than the outcome's, each once",
                do="Leave them out.",
            )
        object.__setattr__(self, "interactions", require_interactions(self.interactions, self.covariates))
        if self.method not in get_args(Method):
            raise SpecError(
                "method",
                got=repr(self.method),
                expected=f"one of {', '.join(get_args(Method))}",
                do="Choose one of these.",
            )
        if self.prior not in get_args(FactorPrior):
            raise SpecError(
                "prior", got=repr(self.prior), expected=f"one of {', '.join(get_args(FactorPrior))}", do="Choose one."
            )
        if not isinstance(self.n_nodes, int) or not 2 <= self.n_nodes <= 100:
            raise SpecError("n_nodes", got=repr(self.n_nodes), expected="2 to 100 nodes", do="20 is enough for most.")

    def build(self, post: FactorMoments | HasMoments, clinical: pd.DataFrame) -> "pm.Model":
        """Return the PyMC model of these patients, for a look at it or for other samplers. It holds their data."""
        return self._prepare(moments_of(post), clinical).model

    def compile(self, post: FactorMoments | HasMoments, clinical: pd.DataFrame) -> Compiled:
        """Compile what `sampler="importance"` and `method="cut"` need, for fits to these patients and to others.

        Parameters and errors as in `fit`.
        """
        compiled = Compiled()
        prepared = self._prepare(moments_of(post), clinical)
        compiled.density_of(self, prepared.model, prepared.names)
        return compiled

    def fit(
        self,
        post: FactorMoments | HasMoments,
        clinical: pd.DataFrame,
        *,
        seed: int | np.random.Generator,
        sampler: Sampler | None = None,
        compiled: Compiled | None = None,
        n_draws: int = 1000,
        n_tune: int = 500,
        n_chains: int = 4,
        cores: int = 1,
        progress: bool = False,
    ) -> FittedRisk:
        """Fit to every subject of a posterior.

        Parameters
        ----------
        post
            A Posterior, projected patients, or `FactorMoments`. With `post.project_draws(views)`, factors under draws
            of the loadings, the risk model is fitted to each of these by importance sampling, and the fits are weighted
            by their evidence (see `mofa_bayes.risk.loadings`): the posterior when loadings are uncertain too.
            Attributes `loadings_pareto_k` and `loadings_n_effective` say how evenly. Predict such a fit from
            `post.project_draws(new_views)` with as many draws.
        clinical
            Outcome and covariates, indexed by subject; rows of other subjects are not used.
        seed
            Seed or generator.
        sampler
            Left out, `gibbs` for MultiContinuous and `nuts` for the others. `gibbs` draws factors, effects and noise of
            all responses from their conditional distributions. `importance`: adaptive importance sampling, ten to
            twenty times faster once compiled, in a number of effective draws that is a quarter of the draws; it also
            estimates the evidence log p(y) (`fitted.tree.attrs`: `log_evidence`, `log_evidence_se`, `pareto_k`). Where
            its weights are too uneven (Pareto k above 0.7) the sampler that is taken by itself takes over; the
            attribute `sampler` says which it was. `laplace`: a normal around the mode, in hundredths of a second, for
            many fits whose predictions are averaged, as in cross-validation; with 187 events and 10 factors means of
            effects were within 0.04 of those of importance sampling, and sds within 0.02. Not for MultiContinuous,
            whose posterior is far from normal.
        compiled
            What `compile` returned, or `Compiled()`, to be used again by further fits: compiling takes seconds, and
            what follows a fraction of one. NUTS compiles for itself.
        n_draws, n_tune, n_chains, cores, progress
            How long chains run, and how many draws importance sampling returns; see `Sampling`.

        Raises
        ------
        DataError, FitError, SpecError
            Before anything is compiled.

        Warns
        -----
        ConvergenceWarning
            Chains diverge, disagree, or hold too few effective draws.
        ModelWarning
            The outcome prefers few of the draws of the loadings. Or effects come out too near to zero, because vi is
            surer of the factors than it should be. Or several responses are fitted with `laplace`.
        QuadratureWarning
            `n_nodes` are too few: see `FittedRisk.quadrature_error`.
        """
        chosen = require_sampler(sampler, self.outcome, compiled)
        sampling = Sampling(n_draws=n_draws, n_tune=n_tune, n_chains=n_chains, cores=cores, progress=progress)
        rng = make_rng(seed)
        moments = moments_of(post)
        prepared = self._prepare(moments, clinical)
        with threadpool_limits(
            1, user_api="blas"
        ):  # the products are small, and threads would only wait for each other
            if isinstance(post, DrawnMoments) and self.method == "marginal":
                each = (self._prepare(own, clinical) for own in post.each)
                tree = draw_pooled(prepared, each, post.places, sampling, rng, compiled)
            else:
                tree = draw_posterior(prepared, sampling, rng, chosen, compiled)
        fitted = FittedRisk(
            spec=self,
            response=prepared.response,
            tree=_report(tree, prepared),
            scaling=prepared.scaling,
            factors=moments.factors,
            n_subjects=len(moments.subjects),
            fingerprint=str(getattr(post, "fingerprint", "")),
            interactions=prepared.interactions,
        )
        if self.method != "marginal":
            return fitted
        if isinstance(post, Posterior):
            warn_attenuated(post, fitted)
        return fitted.check_quadrature(moments, clinical)

    def fit_joint(
        self,
        views: MultiView,
        spec: FactorModel,
        clinical: pd.DataFrame,
        *,
        seed: int | np.random.Generator,
        settings: Effort | None = None,
        progress: bool = False,
    ) -> tuple[Posterior, FittedRisk]:
        """Fit views and outcome together: the outcome is part of the factor posterior.

        For small cohorts whose loadings are not well known (some hundred features): NUTS with explicit factors, which
        warns when it will take hours. Predict from `post.project(new_views)` or `post.project_draws(new_views)`, as
        always.

        Parameters
        ----------
        views, spec
            The views of the same subjects, and a factor model whose priors have densities (ARD, normal, laplace,
            horseshoe).
        clinical
            As in `fit`.
        seed
            Seed or generator.
        settings
            `mb.Sampling`: how long NUTS runs.
        progress
            Show the sampler's progress bar.

        Returns
        -------
        The posterior of the factors, which has seen the outcome, and the risk model in terms of them.

        Raises
        ------
        DataError, FitError
            Before anything is compiled.

        Warns
        -----
        ConvergenceWarning
            Draws diverge, or chains find different factors.
        ModelWarning
            Sampling will take hours.
        """
        post, tree, learned = sample_joint(self, views, spec, clinical, settings or Effort(), seed, progress=progress)
        fitted = FittedRisk(
            spec=self,
            response=learned.response,
            tree=_report(tree, learned),
            scaling=learned.scaling,
            factors=post.factor_names,
            n_subjects=views.n_subjects,
            fingerprint=post.fingerprint,
        )
        return post, fitted

    def summary(self) -> pd.DataFrame:
        """Say what is believed, indexed by the part of the model it is about."""
        parts = {own.name: getattr(self, own.name) for own in fields(self)} | {"covariates": ", ".join(self.covariates)}
        shown = {name: str(own) or "none" for name, own in parts.items()}
        return pd.DataFrame({"value": shown}).rename_axis("part")

    def _repr_html_(self) -> str:
        return render_card(f"RiskModel of {', '.join(self.outcome.columns)}", self.summary())

    def _prepare(self, moments: FactorMoments, clinical: pd.DataFrame) -> Prepared:
        observed = self.outcome.read(clinical, moments.subjects)
        covariates = read_predictors(clinical, self.covariates, moments.subjects)
        scaling = Scaling.learn(covariates)
        response = self.outcome.learn(observed)
        interactions = Interactions.find(self.interactions, moments.factors, scaling.names)
        standardised = (covariates.to_numpy() - scaling.centre) / scaling.scale
        options: dict[str, Any] = {
            "method": self.method,
            "strength": self.strength,
            "n_nodes": self.n_nodes,
            "prior": self.prior,
        }
        design = response.design(observed)
        if isinstance(response, CompetingResponse):
            if interactions.names:
                raise SpecError(
                    "interactions",
                    got=f"{len(interactions.names)} with competing risks",
                    expected="none",
                    do="Leave them out, or model each cause as Survival.",
                )
            model = build_competing_graph(response, design, moments, scaling.names, standardised, **options)
        elif isinstance(response, PanelResponse):
            is_known = self.method != "marginal"
            inputs = (response, design, moments, scaling.names, standardised)
            model = build_panel_graph(*inputs, is_known=is_known, interactions=interactions)
        else:
            outcome = next(iter(observed.values()))
            model = build_graph(
                response, design, outcome, moments, scaling.names, standardised, **options, interactions=interactions
            )
        names = (
            "effect_factors",
            *(("standardised_effects",) if self.covariates else ()),
            *(("standardised_interactions",) if interactions.names else ()),
            *response.parameters,
        )
        return Prepared(self, moments, model, response, scaling, names, interactions)


def _report(tree: xr.DataTree, prepared: Prepared | Learned) -> xr.DataTree:
    """Bring effects to the outcome's units, and those of covariates and interactions to the covariates' own."""
    groups = {name: group.to_dataset() for name, group in tree.children.items()}
    posterior, scale = groups["posterior"], prepared.scaling.scale
    unit = xr.DataArray(prepared.response.unit, dims="response" if isinstance(prepared.response, Joint) else ())
    scales = {"covariate": scale, "interaction": scale[list(prepared.interactions.covariate)]}
    factors = posterior["effect_factors"]
    posterior = posterior.assign(effect_factors=(factors * unit).transpose(*factors.dims))
    for name, dim in (("effects", "covariate"), ("interactions", "interaction")):
        if (standardised := f"standardised_{name}") in posterior:
            effects = posterior[standardised] * unit / xr.DataArray(scales[dim], dims=dim)
            effects = effects.transpose(*posterior[standardised].dims)
            posterior = posterior.drop_vars(standardised).assign({f"effect_{dim}s": effects})
    reported = xr.DataTree.from_dict({**groups, "posterior": posterior})
    reported.attrs.update(tree.attrs)
    return reported
