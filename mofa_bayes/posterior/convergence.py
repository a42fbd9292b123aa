"""R-hat and effective sample sizes by ArviZ: of loadings, and of what no rotation, sign, order or scale can touch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.posterior.matching import in_chunks
from mofa_bayes.posterior.trace import Trace

COLUMNS = (
    "quantity",
    "stage",
    "n",
    "rhat_median",
    "rhat_99",
    "rhat_max",
    "ess_bulk_min",
    "ess_bulk_median",
    "ess_tail_min",
)
N_CHECKED = 500
_N_FREE = 150
_TAIL = (0.05, 0.95)


def rhat_and_ess(draws: NDArray[np.floating]) -> tuple[NDArray[np.float64], ...]:
    """Rank-normalised split R-hat, bulk and tail effective sample size; (chain, draw, quantity) to (quantity,) each.

    Quantities that do not vary or are not finite have none and are left out. One chain is cut in two for R-hat, so that
    its first half is held against its second (Vehtari, Gelman, Simpson, Carpenter and Bürkner 2021, Bayesian Anal
    16:667).
    """
    import arviz_stats.base

    stats: Any = arviz_stats.base.array_stats  # type: ignore[attr-defined]
    draws = draws.reshape(*draws.shape[:2], -1).astype(np.float64)
    moves = np.isfinite(draws).all(axis=(0, 1)) & (np.ptp(draws, axis=(0, 1)) > 0)
    draws = draws[:, :, moves]
    if draws.shape[2] == 0 or draws.shape[1] < 8:
        return (np.empty(0),) * 3
    pair = draws
    if len(draws) == 1:
        half = draws.shape[1] // 2
        pair = np.concatenate([draws[:, :half], draws[:, -half:]])
    with np.errstate(divide="ignore", invalid="ignore"):
        rhat = stats.rhat(pair, chain_axis=0, draw_axis=1, method="rank")
        bulk = stats.ess(draws, chain_axis=0, draw_axis=1, method="bulk")
        tail = stats.ess(draws, chain_axis=0, draw_axis=1, method="tail", prob=_TAIL)
    return np.atleast_1d(rhat), np.atleast_1d(bulk), np.atleast_1d(tail)


def summarise_convergence(quantity: str, stage: str, draws: NDArray[np.floating]) -> dict[str, object]:
    """Say in one row how well chains agree on some quantities (chain, draw, ...): see `COLUMNS`."""
    rhat, bulk, tail = rhat_and_ess(draws)
    known = rhat[np.isfinite(rhat)]
    row: list[object] = [quantity, stage, len(rhat)]
    if len(known):
        row += [float(np.median(known)), float(np.quantile(known, 0.99)), float(known.max())]
    else:
        row += [np.nan] * 3
    row += [float(np.nanmin(bulk)), float(np.nanmedian(bulk))] if np.isfinite(bulk).any() else [np.nan] * 2
    row += [float(np.nanmin(tail))] if np.isfinite(tail).any() else [np.nan]
    return dict(zip(COLUMNS, row, strict=True))


def tabulate_convergence(
    dataset: xr.Dataset,
    trace: Trace,
    covariance: NDArray[np.float64],
    stages: Mapping[str, Sequence[NDArray[np.floating]]],
    n_checked: int = N_CHECKED,
) -> pd.DataFrame:
    """Tabulate R-hat and effective sample sizes of loadings, of W W', and of what alignment cannot touch.

    Parameters
    ----------
    dataset
        All draws.
    trace
        Its factors and loadings.
    covariance
        Of each draw's factors over subjects, (C, S, K, K).
    stages
        Name of a stage -> loadings at it, one (C, S, D_m, K) per view.
    n_checked
        How many loadings to look at, spread over the views; 0 leaves the table empty.
    """
    if n_checked == 0:
        return pd.DataFrame(columns=list(COLUMNS))
    rng = np.random.default_rng(0)
    rows = []
    count = max(n_checked // len(trace.loadings), 1)
    for m, name in enumerate(trace.loading_names):
        shape = trace.loadings[m].shape[2:]
        chosen = rng.choice(shape[0] * shape[1], min(count, shape[0] * shape[1]), replace=False)
        d, k = np.unravel_index(chosen, shape)
        rows += [summarise_convergence(name, stage, own[m][:, :, d, k]) for stage, own in stages.items()]
    for stage, own in stages.items():
        rows += _products(own, stage, np.random.default_rng(1))
    free = trace.free_of(dataset)
    for name, view, signal in zip(trace.loading_names, trace.loadings, _signals(trace, covariance), strict=True):
        rows.append(summarise_convergence(f"variance of Z W', {name}", "free", signal))
        noise = free.get(f"noise_sd_{name.removeprefix('loadings_')}")
        if noise is not None and noise.shape[2] == view.shape[2]:
            share = signal / (signal + np.square(noise, dtype=np.float64).sum(axis=2))
            rows.append(summarise_convergence(f"variance explained, {name}", "free", share))
    for name, draws in free.items():
        chosen = rng.choice(draws.shape[2], min(_N_FREE, draws.shape[2]), replace=False)
        rows.append(summarise_convergence(name, "free", draws[:, :, chosen]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _products(
    loadings: Sequence[NDArray[np.floating]], stage: str, rng: np.random.Generator
) -> list[dict[str, object]]:
    """Rows of the diagonal and of random entries of W W'."""
    ends = np.cumsum([0, *(own.shape[2] for own in loadings)])

    def take(features: NDArray[np.int64]) -> NDArray[np.float64]:
        place = np.searchsorted(ends, features, side="right") - 1
        columns = [loadings[m][:, :, d] for m, d in zip(place, features - ends[place], strict=True)]
        return np.stack(columns, axis=2).astype(np.float64)

    own = take(rng.choice(ends[-1], min(_N_FREE, ends[-1]), replace=False))
    one, two = (take(rng.integers(ends[-1], size=_N_FREE)) for _ in range(2))
    return [
        summarise_convergence("W W', diagonal", stage, np.square(own).sum(axis=3)),
        summarise_convergence("W W', entries", stage, np.einsum("csdk,csdk->csd", one, two)),
    ]


def _signals(trace: Trace, covariance: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Variance of Z W' over subjects, summed over a view's features: tr(W S W'), (C, S) per view."""
    found = []
    for view in trace.loadings:
        own = np.empty(view.shape[:2])
        for c in range(len(view)):
            for chunk in in_chunks(view[c]):
                w = view[c, chunk].astype(np.float64)
                own[c, chunk] = np.einsum("sdk,sdk->s", w @ covariance[c, chunk], w)
        found.append(own)
    return found
