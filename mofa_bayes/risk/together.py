"""The outcome as part of the factor posterior: views and outcome in one PyMC model, factors explicit, sampled by NUTS.

    z_n ~ N(0, I),   x_n ~ views(z_n),   y_n ~ response(g'c_n + b'z_n, parameters)

The outcome is one more thing that factors explain. Loadings may then turn towards it, which draws of a factor model
fitted without it cannot: where `post.project_draws` says that weights are uneven, this is the answer, for cohorts
small enough for NUTS.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.engines.nuts import sample_nuts
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.errors import FitError
from mofa_bayes.fitting.fit import describe_fit, note_cohort
from mofa_bayes.fitting.request import require_fit
from mofa_bayes.posterior.align import align
from mofa_bayes.posterior.build_draws import Aligned, build_draws_tree
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.risk.competing import CompetingResponse
from mofa_bayes.risk.effects import draw_covariate_effects, draw_factor_effects
from mofa_bayes.risk.inputs import Scaling, read_predictors
from mofa_bayes.risk.interactions import Interactions
from mofa_bayes.risk.marginal import log_marginal
from mofa_bayes.risk.response import Array, Design, Joint, Response, tensors
from mofa_bayes.seeds import make_rng
from mofa_bayes.spec import FactorModel

if TYPE_CHECKING:
    import pymc as pm

    from mofa_bayes.risk.model import RiskModel

EFFECTS = "effect_factors"
_CLINICAL = "clinical_covariate"
_TURNED = "loadings_ of the outcome"
"""What b is called while draws are aligned: like the loadings of a view, it is turned and scaled against the factors.
No view has a name with a blank at its start."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """An outcome with its data, to be added to a graph, and what was learnt from the cohort."""

    spec: "RiskModel"
    response: Response
    scaling: Scaling
    names: tuple[str, ...]
    interactions: Interactions
    design: Design
    standardised: Array

    @classmethod
    def read(cls, risk: "RiskModel", clinical: pd.DataFrame, subjects: Sequence[str]) -> "Learned":
        """Read outcome and covariates of subjects; raise FitError for what cannot be fitted with views."""
        observed = risk.outcome.read(clinical, subjects)
        covariates = read_predictors(clinical, risk.covariates, subjects)
        scaling = Scaling.learn(covariates)
        response = risk.outcome.learn(observed)
        if isinstance(response, Joint | CompetingResponse) or risk.interactions or risk.method != "marginal":
            raise FitError(
                "risk model to be fitted with the views",
                got=f"{risk.outcome!r}, {risk.method}, {len(risk.interactions)} interactions",
                expected="one response without interactions, and method='marginal'",
                do="Fit it after the factors: risk.fit(post, clinical).",
            )
        names = (EFFECTS, *(("standardised_effects",) if scaling.names else ()), *response.parameters)
        standardised = (covariates.to_numpy() - scaling.centre) / scaling.scale
        return cls(risk, response, scaling, names, Interactions(), response.design(observed), standardised)

    def extend(self, model: "pm.Model") -> Sequence[str]:
        """Add the outcome to the model of the views; return the names of what to keep."""
        import pymc as pm

        pt, strength = tensors(), self.spec.strength
        coords = {str(dim): np.asarray(values) for dim, values in self.response.coords().items()}
        with model:
            model.add_coords(coords | ({_CLINICAL: np.asarray(self.scaling.names)} if self.scaling.names else {}))
            centre = pt.dot(model["factors"], draw_factor_effects(strength.factors, self.spec.prior))
            if self.scaling.names:
                centre = centre + pt.dot(self.standardised, draw_covariate_effects(strength.covariates, dims=_CLINICAL))
            centre = self.response.unit * centre
            parameters, spread = self.response.draw_parameters(), pt.zeros_like(centre)
            density = log_marginal(pt, self.response, centre, spread, parameters, self.design, 1)
            pm.Potential("log_likelihood_of_outcome", density.sum())
        return self.names


def sample_joint(
    risk: "RiskModel",
    views: MultiView,
    spec: FactorModel,
    clinical: pd.DataFrame,
    settings: Sampling,
    seed: int | np.random.Generator,
    *,
    progress: bool,
) -> tuple[Posterior, xr.DataTree, Learned]:
    """Sample views and outcome together.

    Returns
    -------
    The posterior of the factor model, which has seen the outcome; draws of the risk model in the orientation of its
    factors, of the outcome's and covariates' sd as yet; and what was learnt from the cohort.
    """
    require_fit(views, spec, "nuts", None, settings)
    learned = Learned.read(risk, clinical, views.subjects)
    rng = make_rng(seed)
    provenance = describe_fit(views, spec, "nuts", seed)
    told = f"{provenance['fingerprint']}\n{risk!r}\n{clinical.to_csv()}"
    found = sample_nuts(
        views,
        spec,
        settings,
        rng.spawn(1)[0],
        progress=progress,
        extend=learned.extend,
        fingerprint=hashlib.sha256(told.encode()).hexdigest(),
    )
    scales = {view: spec.scale_of(view) for view in views.names}
    preprocessing = fit_preprocessing(views, scales, scale_groups=spec.scale_groups)
    tree = build_draws_tree(
        found.draws,
        views,
        spec,
        preprocessing,
        sample_stats=found.sample_stats,
        report=found.report,
        aligner=_align_with_effects,
    )
    whole = tree["posterior"].to_dataset()
    own = [*(name for name in learned.names if name in whole), _TURNED]
    draws = whole[own].astype(np.float64).rename({_TURNED: EFFECTS}).transpose("chain", "draw", "factor", ...)
    if _CLINICAL in draws.dims:
        draws = draws.rename({_CLINICAL: "covariate"})
    dims = [dim for dim in (_CLINICAL, *learned.response.coords()) if dim in whole.dims]
    groups = {name: group.to_dataset() for name, group in tree.children.items()}
    posterior = xr.DataTree.from_dict(groups | {"posterior": whole.drop_vars(own).drop_dims(dims)})
    course = {"converged": int(found.converged), "seconds": round(found.seconds, 3), "outcome": repr(risk.outcome)}
    note_cohort(posterior, views)
    posterior.attrs.update(provenance | course)
    effects = xr.DataTree.from_dict({"posterior": draws, "sample_stats": found.sample_stats})
    effects.attrs.update({"sampler": "nuts", "joint": 1})
    return Posterior(posterior), effects, learned


def _align_with_effects(draws: xr.Dataset, *, sparse: bool) -> tuple[xr.Dataset, Aligned]:
    """Align by the views alone, and turn effects as loadings are turned: b'z stays what it was in every draw."""
    aligned, report = align(draws.drop_vars(EFFECTS), sparse=sparse)
    effects = draws[EFFECTS].transpose("chain", "draw", "factor")
    turned = np.einsum("csk,cskl->csl", effects.values.astype(np.float64), report.maps.values)
    return aligned.assign({_TURNED: (("chain", "draw", "factor"), turned)}), report
