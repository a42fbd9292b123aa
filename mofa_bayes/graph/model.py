"""The generative model, read aloud: factors, loadings, intercepts, observations."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.errors import FitError
from mofa_bayes.graph.cells import Index, gather_cells
from mofa_bayes.graph.factors import draw_factor_precision, draw_factors
from mofa_bayes.graph.integrated import observe_patterns
from mofa_bayes.graph.likelihoods import draw_noise, observe, observe_categorical
from mofa_bayes.graph.loadings import draw_loadings
from mofa_bayes.graph.patterns import find_patterns, number_groups, prepare, require_integrable, scale_values
from mofa_bayes.spec import ARDFactors, FactorModel

if TYPE_CHECKING:
    import pymc as pm
    from pytensor.tensor.variable import TensorVariable


def graph(views: MultiView, spec: FactorModel, *, integrate: bool = False) -> "pm.Model":
    """Build the PyMC model of a spec and data: what every engine must agree with.

    Parameters
    ----------
    views
        The cohort. Values are brought to the model's scale as `fit` does; missing entries are left out of the
        likelihood.
    spec
        The model.
    integrate
        Leave the factors out: each subject's entries are then one multivariate normal. For gaussian features and few
        patterns of missing entries, where it mixes far better. `draw_factors_given` draws the factors afterwards.

    Returns
    -------
    pm.Model
        With `factors` (subject, factor) unless integrated, and for each view `loadings_<view>`, `ard_<view>`,
        `intercept_<view>` and, for gaussian and student_t features, `noise_precision_<view>` and `noise_sd_<view>`;
        `dispersion_<view>` for negative_binomial and `cut_scale_<view>` for ordinal features; under a spike-slab prior
        also `active_<view>` and `inclusion_<view>`. Loadings are non-centred: `slab_<view>` is standard normal (under a
        horseshoe, of a scale between that and the data's). Add to it, draw it (`pm.model_to_mermaid`) or sample it
        (`pm.sample`); a spike-slab prior has discrete variables, which NUTS leaves to PyMC's Metropolis steps.

    Raises
    ------
    FitError
        Subjects have weights, or the model cannot be integrated.
    """
    import pymc as pm

    if views.weights is not None:
        raise FitError(
            "weights of subjects in a graph",
            got="views with weights",
            expected="views without",
            do="Leave them out: a weighted likelihood is not a generative model.",
        )
    if integrate:
        require_integrable(views, spec)
    preprocessing = prepare(views, spec)
    groups, group_of = number_groups(views)
    coords: dict[str, object] = {"subject": views.subjects, "factor": [f"F{k + 1}" for k in range(spec.n_factors)]}
    coords |= {f"feature_{view}": views.features(view) for view in views.names}
    coords |= {"group": groups, "covariate": preprocessing.covariates}
    with pm.Model(coords=coords) as model:
        if integrate:
            _build_integrated(views, spec, preprocessing)
        else:
            _build_explicit(views, spec, preprocessing, group_of)
    return model


def _build_explicit(views: MultiView, spec: FactorModel, preprocessing: Preprocessing, group_of: Index) -> None:
    z = draw_factors(spec.factors, group_of)
    for view in views.names:
        w = draw_loadings(spec.loadings_of(view), view)
        mu, effects = draw_known(views, view, spec)
        eta = z @ w.T + (mu if views.groups is None else mu[group_of])
        if effects is not None and views.covariates is not None:
            eta = eta + preprocessing.standardise(views.covariates.values) @ effects
        observe_view(views, view, scale_values(views, view, preprocessing), eta, spec, group_of)


def _build_integrated(views: MultiView, spec: FactorModel, preprocessing: Preprocessing) -> None:
    import pytensor.tensor as pt

    beta = draw_factor_precision(spec.factors) if isinstance(spec.factors, ARDFactors) else None
    loadings, coefficients, noise = {}, {}, {}
    for view in views.names:
        loadings[view] = draw_loadings(spec.loadings_of(view), view)
        mu, effects = draw_known(views, view, spec)
        mu = pt.atleast_2d(mu)
        coefficients[view] = mu if effects is None else pt.concatenate([mu, effects])
        noise[view] = pt.atleast_2d(draw_noise("gaussian", view, views, spec))
    observe_patterns(find_patterns(views, preprocessing), loadings, coefficients, noise, beta)


def draw_known(
    views: MultiView, view: str, spec: FactorModel
) -> "tuple[TensorVariable[Any, Any], TensorVariable[Any, Any] | None]":
    """Draw `intercept_<view>` ([group,] feature) and, with covariates, `effects_<view>` of standardised ones."""
    import pymc as pm

    feature = f"feature_{view}"
    dims = (feature,) if views.groups is None else ("group", feature)
    mu = pm.Normal(f"intercept_{view}", 0.0, spec.intercept_scale, dims=dims)
    if views.covariates is None:
        return mu, None
    return mu, pm.Normal(f"effects_{view}", 0.0, spec.intercept_scale, dims=("covariate", feature))


def observe_view(
    views: MultiView,
    view: str,
    values: np.ndarray,
    eta: "TensorVariable[Any, Any]",
    spec: FactorModel,
    group_of: Index,
) -> None:
    """Condition on the observed entries of one view (N, D), part by part."""
    likelihoods = views.likelihoods(view).values
    exposure = views.exposure(view)
    ones = np.ones(len(values))
    for likelihood in dict.fromkeys(likelihoods):
        own = np.flatnonzero(likelihoods == likelihood)
        if np.isnan(values[:, own]).all():
            continue
        if likelihood == "categorical":
            observe_categorical(view, views, eta)
            continue
        cells = gather_cells(eta, values, own, group_of, ones if exposure is None else exposure.values)
        observe(str(likelihood), view, views, spec, cells)
