"""fit: views and a model in, a Posterior out."""

import hashlib
import json
import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal

import numpy as np
import xarray as xr

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.engines.gibbs.sample import sample_gibbs
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.spectral.decompose import decompose, start_scores
from mofa_bayes.engines.spectral.tables import gaussianise, tabulate
from mofa_bayes.engines.vi.climber import Progress
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import lay_out
from mofa_bayes.engines.vi.memory import estimate_memory
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.engines.vi.starts import ascend_best
from mofa_bayes.errors import FitError, IgnoredWarning, ModelWarning, name_some
from mofa_bayes.posterior.build import build_tree
from mofa_bayes.posterior.build_draws import build_draws_tree
from mofa_bayes.posterior.build_gibbs import label_gibbs
from mofa_bayes.posterior.build_spectral import build_spectral_tree
from mofa_bayes.posterior.files import SCHEMA_VERSION
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.seeds import make_rng
from mofa_bayes.spec import FactorModel
from mofa_bayes.watch import is_watched

_SETTINGS: dict[str, type[Ascent | Sampling]] = {"vi": Ascent, "spectral": Ascent, "gibbs": Sampling, "nuts": Sampling}
_ENGINES = tuple(_SETTINGS)
_N_DRAWS = 500
_LARGE_COUNT = 200
_FEW_DRAWS = 50


def fit(
    views: MultiView,
    spec: FactorModel | None = None,
    *,
    engine: Literal["vi", "spectral", "gibbs", "nuts"] = "vi",
    seed: int | np.random.Generator = 0,
    n_draws: int | None = None,
    settings: Ascent | Sampling | None = None,
    callback: Callable[[int, float], object] | None = None,
    progress: bool = True,
) -> Posterior:
    """Fit a factor model.

    Parameters
    ----------
    views
        The cohort; views may lack subjects and entries.
    spec
        The model; `FactorModel()` when left out.
    engine
        `vi`: structured mean-field variational inference by coordinate ascent. `spectral`: singular value
        decompositions and conjugate regressions, in seconds at any width; every feature counts as gaussian, loadings
        are dense, and the number of factors is found by permutation, up to `spec.n_factors`. `gibbs`: the exact
        posterior at any width, by chains that start from vi. `nuts`: the exact posterior by Hamiltonian Monte Carlo,
        for small cohorts (hundreds of features) and priors with a density.
    seed
        Seed of the start and of the draws: the same seed gives the same posterior on one machine.
    n_draws
        Draws taken from the fitted posterior, 500 when left out; of a sampling engine, draws kept of each chain, as
        many as `settings` say when left out.
    settings
        How long and how hard the engine works: an `Ascent` (vi) or a `Sampling` (gibbs, nuts).
    callback
        Called with the number of each pass and the bound after it (vi); the fit ends with what it has when this returns
        True.
    progress
        Show how far the engine is on a terminal or in Jupyter.

    Raises
    ------
    FitError
        Data and model do not go together; nothing has been computed yet.

    Warns
    -----
    ConvergenceWarning
        The engine stopped before it settled, or was interrupted: the posterior holds what was reached.
    IgnoredWarning
        The engine does not use something that was given: groups, covariates, settings, or likelihoods.
    """
    spec = FactorModel() if spec is None else spec
    _require_fit(views, spec, engine, n_draws, settings)
    rng = make_rng(seed)
    provenance = _provenance(views, spec, engine, seed)
    start_rng, draw_rng = rng.spawn(2)
    if engine == "spectral":
        tree, seconds, converged = *_fit_spectral(views, spec, start_rng, draw_rng, n_draws or _N_DRAWS, settings), True
    elif engine == "gibbs":
        own = _sampling(settings, n_draws)
        tree, seconds, converged = _fit_gibbs(views, spec, start_rng, own, progress, str(provenance["fingerprint"]))
    elif engine == "nuts":
        tree, seconds, converged = _fit_nuts(views, spec, start_rng, _sampling(settings, n_draws), progress)
    else:
        scales = {view: spec.scale_of(view) for view in views.names}
        preprocessing = fit_preprocessing(views, scales, scale_groups=spec.scale_groups)
        layout = lay_out(views, preprocessing, find_known(views, preprocessing))
        ascent = _ascent(settings)
        scores = None
        if ascent.start == "spectral":
            scores = start_scores(views.forget_known(), preprocessing, spec.n_factors, start_rng)
        with _showing(progress, callback) as tell:
            fitted, starts = ascend_best(
                layout, spec, ascent, start_rng, tell, fingerprint=str(provenance["fingerprint"]), scores=scores
            )
        tree = build_tree(fitted, starts, spec, views, preprocessing, n_draws or _N_DRAWS, draw_rng)
        seconds, converged = fitted.seconds, fitted.converged
    tree.attrs.update(provenance | {"converged": int(converged), "seconds": round(seconds, 3)})
    return Posterior(tree)


