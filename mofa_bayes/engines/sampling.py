"""Sampling: how long and how hard the engines that draw from the posterior work."""

from dataclasses import dataclass
from typing import Literal

from mofa_bayes.errors import SpecError

SAMPLERS = ("pymc", "nutpie", "numpyro")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How long and how hard to sample.

    Parameters
    ----------
    n_draws, n_tune
        Kept and discarded draws of each chain.
    n_chains
        Chains; at least 2 to compare them.
    n_jobs
        Processes over chains; None takes the machine's cores, one for each chain at most.
    sampler
        Engine nuts only: whose NUTS. `pymc` is always there; `nutpie` and `numpyro` come with the extra `samplers`.
    target_accept
        Engine nuts only: mean acceptance that step sizes aim at, in (0, 1). Raise it when draws diverge.
    """

    n_draws: int = 1000
    n_tune: int = 1000
    n_chains: int = 4
    n_jobs: int | None = None
    sampler: Literal["pymc", "nutpie", "numpyro"] = "pymc"
    target_accept: float = 0.9

    def __post_init__(self) -> None:
        counts = {"n_draws": self.n_draws, "n_tune": self.n_tune, "n_chains": self.n_chains}
        counts |= {} if self.n_jobs is None else {"n_jobs": self.n_jobs}
        for name, value in counts.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SpecError(name, got=repr(value), expected="a whole number from 1 up", do="Correct it.")
        if self.sampler not in SAMPLERS:
            raise SpecError(
                "sampler", got=repr(self.sampler), expected=f"one of {', '.join(SAMPLERS)}", do="Choose one."
            )
        accept = self.target_accept
        if isinstance(accept, bool) or not isinstance(accept, int | float) or not 0 < accept < 1:
            raise SpecError("target_accept", got=repr(accept), expected="a number in (0, 1)", do="0.9 is usual.")
