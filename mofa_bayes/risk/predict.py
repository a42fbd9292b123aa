"""What draws of a risk model say of patients: estimates with intervals, risks by draw, and log likelihoods.

A single outcome, several at once and competing risks differ in how many predictors a patient has, and nowhere else.
"""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.competing import CompetingResponse
from mofa_bayes.risk.competing_predict import (
    average_incidences,
    predict_incidences,
    score_jointly,
    tabulate_incidences,
)
from mofa_bayes.risk.drawn import Drawn
from mofa_bayes.risk.evaluation.risks import Risks
from mofa_bayes.risk.interactions import find_profiles
from mofa_bayes.risk.kernels import average_outcomes, predict_outcomes, split_blocks, thin
from mofa_bayes.risk.marginal import log_marginal
from mofa_bayes.risk.panel import find_cells, score_draws
from mofa_bayes.risk.quadrature import root_of
from mofa_bayes.risk.response import Array, Design, Joint

_MAX_DRAWS_EACH = 400
"""Draws that predict each of several responses; 200 responses of all 4,000 would take minutes."""


def predict_subjects(
    drawn: Drawn,
    moments: FactorMoments,
    clinical: pd.DataFrame | None,
    offset: Array,
    places: NDArray[Any],
    level: float,
) -> xr.Dataset:
    """Predict every subject at the response's places (horizons, categories or responses): the dataset of `Scores`."""
    response = drawn.response
    if isinstance(response, CompetingResponse):
        joint = drawn.joint_predictor(moments, clinical)
        risks = predict_incidences(response, joint, drawn.parameters(), places, level, drawn.n_nodes)
        return tabulate_incidences(response, risks, moments.subjects, places, joint)
    summary: dict[str, Array] = {}
    if isinstance(response, Joint):
        values = _predict_each(drawn, response, moments, clinical, level)
    else:
        predictor = drawn.predictor(moments, clinical)
        values = predict_outcomes(response, predictor.shift(offset), drawn.parameters(), places, level, drawn.n_nodes)
        summary = dict(zip(("linear_predictor", "linear_predictor_sd"), predictor.summary(), strict=True))
    dim = response.labels.dim
    return xr.Dataset(
        {name: (("subject", dim), value) for name, value in values.items()}
        | {name: (("subject",), value) for name, value in summary.items()},
        coords={"subject": np.asarray(moments.subjects, dtype=np.str_), dim: places},
    )


def _predict_each(
    drawn: Drawn, response: Joint, moments: FactorMoments, clinical: pd.DataFrame | None, level: float
) -> dict[str, Array]:
    """Predict several responses, one after the other, from a part of the draws."""
    parameters = drawn.parameters()
    kept = thin(len(next(iter(parameters.values()))), _MAX_DRAWS_EACH)
    each = []
    for part, own in enumerate(response.parts):
        predictor = drawn.predictor(moments, clinical, part=part, draws=kept)
        at = {name: draws[kept, part] for name, draws in parameters.items()}
        each.append(predict_outcomes(own, predictor, at, own.require_times(None), level, drawn.n_nodes))
    return {name: np.concatenate([values[name] for values in each], axis=1) for name in each[0]}


def draw_risks(
    drawn: Drawn,
    moments: FactorMoments,
    clinical: pd.DataFrame | None,
    horizons: Array,
    n_draws: int,
    cause: str | None,
) -> Risks:
    """Average the risk of each subject over factors under some of the draws, evenly spaced."""
    response, parameters = drawn.response, drawn.parameters()
    assert not isinstance(response, Joint)
    kept = thin(len(next(iter(parameters.values()))), n_draws)
    own = {name: draws[kept] for name, draws in parameters.items()}
    if isinstance(response, CompetingResponse):
        joint, c = drawn.joint_predictor(moments, clinical).take(kept), response.require_cause(cause)
        risks = average_incidences(response, joint, own, horizons, drawn.n_nodes)[..., c]
        return Risks(moments.subjects, horizons, risks, joint.mean[..., c], cause=response.codes[c])
    predictor = drawn.predictor(moments, clinical).take(kept)
    risk = average_outcomes(response, predictor, own, horizons, drawn.n_nodes)
    return Risks(moments.subjects, horizons, risk, predictor.mean)


def score_subjects(
    drawn: Drawn, moments: FactorMoments, clinical: pd.DataFrame | None, design: Design, n_nodes: int
) -> Array:
    """Log likelihood of each subject under each draw, (chain * draw, subject)."""
    response, parameters = drawn.response, drawn.parameters()
    if isinstance(response, CompetingResponse):
        return score_jointly(response, drawn.joint_predictor(moments, clinical), parameters, design, n_nodes)
    if isinstance(response, Joint):
        return _score_each(drawn, moments, clinical, design)
    predictor = drawn.predictor(moments, clinical)
    values = np.empty(predictor.mean.shape)
    for draws in split_blocks(len(values), predictor.mean.shape[1] * n_nodes):
        own = {name: draw[draws] for name, draw in parameters.items()}
        normal = predictor.mean[draws], predictor.sd[draws]
        values[draws] = log_marginal(np, response, *normal, own, design, n_nodes)
    return values


def _score_each(drawn: Drawn, moments: FactorMoments, clinical: pd.DataFrame | None, design: Design) -> Array:
    """Log density of each subject's responses, which share its factors, a block of draws at a time."""
    centred, parameters, pairs = drawn.centre(clinical, moments.subjects), drawn.parameters(), drawn.interactions
    factors, slopes, changes = map(drawn.of, ("effect_factors", "effect_covariates", "effect_interactions"))
    moderators, spread = pairs.moderate(centred), pairs.spread(factors.shape[-1])
    profiles = find_profiles(moments, moderators)
    root = root_of(float(not drawn.is_known) * profiles.covariance)
    cells, of_group = find_cells(design["is_known"], profiles.profile, root)
    moved = moments.mean[:, list(pairs.factor)] * moderators
    blocks = []
    for draws in split_blocks(len(factors), design["value"].size * (1 + len(pairs.names))):
        mean = moments.mean @ np.swapaxes(factors[draws], 1, 2) + centred @ np.swapaxes(slopes[draws], 1, 2)
        mean = mean + moved @ np.swapaxes(changes[draws], 1, 2)
        effects = factors[draws]
        if pairs.names:
            own = profiles.moderators[of_group][:, None, :] * changes[draws, None]
            effects = effects[:, None] + own @ spread
        at = {name: draw[draws] for name, draw in parameters.items()}
        blocks.append(score_draws(effects, mean, at, design, cells))
    return np.concatenate(blocks)
