"""One small simulated cohort and one real fit of it, shared by the whole session."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import mofa_bayes as mb
from mofa_bayes.data.simulate import Cohort, Design


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Hear Ctrl-C as a user's process does: the workers of pytest-xdist ignore it, and so would what they test."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def cohort() -> Cohort:
    """Three views of 80 subjects: real-valued, real-valued, and a mixed one whose last four features are binary."""
    design = Design(
        n_subjects=80,
        n_features={"rna": 60, "meth": 40, "ehr": 12},
        sharing=[("rna", "meth", "ehr"), ("rna", "meth"), ("rna",)],
        density=0.6,
        bernoulli={"ehr": 4},
        absent_view=0.2,
        missing=0.05,
    )
    return mb.simulate_cohort(design, seed=11)


@pytest.fixture(scope="session")
def post(cohort: Cohort) -> mb.Posterior:
    """The default engine's fit of `cohort`."""
    return mb.fit(cohort.views, mb.FactorModel(n_factors=5), seed=3, n_draws=200, progress=False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real cohorts; tests that need it skip on a machine without it."""
    named = os.environ.get("MOFA_BAYES_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real cohorts are not on this machine (set MOFA_BAYES_DATA to their folder)")
    return folder
