"""Missing entries: their posterior predictive mean and interval, on the scale of the data."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import expit, ndtr
from scipy.stats import norm

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.vi.families.student_t import DEGREES
from mofa_bayes.engines.vi.known import Known, canonical_order, find_known
from mofa_bayes.engines.vi.packed import Index
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
        Draws factors and outcomes; loadings come from the tree's draws.

    Returns
    -------
    Per view `mean_<view>`, `lower_<view>` and `upper_<view>` (subject, feature_<view>): observed entries as they are,
    with an interval of no width; the others with the predictive mean and interval, noise included, except that a
    bernoulli entry gets its probability of 1 and the interval of that.
    """
    if not isinstance(level, int | float) or not 0 < level < 1:
        raise DataError("level", got=repr(level)[:80], expected="a number in (0, 1)", do="0.95 is usual.")
    preprocessing = Preprocessing(dataset=tree.children["preprocessing"].to_dataset())
    stored = tree.children["moments"].to_dataset()
    known = find_known(views, preprocessing, [str(name) for name in stored["group"].values])
    place = np.argsort(canonical_order(views))
    filled: dict[str, xr.DataArray] = {}
    for view in (own for own in views.names if f"weights_mean_{own}" in stored):
        model = _ViewDraws.read(tree, views, view, known, place)
        values = views[view].values.astype(np.float64)
        mean, lower, upper = values.copy(), values.copy(), values.copy()
        rows, columns = np.nonzero(np.isnan(values))
        for start in range(0, len(rows), _CELLS):
            n, d = rows[start : start + _CELLS], columns[start : start + _CELLS]
            eta = model.predict(moments, n, d, rng)
            mean[n, d], lower[n, d], upper[n, d] = model.summarise(eta, n, d, level, rng)
        own = preprocessing_subset(preprocessing, view, views)
        missing = np.isnan(values)
        for name, array in ((f"mean_{view}", mean), (f"lower_{view}", lower), (f"upper_{view}", upper)):
            filled[name] = views[view].copy(data=np.where(missing, own.invert(view, array), values)).rename(name)
    return xr.Dataset(filled)


def preprocessing_subset(preprocessing: Preprocessing, view: str, views: MultiView) -> Preprocessing:
    """Preprocessing of the features that `views` has, in its order."""
    return Preprocessing(dataset=preprocessing.dataset.sel({f"feature_{view}": list(views.features(view))}))


