"""p(y | eta): what each likelihood says of the observed entries of a view."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import FitError
from mofa_bayes.spec import FactorModel

if TYPE_CHECKING:
    from pytensor.tensor.variable import TensorVariable

DEGREES = 4.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """Observed entries of one likelihood, as vectors: eta, values, and the column, group and exposure of each."""

    eta: "TensorVariable[Any, Any]"
    values: np.ndarray
    columns: np.ndarray
    groups: np.ndarray
    exposure: np.ndarray


def observe(likelihood: str, view: str, views: MultiView, spec: FactorModel, cells: Cells) -> None:
    """Condition on observed entries inside a model context.

    Raises
    ------
    FitError
        The likelihood has no graph yet.
    """
    import pymc as pm

    name, counts = f"{likelihood}_{view}", cells.values.astype(np.int64)
    match likelihood:
        case "gaussian":
            pm.Normal(name, cells.eta, tau=_draw_noise(likelihood, view, views, spec, cells), observed=cells.values)
        case "student_t":
            tau = _draw_noise(likelihood, view, views, spec, cells)
            pm.StudentT(name, DEGREES, cells.eta, lam=tau, observed=cells.values)
        case "bernoulli":
            pm.Bernoulli(name, logit_p=cells.eta, observed=counts)
        case "poisson":
            pm.Poisson(name, cells.exposure * pm.math.log1pexp(cells.eta), observed=counts)
        case "negative_binomial":
            r, place = _draw_own(likelihood, view, views, "dispersion")
            alpha = r[place[cells.columns]]
            pm.NegativeBinomial(name, mu=cells.exposure * pm.math.exp(cells.eta), alpha=alpha, observed=counts)
        case _:
            raise FitError(
                f"likelihood of view {view!r}",
                got=repr(likelihood),
                expected="gaussian, student_t, bernoulli, poisson or negative_binomial",
                do="Declare another likelihood, transforming the values first if need be.",
            )


def _columns_of(likelihood: str, view: str, views: MultiView) -> tuple[str, np.ndarray]:
    """Name, made if need be, of the dim of the features of one likelihood; and their place in it."""
    import pymc as pm

    own = views.likelihoods(view).values == likelihood
    if own.all():
        return f"feature_{view}", np.arange(len(own))
    dim = f"{likelihood}_feature_{view}"
    pm.modelcontext(None).add_coord(dim, np.asarray(views.features(view))[own])
    return dim, np.cumsum(own) - 1


def _draw_noise(
    likelihood: str, view: str, views: MultiView, spec: FactorModel, cells: Cells
) -> "TensorVariable[Any, Any]":
    """Draw tau ~ Gamma, one per feature and group; return that of each cell."""
    import pymc as pm

    dim, place = _columns_of(likelihood, view, views)
    both = set(views.likelihoods(view).values) >= {"gaussian", "student_t"}
    suffix = f"{view}_{likelihood}" if both else view
    dims = (dim,) if views.groups is None else ("group", dim)
    tau = pm.Gamma(f"noise_precision_{suffix}", spec.noise.shape, spec.noise.rate, dims=dims)
    pm.Deterministic(f"noise_sd_{suffix}", 1 / pm.math.sqrt(tau), dims=dims)
    columns = place[cells.columns]
    found: TensorVariable[Any, Any] = tau[columns] if views.groups is None else tau[cells.groups, columns]
    return found


def _draw_own(likelihood: str, view: str, views: MultiView, what: str) -> "tuple[TensorVariable[Any, Any], np.ndarray]":
    """Draw a positive parameter per feature, which vi maximises: an exponential of mean 10 says little about it."""
    import pymc as pm

    dim, place = _columns_of(likelihood, view, views)
    own: TensorVariable[Any, Any] = pm.Exponential(f"{what}_{view}", 0.1, dims=(dim,))
    return own, place
