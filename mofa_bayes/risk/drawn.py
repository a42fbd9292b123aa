"""Drawn: the draws of a fitted risk model, and the predictors that patients have under them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.posterior.drawn_moments import DrawnMoments
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.competing import CompetingResponse
from mofa_bayes.risk.inputs import Scaling, read_predictors
from mofa_bayes.risk.interactions import Interactions, combine
from mofa_bayes.risk.joint import JointPredictor
from mofa_bayes.risk.kernels import Predictor
from mofa_bayes.risk.loadings import PLACE, combine_by_draw
from mofa_bayes.risk.response import Array, Joint, Response


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """Draws of effects and parameters.

    Attributes
    ----------
    posterior
        The tree's group of that name.
    response, scaling, interactions
        As in `FittedRisk`.
    is_known
        Whether factors are taken as their means (`plugin`).
    n_nodes
        Nodes of the integrals over factors.
    """

    posterior: xr.Dataset
    response: Response | Joint | CompetingResponse
    scaling: Scaling
    interactions: Interactions
    is_known: bool
    n_nodes: int

    def of(self, name: str) -> Array:
        """Draws of a parameter, chains one after the other, (chain * draw, ...); none of effects that it lacks."""
        if name not in self.posterior:
            sizes = self.posterior["effect_factors"].transpose("chain", "draw", ...).shape
            return np.zeros((sizes[0] * sizes[1], *sizes[2:-1], 0))
        values = self.posterior[name].transpose("chain", "draw", ...).values.astype(np.float64)
        return values.reshape(-1, *values.shape[2:])

    def parameters(self) -> Mapping[str, Array]:
        """Draws of the parameters of the outcome's distribution."""
        return {name: self.of(name) for name in self.response.parameters}

    def centre(self, clinical: pd.DataFrame | None, subjects: tuple[str, ...]) -> Array:
        """Covariates of subjects around those of the fit (N, C)."""
        covariates = read_predictors(clinical, self.scaling.names, subjects).to_numpy(dtype=np.float64)
        return np.asarray(covariates - self.scaling.centre)

    def predictor(
        self,
        moments: FactorMoments,
        clinical: pd.DataFrame | None,
        *,
        part: int | None = None,
        draws: NDArray[np.intp] | slice = slice(None),
    ) -> Predictor:
        """Mean and sd of g'(c - mean) + b(c)'z under each draw, of one of several responses where there are."""
        if isinstance(moments, DrawnMoments) and PLACE in self.posterior:
            places = self.of(PLACE).astype(np.intp)
            rows = np.arange(len(places))[draws]
            return combine_by_draw(
                moments, places[rows], rows, lambda own, rows: self.predictor(own, clinical, part=part, draws=rows)
            )
        factors, slopes, changes = (
            own[draws] if part is None else own[draws, part]
            for own in map(self.of, ("effect_factors", "effect_covariates", "effect_interactions"))
        )
        centred = self.centre(clinical, moments.subjects)
        predictor = combine(moments, factors, centred, slopes, self.interactions, changes)
        return Predictor(predictor.mean, np.zeros_like(predictor.sd)) if self.is_known else predictor

    def joint_predictor(self, moments: FactorMoments, clinical: pd.DataFrame | None) -> JointPredictor:
        """Predictors of all causes under each draw."""
        centred = self.centre(clinical, moments.subjects)
        offset = np.swapaxes(self.of("effect_covariates") @ centred.T, 1, 2)
        predictor = JointPredictor.combine(moments, self.of("effect_factors"), offset)
        return predictor.known() if self.is_known else predictor
