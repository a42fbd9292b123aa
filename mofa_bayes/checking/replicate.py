"""One replicate: a cohort is drawn and fitted, and its truths are ranked among the draws of the posterior."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mofa_bayes.checking.truth import Truth
from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.errors import MofaBayesError
from mofa_bayes.explain import variance_explained
from mofa_bayes.fitting import fit
from mofa_bayes.graph.likelihoods import DEGREES
from mofa_bayes.interrupts import heed_interrupts
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.align import align
from mofa_bayes.posterior.diagnose.draws import ModelDraws, ViewDraws, read_draws
from mofa_bayes.posterior.matching import covariance_of, match_to, scale_to_unit
from mofa_bayes.spec import FactorModel

Array = NDArray[np.float64]
QUANTITIES = ("loadings", "reconstruction", "variance explained", "noise", "held-out entries")
LEVELS = (0.5, 0.8, 0.95)
N_RANKS = 99
"""Draws that a truth is ranked among, where there are as many."""
_N_ENTRIES = 200


@dataclass(frozen=True, slots=True, eq=False)
class Replicate:
    """What one replicate found.

    Attributes
    ----------
    inside
        Quantity -> share of its entries inside the central interval at each of `LEVELS`, (L,).
    n_entries
        Quantity -> number of entries.
    ranks
        Quantity -> ranks, from 0 to `n_draws`, of the first few of its entries.
    n_draws
        Draws that truths were ranked among: all of them, at most `N_RANKS`.
    seconds
        Of the fit.
    converged
        Whether the engine said so.
    failure
        What the engine said instead of fitting.
    """

    inside: Mapping[str, Array] = field(default_factory=dict)
    n_entries: Mapping[str, int] = field(default_factory=dict)
    ranks: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    n_draws: int = N_RANKS
    seconds: float = 0.0
    converged: bool = False
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """A cohort to fit and compare, as it is sent to a process."""

    truth: Truth
    spec: FactorModel
    engine: str
    options: Mapping[str, Any]
    n_ranked: int
    rng: np.random.Generator


def run_task(task: Task) -> Replicate:
    """Fit and compare; an engine that refuses the cohort is a failure, and not an error.

    Raises
    ------
    KeyboardInterrupt
        Interrupted, also where the engine made a result of it.
    """
    fit_rng, entry_rng = task.rng.spawn(2)
    start = time.perf_counter()
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("ignore")
        try:
            with heed_interrupts():
                options: Mapping[str, Any] = {"engine": task.engine, "seed": fit_rng, "progress": False, **task.options}
                post = fit(task.truth.views, task.spec, **options)
        except MofaBayesError as error:
            return Replicate(failure=str(error))
        seconds = time.perf_counter() - start
        pairs = compare(task.truth, post, entry_rng)
    inside, ranks = {}, {}
    n_draws = len(next(iter(pairs.values()))[1])
    thin = np.linspace(0, n_draws - 1, min(N_RANKS, n_draws)).round().astype(np.intp)
    for name, (truth, draws) in pairs.items():
        inside[name] = np.array([_cover(truth, draws, level).mean() for level in LEVELS])
        ranks[name] = _rank(truth[: task.n_ranked], draws[thin, : task.n_ranked], entry_rng)
    return Replicate(
        inside,
        {name: len(truth) for name, (truth, _) in pairs.items()},
        ranks,
        len(thin),
        seconds,
        bool(post.provenance.get("converged", True)),
    )


def _cover(truth: Array, draws: Array, level: float) -> NDArray[np.bool_]:
    # Of S draws the j-th smallest has j / (S + 1) of the posterior below it: other quantiles of 200 draws cover .94.
    lower, upper = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0, method="weibull")
    return np.asarray((truth >= lower) & (truth <= upper))


def _rank(truth: Array, draws: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rank of each truth among its draws (S, q); ties, which sparse loadings have, are broken at random."""
    below, same = (draws < truth).sum(axis=0), (draws == truth).sum(axis=0)
    return np.asarray(below + rng.integers(same + 1), dtype=np.int64)


def compare(truth: Truth, post: Posterior, rng: np.random.Generator) -> dict[str, tuple[Array, Array]]:
    """Pair truths (q,) with draws (S, q) of each quantity, entries chosen at random."""
    model = read_draws(post, truth.views, np.iinfo(np.int64).max)
    pairs = {
        "loadings": _pair_loadings(truth, post, rng),
        "reconstruction": _pair_entries(truth, model, {}, rng),
        "variance explained": _pair_explained(truth, post, model),
        "noise": _pair_noise(truth, model, rng),
        "held-out entries": _pair_entries(truth, model, truth.held_out, rng),
    }
    return {name: (true, draws) for name, (true, draws) in pairs.items() if len(true)}


