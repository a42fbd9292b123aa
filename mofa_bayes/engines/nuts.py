"""The nuts engine: the graph sampled by NUTS, factors left out where they can be and drawn afterwards."""

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.sampling import LEAST_DRAWS, Sampling
from mofa_bayes.engines.vi.checkpoint import Checkpoint
from mofa_bayes.errors import ConvergenceWarning, FileError, FitError, MissingExtraError, ModelWarning, name_some, warn
from mofa_bayes.graph.conditional import draw_factors_given
from mofa_bayes.graph.model import graph
from mofa_bayes.graph.patterns import can_integrate
from mofa_bayes.interrupts import noting_interrupts
from mofa_bayes.spec import FactorModel, Laplace, Normal, SpikeSlabFactors

if TYPE_CHECKING:
    import pymc as pm

MODE = "NUMBA"
"""PyTensor's linker: compiled in 3 seconds once its cache on disk knows the kind of model, and the fastest after."""

_KEPT = ("factors", "factor_precision")
_KEPT_BY_VIEW = ("loadings", "intercept", "effects", "noise_sd", "ard", "rate", "local", "dispersion", "cut_scale")
_NAMES = {"depth": "tree_depth", "logp": "lp", "mean_tree_accept": "acceptance_rate", "num_steps": "n_steps"}
_STATISTICS = ("acceptance_rate", "diverging", "energy", "lp", "n_steps", "step_size", "tree_depth")
_MAX_DEPTH = 10
_MAX_DIVERGING = 0.001
_MAX_DEEP = 0.1
_STEPS_PER_DRAW = 100
_NUMBERS_PER_SECOND = 5e9
_LONG_HOURS = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """What NUTS drew.

    Attributes
    ----------
    draws
        Variables as `build_draws_tree` takes them, dims (chain, draw, ...); not aligned.
    sample_stats
        `acceptance_rate`, `diverging`, `energy`, `lp`, `n_steps`, `step_size` and `tree_depth`, dims (chain, draw),
        under the same names whichever sampler it was.
    report
        Divergences and deepest trees of each chain; the attributes say which sampler and which form of the model.
    seconds
        Wall time, compilation included.
    converged
        Whether the sampler came to its end and has nothing to complain of; agreement of chains is for the alignment to
        judge.
    """

    draws: xr.Dataset
    sample_stats: xr.Dataset
    report: xr.Dataset
    seconds: float
    converged: bool


def sample_nuts(
    views: MultiView,
    spec: FactorModel,
    settings: Sampling,
    rng: np.random.Generator,
    *,
    progress: bool = False,
    extend: "Callable[[pm.Model], Sequence[str]] | None" = None,
    fingerprint: str = "",
) -> Sampled:
    """Draw from the posterior of a factor model.

    Gaussian views with few patterns of missing entries are sampled without their factors, which are drawn afterwards
    from p(z | w, y): the geometry is far better. Loadings are non-centred in either form.

    Parameters
    ----------
    views, spec
        What to fit.
    settings
        How long and by which sampler.
    rng
        Seeds the sampler and draws factors.
    progress
        Show the sampler's own progress bar.
    extend
        Adds to the graph, whose factors are then explicit, and names the variables to keep besides its own.
    fingerprint
        What a checkpoint belongs to.

    Raises
    ------
    FitError
        A view has a spike-slab prior, or the sampler cannot write checkpoints.
    FileError
        A checkpoint is damaged, of another fit, or cannot be written.
    KeyboardInterrupt
        Interrupted before any chain had drawn enough.
    MissingExtraError
        The sampler that was asked for is not installed.

    Warns
    -----
    ModelWarning
        Sampling will take hours.
    ConvergenceWarning
        Sampling was interrupted, draws diverged, or trees were cut short.
    """
    require_smooth(views, spec)
    require_sampler(settings)
    integrated = extend is None and can_integrate(views, spec)
    _warn_long(views, spec, settings, integrated)
    began = time.monotonic()
    checkpoints = _checkpoints(settings, fingerprint)
    stored = [None if own is None else own.read() for own in checkpoints]
    sampler_rng, factor_rng, start_rng = rng.spawn(3)
    model = graph(views, spec, integrate=integrated)
    extra = () if extend is None else extend(model)
    tree = _run(model, settings, sampler_rng, progress, extra, start_rng, checkpoints, stored)
    draws = _add_precisions(_collect(tree["posterior"].to_dataset(), views), views, spec)
    if integrated:
        draws["factors"] = draw_factors_given(draws, views, spec, factor_rng)
    draws = draws.map(lambda own: _to_numpy(own).astype(np.float32))
    statistics = harmonise(tree["sample_stats"].to_dataset(), sampler=settings.sampler)
    report = xr.Dataset(
        {
            "n_diverging": statistics["diverging"].sum("draw"),
            "n_deepest": (statistics["tree_depth"] >= _MAX_DEPTH).sum("draw"),
        },
        attrs={"sampler": settings.sampler, "integrated": int(integrated)},
    )
    completed = _is_complete(statistics, settings)
    converged = _judge(report, statistics.sizes["draw"] * statistics.sizes["chain"]) and completed
    return Sampled(draws, statistics, report, time.monotonic() - began, converged)


