"""Profile of one feature: its loading on each factor, and what each factor and noise explain of its variance."""

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.errors import DataError, name_some
from mofa_bayes.explain.summarise import require_aligned, require_level, summarise
from mofa_bayes.explain.variance import residual_variance
from mofa_bayes.posterior import Posterior

NOISE = "noise"


def feature_profile(post: Posterior, view: str, feature: str, *, level: float = 0.95) -> pd.DataFrame:
    """Describe one feature by its loadings over factors.

    Factor k explains of the feature d, per draw, w_dk sum_l S_kl w_dl / (w_d' S w_d + s_d^2), S being the covariance of
    the factors over the subjects who have the view; the shares of all factors and of noise add up to 1 (a share can be
    slightly negative where factors are correlated in the cohort). As `variance_explained`, for a single feature.

    Parameters
    ----------
    post
        A posterior.
    view, feature
        Which feature.
    level
        Probability that an interval holds.

    Returns
    -------
    One row per factor, in their order, and a last one for `noise`: `factor`; `mean`, `sd`, `lower`, `upper` of the
    loading on the model's scale, `sign_probability`, `inclusion` (NaN under a dense prior); `variance`,
    `variance_lower`, `variance_upper`, the share of the feature's variance; `level`.

    Raises
    ------
    DataError
        A name is unknown, or `level` is not in (0, 1).
    FitError
        The posterior's draws are not aligned.
    """
    require_level(level)
    shares = feature_shares(post, view, feature)
    loadings = post.loadings(view).sel({f"feature_{view}": feature}, drop=True)
    table = summarise(loadings.rename("loading"), level=level).set_index("factor")
    positive, negative = ((own).mean(("chain", "draw")).to_series() for own in (loadings > 0, loadings < 0))
    nonzero = (positive + negative).clip(lower=1e-12)
    table["sign_probability"] = np.where(table["mean"] >= 0, positive, negative) / nonzero
    active = post.active(view)
    table["inclusion"] = np.nan
    if active is not None:
        own = active.sel({f"feature_{view}": feature}, drop=True).mean(("chain", "draw"))
        table["inclusion"] = own.to_series().loc[table.index]
    explained = summarise(shares.rename("share"), level=level).set_index("factor")
    table = table.reindex([*post.factor_names, NOISE]).assign(level=level)
    for name, source in (("variance", "mean"), ("variance_lower", "lower"), ("variance_upper", "upper")):
        table[name] = explained[source]
    names = ["mean", "sd", "lower", "upper", "sign_probability", "inclusion"]
    names += ["variance", "variance_lower", "variance_upper", "level"]
    return table[names].rename_axis("factor").reset_index()


def feature_shares(post: Posterior, view: str, feature: str) -> xr.DataArray:
    """Share of a feature's variance that each factor explains, and `noise` last; dims (chain, draw, factor)."""
    require_aligned(post)
    features = post.features(view)
    if feature not in features:
        raise DataError(
            f"feature of view {view!r}",
            got=repr(feature)[:80],
            expected=f"a name such as {name_some(features, 3)}",
            do="Use a name of post.features(view).",
        )
    has_view = post.has_view(view)
    factors = post.factors().sel(subject=has_view["subject"][has_view.values]).values.astype(np.float64)
    centred = factors - factors.mean(axis=-2, keepdims=True)
    covariance = np.swapaxes(centred, -1, -2) @ centred / centred.shape[-2]
    loadings = post.loadings(view).sel({f"feature_{view}": feature}).transpose("chain", "draw", "factor")
    w = loadings.values.astype(np.float64)
    parts = w * (covariance @ w[..., None])[..., 0]
    noise = residual_variance(post, view)[..., features.index(feature)]
    whole = np.concatenate([parts, noise[..., None]], axis=-1)
    return xr.DataArray(
        whole / whole.sum(axis=-1, keepdims=True),
        dims=("chain", "draw", "factor"),
        coords={
            "chain": loadings["chain"].values,
            "draw": loadings["draw"].values,
            "factor": [*post.factor_names, NOISE],
        },
        name="share",
    )
