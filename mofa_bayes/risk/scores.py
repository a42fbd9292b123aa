"""Scores: each patient's risk as a distribution, and the table it is handed on as."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.atomic import replacing
from mofa_bayes.card import render_card

_FEWEST = 5  # patients of whom averages are shown
_COLUMNS = ("risk", "lower", "upper")
_SHARES = ("share_factors", "share_parameters", "share_outcome")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Scores:
    """Risks of patients, from `FittedRisk.predict`.

    Attributes
    ----------
    dataset
        `risk, lower, upper, share_factors, share_parameters, share_outcome` (subject, time), and `linear_predictor`,
        `linear_predictor_sd` (subject). A binary outcome has one time, NaN.
    level
        Probability of the interval from `lower` to `upper`.
    provenance
        What made the scores: package, version, model, fingerprints.
    """

    dataset: xr.Dataset
    level: float
    provenance: Mapping[str, str]

    def to_frame(self) -> pd.DataFrame:
        """One row for each subject and time, subjects in their own order.

        Returns
        -------
        Columns `subject, time, risk, lower, upper, level, share_factors, share_parameters, share_outcome`. The interval
        is of the risk and holds uncertainty about factors and parameters; the shares split the variance of the outcome
        itself and sum to 1. `time` is NaN for a binary outcome.
        """
        subjects, times = self.dataset["subject"].values, self.dataset["time"].values
        cells = {name: self.dataset[name].values.ravel() for name in (*_COLUMNS, *_SHARES)}
        return pd.DataFrame(
            {
                "subject": np.repeat(subjects, len(times)).astype(object),
                "time": np.tile(times, len(subjects)),
                **{name: cells[name] for name in _COLUMNS},
                "level": self.level,
                **{name: cells[name] for name in _SHARES},
            }
        )

    @property
    def linear_predictor(self) -> pd.DataFrame:
        """Mean and sd of g'(c - mean c) + b'z over factors and parameters: columns `subject, mean, sd`.

        A larger value is a higher risk at every horizon; for concordance and other ranks.
        """
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

        times = [float(time) for time in self.dataset["time"].values if not np.isnan(time)]
        note = json.dumps({**self.provenance, "times": times, "level": self.level})
        table = pa.Table.from_pandas(self.to_frame(), preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"mofa_bayes": note.encode()})
        with replacing(path) as part:
            pq.write_table(table, part)

    def summary(self) -> pd.DataFrame:
        """Average risks, widths of intervals and shares over patients, one row for each time."""
        table = pd.DataFrame(
            {
                "mean_risk": self.dataset["risk"].mean("subject").values,
                "mean_width": (self.dataset["upper"] - self.dataset["lower"]).mean("subject").values,
                **{name: self.dataset[name].mean("subject").values for name in _SHARES},
            },
            index=pd.Index(self.dataset["time"].values, name="time"),
        )
        table.insert(2, "level", self.level)
        return table

    def __repr__(self) -> str:
        times = ", ".join(f"{time:g}" for time in self.dataset["time"].values if not np.isnan(time))
        return f"<Scores: {self.dataset.sizes['subject']} subjects{f' at {times}' if times else ''}>"

    def _repr_html_(self) -> str:
        if self.dataset.sizes["subject"] >= _FEWEST:
            return render_card(repr(self), self.summary())
        note = f"Averages are shown of at least {_FEWEST} patients; summary() has them."
        return render_card(repr(self), self.summary()[["level"]], notes=[note])
