"""Scores: each patient's outcome as a distribution, and the table it is handed on as."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.atomic import replacing
from mofa_bayes.card import render_card
from mofa_bayes.errors import DataError, name_some
from mofa_bayes.risk.response import EXPECTATION, PROBABILITY, RISK, Labels

_FEWEST = 5  # patients of whom averages are shown
_SHARES = ("share_factors", "share_parameters", "share_outcome")
_PREDICTIVE = ("predictive_lower", "predictive_upper")
_PLURAL = {"category": "categories", "response": "responses"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Scores:
    """What is expected of patients, from `FittedRisk.predict`.

    Attributes
    ----------
    dataset
        Dims (subject, time | category | response): `risk` by each time, `probability` of each category, or the
        `predicted` value of each response; `lower`, `upper`; `share_factors, share_parameters, share_outcome`; for
        responses also `predictive_lower, predictive_upper, predictive_sd`. Competing risks have the dim `cause` after
        `time`, with `code` as its number. With one predictor for each subject,
        `linear_predictor` and `linear_predictor_sd` (subject). A binary outcome has one time, NaN.
    level
        Probability of the intervals.
    provenance
        What made the scores: package, version, model, fingerprints.
    """

    dataset: xr.Dataset
    level: float
    provenance: Mapping[str, str]

    @property
    def labels(self) -> Labels:
        """Name of the dim beside `subject`, and of the estimate."""
        return next(labels for labels in (RISK, PROBABILITY, EXPECTATION) if labels.dim in self.dataset.dims)

    def to_frame(self) -> pd.DataFrame:
        """One row for each subject and time, category or response, subjects in their own order.

        Returns
        -------
        Columns `subject`; of competing risks `cause`; `time`, `category` or `response`; `risk`, `probability` or
        `predicted`; `lower, upper`; for responses `predictive_lower, predictive_upper`; `level, share_factors,
        share_parameters, share_outcome`.

        The interval is of the estimate and holds uncertainty about factors and parameters; the predictive interval is
        of the outcome itself. The shares split the variance of the outcome (for a category, of whether it is this one)
        and sum to 1. `time` is NaN for a binary outcome.
        """
        if "cause" in self.dataset.dims:
            return pd.concat([self.of_cause(str(cause)).to_frame() for cause in self.dataset["cause"].values],
                             ignore_index=True)  # fmt: skip
        labels = self.labels
        subjects, places = self.dataset["subject"].values, self.dataset[labels.dim].values
        own = self.dataset.transpose("subject", labels.dim, ...)
        estimates = (labels.estimate, "lower", "upper", *(name for name in _PREDICTIVE if name in own))
        cells = {name: own[name].values.ravel() for name in (*estimates, *_SHARES)}
        if labels is not RISK:
            places = places.astype(object)
        cause = {"cause": str(own["cause"].values)} if "cause" in own.coords else {}
        return pd.DataFrame(
            {
                "subject": np.repeat(subjects, len(places)).astype(object),
                **cause,
                labels.dim: np.tile(places, len(subjects)),
                **{name: cells[name] for name in estimates},
                "level": self.level,
                **{name: cells[name] for name in _SHARES},
            }
        )

    def of_cause(self, cause: str) -> "Scores":
        """Return the scores of one of several causes, which are the risks of one event like others.

        Raises
        ------
        DataError
            There is no such cause.
        """
        causes = [str(name) for name in self.dataset["cause"].values] if "cause" in self.dataset.dims else []
        if cause not in causes:
            raise DataError(
                "cause",
                got=repr(cause),
                expected=f"one of {', '.join(causes)}" if causes else "scores of competing risks",
                do="Name a cause of the model.",
            )
        return replace(self, dataset=self.dataset.sel(cause=cause))

    def require_one_cause(self) -> None:
        """Raise DataError when these are risks of several causes, of which one is needed."""
        if "cause" in self.dataset.dims:
            causes = [str(cause) for cause in self.dataset["cause"].values]
            raise DataError(
                "scores",
                got=f"risks of {len(causes)} causes ({name_some(causes)})",
                expected="those of one",
                do=f'Pass scores.of_cause("{causes[0]}"); the outcome stays the same.',
            )

    @property
    def linear_predictor(self) -> pd.DataFrame:
        """Mean and sd of g'(c - mean c) + b'z over factors and parameters: columns `subject, mean, sd`.

        A larger value is a higher risk at every horizon, or a higher outcome; for concordance and other ranks.

        Raises
        ------
        DataError
            There are several responses, each with a predictor of its own.
        """
        if "linear_predictor" not in self.dataset or "cause" in self.dataset.dims:
            raise DataError(
                "linear_predictor",
                got="scores of several responses or causes",
                expected="one predictor for each patient",
                do="Rank by `predicted` of one response, or take the scores of one cause.",
            )
        return pd.DataFrame(
            {
                "subject": self.dataset["subject"].values.astype(object),
                "mean": self.dataset["linear_predictor"].values,
                "sd": self.dataset["linear_predictor_sd"].values,
            }
        )

    def to_parquet(self, path: str | Path) -> None:
        """Write `to_frame()` with its provenance, as JSON under the key `mofa_bayes` of the schema's metadata.

        The file appears whole or not at all.

        Raises
        ------
        FileError
            The file cannot be written there.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.to_frame(), preserve_index=False)
        note = json.dumps(self._note()).encode()
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"mofa_bayes": note})
        with replacing(path) as part:
            pq.write_table(table, part)

    def to_csv(self, path: str | Path) -> None:
        """Write `to_frame()` as CSV, and its provenance beside it as JSON: scores.csv and scores.csv.json.

        Comments in a CSV file stop Excel and most readers, so the table is left plain. The side file holds the SHA-256
        of the table, by which the two can be matched after they have been moved. Each appears whole or not at all.

        Raises
        ------
        FileError
            A file cannot be written there.
        """
        text = self.to_frame().to_csv(index=False, lineterminator="\n").encode()
        note = {**self._note(), "sha256": hashlib.sha256(text).hexdigest()}
        with replacing(path) as part:
            part.write_bytes(text)
        with replacing(f"{path}.json") as part:
            part.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")

    def _note(self) -> dict[str, object]:
        """Provenance as a value for JSON."""
        values = self.dataset[self.labels.dim].values
        if self.labels is RISK:
            times = [float(time) for time in values if not np.isnan(time)]
            return {**self.provenance, "times": times, "level": self.level}
        names = [str(value) for value in values]
        return {**self.provenance, _PLURAL[self.labels.dim]: names, "level": self.level}

    def summary(self) -> pd.DataFrame:
        """Average estimates, widths of intervals and shares over patients, one row for each time or its like."""
        if "cause" in self.dataset.dims:
            causes = [str(cause) for cause in self.dataset["cause"].values]
            return pd.concat([self.of_cause(cause).summary() for cause in causes], keys=causes, names=["cause"])
        estimate, dim = self.labels.estimate, self.labels.dim
        width = self.dataset["upper"] - self.dataset["lower"]
        table = pd.DataFrame(
            {
                f"mean_{estimate}": self.dataset[estimate].mean("subject").values,
                "mean_width": width.mean("subject").values,
                **{name: self.dataset[name].mean("subject").values for name in _SHARES},
            },
            index=pd.Index(self.dataset[dim].values, name=dim),
        )
        table.insert(2, "level", self.level)
        return table

    def __repr__(self) -> str:
        values = self.dataset[self.labels.dim].values
        if self.labels is RISK:
            times = ", ".join(f"{time:g}" for time in values if not np.isnan(time))
            causes = np.atleast_1d(self.dataset["cause"].values).tolist() if "cause" in self.dataset.coords else []
            shown = (f" at {times}" if times else "") + "".join(f"; {cause}" for cause in causes)
        else:
            rest = f" and {len(values) - 5} more" if len(values) > 5 else ""
            shown = f"; {', '.join(str(value) for value in values[:5])}{rest}"
        return f"<Scores: {self.dataset.sizes['subject']} subjects{shown}>"

    def _repr_html_(self) -> str:
        if self.dataset.sizes["subject"] >= _FEWEST:
            return render_card(repr(self), self.summary())
        note = f"Averages are shown of at least {_FEWEST} patients; summary() has them."
        return render_card(repr(self), self.summary()[["level"]], notes=[note])
