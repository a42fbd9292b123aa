"""Why this score: what each view and covariate put into a patient's predictor, and what an absent view would buy."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import FitError
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.posterior.view_terms import ViewTerms, split_by_view
from mofa_bayes.risk.inputs import moments_of, read_predictors
from mofa_bayes.risk.response import Array

if TYPE_CHECKING:
    from mofa_bayes.risk.fitted import FittedRisk

NewViews = MultiView | Mapping[str, pd.DataFrame]


def split_predictors(
    fitted: "FittedRisk", post: Posterior, views: NewViews, clinical: pd.DataFrame | None, level: float
) -> pd.DataFrame:
    """Take each patient's predictor apart; see `FittedRisk.contributions`."""
    terms = _read_terms(fitted, post, views)
    subjects = terms.moments.subjects
    covariates = read_predictors(clinical, fitted.scaling.names, subjects).to_numpy(dtype=np.float64)
    centred = covariates - fitted.scaling.centre
    by_view = np.einsum("sk,nmk->smn", fitted.effects_of("factors"), terms.shares)
    if fitted.interactions.names:
        moderated = terms.shares[:, :, list(fitted.interactions.factor)]
        moderated = moderated * fitted.interactions.moderate(centred)[:, None, :]
        by_view += np.einsum("sp,nmp->smn", fitted.effects_of("interactions"), moderated)
    by_covariate = fitted.effects_of("covariates")[:, :, None] * centred.T
    tables = [
        _tabulate(by_view, subjects, terms.views, level).assign(kind="view", is_seen=terms.is_seen.ravel()),
        _tabulate(by_covariate, subjects, fitted.scaling.names, level).assign(kind="covariate", is_seen=True),
    ]
    table = pd.concat([own for own in tables if len(own)], ignore_index=True)
    place = {subject: n for n, subject in enumerate(subjects)}
    table = table.sort_values("subject", key=lambda names: names.map(place), kind="stable", ignore_index=True)
    return table[["subject", "source", "kind", "is_seen", "contribution", "sd", "lower", "upper", "level"]]


def value_views(fitted: "FittedRisk", post: Posterior, views: NewViews, level: float) -> pd.DataFrame:
    """Say by how much each absent view would narrow a patient's predictor; see `FittedRisk.value_of_views`."""
    if fitted.interactions.names:
        raise FitError(
            "value of views",
            got="a model with interactions, in which each patient has effects of their own",
            expected="a model without",
            do="Leave interactions out of the model.",
        )
    terms = _read_terms(fitted, post, views)
    effects = fitted.effects_of("factors")
    rows, absent = np.nonzero(~terms.is_seen)
    gained = np.empty((len(effects), len(rows)))
    for place, (n, m) in enumerate(zip(rows, absent, strict=True)):
        gained[:, place] = np.einsum("sk,kl,sl->s", effects, terms.narrowing[n, m], effects)
    gained = np.maximum(gained, 0.0)
    lower, upper = np.quantile(gained, _tails(level), axis=0)
    now = terms.moments.variance_along(effects).mean(axis=0)[rows]
    value = gained.mean(axis=0)
    return pd.DataFrame(
        {
            "subject": np.asarray(terms.moments.subjects, dtype=object)[rows],
            "view": np.asarray(terms.views, dtype=object)[absent],
            "value": value,
            "lower": lower,
            "upper": upper,
            "level": level,
            "variance": now,
            "share": np.clip(value / np.where(now > 0, now, 1.0), 0.0, 1.0),
        }
    )


def _read_terms(fitted: "FittedRisk", post: Posterior, views: NewViews) -> ViewTerms:
    if not isinstance(post, Posterior):
        raise FitError(
            "posterior",
            got=type(post).__name__,
            expected="the Posterior of the fit: projected patients no longer hold what each view said",
            do="Pass the posterior and the patients' views: fitted.contributions(post, new_views, clinical).",
        )
    moments_of(post)
    if fitted.effects_of("factors").ndim != 2:
        raise FitError("risk model", got="one of several responses", expected="one of a single outcome",
                       do="Fit the response of interest alone.")  # fmt: skip
    terms = split_by_view(post.tree, views)
    fitted.require_factors(terms.moments)
    return terms


def _tabulate(draws: Array, subjects: Sequence[str], sources: Sequence[str], level: float) -> pd.DataFrame:
    """Summarise draws (draw, source, subject), one row for each subject and source."""
    by_subject = draws.transpose(0, 2, 1).reshape(len(draws), -1)
    lower, upper = np.quantile(by_subject, _tails(level), axis=0)
    return pd.DataFrame(
        {
            "subject": np.repeat(np.asarray(subjects, dtype=object), len(sources)),
            "source": np.tile(np.asarray(sources, dtype=object), len(subjects)),
            "contribution": by_subject.mean(axis=0),
            "sd": by_subject.std(axis=0, ddof=1),
            "lower": lower,
            "upper": upper,
            "level": level,
        }
    )


def _tails(level: float) -> list[float]:
    return [(1 - level) / 2, (1 + level) / 2]
