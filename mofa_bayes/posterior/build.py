"""From what the vi engine fitted to a labelled tree: order, sign, draws and moments. Labels are put on here only."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.vi.ascend import Fitted, explained_by_factor, keep_factors
from mofa_bayes.engines.vi.expand import rescale
from mofa_bayes.engines.vi.globals import PartState
from mofa_bayes.engines.vi.kernels import Array, pack, unpack
from mofa_bayes.engines.vi.layout import Part

_CHUNK = 512

Variables = dict[str, tuple[tuple[str, ...], np.ndarray]]


def order_and_sign(fitted: Fitted) -> Fitted:
    """Sort factors by the variance they explain, and make each factor's largest |loading| positive."""
    strength = explained_by_factor(fitted.layout, fitted.globals).sum(axis=0)
    order = np.argsort(-strength, kind="stable")
    globals_ = keep_factors(fitted.globals, order)
    loadings = np.concatenate([state.mean[:, :-1] for state in globals_.parts])
    sign = np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(len(order))])
    sign[sign == 0] = 1.0
    turn = np.zeros((len(order), len(order)))
    turn[order, np.arange(len(order))] = sign
    rows = tuple(own.transform(turn) for own in fitted.rows)
    return replace(fitted, globals=rescale(globals_, sign), rows=rows)


def build_tree(
    fitted: Fitted, views: MultiView, preprocessing: Preprocessing, n_draws: int, rng: np.random.Generator
) -> xr.DataTree:
    """Label a fit and draw from it.

    Groups of the tree: `posterior` (draws, dims as in DESIGN section 2), `moments` (closed-form moments of factors and
    of loadings with intercepts), `preprocessing`, and `fit` (the bound). No value of any view is in it.
    """
    fitted = order_and_sign(fitted)
    names = np.array([f"F{k + 1}" for k in range(fitted.globals.n_factors)])
    draws, moments = _label_rows(fitted, views, n_draws, rng)
    for view in views.names:
        pieces = [
            (part, state)
            for part, state in zip(fitted.layout.parts, fitted.globals.parts, strict=True)
            if part.view == view
        ]
        _draw_view(view, pieces, views, n_draws, rng, draws)
        own = fitted.globals.views[view]
        ard = rng.gamma(own.ard_shape, 1.0, (n_draws, len(names))) / own.ard_rate
        draws[f"ard_{view}"] = (("draw", "factor"), ard)
        _summarise_view(view, pieces, views, moments)
    coords: dict[str, np.ndarray] = {"factor": names, "subject": np.asarray(views.subjects)}
    coords |= {f"feature_{view}": np.asarray(views.features(view)) for view in views.names}
    posterior = xr.Dataset(draws, coords=coords | _real_features(views)).expand_dims({"chain": [0]})
    terms = np.append(names, "intercept")
    labels = coords | {"factor_bis": names, "term": terms, "term_bis": terms}
    trace = xr.Dataset({"bound": ("iteration", fitted.bound)}, coords={"iteration": 1 + np.arange(len(fitted.bound))})
    return xr.DataTree.from_dict(
        {
            "posterior": posterior.assign_coords(draw=np.arange(n_draws)),
            "moments": _with_coords(moments, labels),
            "preprocessing": preprocessing.dataset,
            "fit": trace.assign(n_factors=("iteration", fitted.n_factors)),
        }
    )


def _with_coords(variables: Variables, coords: Mapping[str, np.ndarray]) -> xr.Dataset:
    used = {dim for dims, _ in variables.values() for dim in dims}
    return xr.Dataset(variables, coords={name: values for name, values in coords.items() if name in used})


def _real_features(views: MultiView) -> dict[str, np.ndarray]:
    """Coordinates of noise: all features of a view, or its own dim where only some are gaussian."""
    found = {}
    for view in views.names:
        is_real = views.likelihoods(view).values == "gaussian"
        if is_real.any() and not is_real.all():
            found[f"feature_{view}_gaussian"] = np.asarray(views.features(view))[is_real]
    return found


def _label_rows(
    fitted: Fitted, views: MultiView, n_draws: int, rng: np.random.Generator
) -> tuple[Variables, Variables]:
    """Draw factors, and file each subject under the covariance it shares with others."""
    n_factors = fitted.globals.n_factors
    subjects = fitted.layout.subjects
    place = {subject: n for n, subject in enumerate(views.subjects)}
    mean = np.empty((len(subjects), n_factors))
    pattern_of = np.empty(len(subjects), dtype=np.int64)
    covariances: list[Array] = []
    draws = np.empty((n_draws, len(subjects), n_factors), dtype=np.float32)
    for block, rows in zip(fitted.layout.blocks, fitted.rows, strict=True):
        target = np.array([place[subjects[n]] for n in block.rows])
        mean[target] = rows.mean
        covariance = unpack(rows.covariance, n_factors)
        first = sum(len(c) for c in covariances)
        pattern_of[target] = first + (np.arange(block.n_rows) if len(covariance) == block.n_rows else 0)
        covariances.append(covariance)
        noise = rng.standard_normal((n_draws, block.n_rows, n_factors))
        root = np.broadcast_to(np.linalg.cholesky(covariance), (block.n_rows, n_factors, n_factors))
        draws[:, target] = rows.mean + np.einsum("nkl,snl->snk", root, noise, optimize=True)
    observed = {f"observed_{view}": (("subject",), views.has_view(view).values) for view in views.names}
    moments: Variables = {
        "factors_mean": (("subject", "factor"), mean),
        "factors_cov": (("pattern", "factor", "factor_bis"), np.concatenate(covariances)),
        "pattern_of": (("subject",), pattern_of),
        **observed,
    }
    return {"factors": (("draw", "subject", "factor"), draws)}, moments


