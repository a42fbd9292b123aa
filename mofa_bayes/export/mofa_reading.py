"""Read a trained MOFA model, of mofapy2 or written by us, as a Posterior of means; nothing in the file is trusted."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mofa_bayes.errors import FileError, MofaBayesError
from mofa_bayes.export.means import Array
from mofa_bayes.export.mofa import PRIVATE
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.files import SCHEMA_VERSION
from mofa_bayes.spec import ARD, ARDFactors, FactorModel, Normal, SpikeSlab, SpikeSlabFactors, StandardFactors

if TYPE_CHECKING:
    import h5py

_FOREIGN = re.compile(r"[^A-Za-z0-9_.\-]")
_LATENT = {"gaussian": 1.0, "bernoulli": np.pi**2 / 3}
_MOST_PER_BYTE = 1100
"""Bytes that a byte of a file can unpack to, since DEFLATE reaches 1,032: an array that declares more is not read."""


def read_mofa(path: str | Path) -> Posterior:
    """Read the HDF5 file of a trained MOFA model (mofapy2, MOFA2, or `export_mofa`).

    Such a file holds means and nothing of how sure they are, so the posterior has one draw and
    `post.has_uncertainty` is False: `factors()`, `loadings()`, `variance_explained` and the plots of values work;
    what asks for uncertainty (biomarkers, sharing, diagnosis, projection, risk) raises `FitError`. Noise is estimated
    from the residuals of the file's own data, where it has them.

    Returns
    -------
    Posterior
        Engine `mofapy2`, or `mofa_bayes (means)` of a file that we wrote. Factors are F1, F2, ... in the file's order.
        Intercepts are the file's, of real-valued features; centres are 0 and scales 1, because the file does not say
        how data were scaled. Characters of view names other than letters, digits, `_`, `.` and `-` become `_`; where
        groups share names of samples, samples become `<group>:<sample>`. `tree["fit"]` has the file's
        `r2_per_factor` and `r2_total` in percent, and `elbo`.

    Raises
    ------
    FileError
        The file is absent, damaged, or not a trained MOFA model.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"file {str(path)!r}", got="nothing there", expected="a trained MOFA model", do="Check it.")
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found = _Found.read(_Reader(file, path.stat().st_size))
        return Posterior(_build(found, hashlib.sha256(path.read_bytes()).hexdigest()))
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        if isinstance(error, MofaBayesError):
            raise
        raise FileError(
            f"file {str(path)!r}",
            got=f"{type(error).__name__} while reading it: {str(error)[:160]}",
            expected="the HDF5 file of a trained MOFA model",
            do="It may be truncated or of another kind; save the model again.",
        ) from error


