"""Information: what each view tells about a patient's factors, or about one direction among them, in nats."""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.errors import DataError
from mofa_bayes.explain.precision import Contributions
from mofa_bayes.explain.summarise import require_choice
from mofa_bayes.posterior import Posterior

Array = NDArray[np.float64]
Patterns = Literal["complete", "cohort", "each"]
PATTERNS = ("complete", "cohort", "each")
NOTHING = "none"
_MOST_VIEWS = 6
"""Up to so many views all subsets of them are looked at; of more, single ones, all but one, and all."""


def information(post: Posterior, *, patterns: Patterns = "complete") -> xr.Dataset:
    """Measure how much each view tells about each factor of a patient, per draw.

    In a draw, views contribute to the precision of a patient's factors, L = L_0 + sum_m W_m' S_m^-1 W_m with the
    prior's L_0 and the noise S_m, whatever their values are. With V_P = L^-1 from the views P of a patient, and k a
    factor,

        alone    I(z_k; x_m) = 1/2 log(V_none,kk / V_m,kk)
        unique   I(z_k; x_m | the other views) = 1/2 log(V_others,kk / V_all,kk)
        shared   alone - unique: what the others tell too; below 0 where views tell more together than one by one.

    Parameters
    ----------
    post
        A posterior.
    patterns
        `complete`: for a patient who has every view; `cohort`: averaged over the patients of the fit, a view telling
        nothing of those who lack it; `each`: per pattern of views that patients have.

    Returns
    -------
    Dataset of `alone`, `unique`, `shared` (chain, draw, view, factor) and `all` (chain, draw, factor), what all views
    tell together, in nats. With `each`, besides the dim `pattern` (names of the views, joined by +) and `n_subjects`.

    Notes
    -----
    Linear Gaussian channels: Cover and Thomas 2006, Elements of Information Theory, chapter 8. A view that a patient
    has counts as measured whole. Features without gaussian noise count by the variance of their likelihood on the
    scale of eta, as in `variance_explained`; sparse priors on factors by their slab.

    Raises
    ------
    DataError
        `patterns` is unknown.
    FitError
        The posterior's draws are not aligned.
    """
    require_choice("patterns", patterns, PATTERNS)
    own = Contributions.read(post)
    found = own.patterns(post) if patterns != "complete" else {tuple(post.views): 1}
    each = [_measure(own, present) for present in found]
    counts = xr.DataArray(list(found.values()), dims="pattern")
    if patterns == "complete":
        return _label(each[0], post)
    labelled = xr.concat([_label(one, post) for one in each], dim="pattern")
    if patterns == "cohort":
        return (labelled * counts).sum("pattern") / counts.sum()
    names = ["+".join(present) or NOTHING for present in found]
    return labelled.assign(n_subjects=counts).assign_coords(pattern=names).transpose("pattern", ...)


def information_about(post: Posterior, direction: object) -> xr.Dataset:
    """Measure how much each subset of views tells about b'z, one direction among a patient's factors.

    b may be the coefficients of a risk model, and b'z is then all that factors say of the risk. With V_P the covariance
    of the factors of a patient who has the views P,

        variance  b' V_P b;   explained  1 - b' V_P b / b' V_none b;   information  1/2 log(b' V_none b / b' V_P b).

    Parameters
    ----------
    post
        A posterior.
    direction
        b: K numbers in the order of `post.factor_names`, a Series by factor, or a DataArray of dims (factor), perhaps
        with draws (chain, draw, factor). Draws of b are paired with draws of the posterior, and where there are other
        numbers of them, with draws at even distances.

    Returns
    -------
    Dataset of `variance`, `explained` and `information` (chain, draw, subset); a subset is named by its views, joined
    by +, and `none`. Of more than six views there are single ones, all but one, and all.

    Raises
    ------
    DataError
        The direction does not have a finite number for every factor, or is zero.
    FitError
        The posterior's draws are not aligned.
    """
    own = Contributions.read(post)
    b, chosen, coords = _read_direction(direction, post)
    subsets = _list_subsets(post.views)
    variance = np.stack([own.variance_along(b, subset, chosen) for subset in subsets], axis=-1)
    variance = variance.reshape(*(len(values) for values in coords.values()), len(subsets))
    names = [_name(subset) for subset in subsets]
    labelled = xr.DataArray(variance, dims=(*coords, "subset"), coords={**coords, "subset": names})
    prior = labelled.sel(subset=NOTHING, drop=True)
    return xr.Dataset(
        {"variance": labelled, "explained": 1 - labelled / prior, "information": np.log(prior / labelled) / 2}
    )


