"""The generative model, read aloud: factors, loadings, intercepts, observations."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing, fit_preprocessing
from mofa_bayes.errors import FitError
from mofa_bayes.graph.likelihoods import Cells, observe
from mofa_bayes.graph.loadings import draw_loadings
from mofa_bayes.spec import FactorModel, FactorPrior, SpikeSlabFactors, StandardFactors

ALL = "all"

if TYPE_CHECKING:
    import pymc as pm
    from pytensor.tensor.variable import TensorVariable


def graph(views: MultiView, spec: FactorModel) -> "pm.Model":
    """Build the PyMC model of a spec and data: what every engine must agree with.

    Parameters
    ----------
    views
        The cohort. Values are brought to the model's scale as `fit` does; missing entries are left out of the
        likelihood.
    spec
        The model.

    Returns
    -------
    pm.Model
        With `factors` (subject, factor) and for each view `loadings_<view>`, `ard_<view>`, `intercept_<view>` and, for
        gaussian features, `noise_precision_<view>` and `noise_sd_<view>`; under a sparse prior also `active_<view>`,
        `slab_<view>` and `inclusion_<view>`. Loadings are non-centred: `slab_<view>` is standard normal. Add to it,
        draw it (`pm.model_to_mermaid`) or sample it (`pm.sample`); a sparse prior has discrete variables, which NUTS
        leaves to PyMC's Metropolis steps.
    """
    import pymc as pm

    if views.weights is not None:
        raise FitError(
            "weights of subjects in a graph",
            got="views with weights",
            expected="views without",
            do="Leave them out: a weighted likelihood is not a generative model.",
        )
    scales = {view: spec.scale_of(view) for view in views.names}
    preprocessing = fit_preprocessing(views, scales, scale_groups=spec.scale_groups)
    groups = [ALL] if views.groups is None else sorted({str(name) for name in views.groups.values})
    group_of = np.zeros(views.n_subjects, dtype=np.intp)
    if views.groups is not None:
        group_of = np.array([groups.index(str(name)) for name in views.groups.values])
    coords: dict[str, object] = {"subject": views.subjects, "factor": [f"F{k + 1}" for k in range(spec.n_factors)]}
    coords |= {f"feature_{view}": views.features(view) for view in views.names}
    coords |= {"group": groups, "covariate": preprocessing.covariates}
    with pm.Model(coords=coords) as model:
        z = draw_factors(spec.factors, group_of)
        for view in views.names:
            w = draw_loadings(spec.loadings_of(view), view)
            eta = draw_known(views, view, preprocessing, spec, group_of) + z @ w.T
            values = preprocessing.apply(view, views[view].values, [groups[g] for g in group_of])
            observe_view(views, view, values, eta, spec, group_of)
    return model


def draw_factors(prior: FactorPrior, group_of: np.ndarray) -> "TensorVariable[Any, Any]":
    """Draw `factors` (subject, factor): standard normal, scaled by group, or zero in some subjects."""
    import pymc as pm

    if isinstance(prior, StandardFactors):
        factors: TensorVariable[Any, Any] = pm.Normal("factors", 0.0, 1.0, dims=("subject", "factor"))
        return factors
    if isinstance(prior, SpikeSlabFactors):
        theta = pm.Beta("factor_inclusion", prior.inclusion_a, prior.inclusion_b, dims=("group", "factor"))
        active = pm.Bernoulli("factors_active", theta[group_of], dims=("subject", "factor"))
        slab = pm.Normal("factors_slab", 0.0, 1.0, dims=("subject", "factor"))
        sparse: TensorVariable[Any, Any] = pm.Deterministic("factors", active * slab, dims=("subject", "factor"))
        return sparse
    beta = pm.Gamma("factor_precision", prior.precision.shape, prior.precision.rate, dims=("group", "factor"))
    scaled: TensorVariable[Any, Any] = pm.Normal("factors", 0.0, tau=beta[group_of], dims=("subject", "factor"))
    return scaled


def draw_known(
    views: MultiView, view: str, preprocessing: Preprocessing, spec: FactorModel, group_of: np.ndarray
) -> "TensorVariable[Any, Any]":
    """Draw `intercept_<view>`, one per group and feature, and `effects_<view>` of standardised covariates."""
    import pymc as pm

    feature = f"feature_{view}"
    dims = (feature,) if views.groups is None else ("group", feature)
    mu = pm.Normal(f"intercept_{view}", 0.0, spec.intercept_scale, dims=dims)
    known: TensorVariable[Any, Any] = mu if views.groups is None else mu[group_of]
    if views.covariates is not None:
        effects = pm.Normal(f"effects_{view}", 0.0, spec.intercept_scale, dims=("covariate", feature))
        known = known + preprocessing.standardise(views.covariates.values) @ effects
    return known


def observe_view(
    views: MultiView,
    view: str,
    values: np.ndarray,
    eta: "TensorVariable[Any, Any]",
    spec: FactorModel,
    group_of: np.ndarray,
) -> None:
    """Condition on the observed entries of one view, part by part."""
    likelihoods = views.likelihoods(view).values
    for likelihood in dict.fromkeys(likelihoods):
        rows, columns = np.nonzero(~np.isnan(values) & (likelihoods == likelihood))
        if len(rows):
            exposure = views.exposure(view)
            cells = Cells(
                eta=eta[rows, columns],
                values=values[rows, columns],
                columns=columns,
                groups=group_of[rows],
                exposure=np.ones(len(rows)) if exposure is None else exposure.values[rows],
            )
            observe(str(likelihood), view, views, spec, cells)
