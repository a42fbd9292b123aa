"""How a value shows itself in Jupyter: its line as a caption over one small table, in the colours of the page."""

import html
import re
from collections.abc import Collection, Iterable

import pandas as pd

_MOST_ROWS = 60
_CAPTION = "caption-side:top;text-align:left;font-weight:bold;color:inherit;padding:0 0 .3em"


def render_card(
    title: str,
    table: pd.DataFrame,
    *,
    index: bool = True,
    percent: Collection[str] = (),
    notes: Iterable[str] = (),
) -> str:
    """Render a summary as HTML that sets no colour of its own, so that it reads in light and in dark.

    Parameters
    ----------
    title
        A repr; its angle brackets are left out.
    table
        The summary. All text in it is escaped.
    index
        Show the index, whose cells are then the heads of their rows.
    percent
        Columns of shares, shown in percent.
    notes
        Sentences below the table.
    """
    heads = [*(str(name or "") for name in table.index.names if index), *(str(name) for name in table.columns)]
    labels = [key if isinstance(key, tuple) else (key,) for key in table.index[:_MOST_ROWS]]
    rows = [
        "".join(_head(_show(own), "row") for own in label if index)
        + "".join(_cell(value, is_share=name in percent) for name, value in zip(table.columns, row, strict=True))
        for label, row in zip(labels, table.head(_MOST_ROWS).itertuples(index=False, name=None), strict=True)
    ]
    if len(table) > _MOST_ROWS:
        notes = [f"{len(table) - _MOST_ROWS} more rows.", *notes]
    return (
        f'<div style="overflow-x:auto;color:inherit"><table style="border-collapse:collapse;font-size:90%">'
        f'<caption style="{_CAPTION}">{html.escape(re.sub("^<|>$", "", title))}</caption>'
        f"<thead><tr>{''.join(_head(name, 'col') for name in heads)}</tr></thead>"
        f"<tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"
        f"{''.join(f'<p>{html.escape(note)}</p>' for note in notes)}</div>"
    )


def _head(text: str, scope: str) -> str:
    return f'<th scope="{scope}" style="text-align:left">{html.escape(text)}</th>'


def _cell(value: object, *, is_share: bool) -> str:
    align = "right" if pd.api.types.is_number(value) else "left"
    text = f"{value:.1%}" if is_share and isinstance(value, float) and value == value else _show(value)
    return f'<td style="text-align:{align}">{html.escape(text)}</td>'


def _show(value: object) -> str:
    if pd.api.types.is_float(value):
        return "" if pd.isna(value) else f"{value:.4g}"
    return str(value)
