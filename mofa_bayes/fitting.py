"""fit: views and a model in, a Posterior out."""

import hashlib
import json
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal

import numpy as np
import xarray as xr

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.engines.spectral.decompose import decompose
from mofa_bayes.engines.spectral.tables import gaussianise, tabulate
from mofa_bayes.engines.vi.ascend import Ascent, Progress, ascend
from mofa_bayes.engines.vi.layout import lay_out
from mofa_bayes.errors import FitError, IgnoredWarning, name_some
from mofa_bayes.posterior.build import build_tree
from mofa_bayes.posterior.build_spectral import build_spectral_tree
from mofa_bayes.posterior.files import SCHEMA_VERSION
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.spec import FactorModel
from mofa_bayes.watch import is_watched

_ENGINES = ("vi", "spectral")


def fit(
    views: MultiView,
    spec: FactorModel | None = None,
    *,
    engine: Literal["vi", "spectral"] = "vi",
    seed: int | np.random.Generator = 0,
    n_draws: int = 500,
    settings: Ascent | None = None,
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
        are dense, and the number of factors is found by permutation, up to `spec.n_factors`.
    seed
        Seed of the start and of the draws: the same seed gives the same posterior on one machine.
    n_draws
        Draws taken from the fitted posterior.
    settings
        How long and how hard the engine works (vi).
    progress
        Show iterations and bound on a terminal or in Jupyter.

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
    spec = spec or FactorModel()
    _require_fit(views, spec, engine, n_draws)
    start_rng, draw_rng = np.random.default_rng(seed).spawn(2)
    if engine == "spectral":
        if settings is not None:
            warnings.warn("engine 'spectral' does not use settings", IgnoredWarning, stacklevel=2)
        tree, seconds = _fit_spectral(gaussianise(views), spec, start_rng, draw_rng, n_draws)
        tree.attrs.update(_provenance(views, spec, engine, seed, converged=True, seconds=seconds))
        return Posterior(tree)
    preprocessing = fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})
    layout = lay_out(views, preprocessing)
    with _showing(progress) as tell:
        fitted = ascend(layout, spec, settings or Ascent(), start_rng, tell)
    tree = build_tree(fitted, views, preprocessing, n_draws, draw_rng)
    tree.attrs.update(_provenance(views, spec, engine, seed, converged=fitted.converged, seconds=fitted.seconds))
    return Posterior(tree)


def _fit_spectral(
    views: MultiView, spec: FactorModel, rng: np.random.Generator, draw_rng: np.random.Generator, n_draws: int
) -> tuple[xr.DataTree, float]:
    preprocessing = fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})
    found = decompose(tabulate(views, preprocessing), spec, views.n_subjects, rng)
    return build_spectral_tree(found, views, preprocessing, n_draws, draw_rng), found.seconds


def _require_fit(views: MultiView, spec: FactorModel, engine: str, n_draws: int) -> None:
    if not isinstance(views, MultiView):
        raise FitError(
            "views", got=type(views).__name__, expected="a MultiView", do="Build it with MultiView.from_frames(...)."
        )
    if not isinstance(spec, FactorModel):
        raise FitError("spec", got=type(spec).__name__, expected="a FactorModel", do="Write FactorModel(n_factors=10).")
    if engine not in _ENGINES:
        raise FitError("engine", got=repr(engine), expected=f"one of {', '.join(_ENGINES)}", do="Name one of these.")
    if not isinstance(n_draws, int) or n_draws < 2:
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
    for what, given in (("groups", views.groups), ("covariates", views.covariates)):
        if given is not None:
            warnings.warn(f"engine {engine!r} does not use {what}", IgnoredWarning, stacklevel=3)


@contextmanager
def _showing(progress: bool) -> Iterator[Progress | None]:
    """Give a function that shows iteration and bound, or None where nobody would see it."""
    if not progress or not is_watched():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    with Bar(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task("fitting factors")
        yield lambda n, bound: bar.update(task, description=f"fitting factors: iteration {n}, bound {bound:,.1f}")


def _provenance(
    views: MultiView,
    spec: FactorModel,
    engine: str,
    seed: int | np.random.Generator,
    *,
    converged: bool,
    seconds: float,
) -> dict[str, str | int | float]:
    data = views.fingerprint
    text = spec.to_toml()
    seed_text = str(seed) if isinstance(seed, int) else "a generator"
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
        "converged": int(converged),
        "seconds": round(seconds, 3),
    }