def _positions(view: str, part: Part, views: MultiView) -> np.ndarray:
    place = {feature: d for d, feature in enumerate(views.features(view))}
    return np.array([place[feature] for feature in part.features])


def _draw_view(
    view: str,
    pieces: list[tuple[Part, PartState]],
    views: MultiView,
    n_draws: int,
    rng: np.random.Generator,
    draws: Variables,
) -> None:
    n_features = len(views.features(view))
    n_factors = pieces[0][1].mean.shape[1] - 1
    feature = f"feature_{view}"
    loadings = np.empty((n_draws, n_features, n_factors), dtype=np.float32)
    intercept = np.empty((n_draws, n_features), dtype=np.float32)
    active = np.ones((n_draws, n_features, n_factors), dtype=np.int8)
    noise_sd = np.full((n_draws, n_features), np.nan, dtype=np.float32)
    for part, state in pieces:
        columns = _positions(view, part, views)
        for start in range(0, len(columns), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            terms, included = _draw_terms(state, chunk, n_draws, rng)
            loadings[:, columns[chunk]] = terms[:, :, :-1]
            intercept[:, columns[chunk]] = terms[:, :, -1]
            if included is not None:
                active[:, columns[chunk]] = included
        if len(state.noise_shape):
            tau = rng.gamma(state.noise_shape, 1.0, (n_draws, len(columns))) / state.noise_rate
            noise_sd[:, columns] = 1 / np.sqrt(tau)
    draws[f"loadings_{view}"] = (("draw", feature, "factor"), loadings)
    draws[f"intercept_{view}"] = (("draw", feature), intercept)
    if pieces[0][1].is_sparse:
        draws[f"active_{view}"] = (("draw", feature, "factor"), active)
    is_real = ~np.isnan(noise_sd[0])
    if is_real.any():
        dim = feature if is_real.all() else f"{feature}_gaussian"
        draws[f"noise_sd_{view}"] = (("draw", dim), noise_sd[:, is_real])


def _draw_terms(
    state: PartState, chunk: slice, n_draws: int, rng: np.random.Generator
) -> tuple[Array, np.ndarray | None]:
    """Draw loadings and intercept (n_draws, features, J) of some features; and s where the prior is sparse."""
    mean = state.mean[chunk]
    noise = rng.standard_normal((n_draws, *mean.shape))
    if not state.is_sparse:
        root = np.linalg.cholesky(unpack(state.spread[chunk], mean.shape[1]))
        return mean + np.einsum("dkl,sdl->sdk", root, noise, optimize=True), None
    included = rng.random((n_draws, *state.inclusion[chunk].shape)) < state.inclusion[chunk]
    terms = mean + np.sqrt(state.spread[chunk]) * noise
    slab = state.slab_mean[chunk] + np.sqrt(state.slab_variance[chunk]) * noise[:, :, :-1]
    terms[:, :, :-1] = included * slab
    return terms, included


def _summarise_view(view: str, pieces: list[tuple[Part, PartState]], views: MultiView, moments: Variables) -> None:
    """Store E[w~], its spread, E[tau] and q(s = 1): what projection and biomarkers need without draws."""
    n_features = len(views.features(view))
    n_terms = pieces[0][1].mean.shape[1]
    sparse = pieces[0][1].is_sparse
    mean = np.empty((n_features, n_terms))
    spread = np.empty((n_features, n_terms) if sparse else (n_features, n_terms, n_terms))
    inclusion = np.empty((n_features, n_terms - 1))
    precision = np.empty(n_features)
    for part, state in pieces:
        columns = _positions(view, part, views)
        mean[columns], inclusion[columns], precision[columns] = state.mean, state.inclusion, state.tau
        spread[columns] = state.spread if sparse else unpack(state.spread, n_terms)
    feature = f"feature_{view}"
    moments[f"weights_mean_{view}"] = ((feature, "term"), mean)
    if sparse:
        moments[f"weights_var_{view}"] = ((feature, "term"), spread)
        moments[f"inclusion_{view}"] = ((feature, "factor"), inclusion)
    else:
        moments[f"weights_cov_{view}"] = ((feature, "term", "term_bis"), spread)
    moments[f"precision_{view}"] = ((feature,), precision)
    moments[f"likelihood_{view}"] = ((feature,), views.likelihoods(view).values.astype(np.str_))


def part_state(moments: xr.Dataset, view: str, part: Part) -> PartState:
    """Restore from stored moments the q of a part that rows need: weights and noise."""
    rows = moments.sel({f"feature_{view}": list(part.features)})
    mean = np.ascontiguousarray(rows[f"weights_mean_{view}"].values)
    if f"weights_var_{view}" in moments:
        spread = rows[f"weights_var_{view}"].values
    else:
        spread = pack(rows[f"weights_cov_{view}"].values)
    tau = rows[f"precision_{view}"].values if part.likelihood == "gaussian" else np.empty(0)
    per_factor = mean[:, :-1]
    return PartState(
        mean, np.ascontiguousarray(spread), per_factor, per_factor, np.ones_like(per_factor), tau, np.ones_like(tau)
    )
