"""The report's answer to whose risk: effects, merits and the distribution of scores, over patients and never by one."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.export.report.scores import ScoreTable, name_place
from mofa_bayes.export.report.sections import LEAST_SHOWN, Answer, Section
from mofa_bayes.export.report.tables import Table, as_table
from mofa_bayes.risk import Evaluation, FittedRisk
from mofa_bayes.risk.response import EXPECTATION

Array = NDArray[np.float64]

_N_BINS = 20


def describe_risk(
    risk: FittedRisk | None, scores: ScoreTable | None, evaluation: Evaluation | None, *, level: float
) -> Answer:
    """Say what raises the risk, how good the scores are, and how they are spread."""
    tables: list[Table] = []
    figures: dict[str, str] = {}
    notes: list[str] = []
    data: dict[str, Any] = {}
    lead = []
    if risk is not None:
        effects = risk.effects(level=level)
        scale = f"log {risk.response.ratio.replace('_', ' ')}" if risk.response.ratio else "change of the outcome"
        caption = f"Effects, {scale} per unit, with {100 * level:g} % intervals"
        lead.append(f"Outcome {risk.spec.outcome!r} of {risk.n_subjects:,} subjects, method {risk.spec.method}.")
        tables.append(as_table(caption, effects))
        figures["effects"] = caption
        data["effects"] = _records(label_effects(effects))
        notes.append("A factor's unit is about one standard deviation; a covariate's is its own.")
    if scores is not None:
        summary, histograms = _summarise(scores)
        lead.append(f"Scores of {scores.n_subjects:,} subjects.")
        percent = [] if scores.labels is EXPECTATION else [str(name) for name in summary if name != scores.labels.dim]
        tables.append(as_table("Scores over subjects", summary, percent=percent))
        figures["scores"] = (
            f"How many subjects have which {scores.labels.estimate.replace('predicted', 'expected value')}"
        )
        data["scores"] = histograms
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


def label_effects(effects: pd.DataFrame) -> pd.DataFrame:
    """Rows of a forest: what stands before the term names the response that it is an effect on."""
    before = [str(name) for name in effects.columns[: list(effects.columns).index("term")]]
    label = effects["term"].astype(str)
    for name in before:
        label = label + ", " + effects[name].astype(str)
    return effects[["mean", "lower", "upper"]].assign(label=label)


def _summarise(scores: ScoreTable) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Quantiles of the estimates by time, category or response, and how many subjects fall into each of 20 ranges."""
    rows, histograms = [], []
    for place, own in scores.by_place():
        values = own["estimate"].to_numpy(dtype=np.float64)
        row: dict[str, object] = {scores.labels.dim: place} if place else {}
        row |= dict(zip(("10 %", "median", "90 %"), np.quantile(values, [0.1, 0.5, 0.9]), strict=True))
        row |= {"mean": values.mean(), "mean width of interval": float((own["upper"] - own["lower"]).mean())}
        rows.append(row)
        low, high = _round_range(values) if scores.labels is EXPECTATION else (0.0, 1.0)
        counts, _ = np.histogram(values, bins=_N_BINS, range=(low, high))
        shown = np.where(counts < LEAST_SHOWN, 0, counts).tolist()
        histograms.append({"place": place, "low": low, "high": high, "counts": shown})
    return pd.DataFrame(rows), histograms


def _round_range(values: Array) -> tuple[float, float]:
    """Find a round range around values, whose ends are nobody's own."""
    low, high = float(values.min()), float(values.max())
    step = 10.0 ** np.floor(np.log10(high - low)) if high > low else 1.0
    return float(f"{step * np.floor(low / step):.6g}"), float(f"{step * (np.floor(high / step) + 1):.6g}")


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
    places = table["time"].map(name_place)
    return [
        {"place": place, "points": _records(table.loc[places == place, columns].rename(columns={across: "x"}))}
        for place in places.drop_duplicates()
    ]
