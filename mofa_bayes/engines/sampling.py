"""Sampling: how many draws the sampling engines take, where they keep them, and when they stop."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mofa_bayes.errors import SpecError
from mofa_bayes.spec.model import is_whole

LEAST_DRAWS = 4
"""Draws that a chain must have: alignment compares its halves."""
SAMPLERS = ("pymc", "nutpie", "numpyro")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Effort of an engine that draws from the posterior.

    Parameters
    ----------
    n_draws
        Draws kept of each chain, 4 at least.
    n_tune
        Draws of each chain before those, forgotten.
    n_chains
        Chains, from dispersed starts; two at least tell whether they agree.
    n_jobs
        Chains that run at the same time, each in a process of its own; 1 runs them one after the other in this process.
        None takes the machine's cores. Processes are spawned: a script must call `fit` under
        `if __name__ == "__main__":`, Jupyter needs nothing.
    thin
        Engine gibbs only, as what follows up to `folder`: keep every so-many-th draw.
    max_seconds
        Stop after about this many seconds with what has been drawn.
    max_memory
        Bytes of draws, of all chains together, that are held in memory while they are read and labelled; more stay on
        disk until then. It does not bound the posterior: alignment copies factors and loadings, and the posterior
        (`post.tree["posterior"]`) holds all draws in memory as float32, 4 n_chains n_draws (N + D) K bytes or more.
        Take fewer n_draws, or thin, where that is too much.
    folder
        Where draws are written, in place of those of an earlier fit; a temporary folder when left out. It holds factors
        of patients.
    checkpoint
        File to write the state of a chain to now and then, with its draws (gibbs: in a folder beside it), and to go on
        from when it is there; the result is the same as without a break. Further chains get files of their own beside
        it. It holds factors of patients. Of engine nuts, only the sampler `pymc` can be written.
    checkpoint_seconds
        Least time between two writings.
    sampler
        Engine nuts only: whose NUTS. `pymc` is always there; `nutpie` and `numpyro` come with the extra `samplers`.
    target_accept
        Engine nuts only: mean acceptance that step sizes aim at, in (0, 1). Raise it when draws diverge.
    """

    n_draws: int = 1000
    n_tune: int = 1000
    n_chains: int = 4
    n_jobs: int | None = None
    thin: int = 1
    max_seconds: float = float("inf")
    max_memory: float = 2e9
    folder: str | Path | None = None
    checkpoint: str | Path | None = None
    checkpoint_seconds: float = 60.0
    sampler: Literal["pymc", "nutpie", "numpyro"] = "pymc"
    target_accept: float = 0.9

    def __post_init__(self) -> None:
        counts = {"n_draws": (self.n_draws, LEAST_DRAWS), "n_chains": (self.n_chains, 1), "thin": (self.thin, 1)}
        counts |= {"n_tune": (self.n_tune, 0)} | ({} if self.n_jobs is None else {"n_jobs": (self.n_jobs, 1)})
        for name, (value, least) in counts.items():
            if not is_whole(value) or value < least:
                raise SpecError(name, got=repr(value), expected=f"a whole number from {least} up", do="Correct it.")
            object.__setattr__(self, name, int(value))
        amounts = {"max_seconds": (self.max_seconds, 1e-9), "max_memory": (self.max_memory, 0.0)}
        amounts |= {"checkpoint_seconds": (self.checkpoint_seconds, 0.0)}
        for name, (amount, smallest) in amounts.items():
            if not isinstance(amount, int | float) or not amount >= smallest:
                raise SpecError(name, got=repr(amount), expected=f"a number from {smallest:g} up", do="Correct it.")
        for name in ("folder", "checkpoint"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), str | Path):
                raise SpecError(name, got=repr(getattr(self, name)), expected="a path, or None", do="Name one.")
        if self.sampler not in SAMPLERS:
            raise SpecError(
                "sampler", got=repr(self.sampler), expected=f"one of {', '.join(SAMPLERS)}", do="Choose one."
            )
        accept = self.target_accept
        if isinstance(accept, bool) or not isinstance(accept, int | float) or not 0 < accept < 1:
            raise SpecError("target_accept", got=repr(accept), expected="a number in (0, 1)", do="0.9 is usual.")