def _ascent(settings: Ascent | Sampling | None) -> Ascent:
    return settings if isinstance(settings, Ascent) else Ascent()


def _sampling(settings: Ascent | Sampling | None, n_draws: int | None) -> Sampling:
    own = settings if isinstance(settings, Sampling) else Sampling()
    return own if n_draws is None else replace(own, n_draws=n_draws)


def _fit_gibbs(
    views: MultiView, spec: FactorModel, rng: np.random.Generator, settings: Sampling, progress: bool, fingerprint: str
) -> tuple[xr.DataTree, float, bool]:
    scales = {view: spec.scale_of(view) for view in views.names}
    preprocessing = fit_preprocessing(views, scales, scale_groups=spec.scale_groups)
    layout = lay_out(views, preprocessing, find_known(views, preprocessing))
    with _showing_draws(progress) as tell:
        sampled = sample_gibbs(layout, spec, settings, rng, tell, fingerprint=fingerprint)
    tree = build_draws_tree(label_gibbs(sampled, views, spec), views, spec, preprocessing)
    return tree, sampled.seconds, sampled.completed


def _fit_nuts(
    views: MultiView, spec: FactorModel, rng: np.random.Generator, settings: Sampling, progress: bool
) -> tuple[xr.DataTree, float, bool]:
    # Here, because PyMC takes seconds to import.
    from mofa_bayes.engines.nuts import sample_nuts

    found = sample_nuts(views, spec, settings, rng, progress=progress and is_watched())
    scales = {view: spec.scale_of(view) for view in views.names}
    preprocessing = fit_preprocessing(views, scales, scale_groups=spec.scale_groups)
    tree = build_draws_tree(
        found.draws, views, spec, preprocessing, sample_stats=found.sample_stats, report=found.report
    )
    return tree, found.seconds, found.converged


def _fit_spectral(
    views: MultiView,
    spec: FactorModel,
    rng: np.random.Generator,
    draw_rng: np.random.Generator,
    n_draws: int,
    settings: Ascent | Sampling | None,
) -> tuple[xr.DataTree, float]:
    ignored = {
        "settings": settings is not None,
        "groups": views.groups is not None,
        "covariates": views.covariates is not None,
        "weights": views.weights is not None,
        "exposures": any(views.exposure(view) is not None for view in views.names),
        "positive loadings": any(spec.loadings_of(view).positive for view in views.names),
        "priors on factors": spec.factors.is_learned,
    }
    for what, is_given in ignored.items():
        if is_given:
            warnings.warn(f"engine 'spectral' does not use {what}", IgnoredWarning, stacklevel=3)
    views = gaussianise(views.forget_known())
    preprocessing = fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})
    found = decompose(tabulate(views, preprocessing), spec, views.n_subjects, rng)
    return build_spectral_tree(found, views, preprocessing, n_draws, draw_rng), found.seconds


def _require_fit(
    views: MultiView, spec: FactorModel, engine: str, n_draws: int | None, settings: Ascent | Sampling | None
) -> None:
    if not isinstance(views, MultiView):
        raise FitError(
            "views", got=type(views).__name__, expected="a MultiView", do="Build it with MultiView.from_frames(...)."
        )
    if not isinstance(spec, FactorModel):
        raise FitError("spec", got=type(spec).__name__, expected="a FactorModel", do="Write FactorModel(n_factors=10).")
    if engine not in _ENGINES:
        raise FitError("engine", got=repr(engine), expected=f"one of {', '.join(_ENGINES)}", do="Name one of these.")
    own = _SETTINGS[engine]
    if settings is not None and not isinstance(settings, own):
        example = "max_iterations=500" if own is Ascent else "n_draws=500"
        raise FitError(
            f"settings of engine {engine!r}",
            got=type(settings).__name__,
            expected=f"an {own.__name__}" if own is Ascent else f"a {own.__name__}",
            do=f"Write {own.__name__}({example}).",
        )
    if n_draws is not None and (not isinstance(n_draws, int) or n_draws < 2):
        raise FitError("n_draws", got=repr(n_draws), expected="a whole number from 2 up", do="500 is usual.")
    unknown = [view for view in spec.views if view not in views.names]
    if unknown:
        raise FitError(
            "views of the model",
            got=f"views that the data do not have ({name_some(unknown)})",
            expected=f"names among {', '.join(views.names)}",
            do="Correct the names in FactorModel(views=...).",
        )
    if spec.n_factors >= views.n_subjects:
        raise FitError(
            "n_factors",
            got=f"{spec.n_factors} factors for {views.n_subjects} subjects",
            expected="fewer factors than subjects",
            do=f"Ask for at most {max(views.n_subjects // 4, 1)} factors with this cohort.",
        )
    _require_seen(views)
    if engine == "vi":
        _warn_large_counts(views)
        _require_memory(views, spec, n_draws or _N_DRAWS, _ascent(settings))


