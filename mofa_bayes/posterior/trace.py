"""What a trace holds of a factor model: arrays out of labelled draws, and labels back onto aligned arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.engines.sampling import LEAST_DRAWS
from mofa_bayes.errors import DataError, name_some
from mofa_bayes.posterior.matching import Array, Freedom, in_chunks

_SAMPLES = ("chain", "draw")
_FOLLOW_ORDER = ("active", "inclusion", "local", "factors_active", "factor_inclusion")
_FOLLOW_SIGN = ("slab_", "factors_slab")
_PRECISIONS = {"ard": -2, "rate": -1, "factor_precision": 2}


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Draws of a factor model as arrays.

    Attributes
    ----------
    factors
        (C, S, N, K), or None.
    loadings
        (C, S, D_m, K) per view.
    names
        Names of the variables, that of the factors first, or None.
    dims
        Dims of each variable, as (feature or subject, factor).
    source
        The variables as they came.
    """

    factors: NDArray[np.floating] | None
    loadings: list[NDArray[np.floating]]
    factors_name: str | None
    loading_names: tuple[str, ...]
    factor_dims: frozenset[str]
    source: xr.Dataset

    @property
    def chain_names(self) -> NDArray[np.int64]:
        """Labels of the chains."""
        return np.asarray(self.source["chain"].values, dtype=np.int64)

    @property
    def factor_names(self) -> list[str]:
        """Labels of the factors: those of the trace where it has strings, F1, F2, ... otherwise."""
        dim = self._factor_dim(self.loading_names[0])
        values = self.source[dim].values if dim in self.source.coords else np.empty(0)
        if values.dtype.kind in "UO" and len(values):
            return [str(name) for name in values]
        return [f"F{k + 1}" for k in range(self.loadings[0].shape[3])]

    def label(
        self, loadings: Sequence[NDArray[np.floating]], factors: NDArray[np.floating] | None
    ) -> dict[str, xr.DataArray]:
        """Give aligned arrays the dims, coordinates and names of what they came from."""
        arrays = dict(zip(self.loading_names, loadings, strict=True))
        if self.factors_name is not None and factors is not None:
            arrays[self.factors_name] = factors
        out = {}
        for name, array in arrays.items():
            own = self.source[name]
            dims = (*_SAMPLES, *_row_then_factor(own, self._factor_dim(name)))
            out[name] = own.transpose(*dims).copy(data=array).transpose(*own.dims)
        return out

    def label_by_factor(self, array: Array) -> xr.DataArray:
        """Label (C, S, K) or (C, S, K, K)."""
        names = self.factor_names
        dims = (*_SAMPLES, "factor", "factor_bis")[: array.ndim]
        coords = {"chain": self.chain_names, "draw": self.source["draw"].values, "factor": names, "factor_bis": names}
        return xr.DataArray(array, dims=dims, coords={dim: coords[dim] for dim in dims})

    def free_of(self, dataset: xr.Dataset) -> dict[str, NDArray[np.floating]]:
        """Draws of the variables that no map of factors touches, each (C, S, entries)."""
        own = {self.factors_name, *self.loading_names}
        return {
            str(name): var.transpose(*_SAMPLES, ...).values.reshape(*(var.sizes[dim] for dim in _SAMPLES), -1)
            for name, var in dataset.data_vars.items()
            if name not in own
            and set(_SAMPLES) <= set(var.dims)
            and not self.factor_dims & {str(dim) for dim in var.dims}
            and var.dtype.kind in "fi"
        }

    def _factor_dim(self, name: str) -> str:
        return next(str(dim) for dim in self.source[name].dims if str(dim) in self.factor_dims)


def read_trace(dataset: xr.Dataset, factors: str | None, loadings: Sequence[str] | None) -> Trace:
    """Find factors and loadings in draws, and which dim is that of the factors.

    Raises
    ------
    DataError
        They are not there, do not have the dims of a factor model, or are not finite.
    """
    every = [str(name) for name in dataset.data_vars]
    names = [name for name in every if name.startswith("loadings_") or name == "loadings"]
    names = names if loadings is None else [loadings] if isinstance(loadings, str) else list(loadings)
    wanted = [*([] if factors is None else [factors]), *names]
    absent = [name for name in wanted if name not in every]
    if not names or absent:
        raise DataError(
            "posterior to align",
            got=f"no variable {name_some(absent)}" if absent else "no variable named loadings_...",
            expected=f"names among {name_some(every, 12)}",
            do='Write align(posterior, factors="z", loadings=["w_rna", "w_meth"]).',
        )
    _require_dims(dataset, wanted)
    factor_dims = _find_factor_dims(dataset, wanted)
    arrays = []
    for name in wanted:
        own = dataset[name]
        dim = next(str(d) for d in own.dims if str(d) in factor_dims)
        values = own.transpose(*_SAMPLES, *_row_then_factor(own, dim)).values
        values = values if values.dtype.kind == "f" else values.astype(np.float64)
        if not all(np.isfinite(chain[chunk]).all() for chain in values for chunk in in_chunks(chain)):
            raise DataError(
                f"draws of {name!r}", got="numbers that are not finite", expected="finite draws", do="Drop those draws."
            )
        arrays.append(values)
    first = None if factors is None else arrays[0]
    rest = arrays if factors is None else arrays[1:]
    return Trace(first, rest, factors, tuple(names), factor_dims, dataset[wanted])


def _row_then_factor(own: xr.DataArray, factor_dim: str) -> tuple[str, str]:
    row = next(str(dim) for dim in own.dims if dim not in (*_SAMPLES, factor_dim))
    return row, factor_dim


