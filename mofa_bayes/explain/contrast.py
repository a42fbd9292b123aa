"""Contrast of two fits, one per group or cohort: do their factors match, and which loadings differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr

from mofa_bayes.errors import DataError
from mofa_bayes.explain.multiplicity import adjust
from mofa_bayes.explain.summarise import require_aligned, require_choice, require_level, summarise
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.matching import congruence, match_to
from mofa_bayes.spec import ARD, Normal

Array = NDArray[np.float64]
Draws = NDArray[np.floating]
Scale = Literal["model", "data"]
_N_MOST = 1000
"""Pairs of draws that are subtracted."""
_SURE = (0.85, 0.95)
"""Congruence of factors that are alike, and the same (Lorenzo-Seva and ten Berge 2006, Methodology 2:57)."""


def contrast(
    post: Posterior,
    other: Posterior,
    *,
    scale: Scale = "model",
    min_effect: float = 0.0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare loadings of two fits, feature by feature.

    Draws of the second fit are brought to the order and signs of the first's mean loadings (to its rotation, where both
    have dense priors, which leave that open), all by one map; then the draws of the two, which are independent, are
    subtracted (a thousand pairs at most). Features that only one fit has are left out.

    Parameters
    ----------
    post, other
        Two posteriors with a view and features of the same names, such as fits of two groups by themselves.
    scale
        `model`: in standard deviations of each fit's own features, so that a loading is near a correlation; `data`: in
        the units of the data.
    min_effect
        Size that a difference must have to be worth a call, on that scale.
    level
        Probability that an interval holds.

    Returns
    -------
    One row per view, factor of the first fit and feature, surest first: `other_factor`, `mean` and `other_mean`,
    `difference` (first minus second) with `sd`, `lower`, `upper`, `level`, `sign_probability` that it has the sign of
    its mean, `same_sign`, the probability that both loadings have the same sign, and p and fdr of a difference no
    larger than `min_effect`. Factors without a counterpart are left out: see `match_factors`, and read it first, since
    loadings of factors that do not match differ everywhere.

    Notes
    -----
    The two fits take loadings of different groups for unrelated, when most are the same. So the rate of errors is not
    the mean of 1 - sign_probability, which calls a fifth of loadings that do not differ; it is that of Benjamini and
    Hochberg over p = Phi((e - |d|) / sd) + Phi((-e - |d|) / sd), which is uniform where loadings are the same and e = 0
    (McCarthy and Smyth 2009, Bioinformatics 25:765, for e > 0).

    Raises
    ------
    DataError
        The fits have no feature in common, or an argument is not acceptable.
    FitError
        Draws of a posterior are not aligned.
    """
    require_level(level)
    if isinstance(min_effect, bool) or not isinstance(min_effect, int | float) or not 0 <= min_effect < np.inf:
        raise DataError("min_effect", got=repr(min_effect)[:80], expected="a size from 0 up", do="Correct it.")
    pair = _Pair.read(post, other, scale)
    tables = []
    for view in pair.views:
        first, second = pair.first[view], pair.second[view]
        same = (first * second > 0).mean(("chain", "draw"))
        difference = first - second
        mean = difference.mean(("chain", "draw"))
        sides = ((difference > 0).mean(("chain", "draw")), (difference < 0).mean(("chain", "draw")))
        extra = {
            "first": first.mean(("chain", "draw")),
            "other_mean": second.mean(("chain", "draw")),
            "sign_probability": sides[0].where(mean >= 0, sides[1]),
            "same_sign": same,
        }
        table = summarise(difference.rename("difference"), level=level).rename(columns={"mean": "difference"})
        more = xr.Dataset(extra).to_dataframe(dim_order=["feature", "factor"]).reset_index()
        more = more.rename(columns={"first": "mean"})
        tables.append(table.merge(more, on=["feature", "factor"], validate="1:1").assign(view=view))
    table = pd.concat(tables, ignore_index=True)
    table["other_factor"] = table["factor"].map(pair.names)
    z = table["difference"].abs() / table["sd"].clip(lower=1e-300)
    least = min_effect / table["sd"].clip(lower=1e-300)
    table["p"] = ndtr(least - z) + ndtr(-least - z)
    table["fdr"] = adjust(table["p"].to_numpy())
    table = table.iloc[np.lexsort((-z, table["p"]))].reset_index(drop=True)
    names = ["view", "factor", "other_factor", "feature", "mean", "other_mean", "difference", "sd", "lower", "upper"]
    names += ["level", "sign_probability", "same_sign", "p", "fdr"]
    return table[names]


