"""Scored: what one model said of the held-out patients of one fold, and how folds become risks of a cohort."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.evaluation.risks import Risks
from mofa_bayes.risk.fitted import FittedRisk
from mofa_bayes.risk.response import Array


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Scores of n held-out patients.

    Attributes
    ----------
    risk
        P(event by t) under draws of the parameters, averaged over factors, (draw, n, time).
    predictor
        What ranks them: the linear predictor, (draw, n).
    log_score
        Log predictive density of what happened to each, averaged over draws inside the logarithm, (n,).
    """

    risk: Array
    predictor: Array
    log_score: Array

    @classmethod
    def of(
        cls,
        fitted: FittedRisk,
        moments: FactorMoments,
        clinical: pd.DataFrame,
        times: Sequence[float] | None,
        n_draws: int,
    ) -> "Scored":
        """Score patients with a fitted model."""
        risks = fitted.draw_risks(moments, clinical, times=times, n_draws=n_draws)
        log_likelihood = fitted.log_likelihood(moments, clinical).stack(s=("chain", "draw")).transpose("s", ...).values
        log_score = logsumexp(log_likelihood, axis=0) - np.log(len(log_likelihood))
        return cls(risks.risk, risks.linear_predictor, log_score)


def flatten(scored: Mapping[str, Scored]) -> dict[str, NDArray[np.float64]]:
    """Name the arrays of several models."""
    return {f"{name}/{own.name}": getattr(each, own.name) for name, each in scored.items() for own in fields(Scored)}


def restore(arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, Scored]:
    """Undo `flatten`."""
    names = dict.fromkeys(name.rsplit("/", 1)[0] for name in arrays)
    return {name: Scored(*(arrays[f"{name}/{own.name}"] for own in fields(Scored))) for name in names}


def join_folds(
    scored: Sequence[Scored], held: Sequence[NDArray[np.intp]], subjects: Sequence[str], times: Array
) -> tuple[Risks, Array]:
    """Join the folds of one repeat: risks and log scores of the cohort, in the order of `subjects`.

    The s-th draws of different folds belong to different fits; they are put beside each other, since all are
    independent.
    """
    n_draws = min(len(own.risk) for own in scored)
    risk = np.empty((n_draws, len(subjects), len(times)))
    predictor, log_score = np.empty((n_draws, len(subjects))), np.empty(len(subjects))
    for own, rows in zip(scored, held, strict=True):
        risk[:, rows], predictor[:, rows], log_score[rows] = own.risk[:n_draws], own.predictor[:n_draws], own.log_score
    return Risks(subjects, None if np.isnan(times).any() else times, risk, predictor), log_score
