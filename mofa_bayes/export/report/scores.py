"""Scores as the report takes them: one table for risks at times, probabilities of categories, and expected values."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mofa_bayes.errors import DataError
from mofa_bayes.risk import Scores
from mofa_bayes.risk.response import EXPECTATION, PROBABILITY, RISK, Labels


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Scores of patients: `frame` has `subject`, `place` (text, '' where there is one), `estimate, lower, upper`."""

    labels: Labels
    frame: pd.DataFrame

    @property
    def n_subjects(self) -> int:
        """Number of patients."""
        return int(self.frame["subject"].nunique())

    def by_place(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Walk over times, categories or responses."""
        for place in self.frame["place"].drop_duplicates():
            yield str(place), self.frame[self.frame["place"] == place]


def read_scores(scores: object) -> ScoreTable:
    """Read scores, or a table as `Scores.to_frame` makes it.

    Raises
    ------
    DataError
        Columns are absent, or estimates are not numbers, or not probabilities where they should be.
    """
    table = scores.to_frame() if isinstance(scores, Scores) else scores
    columns = set(table.columns) if isinstance(table, pd.DataFrame) else set()
    known = (RISK, PROBABILITY, EXPECTATION)
    found = [own for own in known if {"subject", own.dim, own.estimate, "lower", "upper"} <= columns]
    if not isinstance(table, pd.DataFrame) or not found:
        raise DataError(
            "scores",
            got=type(table).__name__ if not isinstance(table, pd.DataFrame) else "other columns",
            expected="a table with columns subject, lower, upper and those of an estimate, such as time and risk",
            do="Pass fitted.predict(...), or what scores.to_parquet wrote.",
        )
    labels = found[0]
    estimate = pd.to_numeric(table[labels.estimate], errors="coerce").astype(np.float64)
    is_good = np.isfinite(estimate) if labels is EXPECTATION else estimate.between(0, 1)
    if not len(table) or not is_good.all():
        raise DataError(
            "scores",
            got="estimates that are not numbers, or not from 0 to 1" if len(table) else "no row",
            expected="finite numbers" if labels is EXPECTATION else "probabilities",
            do="Make the scores again.",
        )
    numbers = {name: table[name].to_numpy(dtype=np.float64) for name in ("lower", "upper")}
    places = [name_place(place) for place in table[labels.dim]]
    frame = pd.DataFrame(
        {"subject": table["subject"].astype(str).to_numpy(), "place": places, "estimate": estimate.to_numpy()}
    )
    return ScoreTable(labels, frame.assign(**numbers))


def name_place(place: object) -> str:
    """Name a time, category or response; '' for the NaN that stands for no time."""
    if isinstance(place, float | np.floating):
        return "" if np.isnan(place) else f"{place:g}"
    return str(place)
