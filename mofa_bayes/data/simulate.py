"""Cohorts drawn from the model itself, with the truth beside them: for tests, benchmarks and learning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError
from mofa_bayes.seeds import make_rng

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What to simulate.

    Parameters
    ----------
    n_subjects
        Number of subjects.
    n_features
        View name -> number of features.
    sharing
        One entry per factor: the names of the views in which it is active.
    density
        Share of an active factor's loadings that are not zero; those are standard normal.
    noise_sd
        Standard deviation of the noise of gaussian features.
    bernoulli
        View name -> number of its features, the last ones, that are binary.
    absent_view
        Share of subjects who lack one view, drawn at random.
    missing
        Share of the remaining entries that are missing.
    """

    n_subjects: int = 200
    n_features: Mapping[str, int]
    sharing: Sequence[Sequence[str]]
    density: float = 0.5
    noise_sd: float = 1.0
    bernoulli: Mapping[str, int] | None = None
    absent_view: float = 0.0
    missing: float = 0.0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Cohort:
    """A simulated cohort and its truth.

    Attributes
    ----------
    views
        What a user would see.
    factors
        True factors, one row per subject in the order of `views.subjects`, columns T1, T2, ...
    loadings
        View -> true loadings (feature, factor), on the scale of the data or the log-odds.
    complete
        View -> every value before any was hidden, rows in the order of `views.subjects`.
    """

    views: MultiView
    factors: pd.DataFrame
    loadings: Mapping[str, Array]
    complete: Mapping[str, pd.DataFrame]


def simulate_cohort(design: Design, *, seed: int | np.random.Generator = 0) -> Cohort:
    """Draw a cohort: z ~ N(0, I), w spike-slab, y = mu + z w' + noise, or y ~ Bernoulli(sigma(mu + z w')).

    Raises
    ------
    DataError
        A factor is shared by an unknown view, or a view is to have more binary features than features.
    """
    unknown = {view for shared in design.sharing for view in shared} - set(design.n_features)
    if unknown:
        raise DataError(
            "sharing of a simulated factor",
            got=f"unknown views {', '.join(sorted(unknown))}",
            expected=f"names among {', '.join(design.n_features)}",
            do="Correct the names.",
        )
    binary = design.bernoulli or {}
    excess = [view for view, count in binary.items() if not 0 <= count <= design.n_features.get(view, -1)]
    if excess:
        raise DataError(
            "binary features of a simulated cohort",
            got=f"more than there are, in {', '.join(excess)}",
            expected="at most n_features of each view",
            do="Correct the numbers or the names.",
        )
    rng = make_rng(seed)
    subjects = [f"p{n:04d}" for n in range(design.n_subjects)]
    factors = rng.standard_normal((design.n_subjects, len(design.sharing)))
    loadings, complete = {}, {}
    for view, n_features in design.n_features.items():
        weights = rng.standard_normal((n_features, len(design.sharing)))
        weights *= rng.random(weights.shape) < design.density
        weights *= [view in shared for shared in design.sharing]
        n_binary = (design.bernoulli or {}).get(view, 0)
        values = _observe(factors @ weights.T, n_binary, design.noise_sd, rng)
        loadings[view] = weights
        complete[view] = pd.DataFrame(values, index=subjects, columns=[f"{view}_{d}" for d in range(n_features)])
    likelihoods = {
        view: dict.fromkeys(complete[view].columns[-count:], "bernoulli")
        for view, count in (design.bernoulli or {}).items()
        if count
    }
    frames = _hide(complete, design, rng)
    views = MultiView.from_frames(frames, likelihoods=likelihoods)
    order = list(views.subjects)
    truth = pd.DataFrame(factors, index=subjects, columns=[f"T{k + 1}" for k in range(factors.shape[1])]).loc[order]
    return Cohort(views, truth, loadings, {view: table.loc[order] for view, table in complete.items()})


def _observe(signal: Array, n_binary: int, noise_sd: float, rng: np.random.Generator) -> Array:
    eta = signal + rng.standard_normal(signal.shape[1])
    values: Array = eta + noise_sd * rng.standard_normal(eta.shape)
    if n_binary:
        flags = rng.random((len(eta), n_binary)) < 1 / (1 + np.exp(-eta[:, -n_binary:]))
        values[:, -n_binary:] = flags
    return values


def _hide(complete: Mapping[str, pd.DataFrame], design: Design, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    lacking = rng.random(design.n_subjects) < design.absent_view
    which = rng.integers(len(complete), size=design.n_subjects)
    frames = {}
    for number, (view, table) in enumerate(complete.items()):
        hidden = table.mask(rng.random(table.shape) < design.missing)
        frames[view] = hidden[~(lacking & (which == number))]
    return frames
