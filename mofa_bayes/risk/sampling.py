"""Sampling a risk model with NUTS, and what to say when the chains do not agree."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from mofa_bayes.errors import ConvergenceWarning, SpecError, warn
from mofa_bayes.risk.response import Array

if TYPE_CHECKING:
    import pymc as pm

MODE = "NUMBA"
"""PyTensor's linker. On 2 cores, N = 300, 20 nodes, one factor, numba takes 57 us a gradient; the C linker compiles for
19 s and takes 134 us, the Python one (FAST_COMPILE) 8 s and 638 us. Numba compiles for 3 to 6 s (20 when its cache on
disk is empty) once for each kind of model and number of terms on a machine, and is ready in 1 s for other data."""
_STATISTICS = ("diverging", "energy", "lp", "n_steps", "tree_depth", "acceptance_rate", "step_size")
_MOST_FULL = 100
"""Parameters up to which the mass matrix is full: the Weibull shape and effects are correlated, and at up to 30
parameters it costs nothing. It gives twice the effective draws of a diagonal one (936 and 505 of 1,000, K = 1). PyMC
calls it experimental. The thousands of parameters of a panel of responses get a diagonal one."""
_TARGET_ACCEPT = 0.9
_MAX_DIVERGING = 0.001
_MAX_RHAT = 1.01
_MIN_ESS_PER_CHAIN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How long NUTS runs.

    Parameters
    ----------
    n_draws, n_tune
        Kept and discarded draws of each chain. A posterior of ten or twenty smooth parameters gives nearly one
        effective draw for each draw, so 4 chains of 1000 know a 95 % limit to about 0.04 posterior sd.
    n_chains
        Chains; at least 2 to compare them.
    cores
        Processes over chains of NUTS. One by default: a chain takes seconds, starting processes takes as long.
    progress
        Show PyMC's progress bar.
    """

    n_draws: int = 1000
    n_tune: int = 500
    n_chains: int = 4
    cores: int = 1
    progress: bool = False

    def __post_init__(self) -> None:
        for name in ("n_draws", "n_tune", "n_chains", "cores"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SpecError(
                    name, got=repr(value), expected="a whole number from 1 up", do="Correct it or leave it out."
                )


def sample_nuts(model: "pm.Model", names: Sequence[str], sampling: Sampling, rng: np.random.Generator) -> xr.DataTree:
    """Draw from the posterior of a model.

    Returns
    -------
    A tree with `posterior` (the variables `names`) and `sample_stats`; nothing of a patient.
    """
    import pymc as pm

    n_parameters = sum(np.size(value) for value in model.initial_point().values())
    # While the step size is sought, a trajectory may leave the floats: NUTS rejects it, and numpy would warn.
    with model, np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "QuadPotentialFullAdapt is an experimental feature")
        tree = pm.sample(
            draws=sampling.n_draws,
            tune=sampling.n_tune,
            chains=sampling.n_chains,
            cores=sampling.cores,
            random_seed=rng,
            nuts_sampler="pymc",  # named, because PyMC takes another one when it happens to be installed
            init="jitter+adapt_full" if n_parameters <= _MOST_FULL else "jitter+adapt_diag",
            target_accept=_TARGET_ACCEPT,
            var_names=list(names),
            progressbar=sampling.progress,
            quiet=not sampling.progress,
            compute_convergence_checks=False,  # made below, as a warning of ours
            compile_kwargs={"mode": MODE},
        )
    posterior = tree["posterior"].to_dataset().drop_attrs()  # dates and durations: the same seed gives the same tree
    statistics = tree["sample_stats"].to_dataset().drop_attrs()
    kept = statistics[[name for name in _STATISTICS if name in statistics]]
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": kept})


def warn_unconverged(tree: xr.DataTree) -> None:
    """Warn with numbers when chains diverge, disagree, or hold too few effective draws.

    The limits are those of Vehtari et al. 2021 (Bayesian Analysis 16:667): R-hat at most 1.01 and, in bulk and tails,
    100 effective draws for each chain. One diverging draw in a thousand is let pass: it happens by itself at the edge
    of the random walk's scale (2 of 4,000 in healthy fits), and more is a sign.
    """
    import arviz as az

    posterior = tree["posterior"].to_dataset()
    n_chains = posterior.sizes["chain"]
    n_diverging = int(tree["sample_stats"]["diverging"].sum()) if "sample_stats" in tree.children else 0
    n_draws = n_chains * posterior.sizes["draw"]
    problems = [f"{n_diverging} of {n_draws} draws diverged"] if n_diverging > _MAX_DIVERGING * n_draws else []
    ess = {
        f"{kind} of {name}": value
        for kind in ("bulk", "tail")
        for name, value in _per_name(az.ess(posterior, method=kind), np.min)
    }
    worst = min(ess, key=lambda name: ess[name])
    if ess[worst] < _MIN_ESS_PER_CHAIN * n_chains:
        problems.append(f"only {ess[worst]:.0f} effective draws ({worst})")
    if n_chains > 1:
        rhat = dict(_per_name(az.rhat(posterior), np.max))
        worst = max(rhat, key=lambda name: rhat[name])
        if rhat[worst] > _MAX_RHAT:
            problems.append(f"R-hat is {rhat[worst]:.3f} ({worst})")
    if problems:
        message = (
            f"The chains did not converge: {'; '.join(problems)}. Raise n_tune and n_draws, or simplify the model."
        )
        warn(message, ConvergenceWarning)


def _per_name(dataset: xr.Dataset, worst: Callable[[Array], float]) -> list[tuple[str, float]]:
    return [(str(name), float(worst(values.values))) for name, values in dataset.data_vars.items()]