def _require_seen(views: MultiView) -> None:
    """Raise FitError when a feature has no value at all."""
    for view in views.names:
        unseen = np.asarray(views.features(view))[np.isnan(views[view].values).all(axis=0)]
        if len(unseen):
            raise FitError(
                f"view {view!r}",
                got=f"{len(unseen)} features without any observed value ({name_some(unseen)})",
                expected="at least one observed value per feature",
                do="Leave them out: views.drop_uninformative().",
            )


def _require_memory(views: MultiView, spec: FactorModel, n_draws: int, settings: Ascent) -> None:
    """Raise FitError where a fit is expected to need more memory than it may take."""
    needs = estimate_memory(views, spec, n_draws, settings.n_threads or 2)
    total = sum(needs.values())
    if total > settings.max_memory:
        parts = ", ".join(f"{what} {size / 1e6:,.0f} MB" for what, size in needs.items())
        room = settings.max_memory - total + needs["draws"]
        fitting = int(n_draws * room / needs["draws"])
        raise FitError(
            "max_memory",
            got=f"{settings.max_memory / 1e6:,.0f} MB, for a fit that needs about {total / 1e6:,.0f} MB ({parts})",
            expected="room for what the fit needs beside its views",
            do=f"Take n_draws={fitting}."
            if fitting >= _FEW_DRAWS
            else "Take fewer factors or features, or more memory.",
        )


def _warn_large_counts(views: MultiView) -> None:
    """Warn of counts in the hundreds: the bounds of their likelihoods are so loose there that they hardly move."""
    for view in views.names:
        is_count = np.isin(views.likelihoods(view).values, ("poisson", "negative_binomial"))
        usual = float(np.median(np.nanmean(views[view].values[:, is_count], axis=0))) if is_count.any() else 0.0
        if usual > _LARGE_COUNT:
            warnings.warn(
                f"view {view!r}: its counts are {usual:.0f} on average, where the bounds of count likelihoods are too "
                "loose to climb; log1p of them as gaussian columns will do better",
                ModelWarning,
                stacklevel=4,
            )


@contextmanager
def _showing(progress: bool, callback: Progress | None) -> Iterator[Progress | None]:
    """Give a function that shows iteration and bound and calls back, or None where nobody would see it."""
    if not progress or not is_watched():
        yield callback
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    with Bar(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task("fitting factors")

        def tell(n: int, bound: float) -> object:
            bar.update(task, description=f"fitting factors: iteration {n}, bound {bound:,.1f}")
            return None if callback is None else callback(n, bound)

        yield tell


@contextmanager
def _showing_draws(progress: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function that shows how many sweeps are done, or None where nobody would see it."""
    if not progress or not is_watched():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True)) as bar:
        task = bar.add_task("sampling factors", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _state_of(generator: np.random.Generator) -> str:
    """Digest of a generator's state, before anything is drawn from it."""
    return hashlib.sha256(repr(generator.bit_generator.state).encode()).hexdigest()[:16]


def _provenance(
    views: MultiView, spec: FactorModel, engine: str, seed: int | np.random.Generator
) -> dict[str, str | int | float]:
    data = views.fingerprint
    text = spec.to_toml()
    seed_text = f"a generator in state {_state_of(seed)}" if isinstance(seed, np.random.Generator) else str(int(seed))
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "mofa_bayes": version("mofa-bayes"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "xarray": xr.__version__,
        "engine": engine,
        "seed": seed_text,
        "spec": text,
        "views": json.dumps(list(views.names)),
        "data_fingerprint": data,
        "fingerprint": hashlib.sha256(f"{data}\n{engine}\n{seed_text}\n{text}".encode()).hexdigest(),
        "aligned": 1,
    }
