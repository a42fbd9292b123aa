"""NUTS that remembers: PyMC's own, whose chains are written now and then and go on from there, bit for bit."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pymc as pm
from pymc.blocking import DictToArrayBijection, RaveledVars

from mofa_bayes.engines.sampling import Sampling
from mofa_bayes.engines.vi.checkpoint import Checkpoint, fill

Place = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the chains remember.

    Attributes
    ----------
    checkpoints
        Where each chain is written; None where it is not.
    stored
        What was found there, for each chain; None where nothing was.
    is_stopped
        Whether the chains of this process are to end.
    """

    checkpoints: Sequence[Checkpoint | None]
    stored: Sequence[Mapping[str, np.ndarray] | None]
    is_stopped: Callable[[], bool]


class RememberingNUTS(pm.NUTS):  # type: ignore[misc]
    """PyMC's step method, which hands out the draws that were stored before it takes new ones.

    Whoever drives it, in this process or another, sees a chain that starts at its beginning; tuning is passed over with
    its start. Then point, generators and adaptation are those of the moment at which the chain was written. The state
    is that which PyMC declares (`sampling_state`); `tune` and the number of divergences are kept beside it.

    Parameters
    ----------
    starts
        Where each chain starts: values of the unconstrained variables by name.
    memory
        Where chains are written, and what is there.
    **options
        As `pymc.NUTS` takes them.
    """

    sampling_state: Any

    def __init__(self, *, starts: Sequence[Place], memory: Memory, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.starts, self.memory = starts, memory
        self.names = [name for name in self.stats_dtypes_shapes if name != "warning"]

    def setup_chain(self, rng: np.random.Generator, tune: int, draws: int) -> None:
        """Begin a chain: which one is told by the generator, as PyMC spawns one for each."""
        super().setup_chain(rng, tune, draws)
        number = rng.bit_generator.seed_seq.spawn_key[-1]  # type: ignore[attr-defined]
        self.checkpoint, self.stored = self.memory.checkpoints[number], self.memory.stored[number]
        self.here, self.n_tune, self.n_draws, self.n_done = self.starts[number], tune, draws, 0
        self.n_stored = 0 if self.stored is None else int(self.stored["/n_done"])
        self.written = time.perf_counter()
        if self.checkpoint is not None:
            self.points = np.empty((draws, len(_ravel(self.here).data)))
            self.statistics = np.empty((draws, len(self.names)))
        if self.stored is not None:
            self.points[: self.n_kept(self.n_stored)] = self.stored["/points"]
            self.statistics[: self.n_kept(self.n_stored)] = self.stored["/statistics"]

    def n_kept(self, n_done: int) -> int:
        """Count the draws after tuning."""
        return max(n_done - self.n_tune, 0)

    def step(self, point: Place) -> tuple[Place, list[dict[str, object]]]:  # noqa: ARG002
        """Take one draw: from memory, or from where the chain is, which `point` says less exactly."""
        if self.n_done < self.n_stored:
            return self._recall()
        if self.memory.is_stopped():
            if self.n_done > self.n_stored:
                self._write()
            raise KeyboardInterrupt
        if self.stored is not None and self.n_done == self.n_stored:
            self._restore(self.stored)
        self.here, (statistics,) = super().step(self.here)
        self.n_done += 1
        self._keep(statistics)
        return self.here, [statistics]

    def _recall(self) -> tuple[Place, list[dict[str, object]]]:
        position = self.n_done - self.n_tune
        self.n_done += 1
        if position < 0:
            return self.here, [dict.fromkeys(self.names, 0) | {"warning": None}]
        values = dict(zip(self.names, self.statistics[position].tolist(), strict=True))
        return self._unravel(self.points[position]), [values | {"warning": None}]

    def _keep(self, statistics: Mapping[str, Any]) -> None:
        if self.checkpoint is None:
            return
        position = self.n_done - self.n_tune - 1
        if position >= 0:
            self.points[position] = _ravel(self.here).data
            self.statistics[position] = [statistics[name] for name in self.names]
        is_last = self.n_done == self.n_tune + self.n_draws
        if is_last or time.perf_counter() - self.written >= self.checkpoint.seconds:
            self._write()

    def _write(self) -> None:
        if self.checkpoint is None:
            return
        n_kept = self.n_kept(self.n_done)
        state = {
            "n_done": self.n_done,
            "n_diverging": self.divergences,
            "here": _ravel(self.here).data,
            "points": self.points[:n_kept],
            "statistics": self.statistics[:n_kept],
            "generators": [json.dumps(own.bit_generator.state) for own in (self.rng, self.potential.rng)],
            "sampler": _without_generators(self.sampling_state),
        }
        self.checkpoint.write(state)
        self.written = time.perf_counter()

    def _restore(self, stored: Mapping[str, np.ndarray]) -> None:
        now = self.sampling_state
        then = fill(_without_generators(now), stored, "/sampler")
        self.sampling_state = replace(then, rng=now.rng, potential=replace(then.potential, rng=now.potential.rng))
        for number, own in enumerate((self.rng, self.potential.rng)):
            own.bit_generator.state = json.loads(str(stored[f"/generators/{number}"]))
        self.here, self.divergences = self._unravel(stored["/here"]), int(stored["/n_diverging"])
        self.tune = self.n_done < self.n_tune  # written before tuning was ended, or after: the count knows

    def _unravel(self, values: np.ndarray) -> Place:
        place: Place = DictToArrayBijection.rmap(RaveledVars(values, _ravel(self.here).point_map_info))
        return place


def start_remembering(memory: Memory, settings: Sampling, rng: np.random.Generator, mode: str) -> RememberingNUTS:
    """Make the step method that PyMC would make itself for the model in whose context this is called."""
    options = {"compile_kwargs": {"mode": mode}, "progressbar": False, "quiet": True}
    seeds = rng.integers(2**30, size=settings.n_chains).tolist()
    starts, made = pm.init_nuts(init="jitter+adapt_diag", chains=settings.n_chains, random_seed=seeds, **options)
    return RememberingNUTS(
        starts=starts,
        memory=memory,
        potential=made.potential,
        initial_point=starts[0],
        logp_dlogp_func=made._logp_dlogp_func,  # compiled once
        target_accept=settings.target_accept,
        rng=rng,
    )


def _ravel(place: Place) -> Any:  # noqa: ANN401
    return DictToArrayBijection.map(place)


def _without_generators(state: Any) -> Any:  # noqa: ANN401
    """Leave out generators, whose state is kept as text, and the acceptances after tuning, which nothing here reads."""
    adaptation = replace(state.step_adapt, _tuned_stats=[])
    return replace(state, rng=None, potential=replace(state.potential, rng=None), step_adapt=adaptation)
