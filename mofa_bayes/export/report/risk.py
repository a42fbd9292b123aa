"""The report's answer to whose risk: effects, merits and the distribution of scores, over patients and never by one."""

from typing import Any

import numpy as np
import pandas as pd

from mofa_bayes.errors import DataError
from mofa_bayes.export.report.sections import LEAST_SHOWN, Answer, Section, by_horizon
from mofa_bayes.export.report.tables import Table, as_table
from mofa_bayes.risk import Evaluation, FittedRisk

_N_BINS = 20


def describe_risk(
    risk: FittedRisk | None, scores: pd.DataFrame | None, evaluation: Evaluation | None, *, level: float
) -> Answer:
    """Say what raises the risk, how good the scores are, and how they are spread."""
    tables: list[Table] = []
    figures: dict[str, str] = {}
    notes: list[str] = []
    data: dict[str, Any] = {}
    lead = []
    if risk is not None:
        effects = risk.effects(level=level)
        ratio = risk.response.ratio
        lead.append(f"Outcome {risk.spec.outcome!r} of {risk.n_subjects:,} subjects, method {risk.spec.method}.")
        tables.append(
            as_table(f"Effects, log {ratio.replace('_', ' ')} per unit, with {100 * level:g} % intervals", effects)
        )
        figures["effects"] = f"Effects, log {ratio.replace('_', ' ')} per unit, with {100 * level:g} % intervals"
        data["effects"] = _records(effects[["term", "mean", "lower", "upper"]].rename(columns={"term": "label"}))
        notes.append("A factor's unit is about one standard deviation; a covariate's is its own.")
    if scores is not None:
        summary, histogram = _summarise(scores)
        lead.append(f"Scores of {scores['subject'].nunique():,} subjects.")
        tables.append(
            as_table("Scores over subjects", summary, percent=[str(name) for name in summary if name != "time"])
        )
        figures["scores"] = "How many subjects have which risk"
        data["scores"] = histogram
        notes.append(
            "The interval of a score holds uncertainty of factors and parameters, not the outcome's own chance. Bars "
            f"of fewer than {LEAST_SHOWN} subjects are not shown."
        )
    if evaluation is not None:
        how = evaluation.resampling
        caption = f"Merits of the scores, {100 * how.level:g} % intervals over {how.interval}"
        tables.append(as_table(caption, evaluation.table.drop(columns="level")))
        figures |= {"calibration": "Calibration: observed against predicted risk", "decision": "Net benefit"}
        data["calibration"] = _curves(evaluation.calibration_curve, "predicted", ["observed", "lower", "upper"])
        data["decision"] = _curves(
            evaluation.decision_curve, "threshold", ["net_benefit", "lower", "upper", "treat_all"]
        )
    section = Section(
        key="risk",
        question="Whose risk?",
        lead=" ".join(lead) or "Merits of scores of another model.",
        tables=tuple(tables),
        notes=tuple(notes),
        figures=figures,
    )
    return section, data


def read_scores(scores: object) -> pd.DataFrame:
    """Check a table of scores, as `Scores.to_frame` makes it.

    Raises
    ------
    DataError
        Columns are absent, or risks are not probabilities.
    """
    wanted = ("subject", "time", "risk", "lower", "upper")
    if not isinstance(scores, pd.DataFrame) or not set(wanted) <= set(scores.columns):
        raise DataError(
            "scores",
            got=type(scores).__name__ if not isinstance(scores, pd.DataFrame) else "other columns",
            expected=f"a table with columns {', '.join(wanted)}",
            do="Pass fitted.predict(...), or what scores.to_parquet wrote.",
        )
    risk = pd.to_numeric(scores["risk"], errors="coerce")
    if not len(scores) or not risk.between(0, 1).all():
        raise DataError("scores", got="risks outside 0 to 1", expected="probabilities", do="Make the scores again.")
    return scores


def _summarise(scores: pd.DataFrame) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Quantiles of risk by horizon, and how many subjects fall into each twentieth."""
    rows, histograms = [], []
    for horizon, own in by_horizon(scores):
        risk = own["risk"].to_numpy(dtype=np.float64)
        row: dict[str, object] = {"time": float(horizon)} if horizon else {}
        row |= dict(zip(("10 %", "median", "90 %"), np.quantile(risk, [0.1, 0.5, 0.9]), strict=True))
        row |= {"mean risk": risk.mean(), "mean width of interval": float((own["upper"] - own["lower"]).mean())}
        rows.append(row)
        counts, _ = np.histogram(risk, bins=_N_BINS, range=(0, 1))
        histograms.append({"time": horizon, "counts": np.where(counts < LEAST_SHOWN, 0, counts).tolist()})
    return pd.DataFrame(rows), histograms


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON can hold them: finite numbers, None otherwise."""
    records: list[dict[str, Any]] = [
        {str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")
    ]
    return records


def _plain(value: object) -> object:
    if isinstance(value, float | np.floating):
        # Ends of a curve are risks of patients: four digits draw it, and are nobody's own.
        return float(f"{value:.4g}") if np.isfinite(value) else None
    return str(value)


def _curves(table: pd.DataFrame, across: str, columns: list[str]) -> list[dict[str, Any]]:
    columns = [across, *columns]
    return [
        {"time": horizon, "points": _records(own[columns].rename(columns={across: "x"}))}
        for horizon, own in by_horizon(table)
    ]
