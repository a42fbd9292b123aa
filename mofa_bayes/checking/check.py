"""check_calibration: cohorts drawn from the model, fitted, and their truths held against the posteriors."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Any

import numpy as np

from mofa_bayes.checking.calibration import Calibration, summarise_replicates
from mofa_bayes.checking.replicate import Replicate, Task, run_task
from mofa_bayes.checking.require import require_replicable
from mofa_bayes.checking.sizes import Sizes, make_proper
from mofa_bayes.checking.truth import Simulator
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import FitError
from mofa_bayes.seeds import make_rng
from mofa_bayes.spec import FactorModel
from mofa_bayes.watch import counting


def check_calibration(
    spec: FactorModel,
    sizes: Sizes | MultiView,
    *,
    engine: str = "vi",
    n_replicates: int = 100,
    n_ranked: int = 2,
    held_out: float = 0.05,
    options: Mapping[str, Any] | None = None,
    seed: int | np.random.Generator = 0,
    n_processes: int = 1,
    progress: bool = True,
) -> Calibration:
    """Measure whether an engine's intervals hold what they say, on cohorts drawn from the model itself.

    In each replicate parameters, factors and data are drawn from the model (`mb.graph`), the engine fits the data with
    the same model, and truths are compared with draws of the posterior: aligned loadings (the truth is mapped to the
    draws' reference as each draw is), reconstructions eta = mu + z w', variance explained, noise, and held-out entries.
    Under an exact posterior a truth's rank among draws is uniform (Talts, Betancourt, Simpson, Vehtari and Gelman 2018,
    arXiv 1804.06788) and intervals cover at their level.

    Parameters
    ----------
    spec
        The model. Data cannot be drawn from vague priors: see `Calibration.notes` for what replaces them, in the draws
        and in the fits.
    sizes
        Dimensions, or a cohort whose sizes, likelihoods, missing entries, groups, covariates and exposures to copy;
        its values are not used.
    engine
        An engine of `mb.fit`.
    n_replicates
        Number of cohorts: coverage of .95 is known to within .02 after 100 of one entry each.
    n_ranked
        Entries of each quantity whose ranks are kept and tested.
    held_out
        Share of the observed real-valued entries that the engine does not see.
    options
        Further arguments of `mb.fit`, `n_draws` and `settings`: `{"n_draws": 1000}`.
    seed
        Seed of everything; the result does not depend on `n_processes`.
    n_processes
        Cohorts fitted at the same time.
    progress
        Show how many are done on a terminal or in Jupyter.

    Raises
    ------
    SpecError, FitError, MissingExtraError
        Before anything is compiled, where model, engine and options do not go together; and FitError at the end, where
        the engine refused every cohort. One that it refuses among others is counted and named in `notes` instead.
    """
    for name, count, least in (
        ("n_replicates", n_replicates, 1),
        ("n_ranked", n_ranked, 1),
        ("n_processes", n_processes, 1),
    ):
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise FitError(name, got=repr(count)[:80], expected="a whole number from 1 up", do="Correct it.")
    if not isinstance(sizes, Sizes | MultiView):
        raise FitError(
            "sizes",
            got=type(sizes).__name__,
            expected="Sizes, or a MultiView",
            do='Write Sizes(n_subjects=100, n_features={"rna": 90, "ehr": 30}).',
        )
    if not isinstance(spec, FactorModel):
        raise FitError("spec", got=type(spec).__name__, expected="a FactorModel", do="Write FactorModel(n_factors=3).")
    if isinstance(held_out, bool) or not isinstance(held_out, int | float) or not 0 <= held_out < 1:
        raise FitError("held_out", got=repr(held_out)[:80], expected="a share in [0, 1)", do="0.05 is usual.")
    rng = make_rng(seed)
    template_rng, *replicate_rngs = rng.spawn(1 + n_replicates)
    template = sizes if isinstance(sizes, MultiView) else sizes.template(template_rng)
    proper, notes = make_proper(spec)
    require_replicable(template, proper, engine, {} if options is None else options)
    simulator = Simulator(template, proper, held_out)

    def tasks() -> Iterator[Task]:
        for own in replicate_rngs:
            yield Task(
                truth=simulator.draw(own), spec=proper, engine=engine, options=options or {}, n_ranked=n_ranked, rng=own
            )

    with counting(progress, f"checking {engine}", n_replicates) as tell:
        found = _run(tasks(), n_processes, tell)
    if all(own.failure for own in found):
        reason, count = Counter(own.failure for own in found).most_common(1)[0]
        raise FitError(
            "fits of drawn cohorts",
            got=f"none of {len(found)} that engine {engine!r} could make ({count} for this reason: {reason})",
            expected="one at least",
            do="Mend that, or check another engine or model.",
        )
    return summarise_replicates(engine, proper.to_toml(), found, notes)


def _run(tasks: Iterator[Task], n_processes: int, tell: Callable[[], None]) -> list[Replicate]:
    """Run tasks in order, here or in processes; no more cohorts are drawn ahead than there are processes twice over."""
    if n_processes == 1:
        found = []
        for task in tasks:
            found.append(run_task(task))
            tell()
        return found
    done: dict[int, Replicate] = {}
    waiting: dict[Future[Replicate], int] = {}
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        try:
            for number, task in enumerate(tasks):
                waiting[pool.submit(run_task, task)] = number
                if len(waiting) >= 2 * n_processes:
                    _collect(waiting, done, tell)
            while waiting:
                _collect(waiting, done, tell)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # else an interrupt waits for all that was submitted
            raise
    return [done[number] for number in sorted(done)]


def _collect(waiting: dict[Future[Replicate], int], done: dict[int, Replicate], tell: Callable[[], None]) -> None:
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        done[waiting.pop(future)] = future.result()
        tell()
