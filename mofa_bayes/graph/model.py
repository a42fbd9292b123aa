"""The generative model, read aloud: factors, loadings, intercepts, observations."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.graph.likelihoods import observe
from mofa_bayes.graph.loadings import draw_loadings
from mofa_bayes.spec import FactorModel

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

    coords: dict[str, object] = {"subject": views.subjects, "factor": [f"F{k + 1}" for k in range(spec.n_factors)]}
    coords |= {f"feature_{view}": views.features(view) for view in views.names}
    preprocessing = fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})
    with pm.Model(coords=coords) as model:
        z = pm.Normal("factors", 0.0, 1.0, dims=("subject", "factor"))
        for view in views.names:
            w = draw_loadings(spec.loadings_of(view), view)
            mu = pm.Normal(f"intercept_{view}", 0.0, spec.intercept_scale, dims=(f"feature_{view}",))
            observe_view(views, view, preprocessing.apply(view, views[view].values), mu + z @ w.T, spec)
    return model


def observe_view(
    views: MultiView, view: str, values: np.ndarray, eta: "TensorVariable[Any, Any]", spec: FactorModel
) -> None:
    """Condition on the observed entries of one view, part by part."""
    likelihoods = views.likelihoods(view).values
    for likelihood in dict.fromkeys(likelihoods):
        rows, columns = np.nonzero(~np.isnan(values) & (likelihoods == likelihood))
        if len(rows):
            observe(
                str(likelihood),
                view,
                views,
                spec,
                eta=eta[rows, columns],
                values=values[rows, columns],
                columns=columns,
            )
