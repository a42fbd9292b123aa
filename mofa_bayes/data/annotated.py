"""MuData and AnnData, in memory or as h5mu and h5ad files, as views."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mofa_bayes.data.collect import Levels, Likelihoods
from mofa_bayes.data.extras import import_extra
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError, FileError, name_some

_SUFFIXES = (".h5mu", ".h5ad")


def read_mudata(
    source: Any,  # noqa: ANN401  (MuData and AnnData belong to an extra)
    *,
    views: Sequence[str] | None = None,
    layers: Mapping[str, str] | None = None,
    features: Mapping[str, str] | None = None,
    subjects: str | None = None,
    groups: str | None = None,
    covariates: Sequence[str] = (),
    likelihoods: Likelihoods | None = None,
    levels: Levels | None = None,
    uninformative: str = "raise",
) -> MultiView:
    """Read the modalities of a MuData, or an AnnData as the one view `X`, or a file of either.

    Parameters
    ----------
    source
        A MuData or AnnData, or the path of an `.h5mu` or `.h5ad` file.
    views
        Modalities to read, in this order; all when left out.
    layers
        View -> layer to read instead of `X`.
    features
        View -> boolean column of its `var` that marks the features to take (`"highly_variable"`).
    subjects
        Boolean column of the common `obs` that marks the subjects to take.
    groups, covariates
        Columns of the common `obs`.
    likelihoods, levels, uninformative
        As in `MultiView.from_frames`.

    Raises
    ------
    MissingExtraError
        The library that reads the file is not installed.
    FileError
        The file cannot be read.
    DataError
        A modality, layer or column is not there, or values cannot be used.

    Notes
    -----
    Sparse matrices are made dense: their zeros are values and not holes. Subjects whom a modality lacks, lack the view.
    """
    data = _open(source) if isinstance(source, str | Path) else source
    modalities = _modalities(data)
    chosen = list(modalities) if views is None else list(views)
    _require(chosen, modalities, "views", "modalities")
    for what, given in (("layers", layers), ("features", features)):
        _require(list(given or {}), chosen, what, "views")
    kept = _marked(data.obs, subjects, "subjects") if subjects is not None else pd.Index(data.obs_names)
    frames = {}
    marks = features or {}
    for view in chosen:
        own = modalities[view]
        rows = pd.Index(own.obs_names).intersection(kept, sort=False)
        columns = _marked(own.var, marks[view], f"features of {view!r}") if view in marks else own.var_names
        frames[view] = _read_matrix(view, own, (layers or {}).get(view)).loc[rows, columns]
    _require([*covariates, *([] if groups is None else [groups])], data.obs.columns, "columns of obs", "columns")
    return MultiView.from_frames(
        frames,
        likelihoods=likelihoods,
        levels=levels,
        groups=None if groups is None else data.obs.loc[kept, groups].astype(str),
        covariates=data.obs.loc[kept, list(covariates)].astype(float) if covariates else None,
        uninformative=uninformative,  # type: ignore[arg-type]  # checked where it is used
    )


def _open(source: str | Path) -> Any:  # noqa: ANN401
    path = Path(source)
    if path.suffix not in _SUFFIXES or not path.is_file():
        raise FileError(
            f"file {path.name!r}",
            got="nothing there" if not path.is_file() else f"a file named {path.suffix}",
            expected="an .h5mu or .h5ad file",
            do="Check the path.",
        )
    name = "mudata" if path.suffix == ".h5mu" else "anndata"
    library = import_extra(name, "mudata", f"file {path.name!r}")
    try:
        return library.read_h5mu(path) if name == "mudata" else library.read_h5ad(path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise FileError(
            f"file {path.name!r}",
            got=f"{type(error).__name__} while reading it",
            expected=f"a file that {name} wrote",
            do=f"Open it with {name} to see what is wrong with it.",
        ) from error


def _modalities(data: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """View -> AnnData; what is asked of either is asked by attribute, so that no library need be imported."""
    if hasattr(data, "mod") and hasattr(data, "obs"):
        return dict(data.mod)
    if hasattr(data, "X") and hasattr(data, "var_names") and hasattr(data, "obs"):
        return {"X": data}
    raise DataError(
        "data to read",
        got=type(data).__name__,
        expected="a MuData, an AnnData, or the path of a file of either",
        do="For tables, call MultiView.from_frames.",
    )


def _read_matrix(view: str, own: Any, layer: str | None) -> pd.DataFrame:  # noqa: ANN401
    if layer is not None:
        _require([layer], list(own.layers), f"layer of view {view!r}", "layers")
    matrix = own.X if layer is None else own.layers[layer]
    if matrix is None:
        raise DataError(f"view {view!r}", got="no X", expected="a matrix", do="Name a layer: layers={...}.")
    dense = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
    return pd.DataFrame(dense, index=own.obs_names.astype(str), columns=own.var_names.astype(str))


def _marked(table: pd.DataFrame, column: str, what: str) -> pd.Index:
    _require([column], table.columns, what, "columns")
    marks = table[column]
    if marks.dtype != bool:
        raise DataError(
            what, got=f"column {column!r} of type {marks.dtype}", expected="a boolean column", do="Make it one."
        )
    chosen: pd.Index = table.index[marks.to_numpy()]
    return chosen


def _require(wanted: Sequence[str], known: Any, what: str, kind: str) -> None:  # noqa: ANN401
    absent = [name for name in wanted if name not in known]
    if absent:
        raise DataError(
            what,
            got=f"unknown {kind} ({name_some(absent)})",
            expected=f"some of {name_some(known, 12)}",
            do="Correct the names.",
        )