def _require_dims(dataset: xr.Dataset, names: Sequence[str]) -> None:
    for name in names:
        dims = tuple(str(dim) for dim in dataset[name].dims)
        if not set(_SAMPLES) <= set(dims) or len(dims) != 4:
            raise DataError(
                f"dims of {name!r}",
                got=f"({', '.join(dims)})",
                expected="chain, draw, one of subjects or features, and one of factors",
                do="Add what is missing: dataset.expand_dims('chain').",
            )
    if dataset.sizes["draw"] < LEAST_DRAWS:
        raise DataError(
            "posterior to align",
            got=f"{dataset.sizes['draw']} draws",
            expected=f"at least {LEAST_DRAWS} in each chain",
            do="Draw more.",
        )


def _find_factor_dims(dataset: xr.Dataset, names: Sequence[str]) -> frozenset[str]:
    """Dim of factors: `factor`, or the one that all have in common, or the last of each when none is shared."""
    own = [[str(dim) for dim in dataset[name].dims if dim not in _SAMPLES] for name in names]
    common = set(own[0]).intersection(*own[1:]) if len(own) > 1 else set()
    if all("factor" in dims for dims in own):
        return frozenset({"factor"})
    if len(common) == 1:
        return frozenset(common)
    last = [dims[-1] for dims in own]
    if not common and len({dataset.sizes[dim] for dim in last}) == 1:
        return frozenset(last)
    raise DataError(
        "dim of factors",
        got="; ".join(f"{name} ({', '.join(dims)})" for name, dims in zip(names, own, strict=True)),
        expected="one dim that factors and loadings share, or the last of each, of one size",
        do='Name it: dataset.rename(z_dim_1="factor", w_dim_1="factor").',
    )


def carry_others(
    dataset: xr.Dataset,
    trace: Trace,
    loadings: Sequence[NDArray[np.floating]],
    maps: Array,
    freedom: Freedom,
) -> tuple[xr.Dataset, tuple[str, ...]]:
    """Map what else has the dim of factors; return it with what has not, and notes of what was left out."""
    own = {trace.factors_name, *trace.loading_names}
    touched = {
        str(name): var
        for name, var in dataset.data_vars.items()
        if name not in own and trace.factor_dims & {str(dim) for dim in var.dims}
    }
    out = dataset.drop_vars([*touched, *(name for name in own if name is not None)])
    notes = []
    for name, var in touched.items():
        dims = [str(dim) for dim in var.dims if str(dim) in trace.factor_dims]
        mapped = None
        view = f"loadings_{name.removeprefix('ard_')}"
        if len(dims) == 1 and set(_SAMPLES) <= set(var.dims) and freedom != "rotation":
            mapped = _reorder(name, var, dims[0], maps)
        elif name.startswith("ard_") and view in trace.loading_names and var.ndim == 3:
            mapped = _imply(var, loadings[trace.loading_names.index(view)])
            notes.append(f"{name!r}: precision that the rotated loadings imply, D / sum_d w_dk^2")
        elif name == "factor_precision" and len(dims) == 1:
            mapped = _turn_precision(var, dims[0], maps)
            notes.append(
                f"{name!r}: that of the rotated factors, 1 / (T^-1 B^-1 T^-T)_kk for B the diagonal of what it was"
            )
        if mapped is not None:
            out = out.assign({name: mapped})
    lost = [name for name in touched if name not in out]
    if lost:
        notes.append(f"{name_some(lost, 12)}: left out, since alignment does not say what they become")
    return out, tuple(notes)


def _reorder(name: str, var: xr.DataArray, dim: str, maps: Array) -> xr.DataArray | None:
    """Give a per-factor variable the new order, and sign and scale where it has them."""
    old = np.abs(maps).argmax(axis=2)  # (C, S, K): which factor of the draw became factor k
    chosen = np.take_along_axis(maps, old[:, :, None, :], axis=2)[:, :, 0, :]
    power = next((own for start, own in _PRECISIONS.items() if name == start or name.startswith(f"{start}_")), None)
    is_slab = name.startswith(_FOLLOW_SIGN)
    if power is None and not is_slab and not name.startswith(_FOLLOW_ORDER):
        return None
    values = var.transpose(*_SAMPLES, ..., dim).values
    shape = (*old.shape[:2], *(1,) * (values.ndim - 3), old.shape[2])
    moved = np.take_along_axis(values, np.broadcast_to(old.reshape(shape), values.shape), axis=-1)
    if is_slab:
        moved = moved * np.sign(chosen).reshape(shape)
    elif power is not None:
        moved = moved * (np.abs(chosen) ** power).reshape(shape)
    return var.transpose(*_SAMPLES, ..., dim).copy(data=moved.astype(values.dtype)).transpose(*var.dims)


def _imply(var: xr.DataArray, loadings: NDArray[np.floating]) -> xr.DataArray:
    square = np.stack([np.einsum("sdk,sdk->sk", own, own, dtype=np.float64) for own in loadings])
    dim = next(dim for dim in var.dims if dim not in _SAMPLES)
    implied = loadings.shape[2] / np.maximum(square, np.finfo(np.float64).tiny)
    return var.transpose(*_SAMPLES, dim).copy(data=implied).transpose(*var.dims)


def _turn_precision(var: xr.DataArray, dim: str, maps: Array) -> xr.DataArray:
    """Precision along the new axes of factors that had some along the old, which Z T^-T turns."""
    ordered = var.transpose(*_SAMPLES, ..., dim)
    inverse = np.linalg.inv(maps).reshape(*maps.shape[:2], *(1,) * (ordered.ndim - 3), *maps.shape[2:])
    variance = (np.square(inverse) / ordered.values[..., None, :]).sum(axis=-1)
    return ordered.copy(data=1 / variance).transpose(*var.dims)