@dataclass(frozen=True, slots=True)
class _ViewDraws:
    """Draws of one view, by point (S,), feature (D,) and group (G,), and what else its predictions need."""

    loadings: np.ndarray
    intercepts: np.ndarray
    effects: np.ndarray
    noise_variance: np.ndarray
    likelihoods: np.ndarray
    nuisance: np.ndarray
    levels: np.ndarray
    group_of: np.ndarray
    covariates: np.ndarray
    exposure: np.ndarray

    @classmethod
    def read(cls, tree: xr.DataTree, views: MultiView, view: str, known: Known, place: Index) -> "_ViewDraws":
        stored = tree.children["moments"].to_dataset()
        dim = f"feature_{view}"
        unknown = set(views.features(view)) - {str(name) for name in stored[dim].values}
        if unknown:
            raise DataError(
                f"features of view {view!r}",
                got=f"some that the model does not know ({name_some(sorted(unknown))})",
                expected="features of the fit",
                do="Leave them out before imputing.",
            )
        features = {dim: list(views.features(view))}
        draws = tree.children["posterior"].to_dataset().stack(point=("chain", "draw")).sel(features)
        own = stored.sel(features)
        by_group = draws[f"intercept_{view}"]
        if "group" not in by_group.dims:
            by_group = by_group.expand_dims("group")
        effects = np.zeros((draws.sizes["point"], 0, len(features[dim])))
        if f"effects_{view}" in draws:
            effects = draws[f"effects_{view}"].transpose("point", "covariate", dim).values
        log_exposure = known.exposures.get(view, np.zeros(views.n_subjects))
        return cls(
            loadings=draws[f"loadings_{view}"].transpose("point", dim, "factor").values,
            intercepts=by_group.transpose("point", "group", dim).values,
            effects=effects,
            noise_variance=_noise_variance(draws, view, features[dim], len(known.groups)),
            likelihoods=own[f"likelihood_{view}"].values,
            nuisance=own[f"nuisance_{view}"].values,
            levels=own[f"levels_{view}"].values if f"levels_{view}" in own else np.empty((len(features[dim]), 0)),
            group_of=known.group_of[place],
            covariates=known.values[place],
            exposure=np.exp(log_exposure)[place],
        )

    def predict(self, moments: FactorMoments, n: np.ndarray, d: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw eta of some cells (S, cells)."""
        people, where = np.unique(n, return_inverse=True)
        root = np.linalg.cholesky(moments.covariance)[moments.pattern[people]]
        n_points = len(self.loadings)
        noise = rng.standard_normal((n_points, len(people), root.shape[1]))
        factors = moments.mean[people] + np.einsum("nkl,snl->snk", root, noise, optimize=True)
        eta = np.stack([np.einsum("ck,ck->c", factors[s][where], self.loadings[s, d]) for s in range(n_points)])
        eta += self.intercepts[:, self.group_of[n], d]
        for c in range(self.covariates.shape[1]):
            eta += self.effects[:, c, d] * self.covariates[n, c]
        return eta

    def summarise(
        self, eta: np.ndarray, n: np.ndarray, d: np.ndarray, level: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predictive mean and interval of some cells, each likelihood its own way."""
        mean, lower, upper = (np.empty(len(n)) for _ in range(3))
        tails = [0.5 - level / 2, 0.5 + level / 2]
        for likelihood in dict.fromkeys(self.likelihoods[d]):
            own = self.likelihoods[d] == likelihood
            cells = eta[:, own]
            noise = self.noise_variance[self.group_of[n[own]], d[own]]
            if likelihood == "gaussian":
                center, sd = cells.mean(axis=0), np.sqrt(cells.var(axis=0, ddof=1) + noise)
                half = norm.ppf(tails[1]) * sd
                mean[own], lower[own], upper[own] = center, center - half, center + half
                continue
            if likelihood == "bernoulli":
                expected = drawn = expit(cells)
            elif likelihood == "student_t":
                expected, drawn = cells, cells + np.sqrt(noise) * rng.standard_t(DEGREES, cells.shape)
            else:
                expected, drawn = self._draw_discrete(str(likelihood), cells, n[own], d[own], rng)
            mean[own] = expected.mean(axis=0)
            lower[own], upper[own] = np.quantile(drawn, tails, axis=0)
        return mean, lower, upper

    def _draw_discrete(
        self, likelihood: str, eta: np.ndarray, n: np.ndarray, d: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean of, and draws from, the likelihood at each draw of eta."""
        if likelihood == "poisson":
            rate = self.exposure[n] * np.logaddexp(0.0, eta)
            return rate, rng.poisson(rate)
        if likelihood == "negative_binomial":
            expected = self.exposure[n] * np.exp(np.minimum(eta, 30.0))
            r = np.broadcast_to(self.nuisance[d], eta.shape)
            return expected, rng.poisson(rng.gamma(r) / r * expected)
        cuts = self.levels[d] * self.nuisance[d, None]
        below = ndtr(cuts[None, :, 1:] - eta[:, :, None])
        mass = np.diff(np.concatenate([np.zeros((*eta.shape, 1)), below], axis=2), axis=2)
        expected = mass @ np.arange(mass.shape[2])
        return expected, (rng.random(eta.shape)[:, :, None] > below).sum(axis=2)


def _noise_variance(draws: xr.Dataset, view: str, features: list[str], n_groups: int) -> np.ndarray:
    """E[sigma_d^2] by group (G, D), 0 for features without noise."""
    filled = np.zeros((n_groups, len(features)))
    if f"noise_sd_{view}" not in draws:
        return filled
    noise = (draws[f"noise_sd_{view}"].astype(np.float64) ** 2).mean("point")
    if "group" not in noise.dims:
        noise = noise.expand_dims("group")
    dim = next(str(name) for name in noise.dims if name != "group")
    names = [str(name) for name in noise[dim].values]
    place = {name: d for d, name in enumerate(features)}
    kept = [name for name in names if name in place]
    filled[:, [place[name] for name in kept]] = noise.sel({dim: kept}).transpose("group", dim).values
    return filled
