"""Power cuts: the process ends, as far as its files know, right after a checkpoint has been written."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mofa_bayes.engines.vi.checkpoint import Checkpoint


@contextmanager
def power_cut(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    """Cut the power right after the `after`-th writing of a checkpoint; that it was cut is asserted."""
    write, written = Checkpoint.write, 0

    def write_and_die(self, state):
        nonlocal written
        write(self, state)
        written += 1
        if written == after:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", write_and_die)
        with pytest.raises(RuntimeError, match="power cut"):
            yield
