"""A fitted risk model as a NetCDF file: draws as they are, the rest as JSON of values that we know."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mofa_bayes.errors import FileError, MofaBayesError
from mofa_bayes.netcdf import read_tree as read_checked
from mofa_bayes.netcdf import refuse_foreign, write_tree

if TYPE_CHECKING:
    from mofa_bayes.risk.fitted import FittedRisk

SCHEMA_VERSION = 2
_WHAT = "a risk model that fitted.save() wrote"
_HOMES: Mapping[str, str] = {
    "Binary": "binary", "BinaryResponse": "binary", "CompetingResponse": "competing", "CompetingRisks": "competing",
    "Continuous": "continuous", "ContinuousResponse": "continuous", "Count": "count", "CountResponse": "count",
    "Interactions": "interactions", "MSpline": "baselines", "MultiContinuous": "panel", "Ordinal": "ordinal",
    "OrdinalResponse": "ordinal", "PanelResponse": "panel",
    "PiecewiseExponential": "baselines", "ProbitResponse": "binary", "QuadratureError": "accuracy",
    "RiskModel": "model", "Scaling": "inputs", "Strength": "effects", "Survival": "survival",
    "SurvivalResponse": "survival", "Weibull": "baselines",
}  # fmt: skip
"""Where each value that may stand in a file is defined: no other name is ever looked up."""
_STATE = ("spec", "response", "scaling", "factors", "n_subjects", "fingerprint", "quadrature_error", "interactions")


def write_risk(fitted: "FittedRisk", path: Path) -> None:
    """Write a fitted risk model, whole or not at all. Nothing of a patient is in it.

    Raises
    ------
    FileError
        The place cannot be written.
    """
    tree = fitted.tree.copy()
    state = {name: encode(getattr(fitted, name)) for name in _STATE}
    tree.attrs = {**fitted.tree.attrs, "schema_version": SCHEMA_VERSION, "risk": json.dumps(state, allow_nan=True)}
    write_tree(tree, path)


def load_risk(path: str | Path) -> "FittedRisk":
    """Read a risk model that `FittedRisk.save` wrote.

    Raises
    ------
    FileError
        The file is absent, damaged, altered, foreign, or from a later version of this package.
    """
    from mofa_bayes.risk.fitted import FittedRisk

    place = Path(path)
    tree = read_checked(place, _WHAT, _require_risk)
    attributes = dict(tree.attrs)
    text = attributes.pop("risk")
    attributes.pop("schema_version")
    tree.attrs = attributes
    try:
        state = json.loads(text)
        return FittedRisk(tree=tree, **{name: decode(state[name]) for name in _STATE})
    except (KeyError, TypeError, ValueError, AttributeError, MofaBayesError) as error:
        raise FileError(
            f"file {place.name!r}",
            got="a description of the model that cannot be read",
            expected=_WHAT,
            do="Save the model again.",
        ) from error


def encode(value: object) -> Any:  # noqa: ANN401  (what JSON can hold)
    """Turn a value of the risk models into what JSON can hold.

    Raises
    ------
    TypeError
        It is of a kind that files do not know.
    """
    if is_dataclass(value) and type(value).__name__ in _HOMES:
        own = {field.name: encode(getattr(value, field.name)) for field in fields(value) if field.init}
        return {"kind": type(value).__name__, **own}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, tuple | list):
        return {"list": [encode(item) for item in value]}
    if isinstance(value, Mapping):
        return {"table": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} cannot be stored")


def decode(stored: Any) -> Any:  # noqa: ANN401
    """Return the value that `encode` was given; lists come back as tuples.

    Raises
    ------
    ValueError
        The text is not one that `encode` made.
    """
    if not isinstance(stored, dict):
        if isinstance(stored, list):
            raise ValueError("a bare list")
        return stored
    if "array" in stored:
        return np.asarray(stored["array"], dtype=np.dtype(stored["dtype"]))
    if "list" in stored:
        return tuple(decode(item) for item in stored["list"])
    if "table" in stored:
        return {decode(key): decode(item) for key, item in stored["table"]}
    kind = str(stored.get("kind"))
    if kind not in _HOMES:
        raise ValueError("an unknown kind")
    made = getattr(import_module(f"mofa_bayes.risk.{_HOMES[kind]}"), kind)
    return made(**{name: decode(item) for name, item in stored.items() if name != "kind"})


def _require_risk(tree: xr.DataTree, name: str, is_marked: bool) -> None:
    is_ours = "posterior" in tree.children and isinstance(tree.attrs.get("risk"), str)
    refuse_foreign(tree, name, _WHAT, SCHEMA_VERSION, is_ours=is_ours, is_marked=is_marked)
