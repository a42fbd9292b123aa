"""Missing entries: their posterior predictive mean and interval, on the scale of the data."""

import numpy as np
import xarray as xr
from scipy.stats import norm

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.vi.known import canonical_order, find_known
from mofa_bayes.engines.vi.packed import Index
from mofa_bayes.errors import DataError
from mofa_bayes.posterior.factor_draws import FactorDraws
from mofa_bayes.posterior.moments import Array, FactorMoments
from mofa_bayes.posterior.outcomes import Cells, draw, expect
from mofa_bayes.posterior.predict import CHUNK, ViewDraws


def impute_views(
    tree: xr.DataTree, views: MultiView, factors: FactorMoments | FactorDraws, *, level: float, rng: np.random.Generator
) -> xr.Dataset:
    """Fill every missing entry of `views`.

    Parameters
    ----------
    tree
        A posterior's tree.
    views
        Views with the features of the fit.
    factors
        Factors of the subjects of `views`. From moments they are drawn, those that may be zero as such, and loadings
        apart from them, as under vi; draws stay with the loadings that they were drawn with.
    level
        Probability that an interval holds.
    rng
        Draws factors and outcomes; loadings come from the tree's draws.

    Returns
    -------
    Per view `mean_<view>`, `lower_<view>` and `upper_<view>` (subject, feature_<view>): observed entries as they are,
    with an interval of no width; the others with the predictive mean and interval, noise included, except that a
    bernoulli or categorical entry gets its probability of 1 and the interval of that.
    """
    if not isinstance(level, int | float) or not 0 < level < 1:
        raise DataError("level", got=repr(level)[:80], expected="a number in (0, 1)", do="0.95 is usual.")
    preprocessing = Preprocessing(dataset=tree.children["preprocessing"].to_dataset())
    stored = tree.children["moments"].to_dataset()
    known = find_known(views, preprocessing, [str(name) for name in stored["group"].values])
    place = np.argsort(canonical_order(views))
    groups, design = np.asarray(known.groups)[known.group_of[place]], known.design[place]
    points = factors.points if isinstance(factors, FactorDraws) else slice(None)
    is_normal = isinstance(factors, FactorDraws) or factors.inclusion is None
    filled: dict[str, xr.DataArray] = {}
    for view in (own for own in views.names if f"weights_mean_{own}" in stored):
        model = ViewDraws.read(tree, views, view, known, place, points)
        terms = stored[f"weights_mean_{view}"].sel({f"feature_{view}": list(views.features(view))}).values
        values = views[view].values.astype(np.float64)
        mean, lower, upper = values.copy(), values.copy(), values.copy()
        rows, columns = np.nonzero(np.isnan(values))
        for start in range(0, len(rows), CHUNK):
            n, d = rows[start : start + CHUNK], columns[start : start + CHUNK]
            for part in model.predict(factors, n, d, rng):
                place_of = n[part.positions], d[part.positions]
                if isinstance(factors, FactorDraws):  # E[z w] is not E[z] E[w] where they were drawn together
                    eta = part.cells.eta.mean(axis=0)
                else:
                    eta = _expect_eta(factors.mean, design, terms, *place_of)
                summary = _summarise(part.cells, eta, level, rng, is_normal=is_normal)
                mean[place_of], lower[place_of], upper[place_of] = summary
        own = preprocessing.subset(view, views.features(view))
        missing = np.isnan(values)
        for name, array in ((f"mean_{view}", mean), (f"lower_{view}", lower), (f"upper_{view}", upper)):
            original = own.invert(view, array, groups)
            filled[name] = views[view].copy(data=np.where(missing, original, values)).rename(name)
    return xr.Dataset(filled)


def undo_preparation(filled: xr.Dataset, views: MultiView, measured: MultiView) -> xr.Dataset:
    """Bring imputed values from the prepared to the measured scale, and observed ones back as they were.

    Parameters
    ----------
    filled
        From `impute_views`, of `views`.
    views
        Prepared views.
    measured
        The same as they were measured, or the prepared ones again where nothing else is known.
    """
    preparation = views.preparation
    assert preparation is not None
    restored = {}
    for name, values in filled.data_vars.items():
        view = str(name).split("_", 1)[1]
        dim, totals = f"feature_{view}", views.dataset.get(f"total_{view}")
        features = [str(feature) for feature in values[dim].values]
        table = values.transpose("subject", dim)
        sums = None if totals is None else totals.values
        original = table.copy(data=preparation.invert(view, table.values, features, sums))
        if measured.preparation is None:
            known = measured[view].sel({dim: features}).transpose("subject", dim)
            original = original.where(known.isnull(), known)
        restored[name] = original
    return xr.Dataset(restored)


def _expect_eta(factors: Array, design: Array, terms: Array, n: Index, d: Index) -> Array:
    """E[eta] of cells (C,) from the means of factors and loadings, without the error of a mean over draws."""
    known = np.hstack([factors[n], design[n]])
    return np.asarray(np.einsum("cj,cj->c", known, terms[d]))


def _summarise(
    cells: Cells, eta: Array, level: float, rng: np.random.Generator, *, is_normal: bool
) -> tuple[Array, Array, Array]:
    """Predictive mean and interval of some cells (C,); `eta` is its expectation.

    Intervals of gaussian cells are by their variance where factors are normal.
    """
    tails = [0.5 - level / 2, 0.5 + level / 2]
    mean = eta if cells.likelihood in REAL else expect(cells).mean(axis=0)
    if cells.likelihood == "gaussian" and is_normal:
        half = norm.ppf(tails[1]) * np.sqrt(cells.eta.var(axis=0, ddof=1) + cells.noise_variance)
        return mean, mean - half, mean + half
    lower, upper = np.quantile(draw(cells, rng), tails, axis=0)
    return mean, lower, upper
