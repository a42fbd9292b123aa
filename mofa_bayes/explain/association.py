"""Association of factors with covariates, the uncertainty of factors included."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from mofa_bayes.explain.covariates import Covariate, read_covariates_of
from mofa_bayes.explain.multiplicity import adjust
from mofa_bayes.explain.precision import Contributions
from mofa_bayes.explain.relations import Relation, compare_groups, correlate, hazard
from mofa_bayes.explain.summarise import require_aligned, require_factors, require_level
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.matching import in_chunks
from mofa_bayes.posterior.project_draws import is_of_draws

Array = NDArray[np.float64]
MEASURES = {"continuous": "correlation", "binary": "correlation", "categorical": "eta", "survival": "log hazard ratio"}
_LIMITS = {"correlation": (-1, 1), "eta": (0, 1), "log hazard ratio": (-np.inf, np.inf)}


def associate(
    post: Posterior,
    clinical: pd.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    survival: Mapping[str, tuple[str, str]] | None = None,
    factors: Sequence[str] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Measure how factors go with covariates that had no part in the fit.

    Parameters
    ----------
    post
        A posterior.
    clinical
        Covariates by subject; subjects may be absent and values missing, each column uses the ones it has.
    columns
        Columns to use; all when left out.
    kinds
        Column -> `continuous`, `binary` or `categorical`, where it is not what it looks like: columns of two values are
        binary, of text categorical, of other numbers continuous.
    survival
        Name -> (column of times, column of events); these columns are nothing else then.
    factors
        Factors to look at; all when left out.
    level
        Probability that an interval holds.

    Returns
    -------
    One row per covariate and factor, by p: `covariate`, `kind`, `factor`, `n` subjects, `measure`, `estimate`, `lower`,
    `upper`, `level`, `sign_probability` (NaN of eta), `reliability`, `p`, `fdr` (Benjamini and Hochberg) over all rows.
    Measures are the correlation (of a binary covariate with its second value; `reference` names the first), eta (the
    root of the share of variance between classes), and the log hazard ratio per standard deviation of the factor.

    Notes
    -----
    Let z = m + u, u of variance V independent over subjects given the loadings, and R = 1 - V / var(z) the reliability.
    Draws of factors know nothing of the covariate, so that what they show is too small by R, and what means show by
    the root of R (attenuation: Carroll, Ruppert, Stefanski and Crainiceanu 2006, Measurement Error in Nonlinear Models,
    chapter 2). Estimates here are those of means, corrected to first order; `association_draws` has the uncorrected
    ones. The interval holds the sampling of subjects and, from draws, what loadings leave open of all factors at once.

    p is of posterior means: without an association they are exchangeable over subjects however uncertain they are, and
    p is as exact as its test (t, F, Cox's score test), unless the covariate goes with who lacks which view.

    Raises
    ------
    DataError
        A name is unknown, or a covariate cannot be what it is said to be.
    FitError
        The posterior's draws are not aligned.
    """
    require_level(level)
    chosen = require_factors(post, factors)
    drawn, free = _draws_and_noise(post, chosen)
    rows = []
    for own in _read(post, clinical, columns, kinds, survival):
        found = relate(own, drawn[:, own.rows].mean(axis=0), level)
        corrected = _correct(found, drawn[:, own.rows], free[own.rows], level)
        columns_of = {"covariate": own.name, "kind": own.kind, "factor": chosen, "n": len(own.rows)}
        columns_of |= {"measure": MEASURES[own.kind], **corrected, "p": found.p}
        columns_of["reference"] = own.classes[0] if own.kind == "binary" else ""
        table = pd.DataFrame(columns_of)
        if own.kind == "categorical":
            table["sign_probability"] = np.nan
        least, most = _LIMITS[MEASURES[own.kind]]
        table[["estimate", "lower", "upper"]] = table[["estimate", "lower", "upper"]].clip(least, most)
        rows.append(table)
    table = pd.concat(rows, ignore_index=True).assign(level=level)
    table["fdr"] = adjust(table["p"].to_numpy())
    names = ["covariate", "kind", "reference", "factor", "n", "measure", "estimate", "lower", "upper", "level"]
    names += ["sign_probability", "reliability", "p", "fdr"]
    return table[names].sort_values("p", kind="stable", ignore_index=True)