@dataclass(frozen=True, slots=True)
class _Reader:
    """Arrays of an HDF5 file that lie in the file itself, and are of the size that is expected."""

    file: "h5py.File"
    n_bytes: int

    def has(self, name: str) -> bool:
        """Whether something of this name is there."""
        return name in self.file

    def numbers(self, name: str, shape: tuple[int, ...] | None = None) -> Array:
        """Read floating-point numbers, of a shape where one is given."""
        values: Array = self.array(name, shape)[...].astype(np.float64)
        return values

    def texts(self, name: str) -> list[str]:
        """Read names, which are text, present and each there once."""
        dataset = self.array(name)
        if dataset.ndim != 1 or dataset.dtype.kind not in "SO" or dataset.size > self.n_bytes:
            raise ValueError(f"{name!r} is not a list of texts that this file can hold")
        values = [value.decode() if isinstance(value, bytes) else str(value) for value in dataset[...]]
        if not values or len(set(values)) < len(values) or "" in values:
            raise ValueError(f"{name!r} has names that are absent or not unique")
        return values

    def array(self, name: str, shape: tuple[int, ...] | None = None) -> Any:  # noqa: ANN401
        """Find an array, of a shape where one is given, and read nothing of it yet."""
        import h5py

        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            link = self.file.get("/".join(parts[:depth]), getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{name!r} is not in this file")
        found = self.file[name]
        if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
            raise ValueError(f"{name!r} is not an array of this file")
        if found.size * found.dtype.itemsize > _MOST_PER_BYTE * self.n_bytes:
            raise ValueError(f"{name!r} declares more than this file can hold")
        if shape is not None and found.shape != shape:
            raise ValueError(f"{name!r} has shape {found.shape} where {shape} is due")
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What the file says: names, means, data (absent ones None), and what it reports of the training."""

    views: tuple[str, ...]
    groups: tuple[str, ...]
    subjects: Mapping[str, Sequence[str]]
    features: Mapping[str, Sequence[str]]
    likelihoods: Mapping[str, str]
    factors: Mapping[str, Array]
    loadings: Mapping[str, Array]
    data: Mapping[str, Mapping[str, Array]]
    intercepts: Mapping[str, Mapping[str, Array]]
    r2: Mapping[str, Array]
    elbo: Array
    spec: FactorModel
    is_ours: bool

    @classmethod
    def read(cls, reader: _Reader) -> "_Found":
        views, groups = reader.texts("views/views"), reader.texts("groups/groups")
        subjects = {group: reader.texts(f"samples/{group}") for group in groups}
        features = {view: reader.texts(f"features/{view}") for view in views}
        n_factors = len(reader.numbers(f"expectations/W/{views[0]}", None))
        if n_factors == 0:
            raise ValueError("the model has no factor")
        kinds = [text.decode() for text in reader.array("model_options/likelihoods", (len(views),))[...]]
        factors = {g: reader.numbers(f"expectations/Z/{g}", (n_factors, len(subjects[g]))).T for g in groups}
        loadings = {v: reader.numbers(f"expectations/W/{v}", (n_factors, len(features[v]))).T for v in views}
        if not all(np.isfinite(own).all() for own in (*factors.values(), *loadings.values())):
            raise ValueError("factors or weights are not finite")
        cells = [(v, g) for v in views for g in groups if reader.has(f"data/{v}/{g}")]
        sizes = {(v, g): (len(subjects[g]), len(features[v])) for v, g in cells}
        centred = [(v, g) for v in views for g in groups if reader.has(f"intercepts/{v}/{g}")]
        r2 = {
            name: np.stack([reader.numbers(f"variance_explained/{name}/{g}", shape) for g in groups])
            for name, shape in (("r2_per_factor", (len(views), n_factors)), ("r2_total", (len(views),)))
            if all(reader.has(f"variance_explained/{name}/{g}") for g in groups)
        }
        elbo = reader.numbers("training_stats/elbo").ravel() if reader.has("training_stats/elbo") else np.zeros(0)
        return cls(
            views=tuple(views),
            groups=tuple(groups),
            subjects=subjects,
            features=features,
            likelihoods=dict(zip(views, kinds, strict=True)),
            factors=factors,
            loadings=loadings,
            data=_nest({(v, g): reader.numbers(f"data/{v}/{g}", sizes[v, g]) for v, g in cells}),
            intercepts=_nest({(v, g): reader.numbers(f"intercepts/{v}/{g}", (len(features[v]),)) for v, g in centred}),
            r2=r2,
            elbo=elbo[np.isfinite(elbo)],
            spec=_read_spec(reader, n_factors),
            is_ours=reader.has(PRIVATE),
        )


def _nest(flat: Mapping[tuple[str, str], Array]) -> dict[str, dict[str, Array]]:
    nested: dict[str, dict[str, Array]] = {}
    for (view, group), values in flat.items():
        nested.setdefault(view, {})[group] = values
    return nested


def _read_spec(reader: _Reader, n_factors: int) -> FactorModel:
    def says(name: str) -> bool:
        found = reader.array(f"model_options/{name}")[()] if reader.has(f"model_options/{name}") else b"False"
        return bool(found == b"True")

    dense = ARD() if says("ard_weights") else Normal()
    return FactorModel(
        n_factors=n_factors,
        loadings=SpikeSlab() if says("spikeslab_weights") else dense,
        factors=SpikeSlabFactors()
        if says("spikeslab_factors")
        else (ARDFactors() if says("ard_factors") else StandardFactors()),
        scale="none",
    )


def _build(found: _Found, fingerprint: str) -> xr.DataTree:
    names = [_FOREIGN.sub("_", view) for view in found.views]
    if len(set(names)) < len(names):
        raise ValueError("two views would have the same name here")
    subjects = [subject for group in found.groups for subject in found.subjects[group]]
    if len(set(subjects)) < len(subjects):
        subjects = [f"{group}:{subject}" for group in found.groups for subject in found.subjects[group]]
    factors = np.concatenate([found.factors[group] for group in found.groups])
    labels = np.repeat(found.groups, [len(found.subjects[group]) for group in found.groups])
    n_factors = factors.shape[1]
    coords: dict[str, Any] = {
        "factor": [f"F{k + 1}" for k in range(n_factors)],
        "subject": subjects,
        "group": list(found.groups),
    }
    coords["factor_bis"] = coords["factor"]
    coords["term"] = [*coords["factor"], *(f"intercept {group}" for group in found.groups)]
    posterior: dict[str, Any] = {"factors": (("chain", "draw", "subject", "factor"), factors[None, None])}
    moments: dict[str, Any] = {
        "factors_mean": (("subject", "factor"), factors),
        "factors_cov": (("pattern", "factor", "factor_bis"), np.full((1, n_factors, n_factors), np.nan)),
        "pattern_of": ("subject", np.zeros(len(subjects), dtype=np.int64)),
        "group_of": ("subject", labels),
    }
    preprocessing: dict[str, Any] = {}
    for view, name in zip(found.views, names, strict=True):
        coords[f"feature_{name}"] = list(found.features[view])
        _add_view(found, view, name, posterior, moments)
        ones = np.ones(len(found.features[view]))
        preprocessing |= {f"center_{name}": (f"feature_{name}", 0 * ones), f"scale_{name}": (f"feature_{name}", ones)}
    fit: dict[str, Any] = {"elbo": ("iteration", found.elbo)}
    fit |= {name: (("group", "view", "factor")[: own.ndim], own) for name, own in found.r2.items()}
    tree = xr.DataTree.from_dict(
        {
            "posterior": _label(posterior, coords | {"chain": [0], "draw": [0]}),
            "moments": _label(moments, coords),
            "preprocessing": _label(preprocessing, coords),
            "fit": _label(fit, coords | {"view": names}),
        }
    )
    tree.attrs.update(
        {
            "schema_version": SCHEMA_VERSION,
            "mofa_bayes": version("mofa-bayes"),
            "engine": "mofa_bayes (means)" if found.is_ours else "mofapy2",
            "spec": found.spec.to_toml(),
            "views": json.dumps(names),
            "fingerprint": fingerprint,
            "data_fingerprint": "",
            "aligned": 1,
            "has_uncertainty": 0,
        }
    )
    return tree


def _add_view(found: _Found, view: str, name: str, posterior: dict[str, Any], moments: dict[str, Any]) -> None:
    feature, kind = f"feature_{name}", found.likelihoods[view]
    loadings, n_features = found.loadings[view], len(found.features[view])
    own = found.intercepts.get(view, {})
    zeros = np.zeros(n_features)
    # Of other likelihoods mofapy2 writes column means, which its model does not use.
    is_used = kind == "gaussian" or found.is_ours
    intercepts = np.stack([own.get(group, zeros) if is_used else zeros for group in found.groups])
    posterior[f"loadings_{name}"] = (("chain", "draw", feature, "factor"), loadings[None, None])
    posterior[f"intercept_{name}"] = (("chain", "draw", "group", feature), intercepts[None, None])
    data = found.data.get(view, {})
    observed = [
        ~np.isnan(data[group]).all(axis=1) if group in data else np.ones(len(found.subjects[group]), dtype=np.bool_)
        for group in found.groups
    ]
    noise_sd = np.stack([_estimate_noise(found, view, group) for group in found.groups])
    if kind == "gaussian":
        posterior[f"noise_sd_{name}"] = (("chain", "draw", "group", feature), noise_sd[None, None])
    terms = np.concatenate([loadings, intercepts.T], axis=1)
    latent = np.full(n_features, _LATENT.get(kind, np.nan))
    if kind == "poisson" and data:
        # By the delta method for the softplus link of mofapy2's rate, as in engines/vi/variance.py.
        rate = np.maximum(np.nanmean(np.concatenate(list(data.values())), axis=0), 1e-6)
        latent = rate / np.square(np.expm1(-rate))
    moments |= {
        f"weights_mean_{name}": ((feature, "term"), terms),
        f"weights_var_{name}": ((feature, "term"), np.full(terms.shape, np.nan)),
        f"precision_{name}": (("group", feature), noise_sd**-2.0),
        f"nuisance_{name}": (feature, np.ones(n_features)),
        f"curvature_{name}": (feature, np.ones(n_features)),
        f"latent_variance_{name}": (feature, latent),
        f"likelihood_{name}": (feature, np.full(n_features, kind)),
        f"observed_{name}": ("subject", np.concatenate(observed)),
        f"has_exposure_{name}": ((), np.array(False)),
    }


def _estimate_noise(found: _Found, view: str, group: str) -> Array:
    """Root mean square of each feature's residuals in the file's own data, NaN where it has none, (D,)."""
    data = found.data.get(view, {}).get(group)
    if data is None:
        return np.full(len(found.features[view]), np.nan)
    seen = ~np.isnan(data)
    residual = np.where(seen, data - found.factors[group] @ found.loadings[view].T, 0.0)
    count = seen.sum(axis=0)
    square = np.square(residual).sum(axis=0) / np.maximum(count, 1)
    return np.sqrt(np.where((count > 0) & (square > 0), square, np.nan))


def _label(variables: Mapping[str, Any], coords: Mapping[str, Any]) -> xr.Dataset:
    dims = {dim for dims, _ in variables.values() for dim in ((dims,) if isinstance(dims, str) else dims)}
    return xr.Dataset(variables, coords={name: values for name, values in coords.items() if name in dims})