def match_factors(post: Posterior, other: Posterior, *, level: float = 0.95) -> pd.DataFrame:
    """Say how far the factors of two fits are the same, by Tucker's congruence of their loadings.

    a'b / |a||b| over all features that both fits have, after the second was brought to the first as in `contrast`.

    Returns
    -------
    One row per factor of the first fit: `factor`, `other_factor` (empty where the second has fewer), `of_means`, the
    congruence of mean loadings; `congruence` over draws with `lower`, `upper` and `level`, which is nearer to 0, since
    the uncertainty of loadings counts as disagreement; `alike` and `same`, the probabilities that it is at least .85
    and .95.

    Raises
    ------
    DataError, FitError
        As `contrast`.
    """
    require_level(level)
    pair = _Pair.read(post, other, "model")
    dims = ("chain", "draw", "feature", "factor")
    first, second = ([own[view].transpose(*dims).values for view in pair.views] for own in (pair.first, pair.second))
    draws = xr.DataArray(
        congruence(first, second), dims=("chain", "draw", "factor"), coords={"factor": list(pair.names)}
    )
    means = congruence(*([own.mean(axis=(0, 1)) for own in each] for each in (first, second)))
    table = (
        summarise(draws.rename("congruence"), level=level).set_index("factor").rename(columns={"mean": "congruence"})
    )
    table["of_means"] = means
    for name, least in zip(("alike", "same"), _SURE, strict=True):
        table[name] = (draws >= least).mean(("chain", "draw")).to_series()
    table = table.reindex(post.factor_names).rename_axis("factor").reset_index()
    table["other_factor"] = table["factor"].map(pair.names).fillna("")
    return table[["factor", "other_factor", "of_means", "congruence", "lower", "upper", "level", "alike", "same"]]


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Draws of the loadings of two fits over what they share, the second in the place of the first.

    Attributes
    ----------
    first, second
        View -> draws (chain, draw, feature, factor) of the factors that have a counterpart, named as in the first fit.
    names
        Factor of the first fit -> factor of the second that takes its place (after a rotation, by number only).
    """

    first: dict[str, xr.DataArray]
    second: dict[str, xr.DataArray]
    names: dict[str, str]

    @property
    def views(self) -> list[str]:
        """Views that both fits have."""
        return list(self.first)

    @classmethod
    def read(cls, post: Posterior, other: Posterior, scale: Scale) -> "_Pair":
        require_choice("scale", scale, ("model", "data"))
        shared = _find_shared(post, other)
        n_draws = min(_count(post), _count(other), _N_MOST)
        first, second = ([_take(own, view, shared[view], n_draws) for view in shared] for own in (post, other))
        sizes = first[0].shape[2], second[0].shape[2]
        widest = max(sizes)
        reference, centre = (
            [np.pad(own.mean(axis=0, dtype=np.float64), ((0, 0), (0, widest - own.shape[2]))) for own in each]
            for each in (first, second)
        )
        is_dense = _is_dense(post) and _is_dense(other)
        unit = np.eye(widest)[None]
        turn = match_to([own[None] for own in centre], reference, unit, "rotation" if is_dense else "sign and order")[0]
        source = np.abs(turn).argmax(axis=0)
        kept = [k for k in range(sizes[0]) if is_dense or source[k] < sizes[1]]
        names = {post.factor_names[k]: f"rotated {k + 1}" if is_dense else other.factor_names[source[k]] for k in kept}
        found: list[dict[str, xr.DataArray]] = [{}, {}]
        for view, a, b in zip(shared, first, second, strict=True):
            own = a[:, :, kept].astype(np.float64), b.astype(np.float64) @ turn[: sizes[1], kept]
            for place, (values, source_of) in enumerate(zip(own, (post, other), strict=True)):
                units = (
                    source_of.preprocessing.subset(view, shared[view]).scale(view)[:, None] if scale == "data" else 1
                )
                found[place][view] = xr.DataArray(
                    (values * units)[None],
                    dims=("chain", "draw", "feature", "factor"),
                    coords={"feature": shared[view], "factor": list(names)},
                )
        return cls(found[0], found[1], names)


def _find_shared(post: Posterior, other: Posterior) -> dict[str, list[str]]:
    """Find the features that both fits have, by view."""
    for own in (post, other):
        require_aligned(own)
    shared = {}
    for view in (name for name in post.views if name in other.views):
        known = set(other.features(view))
        names = [name for name in post.features(view) if name in known]
        if names:
            shared[view] = names
    if not shared:
        raise DataError(
            "fits to compare",
            got=f"no feature in common (views {', '.join(post.views)}; {', '.join(other.views)})",
            expected="a view of the same name with features of the same names",
            do="Fit the groups with the same views.",
        )
    return shared


def _take(post: Posterior, view: str, features: Sequence[str], n_draws: int) -> Draws:
    """Draws of some features' loadings (S, D, K), at even distances over the chains."""
    dim = f"feature_{view}"
    loadings = post.loadings(view).sel({dim: list(features)}).transpose("chain", "draw", dim, "factor").values
    loadings = loadings.reshape(-1, *loadings.shape[2:])
    return np.asarray(loadings[np.linspace(0, len(loadings) - 1, n_draws).round().astype(np.intp)])


def _count(post: Posterior) -> int:
    return int(post.factors().sizes["chain"] * post.factors().sizes["draw"])


def _is_dense(post: Posterior) -> bool:
    """Say whether the priors on loadings leave a rotation open."""
    priors = [post.spec.loadings_of(view) for view in post.views]
    return all(isinstance(prior, ARD | Normal) and not prior.positive for prior in priors)
