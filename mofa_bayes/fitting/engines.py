"""One function per engine: from a request to a labelled tree."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing, fit_preprocessing
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.spectral.decompose import decompose, start_scores
from mofa_bayes.engines.spectral.tables import gaussianise, tabulate
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import Layout, lay_out
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.engines.vi.starts import ascend_best
from mofa_bayes.errors import IgnoredWarning, warn
from mofa_bayes.fitting.request import N_DRAWS, Request
from mofa_bayes.fitting.showing import showing_draws, showing_passes
from mofa_bayes.posterior.build import build_tree
from mofa_bayes.posterior.build_draws import build_draws_tree
from mofa_bayes.posterior.build_gibbs import label_gibbs
from mofa_bayes.posterior.build_spectral import build_spectral_tree
from mofa_bayes.spec import FactorModel
from mofa_bayes.watch import is_watched


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A tree without provenance, how long it took, and whether the engine came to its end."""

    tree: xr.DataTree
    seconds: float
    converged: bool


def require_engine(views: MultiView, spec: FactorModel, engine: str, settings: Ascent | Sampling | None) -> None:
    """Raise what the engine itself would raise of a fit that `require_fit` lets pass, before anything is computed."""
    request = Request(
        views=views, spec=spec, settings=settings, n_draws=None, callback=None, progress=False, fingerprint=""
    )
    if engine == "gibbs":
        from mofa_bayes.engines.gibbs.sample import require_supported

        require_supported(_arrange(request)[1], spec)
    elif engine == "nuts":
        from mofa_bayes.engines.nuts import require_sampler, require_smooth

        require_smooth(views, spec)
        require_sampler(request.sampling)


def run_vi(request: Request, rng: np.random.Generator) -> Result:
    """Climb, and draw from what was reached."""
    views, spec, ascent = request.views, request.spec, request.ascent
    start_rng, draw_rng = rng.spawn(2)
    preprocessing, layout = _arrange(request)
    scores = None
    if ascent.start == "spectral":
        scores = start_scores(views.forget_known(), preprocessing, spec.n_factors, start_rng)
    with showing_passes(request.progress, request.callback) as tell:
        fitted, starts = ascend_best(
            layout, spec, ascent, start_rng, tell, fingerprint=request.fingerprint, scores=scores
        )
    tree = build_tree(fitted, starts, spec, views, preprocessing, request.n_draws or N_DRAWS, draw_rng)
    return Result(tree, fitted.seconds, fitted.converged)


def run_spectral(request: Request, rng: np.random.Generator) -> Result:
    """Decompose, regress, and draw."""
    start_rng, draw_rng = rng.spawn(2)
    _warn_ignored(request)
    views = gaussianise(request.views.forget_known())
    preprocessing = _preprocess(views, request)
    found = decompose(tabulate(views, preprocessing), request.spec, views.n_subjects, start_rng)
    tree = build_spectral_tree(found, views, preprocessing, request.n_draws or N_DRAWS, draw_rng)
    return Result(tree, found.seconds, True)


def run_gibbs(request: Request, rng: np.random.Generator) -> Result:
    """Sample chains, and align their draws."""
    from mofa_bayes.engines.gibbs.sample import sample_gibbs

    preprocessing, layout = _arrange(request)
    with showing_draws(request.progress) as tell:
        sampled = sample_gibbs(
            layout, request.spec, request.sampling, rng.spawn(2)[0], tell, fingerprint=request.fingerprint
        )
    draws = label_gibbs(sampled, request.views, request.spec)
    tree = build_draws_tree(draws, request.views, request.spec, preprocessing)
    return Result(tree, sampled.seconds, sampled.completed)


def run_nuts(request: Request, rng: np.random.Generator) -> Result:
    """Sample the graph, and align its draws."""
    from mofa_bayes.engines.nuts import sample_nuts  # PyMC takes seconds to import

    progress = request.progress and is_watched()
    found = sample_nuts(
        request.views,
        request.spec,
        request.sampling,
        rng.spawn(2)[0],
        progress=progress,
        fingerprint=request.fingerprint,
    )
    preprocessing = _preprocess(request.views, request)
    tree = build_draws_tree(
        found.draws,
        request.views,
        request.spec,
        preprocessing,
        sample_stats=found.sample_stats,
        report=found.report,
    )
    return Result(tree, found.seconds, found.converged)


RUN: dict[str, Callable[[Request, np.random.Generator], Result]] = {
    "vi": run_vi, "spectral": run_spectral, "gibbs": run_gibbs, "nuts": run_nuts,
}  # fmt: skip


def _preprocess(views: MultiView, request: Request) -> Preprocessing:
    scales = {view: request.spec.scale_of(view) for view in views.names}
    return fit_preprocessing(views, scales, scale_groups=request.spec.scale_groups)


def _arrange(request: Request) -> tuple[Preprocessing, Layout]:
    preprocessing = _preprocess(request.views, request)
    return preprocessing, lay_out(request.views, preprocessing, find_known(request.views, preprocessing))


def _warn_ignored(request: Request) -> None:
    views, spec = request.views, request.spec
    ignored = {
        "settings": request.settings is not None,
        "groups": views.groups is not None,
        "covariates": views.covariates is not None,
        "weights": views.weights is not None,
        "exposures": any(views.exposure(view) is not None for view in views.names),
        "positive loadings": any(spec.loadings_of(view).positive for view in views.names),
        "priors on factors": spec.factors.is_learned,
    }
    for what, is_given in ignored.items():
        if is_given:
            warn(f"engine 'spectral' does not use {what}", IgnoredWarning)