def _pair_loadings(truth: Truth, post: Posterior, rng: np.random.Generator) -> tuple[Array, Array]:
    """Map the truth to the reference of the aligned draws as each draw was: it is one draw more.

    Factors that the engine left out have no draws; those that it has and the truth lacks have a truth of 0.
    """
    aligned, report = align(post.tree, n_checked=0)
    draws = [
        _flatten(aligned[f"loadings_{view}"].transpose("chain", "draw", ..., "factor").values) for view in post.views
    ]
    loadings = [truth.by_view[view].loadings for view in post.views]
    n_found, n_true = draws[0].shape[2], truth.factors.shape[1]
    size = max(n_found, n_true)
    scale = np.eye(size)
    scale[:n_true, :n_true] = scale_to_unit(covariance_of(truth.factors[None]), _freedom(report.freedom))[0]
    reference = [_widen(own.mean(axis=0, dtype=np.float64), size) for own in draws]
    own = [_widen(each, size) for each in loadings]
    turn = match_to([each[None] for each in own], reference, scale[None], _freedom(report.freedom))[0]
    true, found = [], []
    for each, view_draws in zip(own, draws, strict=True):
        d, k = _choose(rng, each.shape[0], n_found, _N_ENTRIES // len(draws))
        true.append((each @ turn)[d, k])
        found.append(view_draws[:, d, k])
    return _join(true, found)


def _pair_entries(
    truth: Truth, model: ModelDraws, held_out: Mapping[str, NDArray[np.bool_]], rng: np.random.Generator
) -> tuple[Array, Array]:
    """Pair eta of some entries with its draws; with `held_out`, values of hidden entries with predictive draws."""
    true, found = [], []
    for view in model.views:
        own = truth.by_view[view.view]
        n, d = _choose(rng, own.eta.shape[0], own.eta.shape[1], _N_ENTRIES // len(model.views))
        if held_out:
            hidden = np.argwhere(held_out[view.view] & _is_seen(view, model.group_of)[model.group_of])
            chosen = rng.permutation(len(hidden))[: _N_ENTRIES // len(model.views)]
            n, d = hidden[chosen].T
        draws = np.einsum("sck,sck->sc", model.factors[:, n], view.loadings[:, d], dtype=np.float64)
        draws += view.intercepts[:, model.group_of[n], d] + view.center[d]
        draws += np.einsum("scq,qc->sq", view.effects[:, :, d], model.covariates[n])
        if held_out:
            sd = view.precision[:, model.group_of[n], d] ** -0.5
            is_normal = truth.views.likelihoods(view.view).values[d] == "gaussian"
            error = rng.standard_normal(sd.shape), rng.standard_t(DEGREES, sd.shape)
            draws = draws + sd * np.where(is_normal, *error)
        true.append((own.values if held_out else own.eta)[n, d])
        found.append(draws)
    return _join(true, found)


def _is_seen(view: ViewDraws, group_of: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Say of which features each group has an observed entry (G, D): of others it has no noise to be learned."""
    observed = ~np.isnan(view.values)
    return np.stack([observed[group_of == g].any(axis=0) for g in range(view.precision.shape[1])])


def _pair_noise(truth: Truth, model: ModelDraws, rng: np.random.Generator) -> tuple[Array, Array]:
    true, found = [], []
    for view in model.views:
        own = truth.by_view[view.view].noise_sd
        g, d = np.nonzero(~np.isnan(own) & _is_seen(view, model.group_of))
        chosen = rng.permutation(len(g))[: _N_ENTRIES // len(model.views)]
        true.append(own[g[chosen], d[chosen]])
        found.append(view.precision[:, g[chosen], d[chosen]].astype(np.float64) ** -0.5)
    return _join(true, found)


def _pair_explained(truth: Truth, post: Posterior, model: ModelDraws) -> tuple[Array, Array]:
    """Pair each view's share of variance explained with its draws; both by the definition of `variance_explained`."""
    shares = variance_explained(post)["total"].transpose("chain", "draw", "view").sel(view=list(post.views))
    true = []
    for view in post.views:
        has_view = post.has_view(view).values
        own = truth.by_view[view]
        signal = np.trace(own.loadings @ covariance_of(truth.factors[None, has_view])[0] @ own.loadings.T)
        latent, has_noise = post.latent_variance(view)
        by_group = np.bincount(model.group_of[has_view], minlength=len(own.noise_sd))
        is_real = np.isin(truth.views.likelihoods(view).values, REAL)
        weights = by_group[:, None] * _has_noise_draws(post, view, own.noise_sd.shape)[:, is_real]
        square = np.average(np.square(own.noise_sd[:, is_real]), axis=0, weights=weights)
        residual = (square * latent[is_real]).sum() + latent[~is_real & ~has_noise].sum()
        true.append(signal / (signal + residual))
    return np.array(true), _flatten(shares.values)


def _has_noise_draws(post: Posterior, view: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Say where a posterior knows the noise of a group and feature, (G, D)."""
    noise, known = post.noise_sd(view), np.zeros(shape, dtype=np.bool_)
    if noise is not None:
        own = noise.isel(chain=0, draw=0)
        own = own if "group" in own.dims else own.expand_dims("group")
        known[:, post.latent_variance(view)[1]] = ~np.isnan(own.transpose("group", ...).values)
    return known


def _freedom(name: str) -> Any:  # noqa: ANN401
    return name


def _flatten(draws: NDArray[np.floating]) -> Array:
    return draws.reshape(-1, *draws.shape[2:]).astype(np.float64)


def _widen(matrix: Array, size: int) -> Array:
    return np.pad(matrix, ((0, 0), (0, size - matrix.shape[1])))


def _choose(rng: np.random.Generator, n_rows: int, n_columns: int, count: int) -> tuple[NDArray[np.intp], ...]:
    """Choose some cells of a table, none twice."""
    chosen = rng.choice(n_rows * n_columns, min(count, n_rows * n_columns), replace=False)
    return np.unravel_index(chosen, (n_rows, n_columns))


def _join(true: list[Array], found: list[Array]) -> tuple[Array, Array]:
    """Join views, and mix them, so that the first few entries are not of one view."""
    whole, draws = np.concatenate(true), np.concatenate(found, axis=1)
    order = np.argsort(np.concatenate([(np.arange(len(own)) + 0.5) / max(len(own), 1) for own in true]), kind="stable")
    return whole[order], draws[:, order]
