"""From the chains of the gibbs engine to labelled draws, subjects and features in the user's order."""

import math
import tempfile
from collections.abc import Sequence

import numpy as np
import xarray as xr

from mofa_bayes.atomic import reserve
from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.gibbs.sample import Sampled
from mofa_bayes.engines.vi.layout import Part
from mofa_bayes.errors import FileError
from mofa_bayes.posterior.build import Variables, label
from mofa_bayes.spec import FactorModel

_COUNTS = ("negative_binomial",)


def label_gibbs(sampled: Sampled, views: MultiView, spec: FactorModel) -> xr.Dataset:
    """Label the draws of all chains, as they were drawn: neither aligned nor put in order.

    Parameters
    ----------
    sampled
        What `sample_gibbs` returned.
    views, spec
        The cohort and the model it was drawn for.

    Returns
    -------
    xr.Dataset
        Dims `chain, draw` before the variables' own; names and dims as in vi's posterior: `factors`, and for each view
        `loadings_`, `intercept_`, `noise_sd_`, `ard_`, `active_`, `inclusion_`, `effects_` and `dispersion_<view>`,
        those that the model has; `factor_precision` under `ARDFactors`.
    """
    layout = sampled.layout
    names = np.array([f"F{k + 1}" for k in range(spec.n_factors)])
    place = {subject: n for n, subject in enumerate(layout.subjects)}
    rows = np.array([place[subject] for subject in views.subjects])
    draws: Variables = {"factors": (("chain", "draw", "subject", "factor"), _stack(sampled, "factors")[:, :, rows])}
    labels: dict[str, np.ndarray] = {
        "factor": names,
        "subject": np.asarray(views.subjects),
        "group": np.asarray(layout.groups),
        "covariate": np.asarray(layout.covariates),
        "chain": np.asarray(sampled.numbers),
        "draw": np.arange(draws["factors"][1].shape[1]),
    }
    if "factor_precision" in sampled.chains[0]:
        draws["factor_precision"] = (("chain", "draw", "group", "factor"), _stack(sampled, "factor_precision"))
    for number, view in enumerate(layout.views):
        labels[f"feature_{view}"] = np.asarray(views.features(view))
        _label_terms(view, sampled, views, spec, draws)
        _label_own(view, sampled, views, draws, labels)
        for name in ("ard", "inclusion"):
            if f"{name}_{number}" in sampled.chains[0]:
                draws[f"{name}_{view}"] = (("chain", "draw", "factor"), _stack(sampled, f"{name}_{number}"))
    return label(draws, labels)


def _stack(sampled: Sampled, name: str) -> np.ndarray:
    chains = [chain[name] for chain in sampled.chains]
    found = _allocate((len(chains), *chains[0].shape), chains[0])
    for number, own in enumerate(chains):
        found[number] = own
    return found


def _allocate(shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
    """Make an array of float32 where `like` is: in memory, or in a file that vanishes with it.

    Raises
    ------
    FileError
        There is no room for the file.
    """
    if not isinstance(like, np.memmap):
        return np.empty(shape, dtype=np.float32)
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    try:
        with tempfile.TemporaryFile() as file:
            reserve(file, size)
            return np.memmap(file, dtype=np.float32, mode="r+", shape=shape)
    except OSError as error:
        raise FileError(
            f"temporary folder {tempfile.gettempdir()!r}",
            got=error.strerror or type(error).__name__,
            expected=f"room for {size / 1e6:,.1f} MB, where draws are put in the order of the views",
            do="Name another folder by the variable TMPDIR, free some space, or take fewer draws.",
        ) from error


def _label_terms(view: str, sampled: Sampled, views: MultiView, spec: FactorModel, draws: Variables) -> None:
    """Label loadings, intercepts and effects of covariates of a view."""
    layout, feature = sampled.layout, f"feature_{view}"
    n_factors, n_groups = spec.n_factors, len(layout.groups)
    terms = _gather(view, sampled, views, "terms")
    intercepts = np.moveaxis(terms[..., n_factors : n_factors + n_groups], 3, 2)
    between, intercepts = (("group",), intercepts) if n_groups > 1 else ((), intercepts[:, :, 0])
    draws[f"loadings_{view}"] = (("chain", "draw", feature, "factor"), terms[..., :n_factors])
    draws[f"intercept_{view}"] = (("chain", "draw", *between, feature), intercepts)
    if layout.covariates:
        effects = np.moveaxis(terms[..., n_factors + n_groups :], 3, 2)
        draws[f"effects_{view}"] = (("chain", "draw", "covariate", feature), effects)
    if spec.loadings_of(view).kind == "spike_slab":
        draws[f"active_{view}"] = (("chain", "draw", feature, "factor"), (terms[..., :n_factors] != 0).astype(np.int8))


def _label_own(view: str, sampled: Sampled, views: MultiView, draws: Variables, labels: dict[str, np.ndarray]) -> None:
    """Label noise and dispersion, of the features that have them."""
    likelihoods = views.likelihoods(view).values
    n_groups = len(sampled.layout.groups)
    for name, stored, kinds, dim in (
        ("noise_sd", "tau", REAL, f"noisy_feature_{view}"),
        ("dispersion", "dispersion", _COUNTS, f"negative_binomial_feature_{view}"),
    ):
        own = np.isin(likelihoods, kinds)
        if not own.any():
            continue
        if own.all():
            dim = f"feature_{view}"
        else:
            labels[dim] = np.asarray(views.features(view))[own]
        values = _gather(view, sampled, views, stored)[..., own]
        if name == "noise_sd":
            # Where a group has no value of a feature nothing is known of its noise: no number stands for that.
            values = 1 / np.sqrt(np.where(_is_seen(view, sampled, views)[:, own], values, np.nan))
            values = values if n_groups > 1 else values[:, :, 0]
        between = ("group",) if name == "noise_sd" and n_groups > 1 else ()
        draws[f"{name}_{view}"] = (("chain", "draw", *between, dim), values)


def _gather(view: str, sampled: Sampled, views: MultiView, stored: str) -> np.ndarray:
    """Bring a variable of all parts of a view to the user's order of features; NaN where a part has none of it."""
    found: np.ndarray | None = None
    for number, columns in _parts_of(view, sampled.layout.parts, views):
        if f"{stored}_{number}" not in sampled.chains[0]:
            continue
        for chain, own in enumerate(sampled.chains):
            values = own[f"{stored}_{number}"]
            axis = 1 if stored == "terms" else values.ndim - 1
            if found is None:
                shape = list(values.shape)
                shape[axis] = len(views.features(view))
                found = _allocate((len(sampled.chains), *shape), values)
                found[:] = np.nan
            target = found[chain]
            target[(slice(None),) * axis + (columns,)] = values
    assert found is not None
    return found


def _is_seen(view: str, sampled: Sampled, views: MultiView) -> np.ndarray:
    """Whether a group has any value of a feature (group, feature)."""
    parts = sampled.layout.parts
    seen = np.zeros((len(sampled.layout.groups), len(views.features(view))), dtype=np.bool_)
    for number, columns in _parts_of(view, parts, views):
        seen[:, columns] = parts[number].n_observed > 0
    return seen


def _parts_of(view: str, parts: Sequence[Part], views: MultiView) -> list[tuple[int, np.ndarray]]:
    """Numbers of a view's parts, with the positions of their columns among the user's features."""
    place = {feature: d for d, feature in enumerate(views.features(view))}
    return [
        (number, np.array([place[feature] for feature in part.features]))
        for number, part in enumerate(parts)
        if part.view == view
    ]
