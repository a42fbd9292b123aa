"""Survival curves with bands: of single patients, or of strata beside what was observed there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.tables import align_rows
from mofa_bayes.errors import DataError, name_some
from mofa_bayes.plot.axes import add_legend, color_of, describe, new_axes, plain
from mofa_bayes.risk import Risks, Scores, Survival
from mofa_bayes.risk.metrics import kaplan_meier

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_CURVES = 8
_FEW_CURVES = 4  # of which bands can be told apart
_FEW_HORIZONS = 12  # between which curves are only joined: they are marked
_LEAST_PATIENTS = 5
_STRATUM = "stratum"


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    label: str
    survival: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


def plot_survival(
    scores: Scores | Risks,
    *,
    subjects: Sequence[str] | None = None,
    by: pd.Series | None = None,
    observed: tuple[pd.DataFrame, Survival] | None = None,
    level: float = 0.95,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw 1 - risk over the horizons of scores, with bands.

    Parameters
    ----------
    scores
        Several horizons of `FittedRisk.predict` (patients only), or of `FittedRisk.draw_risks`, whose draws strata
        need: the average over patients is taken in each draw, and the band is over draws.
    subjects
        Patients to draw, at most 8; the first 4 when left out. Their names appear in the figure.
    by
        Stratum of each subject, indexed by subject: one average curve for each of at most 8 strata of at least 5.
    observed
        Clinical table and outcome: the Kaplan-Meier estimate of each stratum is added, dashed.
    level
        Probability of the bands over draws; those of `predict` have their own.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        Scores have no horizons or no draws where these are needed, or are of several competing causes; or subjects or
        strata are unknown or too many.
    """
    risks = scores if isinstance(scores, Risks) else None
    times, known = _read_axes(scores)
    if by is None and observed is None:
        curves = _of_patients(scores, known, _choose(subjects, known), level)
    else:
        curves = _of_strata(risks, _read_strata(by, known), level)
    ax = new_axes(ax, 5.2, 3.2)
    grid = np.append(0.0, times)
    marker = "o" if len(times) <= _FEW_HORIZONS else ""
    for number, curve in enumerate(curves):
        color = color_of(number)
        lower, middle, upper = (np.append(1.0, own) for own in (curve.lower, curve.survival, curve.upper))
        ax.fill_between(grid, lower, upper, color=color, alpha=0.18 if len(curves) <= _FEW_CURVES else 0.1, linewidth=0)
        ax.plot(grid, middle, color=color, linewidth=1.4, marker=marker, markersize=2.5, label=plain(curve.label))
    if observed is not None:
        _add_observed(ax, observed, known, _read_strata(by, known), [curve.label for curve in curves], times[-1])
    ax.set(xlim=(0, times[-1]), ylim=(0, 1.02))
    shown = scores.level if isinstance(scores, Scores) else level
    title = f"Predicted survival with {shown:.0%} bands"
    describe(ax, x="time", y="survival probability", title=title if observed is None else f"{title}; dashed: observed")
    add_legend(ax, place="outside")
    return ax


def _read_axes(scores: Scores | Risks) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if isinstance(scores, Risks):
        times, subjects = scores.times, scores.subjects
    else:
        scores.require_one_cause()
        times = scores.dataset["time"].values if "time" in scores.dataset.dims else np.empty(0)
        subjects = tuple(str(name) for name in scores.dataset["subject"].values)
    if len(times) < 2 or np.isnan(times).any():
        raise DataError(
            "scores",
            got=f"{len(times)} horizons",
            expected="several horizons of a survival outcome",
            do="Predict at times=np.linspace(...).",
        )
    return times, subjects


def _choose(subjects: Sequence[str] | None, known: tuple[str, ...]) -> list[str]:
    chosen = list(known[:_FEW_CURVES]) if subjects is None else [str(name) for name in subjects]
    unknown = [name for name in chosen if name not in known]
    if unknown or not 0 < len(chosen) <= _MOST_CURVES:
        raise DataError(
            "subjects",
            got=f"unknown ones ({name_some(unknown)})" if unknown else f"{len(chosen)} subjects",
            expected=f"1 to {_MOST_CURVES} subjects of the scores",
            do="Name some of them.",
        )
    return chosen


def _of_patients(scores: Scores | Risks, known: tuple[str, ...], chosen: list[str], level: float) -> list[_Curve]:
    rows = [known.index(name) for name in chosen]
    if isinstance(scores, Scores):
        parts = [scores.dataset[name].transpose("subject", "time").values[rows] for name in ("risk", "upper", "lower")]
        return [_Curve(name, *(1 - part[n] for part in parts)) for n, name in enumerate(chosen)]
    return [_average(scores, np.array([row]), name, level) for row, name in zip(rows, chosen, strict=True)]


def _read_strata(by: pd.Series | None, known: tuple[str, ...]) -> NDArray[np.str_]:
    if by is None:
        return np.full(len(known), "all")
    values = align_rows("strata", by.to_frame(_STRATUM), known)[_STRATUM]
    labels = values.astype(object).where(values.notna(), "missing").astype(str).to_numpy(dtype=np.str_)
    if len(np.unique(labels)) > _MOST_CURVES:
        raise DataError(
            "strata",
            got=f"{len(np.unique(labels))} different values",
            expected=f"at most {_MOST_CURVES}",
            do="Cut a number into ranges first, for instance with pd.cut.",
        )
    return labels


def _of_strata(risks: Risks | None, labels: NDArray[np.str_], level: float) -> list[_Curve]:
    if risks is None or not risks.has_draws:
        raise DataError(
            "scores of strata",
            got="scores without draws",
            expected="draws, over which a stratum's average has its band",
            do="Pass fitted.draw_risks(posterior, clinical, times=...).",
        )
    names, counts = np.unique(labels, return_counts=True)
    shown = [str(name) for name in names[counts >= _LEAST_PATIENTS]]
    return [_average(risks, np.flatnonzero(labels == name), name, level) for name in shown]


def _average(risks: Risks, rows: NDArray[np.intp], label: str, level: float) -> _Curve:
    survival = 1 - np.atleast_3d(risks.risk[..., rows, :]).reshape(-1, len(rows), len(risks.times)).mean(axis=1)
    lower, upper = np.quantile(survival, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return _Curve(label, survival.mean(axis=0), lower, upper)


def _add_observed(
    ax: "Axes",
    observed: tuple[pd.DataFrame, Survival],
    known: tuple[str, ...],
    labels: NDArray[np.str_],
    shown: list[str],
    last: float,
) -> None:
    clinical, outcome = observed
    seen = outcome.read(clinical, known)
    for number, name in enumerate(shown):
        own = labels == name
        steps = kaplan_meier(seen["time"][own], seen["event"][own])
        grid = np.append(np.unique(seen["time"][own][seen["time"][own] < last]), last)
        ax.step(
            np.append(0.0, grid), np.append(1.0, steps.at(grid)), where="post", color=color_of(number), linewidth=0.9,
            linestyle="--",
        )  # fmt: skip