def partial_information(post: Posterior, direction: object) -> xr.Dataset:
    """Split what a view and all the others tell about b'z into unique, redundant and synergistic information.

    Every redundancy between two sources and one Gaussian target that depends on their two marginals alone is the
    smaller of what each tells (Barrett 2015, Phys Rev E 91:052802), and with it

        redundant    min(I(view), I(rest))
        unique       I(view) - redundant
        rest         I(rest) - redundant: unique to the other views
        synergistic  I(all) - unique - rest - redundant: only to be had from both.

    Parameters
    ----------
    post, direction
        As in `information_about`.

    Returns
    -------
    Dataset of `unique`, `redundant`, `synergistic` and `rest` (chain, draw, view), in nats, whose sum is `all`
    (chain, draw). With two views this is their decomposition, seen from each.

    Raises
    ------
    DataError, FitError
        As `information_about`.
    """
    own = Contributions.read(post)
    b, chosen, coords = _read_direction(direction, post)

    def tell(subset: Sequence[str]) -> Array:
        return np.log(own.variance_along(b, (), chosen) / own.variance_along(b, subset, chosen)) / 2

    together, parts = tell(post.views), []
    for view in post.views:
        alone, rest = tell([view]), tell([other for other in post.views if other != view])
        redundant = np.minimum(alone, rest)
        parts.append((alone - redundant, redundant, together - np.maximum(alone, rest), rest - redundant))
    names = ("unique", "redundant", "synergistic", "rest")
    shape = tuple(len(values) for values in coords.values())
    labels = {**coords, "view": list(post.views)}
    dims = (*coords, "view")
    table = {
        name: (dims, np.stack([part[number] for part in parts], axis=-1).reshape(*shape, len(parts)))
        for number, name in enumerate(names)
    }
    return xr.Dataset({**table, "all": (tuple(coords), together.reshape(shape))}, coords=labels)


def _measure(own: Contributions, present: tuple[str, ...]) -> dict[str, Array]:
    """Find `alone`, `unique` (S, M, K) and `all` (S, K) for a patient who has some views."""

    def variance(subset: Sequence[str]) -> Array:
        return np.diagonal(own.covariance(subset), axis1=1, axis2=2)

    prior, everything = variance(()), variance(present)
    nothing = np.zeros_like(prior)
    alone = [np.log(prior / variance([v])) / 2 if v in present else nothing for v in own.views]
    others = {v: [other for other in present if other != v] for v in present}
    unique = [np.log(variance(others[v]) / everything) / 2 if v in present else nothing for v in own.views]
    return {
        "alone": np.stack(alone, axis=1),
        "unique": np.stack(unique, axis=1),
        "all": np.log(prior / everything) / 2,
    }


def _label(found: dict[str, Array], post: Posterior) -> xr.Dataset:
    """Label what `measure` found."""
    draws = post.factors()
    labels = {"chain": draws["chain"].values, "draw": draws["draw"].values}
    shape = (len(labels["chain"]), len(labels["draw"]))
    dims = {"alone": ("view", "factor"), "unique": ("view", "factor"), "all": ("factor",)}
    table = xr.Dataset(
        {
            name: (("chain", "draw", *dims[name]), values.reshape(*shape, *values.shape[1:]))
            for name, values in found.items()
        },
        coords={**labels, "view": list(post.views), "factor": list(post.factor_names)},
    )
    return table.assign(shared=table["alone"] - table["unique"])


def _list_subsets(views: tuple[str, ...]) -> list[tuple[str, ...]]:
    sizes = range(len(views) + 1) if len(views) <= _MOST_VIEWS else sorted({0, 1, len(views) - 1, len(views)})
    return [subset for size in sizes for subset in combinations(views, size)]


def _name(subset: Sequence[str]) -> str:
    return "+".join(subset) or NOTHING


def _read_direction(direction: object, post: Posterior) -> tuple[Array, NDArray[np.intp], dict[str, np.ndarray]]:
    """Return directions (S', K), the draw that each is paired with (S',), and the labels of their draws."""
    names, draws = list(post.factor_names), post.factors()
    n_draws = draws.sizes["chain"] * draws.sizes["draw"]
    if isinstance(direction, pd.Series):
        direction = direction.reindex(names).to_numpy()
    coords: dict[str, np.ndarray] = {"chain": draws["chain"].values, "draw": draws["draw"].values}
    if isinstance(direction, xr.DataArray) and direction.ndim > 1:
        if set(direction.dims) != {"chain", "draw", "factor"}:
            raise _no_direction(f"dims ({', '.join(str(dim) for dim in direction.dims)})", names)
        direction = _by_factor(direction, names).transpose("chain", "draw", "factor")
        coords = {dim: np.asarray(direction[dim].values) for dim in ("chain", "draw")}
        b = direction.values.reshape(-1, len(names)).astype(np.float64)
        chosen = np.linspace(0, n_draws - 1, len(b)).round().astype(np.intp)
    else:
        if isinstance(direction, xr.DataArray):
            direction = _by_factor(direction, names).values
        try:
            one = np.asarray(direction, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise _no_direction(type(direction).__name__, names) from error
        if one.shape != (len(names),):
            raise _no_direction(f"numbers of shape {one.shape}", names)
        b, chosen = np.tile(one, (n_draws, 1)), np.arange(n_draws)
    if not np.isfinite(b).all() or not b.any(axis=1).all():
        raise _no_direction("missing or infinite numbers, or only zeros", names)
    return b, chosen, coords


def _by_factor(direction: xr.DataArray, names: list[str]) -> xr.DataArray:
    if "factor" not in direction.dims or direction.sizes["factor"] != len(names):
        raise _no_direction(f"sizes {dict(direction.sizes)}", names)
    return direction.reindex(factor=names) if "factor" in direction.coords else direction


def _no_direction(got: str, names: list[str]) -> DataError:
    return DataError(
        "direction",
        got=got,
        expected=f"a finite number for each of the factors {', '.join(names)}, not all zero, perhaps with draws",
        do="Pass the coefficients of the factors in a risk model, or an indicator of one factor.",
    )