def association_draws(
    post: Posterior,
    clinical: pd.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    survival: Mapping[str, tuple[str, str]] | None = None,
    factors: Sequence[str] | None = None,
) -> xr.DataArray:
    """Measure in every draw of the factors how they go with covariates in this cohort; parameters as in `associate`.

    Returns
    -------
    DataArray (chain, draw, covariate, factor) of the measures of `associate`, uncorrected for attenuation; `kind` and
    `measure` are coordinates of the covariates.
    """
    chosen = require_factors(post, factors)
    drawn, _ = _draws_and_noise(post, chosen)
    covariates = _read(post, clinical, columns, kinds, survival)
    found = np.empty((len(drawn), len(covariates), len(chosen)))
    for number, own in enumerate(covariates):
        for chunk in in_chunks(drawn):
            # Columns are factors of many draws side by side.
            values = np.moveaxis(drawn[chunk][:, own.rows], 1, 0)
            estimate = relate(own, values.reshape(len(own.rows), -1), None).estimate
            found[chunk, number] = estimate.reshape(-1, len(chosen))
    draws = post.factors()
    labels = {"chain": draws["chain"].values, "draw": draws["draw"].values}
    return xr.DataArray(
        found.reshape(len(labels["chain"]), len(labels["draw"]), *found.shape[1:]),
        dims=("chain", "draw", "covariate", "factor"),
        coords={
            **labels,
            "covariate": [own.name for own in covariates],
            "factor": chosen,
            "kind": ("covariate", [own.kind for own in covariates]),
            "measure": ("covariate", [MEASURES[own.kind] for own in covariates]),
        },
        name="association",
    )


def relate(covariate: Covariate, values: Array, level: float | None) -> Relation:
    """Relate columns of values (n, K) to a covariate by what it is; bounded measures have errors where a level is."""
    if covariate.kind == "survival":
        return hazard(values, covariate.values, covariate.event)
    if covariate.kind == "categorical":
        return compare_groups(values, covariate.values.astype(np.intp), level)
    return correlate(values, covariate.values, level)


def _read(
    post: Posterior,
    clinical: pd.DataFrame,
    columns: Sequence[str] | None,
    kinds: Mapping[str, str] | None,
    survival: Mapping[str, tuple[str, str]] | None,
) -> list[Covariate]:
    require_aligned(post)
    return read_covariates_of(clinical, post.subjects, columns, kinds or {}, survival or {})


def _draws_and_noise(post: Posterior, chosen: list[str]) -> tuple[Array, Array]:
    """Draws of factors (S, N, K), and the part of their variance that is each subject's own, (N, K)."""
    require_aligned(post)
    drawn = post.factors().sel(factor=chosen).transpose("chain", "draw", "subject", "factor").values
    place = [post.factor_names.index(name) for name in chosen]
    if is_of_draws(post.tree):
        free = Contributions.read(post).variance_of_subjects(post)
    else:
        free = np.diagonal(post.factor_moments().covariances(), axis1=1, axis2=2)
    return drawn.reshape(-1, *drawn.shape[2:]).astype(np.float64), free[:, place]


def _correct(found: Relation, drawn: Array, free: Array, level: float) -> dict[str, Array]:
    """Undo attenuation, and widen intervals by what all subjects' factors share of uncertainty."""
    spread = drawn.var(axis=1).mean(axis=0)
    reliability = np.clip(1 - free.mean(axis=0) / spread, 1e-3, 1.0)
    factor = drawn.mean(axis=0).std(axis=0) / (np.sqrt(spread) * reliability)
    moved = np.einsum("snk,nk->sk", drawn, found.weights) / np.sqrt(spread)
    own = (np.square(found.weights) * free).sum(axis=0) / spread
    shared = np.maximum(moved.var(axis=0) - own, 0.0) / reliability**2
    low, high = (np.sqrt(np.square(error * factor) + shared) for error in (found.error_low, found.error_high))
    estimate, half = found.estimate * factor, ndtri(0.5 + level / 2)
    toward = np.where(estimate > 0, low, high)
    return {
        "estimate": estimate,
        "lower": estimate - half * low,
        "upper": estimate + half * high,
        "sign_probability": ndtr(np.abs(estimate) / np.maximum(toward, 1e-300)),
        "reliability": reliability,
    }
