"""A cohort drawn from the model itself, with everything that is true of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.checking.sizes import LIKELIHOODS
from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.errors import SpecError, name_some
from mofa_bayes.graph import graph
from mofa_bayes.graph.prior import prior_sampler
from mofa_bayes.posterior.likelihoods import Own, draw_values
from mofa_bayes.spec import FactorModel

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TrueView:
    """Truth of one view: loadings (D, K), eta (N, D), noise by group (G, D) with NaN for none, values (N, D)."""

    loadings: Array
    eta: Array
    noise_sd: Array
    values: Array


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """A simulated cohort.

    Attributes
    ----------
    views
        What the engine sees: some entries are held out.
    factors
        (N, K).
    by_view
        Truth of each view; its `values` are complete where the template had a value.
    held_out
        View -> entries that the template had and the engine does not see, (N, D).
    """

    views: MultiView
    factors: Array
    by_view: Mapping[str, TrueView]
    held_out: Mapping[str, NDArray[np.bool_]]


class Simulator:
    """Draws cohorts of a template's shape from a model whose priors are proper.

    Parameters
    ----------
    template
        Sizes, likelihoods, missing entries, groups, covariates and exposures; its values are not used.
    spec
        The model.
    held_out
        Share of the observed real-valued entries to hide from the engine.

    Raises
    ------
    SpecError
        Data of some likelihood cannot be drawn: ordinal cut points are learned from the data.
    """

    def __init__(self, template: MultiView, spec: FactorModel, held_out: float) -> None:
        kinds = {str(kind) for view in template.names for kind in template.likelihoods(view).values}
        foreign = sorted(kinds - set(LIKELIHOODS))
        if foreign:
            raise SpecError(
                "likelihoods of the checked cohort",
                got=f"some whose parameters are learned from the data ({name_some(foreign)})",
                expected=f"some of {', '.join(LIKELIHOODS)}",
                do="Leave these features out of the check.",
            )
        self._template, self._held_out = template, held_out
        self._draw = prior_sampler(graph(template, spec))
        preprocessing = fit_preprocessing(template, dict.fromkeys(template.names, "none"))
        self._covariates = np.empty((template.n_subjects, 0))
        if template.covariates is not None:
            self._covariates = preprocessing.standardise(template.covariates.values)
        groups = np.full(template.n_subjects, "") if template.groups is None else template.groups.values.astype(str)
        self._group_of = np.unique(groups, return_inverse=True)[1]

    def draw(self, rng: np.random.Generator) -> Truth:
        """Draw parameters, factors and data."""
        point = self._draw(rng)
        factors = point["factors"].astype(np.float64)
        by_view, held_out, values = {}, {}, {}
        for view in self._template.names:
            own = self._draw_view(view, point, factors, rng)
            observed = ~np.isnan(self._template[view].values)
            is_real = np.isin(self._template.likelihoods(view).values, REAL)
            held_out[view] = observed & is_real & (rng.random(observed.shape) < self._held_out)
            by_view[view] = own
            seen = np.where(observed & ~held_out[view], own.values, np.nan)
            values[f"values_{view}"] = self._template[view].copy(data=seen)
        views = MultiView(self._template.dataset.assign(values))
        return Truth(views, factors, by_view, held_out)

    def _draw_view(self, view: str, point: dict[str, np.ndarray], factors: Array, rng: np.random.Generator) -> TrueView:
        kinds = self._template.likelihoods(view).values
        loadings = point[f"loadings_{view}"].astype(np.float64)
        n_groups, n_features = int(self._group_of.max()) + 1, len(loadings)
        intercept = point[f"intercept_{view}"].reshape(n_groups, n_features)
        eta = intercept[self._group_of] + factors @ loadings.T
        if self._covariates.shape[1]:
            eta = eta + self._covariates @ point[f"effects_{view}"]
        exposure = self._template.exposure(view)
        log_exposure = np.zeros((len(eta), 1)) if exposure is None else np.log(exposure.values)[:, None]
        noise_sd, values = np.full((n_groups, n_features), np.nan), np.empty_like(eta)
        both = set(kinds) >= set(REAL)
        for kind in dict.fromkeys(str(own) for own in kinds):
            columns = np.flatnonzero(kinds == kind)
            if kind in REAL:
                name = f"noise_sd_{view}_{kind}" if both else f"noise_sd_{view}"
                noise_sd[:, columns] = point[name].reshape(n_groups, -1)
            size = np.ones(len(columns))
            if kind == "negative_binomial":
                size = point[f"dispersion_{view}"]
            precision = noise_sd[self._group_of][:, columns] ** -2.0
            own = Own(precision, size, log_exposure, np.empty((len(columns), 0)), np.zeros(len(columns), dtype=np.intp))
            values[:, columns] = draw_values(kind, eta[:, columns], own, rng)
        return TrueView(loadings, eta, noise_sd, values)
