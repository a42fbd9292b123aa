"""Missing entries: their posterior predictive mean and interval, on the scale of the data."""

import numpy as np
import xarray as xr
from scipy.special import expit
from scipy.stats import norm

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.errors import DataError, name_some
from mofa_bayes.posterior.moments import FactorMoments

_CELLS = 20_000


def impute_views(
    tree: xr.DataTree, views: MultiView, moments: FactorMoments, *, level: float, rng: np.random.Generator
) -> xr.Dataset:
    """Fill every missing entry of `views`.

    Parameters
    ----------
    tree
        A posterior's tree.
    views
        Views with the features of the fit.
    moments
        Factors of the subjects of `views`.
    level
        Probability that an interval holds.
    rng
        Draws factors; loadings come from the tree's draws.

    Returns
    -------
    Per view `<view>`, `<view>_lower` and `<view>_upper` (subject, feature_<view>): observed entries as they are, with
    an interval of no width; gaussian entries with the predictive mean and interval, noise included, by the predictive's
    first two moments; bernoulli entries with the probability of 1 and its interval.
    """
    if not 0 < level < 1:
        raise DataError("level", got=repr(level), expected="a number in (0, 1)", do="0.95 is usual.")
    stored = tree.children["moments"].to_dataset()
    draws = tree.children["posterior"].to_dataset().stack(point=("chain", "draw"))
    n_draws = draws.sizes["point"]
    root = np.linalg.cholesky(moments.covariance)[moments.pattern]
    preprocessing = Preprocessing(dataset=tree.children["preprocessing"].to_dataset())
    filled: dict[str, xr.DataArray] = {}
    for view in views.names:
        dim = f"feature_{view}"
        unknown = set(views.features(view)) - {str(name) for name in stored[dim].values}
        if unknown:
            raise DataError(
                f"features of view {view!r}",
                got=f"some that the model does not know ({name_some(sorted(unknown))})",
                expected="features of the fit",
                do="Leave them out before imputing.",
            )
        own = draws.sel({dim: list(views.features(view))})
        loadings = own[f"loadings_{view}"].transpose("point", dim, "factor").values
        intercepts = own[f"intercept_{view}"].transpose("point", dim).values
        is_binary = stored[f"likelihood_{view}"].sel({dim: list(views.features(view))}).values == "bernoulli"
        variance = _noise_variance(draws, view, list(views.features(view)))
        values = views[view].values.astype(np.float64)
        mean, lower, upper = values.copy(), values.copy(), values.copy()
        rows, columns = np.nonzero(np.isnan(values))
        for start in range(0, len(rows), _CELLS):
            n, d = rows[start : start + _CELLS], columns[start : start + _CELLS]
            people, where = np.unique(n, return_inverse=True)
            noise = rng.standard_normal((n_draws, len(people), root.shape[1]))
            factors = moments.mean[people] + np.einsum("nkl,snl->snk", root[people], noise, optimize=True)
            eta = np.stack([np.einsum("ck,ck->c", factors[s][where], loadings[s, d]) for s in range(n_draws)])
            eta += intercepts[:, d]
            mean[n, d], lower[n, d], upper[n, d] = _predict(eta, variance[d], is_binary[d], level)
        for name, array in ((view, mean), (f"{view}_lower", lower), (f"{view}_upper", upper)):
            missing = np.isnan(values)
            scaled = preprocessing_subset(preprocessing, view, views).invert(view, array)
            filled[name] = views[view].copy(data=np.where(missing, scaled, values)).rename(name)
    return xr.Dataset(filled)


def preprocessing_subset(preprocessing: Preprocessing, view: str, views: MultiView) -> Preprocessing:
    """Preprocessing of the features that `views` has, in its order."""
    return Preprocessing(dataset=preprocessing.dataset.sel({f"feature_{view}": list(views.features(view))}))


def _noise_variance(draws: xr.Dataset, view: str, features: list[str]) -> np.ndarray:
    """E[sigma_d^2], 0 for features without gaussian noise."""
    if f"noise_sd_{view}" not in draws:
        return np.zeros(len(features))
    noise = (draws[f"noise_sd_{view}"].astype(np.float64) ** 2).mean("point")
    return noise.to_series().reindex(features).fillna(0.0).to_numpy()


def _predict(
    eta: np.ndarray, noise: np.ndarray, is_binary: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    center = eta.mean(axis=0)
    half = norm.ppf(0.5 + level / 2) * np.sqrt(eta.var(axis=0, ddof=1) + noise)
    probability = expit(eta[:, is_binary])
    tails = np.quantile(probability, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    mean, lower, upper = center, center - half, center + half
    mean[is_binary], lower[is_binary], upper[is_binary] = probability.mean(axis=0), tails[0], tails[1]
    return mean, lower, upper
