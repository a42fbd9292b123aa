"""What a factor does to a feature, in the feature's own units: its expected value as the factor moves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.errors import DataError, name_some
from mofa_bayes.explain.summarise import require_aligned, summarise
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.outcomes import Cells, expect


def feature_response(
    post: Posterior, view: str, feature: str, factor: str, *, at: Sequence[float] | np.ndarray, level: float = 0.95
) -> pd.DataFrame:
    """Expect a feature at values of one factor, the other factors and the covariates being at their mean.

    Parameters
    ----------
    post
        A posterior.
    view, feature, factor
        What responds, and to what.
    at
        Values of the factor.
    level
        Probability that an interval holds.

    Returns
    -------
    One row per group of the fit and value: `group`, `value`, `mean`, `sd`, `lower`, `upper`, `level` of
    E[y | factor = value] on the scale of the data: the feature's units, a probability (bernoulli), counts at exposure
    1; the prepared scale where `mb.prepare` made the views. The interval holds uncertainty about intercept and
    loading, not noise.

    Raises
    ------
    DataError
        A name is unknown, or the feature is a level of a categorical variable, whose probability depends on the
        loadings of all levels.
    """
    require_aligned(post)
    loadings = post.loadings(view)
    _require_name("factor", factor, post.factor_names)
    _require_name("feature", feature, post.features(view))
    likelihood = str(post.likelihoods(view).sel({f"feature_{view}": feature}).item())
    if likelihood == "categorical":
        raise DataError(
            f"feature {feature!r}",
            got="a level of a categorical variable",
            expected="a feature of its own",
            do="Look at post.loadings of all its levels.",
        )
    own = {f"feature_{view}": feature}
    intercepts = post.intercepts(view).sel(own, drop=True)
    if "group" not in intercepts.dims:
        intercepts = intercepts.expand_dims(group=[_only_group(post)])
    values = xr.DataArray(np.asarray(at, dtype=np.float64), dims="value", coords={"value": np.asarray(at)})
    slope = loadings.sel(own, drop=True).sel(factor=factor, drop=True)
    eta = (intercepts + slope * values).transpose("chain", "draw", "group", "value").astype(np.float64)
    expected = eta.copy(data=_expect(post, view, own, likelihood, eta.values))
    preprocessing = post.preprocessing.subset(view, [feature])
    for number, group in enumerate(eta["group"].values):
        cells = expected.values[:, :, number].reshape(-1, 1)
        original = preprocessing.invert(view, cells, [str(group)] * len(cells))
        expected.values[:, :, number] = original.reshape(expected.shape[0], expected.shape[1], -1)
    return summarise(expected, level=level)


def _expect(post: Posterior, view: str, own: dict[str, str], likelihood: str, eta: np.ndarray) -> np.ndarray:
    """E[y | eta] of one feature on the model's scale, of the shape of eta."""
    stored = post.tree.children["moments"].to_dataset().sel(own)
    flat = eta.reshape(-1, eta.shape[-1])
    n_cells = flat.shape[1]
    levels = np.atleast_1d(stored[f"levels_{view}"].values) if f"levels_{view}" in stored else np.empty(0)
    cells = Cells(
        likelihood=likelihood,
        eta=flat,
        noise_variance=np.ones(n_cells),
        nuisance=np.full(n_cells, float(stored[f"nuisance_{view}"])),
        levels=np.tile(levels, (n_cells, 1)),
        exposure=np.ones(n_cells),
    )
    return expect(cells).reshape(eta.shape)


def _only_group(post: Posterior) -> str:
    return str(post.tree.children["moments"].to_dataset()["group"].values[0])


def _require_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise DataError(what, got=repr(name)[:80], expected=f"one of {name_some(known)}", do="Correct the name.")
