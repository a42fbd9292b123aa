"""From a risk model and data to a tree of draws: which sampler runs, and what happens when one fails."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.errors import ModelWarning, SpecError, warn
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.competing import CompetingResponse
from mofa_bayes.risk.density import Compiled
from mofa_bayes.risk.importance import LARGEST_K, Weighted, sample_weighted
from mofa_bayes.risk.inputs import Scaling
from mofa_bayes.risk.interactions import Interactions
from mofa_bayes.risk.laplace import approximate, sample_cut
from mofa_bayes.risk.loadings import label_places, pool, sample_like, warn_uneven
from mofa_bayes.risk.panel import MultiContinuous, PanelResponse
from mofa_bayes.risk.panel_gibbs import sample_panel
from mofa_bayes.risk.response import Joint, Response
from mofa_bayes.risk.sampling import Sampling, sample_nuts, warn_unconverged

if TYPE_CHECKING:
    import pymc as pm

    from mofa_bayes.risk.model import RiskModel

Sampler = Literal["nuts", "gibbs", "importance", "laplace"]
logger = logging.getLogger(__name__)


def require_sampler(sampler: object, outcome: object, compiled: object) -> Sampler:
    """Return the sampler asked for, or the one for this outcome; raise SpecError for what `fit` does not know."""
    is_panel = isinstance(outcome, MultiContinuous)
    chosen = ("gibbs" if is_panel else "nuts") if sampler is None else sampler
    if chosen not in get_args(Sampler):
        raise SpecError(
            "sampler", got=repr(sampler)[:80], expected=f"one of {', '.join(get_args(Sampler))}", do="Choose one."
        )
    if chosen == "gibbs" and not is_panel:
        raise SpecError(
            "sampler",
            got=f"'gibbs' of a {type(outcome).__name__} outcome",
            expected="'gibbs' of MultiContinuous, whose responses share a prior",
            do="Leave sampler out, which takes NUTS.",
        )
    if compiled is not None and not isinstance(compiled, Compiled):
        raise SpecError(
            "compiled",
            got=type(compiled).__name__,
            expected="what compile(...) of a risk model returned, or Compiled()",
            do="Leave it out for a single fit.",
        )
    return cast("Sampler", chosen)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A risk model with its data: the graph, what was learnt from the cohort, and the variables to keep."""

    spec: "RiskModel"
    moments: FactorMoments
    model: "pm.Model"
    response: Response | Joint | CompetingResponse
    scaling: Scaling
    names: tuple[str, ...]
    interactions: Interactions


def draw_posterior(
    prepared: Prepared, sampling: Sampling, rng: np.random.Generator, sampler: Sampler, compiled: Compiled | None
) -> xr.DataTree:
    """Draw from the posterior of a risk model.

    Returns
    -------
    A tree with `posterior` and, of NUTS, `sample_stats`. Its attribute `sampler` says where it is from (`nuts`,
    `importance`, or `laplace` for the cut posterior); of importance sampling also `pareto_k`, `n_effective`,
    `log_evidence` and `log_evidence_se`.
    """
    exact = "gibbs" if isinstance(prepared.response, PanelResponse) and sampler != "nuts" else "nuts"
    if prepared.spec.method == "cut" or sampler in ("importance", "laplace"):
        compiled = Compiled() if compiled is None else compiled
        density = compiled.density_of(prepared.spec, prepared.model, prepared.names)
        if prepared.spec.method == "cut":
            return _noted(sample_cut(density, prepared.model, prepared.moments, sampling, rng), sampler="laplace")
        n_total = sampling.n_chains * sampling.n_draws
        if sampler == "laplace":
            if isinstance(prepared.response, PanelResponse):
                warn(
                    "responses that share a prior have no posterior that is nearly normal: intervals from "
                    "sampler='laplace' are far too wide. Leave sampler out, which takes 'gibbs'",
                    ModelWarning,
                )
            points = approximate(density.fall, density.start()).draw(n_total, rng)
            return _noted(density.label(points, prepared.model, sampling), sampler="laplace")
        found = sample_weighted(density, n_total / 4, rng)
        if found.is_reliable:
            return _noted(density.label(found.resample(n_total, rng), prepared.model, sampling), **describe(found))
        logger.warning("importance sampling: Pareto k is %.2f, above %.1f; using %s", found.pareto_k, LARGEST_K, exact)
    if exact == "gibbs":
        tree = sample_panel(prepared.model, prepared.interactions, sampling, rng)
    else:
        tree = sample_nuts(prepared.model, prepared.names, sampling, rng)
    warn_unconverged(tree)
    return _noted(tree, sampler=exact)


def draw_pooled(
    prepared: Prepared,
    each: Iterable[Prepared],
    places: NDArray[np.intp],
    sampling: Sampling,
    rng: np.random.Generator,
    compiled: Compiled | None,
) -> xr.DataTree:
    """Draw from the posterior of a risk model under draws of the factor model, weighted by their evidence.

    Parameters
    ----------
    prepared
        With the moments of all draws mixed: the first fit, which tells the others where to look.
    each
        With the moments of each draw.
    places
        What the draws are called in the tree, shape (S,).

    Returns
    -------
    A tree with `posterior`, in which `loadings_draw` says which draw of the factor model an effect belongs to.
    """
    compiled = Compiled() if compiled is None else compiled
    n_total = sampling.n_chains * sampling.n_draws
    density = compiled.density_of(prepared.spec, prepared.model, prepared.names)
    start = sample_weighted(density, n_total / 4, rng)
    fits = [sample_like(compiled.density_of(own.spec, own.model, own.names), start, rng) for own in each]
    pooled = pool(fits)
    warn_uneven(pooled)
    points, origin = pooled.resample(n_total, rng)
    tree = label_places(density.label(points, prepared.model, sampling), places[origin], sampling)
    return _noted(tree, **pooled.describe())


def describe(found: Weighted) -> dict[str, str | float]:
    """Say in attributes how importance sampling went."""
    return {
        "sampler": "importance",
        "pareto_k": found.pareto_k,
        "n_effective": found.n_effective,
        "log_evidence": found.log_evidence,
        "log_evidence_se": found.log_evidence_se,
    }


def _noted(tree: xr.DataTree, **attributes: str | float) -> xr.DataTree:
    tree.attrs.update(attributes)
    return tree