def estimate_hours(views: MultiView, spec: FactorModel, settings: Sampling, *, integrated: bool) -> float:
    """Estimate the time of a run, to a factor of three or so.

    A gradient costs some 6 (N D K) multiplications and, with explicit factors, as much again for each entry's density;
    a draw takes about a hundred gradients.
    """
    n_cells = sum(views.n_subjects * len(views.features(view)) for view in views.names)
    numbers = 6 * n_cells * (spec.n_factors + (0 if integrated else 20))
    n_rounds = -(-settings.n_chains // _n_jobs(settings))
    gradients = n_rounds * (settings.n_tune + settings.n_draws) * _STEPS_PER_DRAW
    return gradients * numbers / _NUMBERS_PER_SECOND / 3600


def harmonise(statistics: xr.Dataset, *, sampler: str = "pymc") -> xr.Dataset:
    """Bring a sampler's statistics to one set of names and signs, dims (chain, draw)."""
    renamed = statistics.rename({name: ours for name, ours in _NAMES.items() if name in statistics})
    kept = renamed[[name for name in _STATISTICS if name in renamed]].drop_attrs().map(_to_numpy)
    counts = {name: kept[name].astype(np.int64) for name in ("n_steps", "tree_depth") if name in kept}
    if sampler == "numpyro" and "lp" in kept:
        counts["lp"] = -kept["lp"]  # PyMC hands on numpyro's potential energy under this name
    return kept.assign(counts)


def _to_numpy(array: xr.DataArray) -> xr.DataArray:
    """Take an array out of JAX, from which numpyro returns it."""
    return array.copy(data=np.asarray(array.values))


def _n_jobs(settings: Sampling) -> int:
    available = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    return min(settings.n_jobs or available or 1, settings.n_chains)


def require_smooth(views: MultiView, spec: FactorModel) -> None:
    """Raise FitError for priors that have no gradient."""
    sparse = [view for view in views.names if spec.loadings_of(view).kind == "spike_slab"]
    if sparse:
        raise FitError(
            "prior on loadings in engine 'nuts'",
            got=f"spike_slab for {name_some(sparse)}",
            expected="a prior with a density: ard, normal, laplace or horseshoe",
            do='Use engine="gibbs", which draws the indicators, or loadings=Horseshoe().',
        )
    if isinstance(spec.factors, SpikeSlabFactors):
        raise FitError(
            "prior on factors in engine 'nuts'",
            got="spike_slab",
            expected="a prior with a density: standard or ard",
            do='Use engine="gibbs", which draws the indicators, or factors=ARDFactors().',
        )


def require_sampler(settings: Sampling) -> None:
    """Raise where a sampler is not installed, or cannot do what is asked of it."""
    sampler = settings.sampler
    if sampler == "pymc":
        return
    if find_spec(sampler) is None:
        raise MissingExtraError(
            f"sampler {sampler!r}",
            got="no such package",
            expected="it installed",
            do="Run pip install 'mofa-bayes[samplers]', or write Sampling(sampler='pymc').",
        )
    if settings.checkpoint is not None:
        raise FitError(
            f"checkpoint of sampler {sampler!r}",
            got="a file to write its state to, which it does not tell",
            expected="sampler 'pymc', whose chains go on from their state",
            do="Write Sampling(sampler='pymc'), or leave the checkpoint out.",
        )


def _checkpoints(settings: Sampling, fingerprint: str) -> list[Checkpoint | None]:
    """One file per chain, which belongs to this very fit and to the sampler that wrote it."""
    if settings.checkpoint is None:
        return [None] * settings.n_chains
    whole = Path(settings.checkpoint)
    counts = (settings.n_draws, settings.n_tune, settings.n_chains, settings.target_accept, version("pymc"))
    found: list[Checkpoint | None] = []
    for number in range(settings.n_chains):
        path = whole.with_name(f"{whole.stem}.{number}{whole.suffix}") if number else whole
        own = hashlib.sha256(f"{fingerprint}\n{counts!r}\n{number}".encode()).hexdigest()
        found.append(Checkpoint(path=path, seconds=settings.checkpoint_seconds, fingerprint=own))
    return found


def _warn_long(views: MultiView, spec: FactorModel, settings: Sampling, integrated: bool) -> None:
    hours = estimate_hours(views, spec, settings, integrated=integrated)
    if hours > _LONG_HOURS:
        n_parameters = spec.n_factors * sum(len(views.features(view)) for view in views.names)
        warn(
            f"NUTS on {n_parameters:,} loadings will take about {hours:,.0f} hours, and its chains will hardly move: "
            'use engine="gibbs", or "vi"',
            ModelWarning,
        )


def _run(
    model: "pm.Model",
    settings: Sampling,
    rng: np.random.Generator,
    progress: bool,
    extra: Sequence[str],
    start_rng: np.random.Generator,
    checkpoints: Sequence[Checkpoint | None],
    stored: Sequence[Mapping[str, np.ndarray] | None],
) -> xr.DataTree:
    import pymc as pm
    from pymc.model.transform.optimization import freeze_dims_and_data

    from mofa_bayes.engines.remembering import Memory, start_remembering

    model = freeze_dims_and_data(model)  # JAX takes no shape that could change
    kept = tuple(f"{name}_" for name in _KEPT_BY_VIEW)
    random = [str(own.name) for own in (*model.free_RVs, *model.deterministics)]  # data have names too
    names = [name for name in random if name in (*_KEPT, *extra) or name.startswith(kept)]
    effort: dict[str, Any] = {"nuts_sampler": settings.sampler, "target_accept": settings.target_accept}
    # While the step size is sought, a trajectory may leave the floats: NUTS rejects it, and numpy would warn.
    with (
        model,
        np.errstate(over="ignore", invalid="ignore", divide="ignore"),
        warnings.catch_warnings(),
        _interruptible(settings.sampler) as is_stopped,
    ):
        # PyMC forks on Linux, as we would: OpenBLAS and our kernels keep no lock over a call.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        if settings.sampler == "pymc":
            memory = Memory(checkpoints=checkpoints, stored=stored, is_stopped=is_stopped)
            step = start_remembering(memory, settings, start_rng, MODE)
            effort = {"nuts_sampler": "pymc", "step": step, "callback": _stop_when(is_stopped, settings)}
        tree: xr.DataTree = pm.sample(
            draws=settings.n_draws,
            tune=settings.n_tune,
            chains=settings.n_chains,
            cores=_n_jobs(settings),
            random_seed=rng,
            var_names=names,
            progressbar=progress,
            quiet=not progress,
            compute_convergence_checks=False,  # made below and by the alignment, as warnings of ours
            compile_kwargs={"mode": MODE},
            **effort,
        )
    return tree


@contextmanager
def _interruptible(sampler: str) -> Iterator[Callable[[], bool]]:
    """Let PyMC's sampler end after a draw when it is interrupted; what is too little to be a result is an interrupt."""
    if sampler != "pymc":
        yield lambda: False
        return
    from pymc.sampling.parallel import ParallelSamplingError

    with noting_interrupts() as is_stopped:
        try:
            yield is_stopped
        except ValueError as error:
            if is_stopped():  # before any chain had drawn: there is nothing to choose from
                raise KeyboardInterrupt from error
            raise
        except (ParallelSamplingError, RuntimeError) as error:  # of a chain in a process of its own
            if isinstance(error.__cause__, FileError):
                raise error.__cause__ from None
            raise


def _stop_when(is_stopped: Callable[[], bool], settings: Sampling) -> "Callable[..., None] | None":
    """Stop chains that run in processes of their own; one in this process stops itself, when it has been written."""
    if _n_jobs(settings) == 1:
        return None

    def watch(**_: object) -> None:
        if is_stopped():
            raise KeyboardInterrupt

    return watch


def _is_complete(statistics: xr.Dataset, settings: Sampling) -> bool:
    """Say, and warn where it is not so, whether all that was asked for was drawn."""
    n_chains, n_draws = statistics.sizes["chain"], statistics.sizes["draw"]
    if n_draws < LEAST_DRAWS:
        raise KeyboardInterrupt
    if is_complete := (n_chains, n_draws) == (settings.n_chains, settings.n_draws):
        return is_complete
    warn(
        f"nuts stopped after {n_draws} of {settings.n_draws} draws per chain; "
        f"{n_chains} of {settings.n_chains} chains are kept, cut to the shortest of them",
        ConvergenceWarning,
    )
    return is_complete


def _collect(posterior: xr.Dataset, views: MultiView) -> xr.Dataset:
    """Put the noise of a view's gaussian and student_t features into one variable."""
    draws = posterior.drop_attrs()
    for view in views.names:
        pieces = [
            draws[name].rename({dim: f"noisy_feature_{view}"})
            for kind in REAL
            for name, dim in [(f"noise_sd_{view}_{kind}", f"{kind}_feature_{view}")]
            if name in draws and dim in draws[name].dims
        ]
        if len(pieces) > 1:
            whole = xr.concat(pieces, f"noisy_feature_{view}").transpose("chain", "draw", ...)
            draws = draws.drop_vars([f"noise_sd_{view}_{kind}" for kind in REAL])
            draws[f"noise_sd_{view}"] = whole
    return draws


def _add_precisions(draws: xr.Dataset, views: MultiView, spec: FactorModel) -> xr.Dataset:
    """Add `ard_<view>` where the graph has none: the precision of a normal of the prior's variance, as vi and gibbs."""
    added = {}
    for view in views.names:
        match spec.loadings_of(view):
            case Normal(scale=scale):
                added[f"ard_{view}"] = xr.full_like(draws[f"loadings_{view}"].isel({f"feature_{view}": 0}), scale**-2)
            case Laplace():
                added[f"ard_{view}"] = draws[f"rate_{view}"] ** 2 / 2
    return draws.assign({name: own.drop_vars(set(own.coords) - set(own.dims)) for name, own in added.items()})


def _judge(report: xr.Dataset, n_draws: int) -> bool:
    """Warn of draws that diverged and of trees that were cut short; say whether there was nothing to warn of."""
    n_diverging, n_deepest = int(report["n_diverging"].sum()), int(report["n_deepest"].sum())
    problems = []
    if n_diverging > _MAX_DIVERGING * n_draws:
        problems.append(f"{n_diverging} of {n_draws} draws diverged: raise target_accept")
    if n_deepest > _MAX_DEEP * n_draws:
        problems.append(f"{n_deepest} of {n_draws} trees were cut short: the posterior is too stretched for NUTS")
    if problems:
        advice = 'or use engine="gibbs"'
        warn(f"NUTS: {'; '.join(problems)}; {advice}", ConvergenceWarning)
    return not problems
