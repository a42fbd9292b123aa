"""Density: a risk model compiled to a function of one point; Compiled: such densities, kept for other data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.risk.sampling import MODE, Sampling

if TYPE_CHECKING:
    import pymc as pm

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Fall = Callable[[Array], tuple[float, Array]]
_FAINT = 0.3
"""Variance of a factor's means over patients, of the 1 that it would be if views told all, below which it is faint."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A standard deviation that is a parameter, as its log: where it is among the P coordinates; its prior's scale."""

    place: int
    prior: float


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """The posterior density of a risk model over the unconstrained space of its P parameters.

    Attributes
    ----------
    model
        The PyMC model, whose data can be exchanged.
    fall
        Minus the log density, constants included, and its gradient, at a point (P,).
    evaluate
        Values of the variables `names` at points (n, P): arrays (n, ...).
    start
        Makes the initial point, which may depend on the data.
    names
        Variables to be kept.
    scales
        Parameters with a half-normal prior of known scale.
    faint
        Finds, in the data that are loaded, the places of effects of factors that the views hardly show, faintest first.
    """

    model: "pm.Model"
    fall: Fall
    evaluate: Callable[[Array], list[Array]]
    start: Callable[[], Array]
    names: tuple[str, ...]
    scales: tuple[Scale, ...]
    faint: Callable[[], Index] = lambda: np.empty(0, dtype=np.intp)

    def load(self, model: "pm.Model") -> None:
        """Take the data of another model of the same structure."""
        for data in model.data_vars:
            self.model[data.name].set_value(data.get_value(borrow=True))

    def label(self, points: Array, model: "pm.Model", sampling: Sampling) -> xr.DataTree:
        """Name what `points` (chain * draw, P) mean, with the coordinates of `model`: a tree with `posterior`."""
        shape = (sampling.n_chains, sampling.n_draws)
        variables, coords = {}, {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
        for name, values in zip(self.names, self.evaluate(points), strict=True):
            dims = tuple(str(dim) for dim in model.named_vars_to_dims.get(name, ()))
            variables[name] = (("chain", "draw", *dims), np.asarray(values).reshape(*shape, *values.shape[1:]))
            coords.update({dim: np.asarray(model.coords[dim]) for dim in dims})
        return xr.DataTree.from_dict({"posterior": xr.Dataset(variables, coords=coords)})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Compiled:
    """Compiled densities of risk models by structure: hold one, and hand it to every fit.

    Compiling takes 3 to 6 s. A fit of the same model with as many factors, covariates, intervals or levels finds it
    done, whatever the patients and their number; a fit of another structure adds its own. Not to be shared by threads
    or sent to other processes.
    """

    densities: dict[object, Density] = field(default_factory=dict)

    def density_of(self, spec: object, model: "pm.Model", names: Sequence[str]) -> Density:
        """Return the compiled density of a model, with its data; `spec` is the RiskModel it was built from."""
        structure = _structure_of(spec, model, names)
        if structure not in self.densities:
            self.densities[structure] = compile_density(model, names)
        density = self.densities[structure]
        density.load(model)
        return density

    def __repr__(self) -> str:
        return f"<Compiled: {len(self.densities)} risk models>"


def compile_density(model: "pm.Model", names: Sequence[str]) -> Density:
    """Compile the density of a model, and what evaluates the variables `names`."""
    import pytensor
    import pytensor.tensor as pt
    from pymc.blocking import DictToArrayBijection
    from pymc.initial_point import make_initial_point_fn
    from pymc.pytensorf import join_nonshared_inputs
    from pytensor.graph.replace import vectorize_graph

    initial = make_initial_point_fn(model=model)
    point = initial(None)
    places = _place(model, point)
    outputs = model.replace_rvs_by_values([model[name] for name in names])
    joined_outputs, joined = join_nonshared_inputs(point=point, outputs=outputs, inputs=model.value_vars)
    points = pt.matrix("points")
    # All points at once cost a handful of array operations: PyTensor's interpreter does, and needs no compilation.
    evaluate = pytensor.function(  # type: ignore[attr-defined]
        [points], vectorize_graph(joined_outputs, {joined: points}), mode="FAST_COMPILE"
    )
    return Density(
        model=model,
        fall=compile_fall(model),
        evaluate=evaluate,
        start=lambda: np.asarray(DictToArrayBijection.map(initial(None)).data, dtype=np.float64),
        names=tuple(names),
        scales=_find_scales(model, places),
        faint=lambda: _find_faint(model, places),
    )


def compile_fall(model: "pm.Model") -> Fall:
    """Compile minus the log density and its gradient, at points of the unconstrained space, shape (parameter,)."""
    log_density = model.logp_dlogp_function(ravel_inputs=True, mode=MODE)
    log_density.set_extra_values({})

    def fall(point: Array) -> tuple[float, Array]:
        value, slope = log_density(point)
        return -float(value), -np.asarray(slope)

    return fall


def _find_scales(model: "pm.Model", places: Mapping[str, Index]) -> tuple[Scale, ...]:
    """Find scalar parameters with a half-normal prior whose scale is a constant; PyMC samples their logs."""
    from pytensor.graph.basic import Constant
    from pytensor.tensor.random.basic import HalfNormalRV

    found = []
    for variable in model.free_RVs:
        name = model.rvs_to_values[variable].name
        is_log = name == f"{variable.name}_log__" and len(places[name]) == 1
        if is_log and isinstance(variable.owner.op, HalfNormalRV) and isinstance(variable.owner.inputs[-1], Constant):
            found.append(Scale(int(places[name][0]), float(np.max(variable.owner.inputs[-1].data))))
    return tuple(found)


def _find_faint(model: "pm.Model", places: Mapping[str, Index]) -> Index:
    """Find the places of effects whose factors have means of little variance, the least first."""
    if "effect_factors" not in places:  # a panel's are made of several variables
        return np.empty(0, dtype=np.intp)
    known = model["factors_mean"].get_value(borrow=True).var(axis=0)
    order = np.argsort(known)
    return places["effect_factors"].reshape(-1, len(known))[:, order[known[order] < _FAINT]].T.ravel()


def _place(model: "pm.Model", point: dict[str, Any]) -> dict[str, Index]:
    """Say where the elements of each variable are among the coordinates of a point."""
    places, first = {}, 0
    for value in model.value_vars:
        n_elements = np.size(point[value.name])
        places[value.name] = np.arange(first, first + n_elements)
        first += n_elements
    return places


def _structure_of(spec: object, model: "pm.Model", names: Sequence[str]) -> object:
    """Everything that compiled code depends on: a length along the first axis of data may differ."""
    data = ((own.name, own.type.dtype, own.get_value(borrow=True).shape[1:]) for own in model.data_vars)
    lengths = ((str(dim), len(labels)) for dim, labels in model.coords.items() if labels is not None)
    return spec, tuple(names), tuple(sorted(data)), tuple(sorted(lengths))
