"""p(y | eta): what each likelihood says of the observed entries of a view."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import FitError
from mofa_bayes.spec import FactorModel

if TYPE_CHECKING:
    from pytensor.tensor.variable import TensorVariable


def observe(
    likelihood: str,
    view: str,
    views: MultiView,
    spec: FactorModel,
    *,
    eta: "TensorVariable[Any, Any]",
    values: np.ndarray,
    columns: np.ndarray,
) -> None:
    """Condition on observed entries, given as vectors with the column each came from, inside a model context.

    Raises
    ------
    FitError
        The likelihood has no graph yet.
    """
    if likelihood == "gaussian":
        _observe_gaussian(view, views, spec, eta, values, columns)
    elif likelihood == "bernoulli":
        _observe_bernoulli(view, eta, values)
    else:
        raise FitError(
            f"likelihood of view {view!r}",
            got=repr(likelihood),
            expected="gaussian or bernoulli",
            do="Declare another likelihood, transforming the values first if need be.",
        )


def _observe_gaussian(
    view: str,
    views: MultiView,
    spec: FactorModel,
    eta: "TensorVariable[Any, Any]",
    values: np.ndarray,
    columns: np.ndarray,
) -> None:
    """Condition on y ~ N(eta, 1 / tau_d), tau_d ~ Gamma, one per gaussian feature."""
    import pymc as pm

    is_real = views.likelihoods(view).values == "gaussian"
    dim = f"feature_{view}" if is_real.all() else f"feature_{view}_gaussian"
    if not is_real.all():
        pm.modelcontext(None).add_coord(dim, np.asarray(views.features(view))[is_real])
    tau = pm.Gamma(f"noise_precision_{view}", spec.noise.shape, spec.noise.rate, dims=(dim,))
    pm.Deterministic(f"noise_sd_{view}", 1 / pm.math.sqrt(tau), dims=(dim,))
    place = np.cumsum(is_real) - 1
    pm.Normal(f"gaussian_{view}", eta, tau=tau[place[columns]], observed=values)


def _observe_bernoulli(view: str, eta: "TensorVariable[Any, Any]", values: np.ndarray) -> None:
    """Condition on y ~ Bernoulli(sigma(eta))."""
    import pymc as pm

    pm.Bernoulli(f"bernoulli_{view}", logit_p=eta, observed=values.astype(np.int64))
