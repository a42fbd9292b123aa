"""p(y | eta): what each likelihood says of the observed entries of a view."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import FitError
from mofa_bayes.graph.cells import Cells
from mofa_bayes.graph.ordinal import draw_levels, find_cuts, log_mass
from mofa_bayes.spec import FactorModel

if TYPE_CHECKING:
    from pytensor.tensor.variable import TensorVariable

DEGREES = 4.0
"""Degrees of freedom of student_t, in every engine: heavy tails with a finite variance.

Learning them from a column of a few hundred entries is unstable (Gelman et al. 2013, Bayesian Data Analysis, 17.2).
"""

NUISANCE_RATE = 0.1
"""Of the exponential prior on dispersions and scales of cut points: of mean 10, it says little about them."""

_ABSENT = -1e6
"""Logit of a level that a categorical variable does not have."""


def observe(likelihood: str, view: str, views: MultiView, spec: FactorModel, cells: Cells) -> None:
    """Condition on observed entries inside a model context; see `observe_categorical` for the one that is not here.

    Raises
    ------
    FitError
        The likelihood has no graph.
    """
    import pymc as pm

    name = f"{likelihood}_{view}"
    counts = cells.values.astype(np.int64)
    match likelihood:
        case "gaussian":
            tau = cells.spread(draw_noise(likelihood, view, views, spec))
            pm.Normal(name, cells.eta, tau=tau, observed=cells.values)
        case "student_t":
            tau = cells.spread(draw_noise(likelihood, view, views, spec))
            pm.StudentT(name, DEGREES, cells.eta, lam=tau, observed=cells.values)
        case "bernoulli":
            pm.Bernoulli(name, logit_p=cells.eta, observed=counts)
        case "poisson":
            pm.Poisson(name, cells.exposure * pm.math.log1pexp(cells.eta), observed=counts)
        case "negative_binomial":
            r = cells.spread(_draw_own(likelihood, view, views, "dispersion"))
            pm.NegativeBinomial(name, mu=cells.exposure * pm.math.exp(cells.eta), alpha=r, observed=counts)
        case "ordinal":
            _observe_ordinal(name, view, views, cells)
        case _:
            raise FitError(
                f"likelihood of view {view!r}",
                got=repr(likelihood),
                expected="gaussian, student_t, bernoulli, poisson, negative_binomial, ordinal or categorical",
                do="Declare another likelihood, transforming the values first if need be.",
            )


def draw_noise(likelihood: str, view: str, views: MultiView, spec: FactorModel) -> "TensorVariable[Any, Any]":
    """Draw tau ~ Gamma, `noise_precision_<view>`, one per feature of a likelihood and group."""
    import pymc as pm

    dim = _name_columns(likelihood, view, views)
    both = set(views.likelihoods(view).values) >= set(REAL)
    suffix = f"{view}_{likelihood}" if both else view
    dims = (dim,) if views.groups is None else ("group", dim)
    tau: TensorVariable[Any, Any] = pm.Gamma(f"noise_precision_{suffix}", spec.noise.shape, spec.noise.rate, dims=dims)
    pm.Deterministic(f"noise_sd_{suffix}", 1 / pm.math.sqrt(tau), dims=dims)
    return tau


def _name_columns(likelihood: str, view: str, views: MultiView) -> str:
    """Name, made if need be, of the dim of a view's features of one likelihood."""
    import pymc as pm

    own = views.likelihoods(view).values == likelihood
    if own.all():
        return f"feature_{view}"
    dim = f"{likelihood}_feature_{view}"
    pm.modelcontext(None).add_coord(dim, np.asarray(views.features(view))[own])
    return dim


def _draw_own(likelihood: str, view: str, views: MultiView, what: str) -> "TensorVariable[Any, Any]":
    """Draw a positive parameter per feature, which vi maximises."""
    import pymc as pm

    own: TensorVariable[Any, Any] = pm.Exponential(
        f"{what}_{view}", NUISANCE_RATE, dims=(_name_columns(likelihood, view, views),)
    )
    return own


def _observe_ordinal(name: str, view: str, views: MultiView, cells: Cells) -> None:
    """Condition on levels: cut points are `cut_scale_<view>` times quantiles of the cumulative frequencies.

    Albert and Chib (1993, JASA 88:669). The quantiles are where the cut points lie when eta and the error are together
    normal with the scale's variance.
    """
    import pymc as pm
    import pytensor.tensor as pt

    own = views.likelihoods(view).values == "ordinal"
    inner, edge = find_cuts(views[view].values[:, own])
    scale = _draw_own("ordinal", view, views, "cut_scale")
    levels = cells.values.astype(np.int64)
    columns = np.broadcast_to(cells.columns, levels.shape)
    limits = cells.spread(scale)[..., None] * inner[columns] + edge[columns]

    def logp(
        value: "TensorVariable[Any, Any]", eta: "TensorVariable[Any, Any]", cuts: "TensorVariable[Any, Any]"
    ) -> "TensorVariable[Any, Any]":
        place = pt.cast(value, "int64")[..., None]
        low, high = (pt.take_along_axis(cuts, place + up, axis=-1)[..., 0] for up in (0, 1))
        return log_mass(low - eta, high - eta)

    pm.CustomDist(
        name, cells.eta, limits, logp=logp, random=draw_levels, signature="(),(l)->()", dtype="int64", observed=levels
    )


def observe_categorical(view: str, views: MultiView, eta: "TensorVariable[Any, Any]") -> None:
    """Condition on categories: the indicator columns of one variable share a softmax of their eta (N, D).

    An indicator is missing where its variable is.
    """
    import pymc as pm

    own = np.flatnonzero(views.likelihoods(view).values == "categorical")
    variable = views.variables(view)[own]
    columns = [own[variable == name] for name in dict.fromkeys(variable)]
    # Variables with fewer levels than the largest repeat a column, whose logit is then that of a level nobody has.
    place = np.stack([np.resize(one, max(map(len, columns))) for one in columns])
    absent = np.array([[0.0 if level < len(one) else _ABSENT for level in range(place.shape[1])] for one in columns])
    values = views[view].values
    rows, number = np.nonzero(~np.isnan(values[:, place[:, 0]]))
    cells = rows[:, None], place[number]
    level = (values[cells] + absent[number]).argmax(axis=1)
    pm.Categorical(f"categorical_{view}", logit_p=eta[cells] + absent[number], observed=level)
