"""Plan: how a cohort is split, at which horizons its patients are scored, and what a run of it is identified by."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.steps import prepare
from mofa_bayes.data.steps.preparation import Declared
from mofa_bayes.data.tables import align_rows, require_frame
from mofa_bayes.errors import FitError
from mofa_bayes.risk.response import Array, Family
from mofa_bayes.seeds import make_rng
from mofa_bayes.spec.model import is_whole
from mofa_bayes.validation.folds import deal_folds, read_strata, require_folds
from mofa_bayes.validation.running import Keep

_GRID = np.linspace(0.05, 0.9, 18)
_REPORTED = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A cohort and its folds.

    Attributes
    ----------
    views, clinical, outcome
        The cohort, with one row of `clinical` for each subject.
    fold_of
        Fold of each subject in each repeat, (repeat, N).
    reported, times
        Horizons of tables, and all that are scored: what is integrated over time asks for a fine grid. NaN for an
        outcome without horizons.
    seed
        What everything random follows from.
    steps
        Preparation of the views, which is learned from training patients.
    """

    views: MultiView
    clinical: pd.DataFrame
    outcome: Family
    fold_of: NDArray[np.intp]
    reported: Array
    times: Array
    seed: int
    steps: Declared

    @property
    def horizons(self) -> list[float] | None:
        """All horizons, as `FittedRisk.predict` takes them."""
        return None if np.isnan(self.times).any() else self.times.tolist()

    def folds(self) -> list[tuple[int, int, NDArray[np.intp]]]:
        """Repeat, fold and held-out rows of each fit."""
        return [
            (repeat, int(fold), np.flatnonzero(own == fold))
            for repeat, own in enumerate(self.fold_of)
            for fold in np.unique(own)
        ]

    def streams(self) -> list[np.random.Generator]:
        """Make a generator for each fold, the same whichever folds are done already."""
        return np.random.default_rng(self.seed).spawn(1 + len(self.folds()))[1:]

    def split(self, held: NDArray[np.intp]) -> tuple[MultiView, MultiView]:
        """Split views into those of training patients, without what does not vary among them, and of held-out patients.

        Both are prepared with what the steps learn from the former.
        """
        subjects, is_held = self.views.subjects, np.zeros(self.views.n_subjects, dtype=np.bool_)
        is_held[held] = True
        train, rest = ([name for name, own in zip(subjects, is_held, strict=True) if own == side] for side in (0, 1))
        known, new = self.views.sel(train), self.views.sel(rest)
        if self.steps:
            known = prepare(known, self.steps)
            assert known.preparation is not None
            new = known.preparation.apply(new)
        return known.drop_uninformative(), new

    def keep(self, folder: str | Path | None, *models: object) -> Keep | None:
        """Folder of finished folds of some models, as told by their reprs."""
        if folder is None:
            return None
        observed = self.outcome.read(self.clinical, self.views.subjects)
        digest = hashlib.sha256(self.views.fingerprint.encode())
        for part in (self.outcome, self.times.tolist(), self.seed, dict(self.steps), *models):
            digest.update(repr(part).encode())
        digest.update(self.fold_of.astype("<i8").tobytes())
        for name in sorted(observed):
            digest.update(np.asarray(observed[name], dtype="<f8").tobytes())
        digest.update(self.clinical.to_csv().encode())
        return Keep(Path(folder), digest.hexdigest())


def make_plan(
    views: MultiView,
    clinical: pd.DataFrame,
    outcome: Family,
    *,
    folds: int,
    repeats: int,
    times: Sequence[float] | None,
    seed: int | np.random.Generator,
    steps: Declared | None = None,
) -> Plan:
    """Split a cohort into folds that are stratified by event, several times over, and choose horizons.

    Horizons that are not given are the quartiles of the times of events. They only say where scores are looked at.

    Raises
    ------
    DataError, FitError, SpecError
        The outcome cannot be read, a horizon is not usable, or there are too few patients for so many folds.
    """
    if not isinstance(views, MultiView):
        raise FitError(
            "views", got=type(views).__name__, expected="a MultiView", do="Build it with MultiView.from_frames(...)."
        )
    table = align_rows("clinical table", require_frame("clinical table", clinical), views.subjects)
    if steps:
        prepare(views, steps)  # what cannot be done to all is refused now
    strata = read_strata(outcome, table, views.subjects)
    require_folds(folds, repeats, strata)
    own = int(make_rng(seed).integers(2**62))
    dealing = np.random.default_rng(own).spawn(1)[0]
    fold_of = np.stack([deal_folds(strata, views.subjects, folds, rng) for rng in dealing.spawn(repeats)])
    reported, grid = _find_horizons(outcome, table, views.subjects, times)
    return Plan(views, table, outcome, fold_of, reported, grid, own, dict(steps or {}))


def require_jobs(n_jobs: object) -> int:
    """Return the number of processes; raise FitError unless it is a whole number from 1 up."""
    if not is_whole(n_jobs) or int(n_jobs) < 1:  # type: ignore[call-overload]
        raise FitError("n_jobs", got=repr(n_jobs)[:80], expected="a whole number from 1 up", do="Leave it out for 1.")
    return int(n_jobs)  # type: ignore[call-overload,no-any-return]


def _find_horizons(
    outcome: Family, clinical: pd.DataFrame, subjects: Sequence[str], times: Sequence[float] | None
) -> tuple[Array, Array]:
    observed = outcome.read(clinical, subjects)
    response = outcome.learn(observed)
    if "time" not in observed:
        nothing = response.require_times(times)
        return nothing, nothing
    at_event = observed["time"][observed["event"] > 0]
    wanted = response.require_times(np.unique(np.quantile(at_event, _REPORTED)).tolist() if times is None else times)
    last = observed["time"].max()
    if (wanted >= last).any():
        raise FitError(
            "times",
            got=f"a horizon of {wanted.max():g}",
            expected=f"horizons before the longest follow-up, {last:g}",
            do="Nothing can be checked where nobody is followed: name earlier horizons.",
        )
    grid = np.union1d(wanted, np.quantile(at_event, _GRID))
    return wanted, grid[grid < last]
