"""From what the vi engine fitted to a labelled tree: order, sign, draws and moments. Labels are put on here only."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr
from scipy.stats import truncnorm

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.vi.ascend import Fitted
from mofa_bayes.engines.vi.factor_priors import FactorState, GroupArd, Sparse
from mofa_bayes.engines.vi.known import ALL
from mofa_bayes.engines.vi.layout import Layout, Part
from mofa_bayes.engines.vi.packed import Array, pack, unpack
from mofa_bayes.engines.vi.part_state import PartState
from mofa_bayes.engines.vi.rows import Rows
from mofa_bayes.engines.vi.starts import Starts
from mofa_bayes.engines.vi.variance import explained_by_factor, latent_variance
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.spec import FactorModel

_CHUNK = 512

Variables = dict[str, tuple[tuple[str, ...], np.ndarray]]


def order_and_sign(fitted: Fitted, starts: Starts, spec: FactorModel) -> tuple[Fitted, Starts]:
    """Sort factors by the variance they explain, and make each factor's largest |loading| positive.

    Factors of views that admit no negative loadings keep their sign.
    """
    strength = explained_by_factor(fitted.layout, fitted.globals).sum(axis=0)
    order = np.argsort(-strength, kind="stable")
    globals_ = fitted.globals.keep(order)
    loadings = np.concatenate([state.mean[:, : len(order)] for state in globals_.parts])
    sign = np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(len(order))])
    fixed = any(spec.loadings_of(view).positive for view in fitted.layout.views)
    sign = np.where((sign == 0) | fixed, 1.0, sign)
    turn = np.zeros((len(order), len(order)))
    turn[order, np.arange(len(order))] = sign
    rows = tuple(own.transform(turn) for own in fitted.rows)
    return replace(fitted, globals=globals_.rescale(sign), rows=rows), starts.reorder(order)


def build_tree(
    fitted: Fitted,
    starts: Starts,
    spec: FactorModel,
    views: MultiView,
    preprocessing: Preprocessing,
    n_draws: int,
    rng: np.random.Generator,
) -> xr.DataTree:
    """Label a fit and draw from it.

    Groups of the tree: `posterior` (draws, dims as in DESIGN section 2), `moments` (closed-form moments of factors and
    of loadings with intercepts), `preprocessing`, `fit` (the bound) and `starts`. No value of any view is in it.
    """
    fitted, starts = order_and_sign(fitted, starts, spec)
    layout = fitted.layout
    names = np.array([f"F{k + 1}" for k in range(fitted.globals.n_factors)])
    moments = gather_rows(layout, fitted.rows, views.subjects, tuple(names))
    draws: Variables = {}
    if fitted.rows[0].is_sparse:
        drawn, present = draw_sparse_factors(layout, fitted.rows, views.subjects, n_draws, rng)
        draws["factors_active"] = (("draw", "subject", "factor"), present)
    else:
        drawn = draw_factors(moments, n_draws, rng)
    draws["factors"] = (("draw", "subject", "factor"), drawn)
    stored: Variables = {
        str(name): (tuple(str(dim) for dim in own.dims), own.values)
        for name, own in moments.to_dataset().data_vars.items()
    }
    stored |= {f"has_exposure_{view}": ((), np.array(views.exposure(view) is not None)) for view in views.names}
    stored |= {f"observed_{view}": (("subject",), views.has_view(view).values) for view in views.names}
    if views.groups is not None:
        stored["group_of"] = (("subject",), views.groups.values.astype(np.str_))
    for view in views.names:
        pieces = [(p, s) for p, s in zip(layout.parts, fitted.globals.parts, strict=True) if p.view == view]
        _draw_view(view, pieces, layout, views, spec, n_draws, rng, draws)
        draws[f"ard_{view}"] = (("draw", "factor"), fitted.globals.views[view].draw_ard(n_draws, rng))
        _summarise_view(view, pieces, views, stored)
    _add_factor_prior(fitted.globals.factors, n_draws, rng, draws, stored)
    terms = np.array([*names, *name_intercepts(layout), *layout.covariates])
    labels = {"factor": names, "subject": np.asarray(views.subjects), "group": np.asarray(layout.groups)}
    labels |= {f"feature_{view}": np.asarray(views.features(view)) for view in views.names}
    labels |= {"factor_bis": names, "term": terms, "term_bis": terms, "covariate": np.asarray(layout.covariates)}
    labels |= find_real_features(views) | {"draw": np.arange(n_draws)}
    posterior = label(draws, labels).expand_dims({"chain": [0]})
    trace = xr.Dataset({"bound": ("iteration", fitted.bound)}, coords={"iteration": 1 + np.arange(len(fitted.bound))})
    return xr.DataTree.from_dict(
        {
            "posterior": posterior,
            "moments": label(stored, labels).assign_coords(group=np.asarray(layout.groups)),
            "preprocessing": preprocessing.dataset,
            "fit": trace.assign(n_factors=("iteration", fitted.n_factors)),
            "starts": xr.Dataset(
                {
                    "start_bound": ("start", starts.bound),
                    "start_n_factors": ("start", starts.n_factors),
                    "start_match": (("start", "factor"), starts.match),
                },
                coords={"factor": names},
                attrs={"best": starts.best},
            ),
        }
    )


def gather_rows(
    layout: Layout, rows: tuple[Rows, ...], subjects: tuple[str, ...], factors: tuple[str, ...]
) -> FactorMoments:
    """Bring the rows of all blocks to the order of `subjects`, each filed under the covariance it shares."""
    place = {subject: n for n, subject in enumerate(subjects)}
    mean = np.empty((len(subjects), len(factors)))
    pattern = np.empty(len(subjects), dtype=np.intp)
    inclusion = np.empty(mean.shape) if rows[0].is_sparse else None
    covariances: list[Array] = []
    first = 0
    for block, own in zip(layout.blocks, rows, strict=True):
        target = np.array([place[layout.subjects[n]] for n in block.rows])
        mean[target] = own.mean
        if inclusion is not None:
            inclusion[target] = own.inclusion
        pattern[target] = first + (np.arange(block.n_rows) if len(own.covariance) == block.n_rows else 0)
        covariances.append(unpack(own.covariance, len(factors)))
        first += len(own.covariance)
    return FactorMoments(subjects, factors, mean, np.concatenate(covariances), pattern, inclusion=inclusion)


def draw_factors(moments: FactorMoments, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draw factors (draw, subject, factor), subjects in the order of their names so that no other order matters."""
    order = np.argsort(np.asarray(moments.subjects), kind="stable")
    root = np.linalg.cholesky(moments.covariance)
    draws = np.empty((n_draws, *moments.mean.shape), dtype=np.float32)
    for start in range(0, len(order), _CHUNK):
        rows = order[start : start + _CHUNK]
        noise = rng.standard_normal((n_draws, len(rows), moments.mean.shape[1]))
        own = root[moments.pattern[rows]]
        draws[:, rows] = moments.mean[rows] + np.einsum("nkl,snl->snk", own, noise, optimize=True)
    return draws


