"""fit: views and a model in, a Posterior out."""

import hashlib
import json
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal

import numpy as np
import xarray as xr

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.fitting.engines import RUN
from mofa_bayes.fitting.request import Request, require_fit, warn_unused
from mofa_bayes.posterior.files import SCHEMA_VERSION
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.posterior.share import count_observed
from mofa_bayes.seeds import make_rng
from mofa_bayes.spec import FactorModel


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
        are dense, and the number of factors is found by permutation, up to `spec.n_factors`. `gibbs`: draws
        from the exact posterior at omics width, in chains that start from vi. `nuts`: the same by Hamiltonian Monte
        Carlo on the PyMC graph, for small cohorts (hundreds of features) and priors with a density.
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
        Show how far the engine is, on a terminal or in Jupyter.

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
    require_fit(views, spec, engine, n_draws, settings)
    warn_unused(engine, settings, callback)
    rng = make_rng(seed)
    provenance = describe_fit(views, spec, engine, seed)
    request = Request(
        views=views,
        spec=spec,
        settings=settings,
        n_draws=n_draws,
        callback=callback,
        progress=progress,
        fingerprint=str(provenance["fingerprint"]),
    )
    result = RUN[engine](request, rng)
    note_cohort(result.tree, views)
    result.tree.attrs.update(provenance | {"converged": int(result.converged), "seconds": round(result.seconds, 3)})
    return Posterior(result.tree)


def note_cohort(tree: xr.DataTree, views: MultiView) -> None:
    """Add to a tree what every posterior keeps of its views: counts, and how they were prepared."""
    counts = count_observed(views.dataset, views.names)
    tree["moments"] = xr.DataTree(tree.children["moments"].to_dataset().assign(counts))
    if views.preparation is not None:
        tree["preparation"] = xr.DataTree(views.preparation.to_dataset())


def _state_of(generator: np.random.Generator) -> str:
    """Digest of a generator's state, before anything is drawn from it."""
    # Spawning leaves the state as it is and counts the children: two fits with one generator are told apart by that.
    sequence = generator.bit_generator.seed_seq
    children = (getattr(sequence, "spawn_key", ()), getattr(sequence, "n_children_spawned", 0))
    return hashlib.sha256(f"{generator.bit_generator.state!r}\n{children!r}".encode()).hexdigest()[:16]


def describe_fit(
    views: MultiView, spec: FactorModel, engine: str, seed: int | np.random.Generator
) -> dict[str, str | int | float]:
    """Say what a fit is of: the attributes of its tree."""
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
