"""Small tables of the report: data frames as rows of text with the values that they sort by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and what it sorts by: text or a number, empty where there is none."""

    text: str
    value: str | float


@dataclass(frozen=True, slots=True)
class Table:
    """A caption, the names of columns and which of them hold numbers, and rows of cells."""

    caption: str
    columns: tuple[str, ...]
    is_number: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]


def as_table(caption: str, frame: pd.DataFrame, *, percent: Sequence[str] = ()) -> Table:
    """Format a frame: columns of `percent` hold shares, other numbers get three significant digits."""
    is_number = [pd.api.types.is_numeric_dtype(frame[name]) and frame[name].dtype != bool for name in frame]
    columns = [_format(frame[name], numeric, name in percent) for name, numeric in zip(frame, is_number, strict=True)]
    return Table(
        caption,
        tuple(str(name).replace("_", " ") for name in frame),
        tuple(is_number),
        tuple(zip(*columns, strict=True)),
    )


def _format(column: pd.Series, is_number: bool, is_percent: bool) -> list[Cell]:
    if column.dtype == bool:
        return [Cell("yes" if value else "no", "yes" if value else "no") for value in column]
    if not is_number:
        return [Cell(text, text) for text in column.astype(str)]
    return [_format_number(float(value), is_percent) for value in column.to_numpy(dtype=np.float64, na_value=np.nan)]


def _format_number(value: float, is_percent: bool) -> Cell:
    if not np.isfinite(value):
        return Cell("\N{EN DASH}", "")
    if is_percent:
        return Cell(f"{100 * value:.1f} %", value)
    is_whole = value == round(value) and abs(value) < 1e15
    return Cell(f"{value:,.0f}" if is_whole else f"{value:.3g}", value)
