"""Predicted numbers and grades beside what happened, with the metrics that such outcomes have."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.errors import DataError, SpecError
from mofa_bayes.risk.count import Count
from mofa_bayes.risk.evaluation.curves import find_quantiles
from mofa_bayes.risk.metrics import auc, binary_status
from mofa_bayes.risk.metrics.checks import Array, divide
from mofa_bayes.risk.metrics.measured import (
    count_crps,
    count_log_score,
    linear_calibration,
    normal_crps,
    normal_log_score,
    poisson_deviance,
    r_squared,
    ranked_probability_score,
)
from mofa_bayes.risk.response import PROBABILITY
from mofa_bayes.risk.scores import Scores

Metrics = dict[tuple[str, str], Array]
"""(metric, place) to values (replicate,); the place is empty where a metric has none."""


@dataclass(frozen=True, slots=True, eq=False)
class Measurements:
    """Scores of N subjects beside their outcomes.

    Attributes
    ----------
    scores
        Estimates of responses, or probabilities of categories.
    outcome
        Values (subject, response), NaN where missing; or positions of categories, (subject, 1).
    is_count
        Whether the values are counts.
    """

    scores: Scores
    outcome: Array
    is_count: bool

    @property
    def subjects(self) -> list[str]:
        """Identifiers."""
        return [str(name) for name in self.scores.dataset["subject"].values]

    def take(self, rows: NDArray[np.intp]) -> "Measurements":
        """Return some of the patients, by position."""
        own = Scores(
            dataset=self.scores.dataset.isel(subject=rows), level=self.scores.level, provenance=self.scores.provenance
        )
        return replace(self, scores=own, outcome=self.outcome[rows])

    def compute(self, weights: Array) -> Metrics:
        """Compute every metric under case weights (replicate, subject)."""
        if self.scores.labels is PROBABILITY:
            return self._of_grades(weights)
        metrics: Metrics = {}
        for r, name in enumerate(self.scores.dataset["response"].values):
            metrics.update(self._of_response(r, str(name), weights))
        return metrics

    def tabulate(self, n_replicates: int, level: float, rng: np.random.Generator) -> pd.DataFrame:
        """Metrics with bootstrap intervals over patients, one row for each metric and place."""
        n = len(self.outcome)
        once = self.compute(np.ones((1, n)))
        counts = rng.multinomial(n, np.full(n, 1 / n), size=n_replicates).astype(np.float64)
        replicates = self.compute(counts)
        rows = []
        for (metric, place), value in once.items():
            lower, upper = find_quantiles(replicates[metric, place], level)
            rows.append((metric, place, float(value[0]), float(lower), float(upper), level))
        return pd.DataFrame(rows, columns=["metric", self.scores.labels.dim, "estimate", "lower", "upper", "level"])

    def _of_response(self, r: int, name: str, weights: Array) -> Metrics:
        values = self.scores.dataset.isel(response=r)
        known = ~np.isnan(self.outcome[:, r])
        y, w = self.outcome[known, r], weights[:, known]
        predicted, sd, lower, upper = (
            values[field].values[known]
            for field in ("predicted", "predictive_sd", "predictive_lower", "predictive_upper")
        )
        crps, log_score = (count_crps, count_log_score) if self.is_count else (normal_crps, normal_log_score)
        losses = {
            "crps": crps(predicted, sd, y),
            "log_score": log_score(predicted, sd, y),
            "coverage": ((lower <= y) & (y <= upper)).astype(np.float64),
        }
        if self.is_count:
            losses["poisson_deviance"] = poisson_deviance(predicted, y)
        offset, slope = linear_calibration(predicted, y, weights=w)
        rmse = np.sqrt(_average((y - predicted) ** 2, w))
        own = {"r_squared": r_squared(predicted, y, weights=w), "rmse": rmse}
        own |= {metric: _average(loss, w) for metric, loss in losses.items()}
        own |= {"calibration_intercept": offset, "calibration_slope": slope}
        return {(metric, name): value for metric, value in own.items()}

    def _of_grades(self, weights: Array) -> Metrics:
        probability = self.scores.dataset["probability"].transpose("subject", "category").values
        levels = [str(level) for level in self.scores.dataset["category"].values]
        grade = self.outcome[:, 0].astype(np.intp)
        chance = np.maximum(probability[np.arange(len(grade)), grade], 1e-300)
        metrics = {
            ("ranked_probability_score", ""): _average(ranked_probability_score(probability, grade), weights),
            ("log_score", ""): _average(np.log(chance), weights),
        }
        above = 1.0 - np.cumsum(probability, axis=1)
        for k, level in enumerate(levels[:-1]):
            is_above = (grade > k).astype(np.float64)
            value = np.full(len(weights), np.nan)
            if 0 < is_above.sum() < len(grade):
                value = auc(above[:, k : k + 1], binary_status(is_above, weights=weights))[..., 0]
            metrics["auc", f"above {level}"] = value
        return metrics


def read_measurements(scores: Scores, clinical: pd.DataFrame, outcome: object, interval: str) -> Measurements:
    """Read the outcomes of the subjects of scores.

    Raises
    ------
    DataError
        The outcome is of another kind than the scores.
    SpecError
        Intervals are asked for that need draws.
    """
    if interval != "patients":
        raise SpecError(
            "interval",
            got=repr(interval),
            expected="'patients', for an outcome that is measured, counted or graded",
            do="Leave it out; the scores' own intervals say what is uncertain in the model.",
        )
    dim = scores.labels.dim
    places = tuple(str(value) for value in scores.dataset[dim].values)
    columns = getattr(outcome, "columns", ())
    expected = tuple(str(level) for level in getattr(outcome, "levels", ())) or tuple(columns)[: len(places)]
    if places != expected:
        raise DataError(
            "scores",
            got=f"{dim} {', '.join(places[:5])}",
            expected=f"scores of a model of this outcome, {outcome!r:.80}",
            do="Pass scores of a model with this outcome.",
        )
    values = outcome.read(clinical, [str(name) for name in scores.dataset["subject"].values])["outcome"]  # type: ignore[attr-defined]
    return Measurements(scores, values.reshape(len(values), -1), isinstance(outcome, Count))


def _average(loss: Array, weights: Array) -> Array:
    return divide((weights * loss).sum(axis=-1), weights.sum(axis=-1))
