"""R-hat and effective sample sizes of many quantities, by ArviZ, as one row of a table each group."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