def draw_sparse_factors(
    layout: Layout, rows: tuple[Rows, ...], subjects: tuple[str, ...], n_draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw factors that may be zero, and whether they are not, (draw, subject, factor)."""
    place = {subject: n for n, subject in enumerate(subjects)}
    shape = (n_draws, len(subjects), rows[0].mean.shape[1])
    draws, active = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.int8)
    for block, own in zip(layout.blocks, rows, strict=True):
        target = np.array([place[layout.subjects[n]] for n in block.rows])
        present = rng.random((n_draws, *own.mean.shape)) < own.inclusion
        slab = own.slab_mean + np.sqrt(own.slab_variance) * rng.standard_normal(present.shape)
        draws[:, target], active[:, target] = present * slab, present
    return draws, active


def _add_factor_prior(
    state: FactorState, n_draws: int, rng: np.random.Generator, draws: Variables, stored: Variables
) -> None:
    """Draw and store what stands above the factors, where anything does."""
    dims = ("group", "factor")
    if isinstance(state, GroupArd):
        shape, rate = state.ard.shape, state.ard.rate
        draws["factor_precision"] = (("draw", *dims), rng.gamma(shape, 1.0, (n_draws, *shape.shape)) / rate)
        stored["factor_precision"] = (dims, state.ard.alpha)
    elif isinstance(state, Sparse):
        draws["factor_inclusion"] = (("draw", *dims), rng.beta(state.a, state.b, (n_draws, *state.a.shape)))
        log_odds = np.stack([state.prior_of(group).log_odds for group in range(len(state.a))])
        stored["factor_log_odds"] = (dims, log_odds)


def name_intercepts(layout: Layout) -> list[str]:
    """Name the intercepts among the terms of a feature: one, or one per group."""
    return ["intercept"] if layout.groups == (ALL,) else [f"intercept {name}" for name in layout.groups]


def label(variables: Variables, coords: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Make a dataset of variables, with those coordinates that their dims have."""
    used = {dim for dims, _ in variables.values() for dim in dims}
    return xr.Dataset(variables, coords={name: values for name, values in coords.items() if name in used})


def find_real_features(views: MultiView) -> dict[str, np.ndarray]:
    """Coordinates of noise: all features of a view, or a dim of its own where only some have noise."""
    found = {}
    for view in views.names:
        is_real = has_noise(views, view)
        if is_real.any() and not is_real.all():
            found[f"noisy_feature_{view}"] = np.asarray(views.features(view))[is_real]
    return found


def has_noise(views: MultiView, view: str) -> np.ndarray:
    """Say which features of a view have noise of their own."""
    return np.isin(views.likelihoods(view).values, REAL)


def place_features(view: str, part: Part, views: MultiView) -> np.ndarray:
    """Find the positions of a part's features among those of its view."""
    place = {feature: d for d, feature in enumerate(views.features(view))}
    return np.array([place[feature] for feature in part.features])


def _draw_view(
    view: str,
    pieces: list[tuple[Part, PartState]],
    layout: Layout,
    views: MultiView,
    spec: FactorModel,
    n_draws: int,
    rng: np.random.Generator,
    draws: Variables,
) -> None:
    n_features, n_factors = len(views.features(view)), pieces[0][1].n_factors
    n_groups, feature = len(layout.groups), f"feature_{view}"
    terms = np.empty((n_draws, n_features, n_factors + layout.n_known), dtype=np.float32)
    active = np.ones((n_draws, n_features, n_factors), dtype=np.int8)
    noise_sd = np.full((n_draws, n_groups, n_features), np.nan, dtype=np.float32)
    prior = spec.loadings_of(view)
    for part, state in pieces:
        columns = place_features(view, part, views)
        for start in range(0, len(columns), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            own, included = _draw_terms(state, chunk, n_draws, prior.positive, rng)
            terms[:, columns[chunk]] = own
            active[:, columns[chunk]] = included
        if part.family.has_noise:
            tau = rng.gamma(state.noise_shape, 1.0, (n_draws, n_groups, len(columns))) / state.noise_rate
            # Where a group has no value of a feature nothing is known of its noise: no number stands for that.
            noise_sd[:, :, columns] = 1 / np.sqrt(np.where(part.n_observed > 0, tau, np.nan))
    draws[f"loadings_{view}"] = (("draw", feature, "factor"), terms[:, :, :n_factors])
    intercepts = np.moveaxis(terms[:, :, n_factors : n_factors + n_groups], 2, 1)
    is_real = has_noise(views, view)
    real_feature = feature if is_real.all() else f"noisy_{feature}"
    noise_sd = noise_sd[:, :, is_real]
    by_group = n_groups > 1
    between = ("group",) if by_group else ()
    draws[f"intercept_{view}"] = (("draw", *between, feature), intercepts if by_group else intercepts[:, 0])
    if is_real.any():
        draws[f"noise_sd_{view}"] = (("draw", *between, real_feature), noise_sd if by_group else noise_sd[:, 0])
    if layout.covariates:
        effects = np.moveaxis(terms[:, :, n_factors + n_groups :], 2, 1)
        draws[f"effects_{view}"] = (("draw", "covariate", feature), effects)
    if prior.kind == "spike_slab":
        draws[f"active_{view}"] = (("draw", feature, "factor"), active)


def _draw_terms(
    state: PartState, chunk: slice, n_draws: int, positive: bool, rng: np.random.Generator
) -> tuple[Array, np.ndarray]:
    """Draw loadings and coefficients (n_draws, features, J) of some features, and s."""
    mean = state.mean[chunk]
    if not state.is_elementwise:
        root = state.root(chunk)
        noise = rng.standard_normal((n_draws, len(mean), root.shape[2]))
        everything = np.ones((len(mean), state.n_factors), dtype=np.bool_)
        return mean + np.einsum("dkl,sdl->sdk", root, noise, optimize=True), everything
    noise = rng.standard_normal((n_draws, *mean.shape))
    included = rng.random((n_draws, *state.inclusion[chunk].shape)) < state.inclusion[chunk]
    terms = mean + np.sqrt(state.spread[chunk]) * noise
    location, scale = state.slab_mean[chunk], np.sqrt(state.slab_variance[chunk])
    if positive:
        slab = truncnorm.rvs(-location / scale, np.inf, location, scale, size=included.shape, random_state=rng)
    else:
        slab = location + scale * noise[:, :, : state.n_factors]
    terms[:, :, : state.n_factors] = included * slab
    return terms, included


def _summarise_view(view: str, pieces: list[tuple[Part, PartState]], views: MultiView, moments: Variables) -> None:
    """Store E[w~], its spread, noise and own parameters: what projection and biomarkers need without draws."""
    n_features = len(views.features(view))
    n_terms, n_factors = pieces[0][1].mean.shape[1], pieces[0][1].n_factors
    n_groups = len(pieces[0][0].n_observed)
    elementwise = pieces[0][1].is_elementwise
    mean = np.empty((n_features, n_terms))
    spread = np.empty((n_features, n_terms) if elementwise else (n_features, n_terms, n_terms))
    inclusion = np.empty((n_features, n_factors))
    precision = np.ones((n_groups, n_features))
    nuisance, curvature, latent = np.ones(n_features), np.ones(n_features), np.ones(n_features)
    n_levels = max([part.levels.shape[1] for part, _ in pieces])
    levels = np.full((n_features, n_levels), np.nan)
    for part, state in pieces:
        columns = place_features(view, part, views)
        mean[columns], inclusion[columns], nuisance[columns] = state.mean, state.inclusion, state.nuisance
        spread[columns] = state.spread if elementwise else state.covariance()
        curvature[columns] = part.curvature
        latent[columns] = latent_variance(part, state.nuisance)
        if part.family.has_noise:
            precision[:, columns] = state.tau
        if part.levels.size:
            levels[np.ix_(columns, np.arange(part.levels.shape[1]))] = part.levels
    feature = f"feature_{view}"
    moments[f"weights_mean_{view}"] = ((feature, "term"), mean)
    if elementwise:
        moments[f"weights_var_{view}"] = ((feature, "term"), spread)
    else:
        moments[f"weights_cov_{view}"] = ((feature, "term", "term_bis"), spread)
    if not (inclusion == 1).all():
        moments[f"inclusion_{view}"] = ((feature, "factor"), inclusion)
    moments[f"precision_{view}"] = (("group", feature), precision)
    moments[f"nuisance_{view}"] = ((feature,), nuisance)
    moments[f"curvature_{view}"] = ((feature,), curvature)
    moments[f"latent_variance_{view}"] = ((feature,), latent)
    if n_levels:
        moments[f"levels_{view}"] = ((feature, f"cut_{view}"), levels)
    moments[f"likelihood_{view}"] = ((feature,), views.likelihoods(view).values.astype(np.str_))
    if f"variable_{view}" in views.dataset:
        moments[f"variable_{view}"] = ((feature,), views.variables(view))


def part_state(moments: xr.Dataset, view: str, part: Part) -> tuple[PartState, Part]:
    """Restore from stored moments the q of a part that rows need, and the part as the fit saw it."""
    rows = moments.sel({f"feature_{view}": list(part.features)})
    mean = np.ascontiguousarray(rows[f"weights_mean_{view}"].values)
    n_factors = moments.sizes["factor"]
    if f"weights_var_{view}" in moments:
        spread = rows[f"weights_var_{view}"].values
    else:
        spread = pack(rows[f"weights_cov_{view}"].values)
    tau = rows[f"precision_{view}"].values
    nothing = np.empty((0, part.n_features))
    per_factor = mean[:, :n_factors]
    state = PartState(
        mean,
        np.ascontiguousarray(spread),
        np.empty((0, 0)),
        per_factor,
        per_factor,
        np.ones_like(per_factor),
        tau if part.family.has_noise else nothing,
        np.ones_like(tau) if part.family.has_noise else nothing,
        rows[f"nuisance_{view}"].values,
    )
    levels = rows[f"levels_{view}"].values if part.likelihood == "ordinal" else part.levels
    # A larger exposure than any of the fit has a larger curvature: its bound would not be one otherwise.
    curvature = np.maximum(rows[f"curvature_{view}"].values, part.curvature)
    return state, replace(part, curvature=curvature, levels=levels)
