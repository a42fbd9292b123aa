"""From a user's tables to the variables of a cohort: everything is checked here, once."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.data.categories import CATEGORICAL, expand_categories
from mofa_bayes.data.likelihoods import choose_likelihoods
from mofa_bayes.data.tables import (
    align_rows,
    find_uninformative,
    read_covariates,
    read_numbers,
    require_frame,
    require_mapping,
    require_view_name,
)
from mofa_bayes.errors import DataError, name_some

logger = logging.getLogger(__name__)

Likelihoods = Mapping[str, str | Mapping[str, str]]
Levels = Mapping[str, Mapping[str, Sequence[object]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Declared:
    """What the user says of columns: their likelihoods, and the levels of categorical ones."""

    likelihoods: Likelihoods | None
    levels: Levels | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What is known of subjects beside their views."""

    groups: pd.Series | None
    covariates: pd.DataFrame | None
    weights: pd.Series | None
    exposures: Mapping[str, pd.Series] | None


def collect(
    frames: Mapping[str, pd.DataFrame], declared: Declared, known: Known, *, subjects: str, uninformative: str
) -> xr.Dataset:
    """Make the dataset of a `MultiView`; arguments and errors as in `MultiView.from_frames`."""
    if not isinstance(frames, Mapping) or not frames:
        raise DataError(
            "views",
            got="none" if isinstance(frames, Mapping) else type(frames).__name__,
            expected="a mapping from view name to DataFrame, at least one",
            do='Call MultiView.from_frames({"rna": df_rna, "ehr": df_ehr}).',
        )
    _require_choice("subjects", subjects, ("union", "common"))
    _require_choice("uninformative", uninformative, ("raise", "drop", "keep"))
    tables = {
        require_view_name(name): _with_text_labels(require_frame(f"view {name!r}", table))
        for name, table in frames.items()
    }
    likelihoods = _by_view("likelihoods", declared.likelihoods, list(tables))
    levels = _by_view("levels", declared.levels, list(tables))
    own = {view: list(table.index) for view, table in tables.items()}
    if uninformative != "keep":
        _require_overlap(own)
    kept = _choose_subjects(own, subjects)
    variables: dict[str, tuple[tuple[str, ...], object]] = {}
    coords: dict[str, tuple[str, object]] = {"subject": ("subject", np.asarray(kept, dtype=np.str_))}
    for view, table in tables.items():
        expanded, chosen, codes = expand_categories(view, table, likelihoods.get(view), levels.get(view))
        variable_of = dict(zip(expanded.columns, codes, strict=True))
        frame = _keep_informative(view, expanded.loc[expanded.index.isin(kept)], uninformative)
        values = read_numbers(f"view {view!r}", frame)
        names = choose_likelihoods(view, frame, values, chosen)  # type: ignore[arg-type]
        dim = f"feature_{view}"
        coords[dim] = (dim, np.asarray(frame.columns, dtype=np.str_))
        variables[f"values_{view}"] = (("subject", dim), _place_rows(values, list(frame.index), kept))
        variables[f"likelihood_{view}"] = ((dim,), names)
        if (names == CATEGORICAL).any():
            own_codes = [variable_of[column] for column in frame.columns]
            variables[f"variable_{view}"] = ((dim,), np.asarray(own_codes, dtype=np.str_))
    variables |= _read_known(known, kept, list(tables))
    if known.covariates is not None:
        coords["covariate"] = ("covariate", np.asarray(known.covariates.columns.astype(str), dtype=np.str_))
    return xr.Dataset(variables, coords=coords)


def _by_view(what: str, given: object, views: list[str]) -> Mapping[str, object]:
    return {} if given is None else require_mapping(what, given, views)


def _read_known(known: Known, kept: list[str], views: list[str]) -> dict[str, tuple[tuple[str, ...], object]]:
    variables: dict[str, tuple[tuple[str, ...], object]] = {}
    if known.groups is not None:
        variables["group"] = (("subject",), _read_groups(known.groups, kept))
    if known.covariates is not None:
        table = read_covariates("covariates", known.covariates, kept)
        variables["covariates"] = (("subject", "covariate"), table.to_numpy())
    if known.weights is not None:
        variables["weight"] = (("subject",), _read_positive("weights", known.weights, kept))
    for view, exposure in _by_view("exposures", known.exposures, views).items():
        variables[f"exposure_{view}"] = (("subject",), _read_positive(f"exposures of {view!r}", exposure, kept))
    return variables


def _require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DataError(f"argument {name}", got=repr(value), expected=f"one of {', '.join(choices)}", do="Choose one.")


def _with_text_labels(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_axis(table.index.astype(str), axis=0).set_axis(table.columns.astype(str), axis=1)


def _require_overlap(subjects: Mapping[str, list[str]]) -> None:
    for view, own in subjects.items():
        others = {subject for other, theirs in subjects.items() if other != view for subject in theirs}
        if len(subjects) > 1 and others.isdisjoint(own):
            raise DataError(
                f"subjects of view {view!r}",
                got=f"{len(own)} subjects that no other view has ({name_some(own)})",
                expected="subjects shared with at least one other view",
                do="Check that all tables use the same identifiers, or leave this view out.",
            )


def _choose_subjects(subjects: Mapping[str, list[str]], how: str) -> list[str]:
    union = dict.fromkeys(subject for own in subjects.values() for subject in own)
    if how == "union":
        return list(union)
    common = set.intersection(*(set(own) for own in subjects.values()))
    if not common:
        raise DataError(
            "subjects common to all views",
            got="none",
            expected="at least one subject whom every view has",
            do='Pass subjects="union": views may miss subjects.',
        )
    return [subject for subject in union if subject in common]


def _keep_informative(view: str, table: pd.DataFrame, uninformative: str) -> pd.DataFrame:
    if uninformative == "keep":
        return table
    values = read_numbers(f"view {view!r}", table)
    useless = find_uninformative(values)
    if not useless.any():
        return table
    dropped = table.columns[useless]
    if uninformative == "raise" or useless.all():
        raise DataError(
            f"view {view!r}",
            got=f"{len(dropped)} columns that are constant or wholly missing ({name_some(dropped)})",
            expected="columns with at least two different observed values",
            do='Drop them, or pass uninformative="drop".',
        )
    logger.info("view %r: dropped %d constant or wholly missing columns", view, len(dropped))
    return table.loc[:, ~useless]


def _place_rows(values: np.ndarray, own: list[str], kept: list[str]) -> np.ndarray:
    if own == kept:
        return values
    row = {subject: n for n, subject in enumerate(kept)}
    placed = np.full((len(kept), values.shape[1]), np.nan, dtype=values.dtype)
    placed[[row[subject] for subject in own]] = values
    placed.flags.writeable = False
    return placed


def _read_positive(what: str, values: object, subjects: list[str]) -> np.ndarray:
    if not isinstance(values, pd.Series):
        raise DataError(
            what, got=type(values).__name__, expected="a Series indexed by subject", do="Wrap it: pd.Series(...)."
        )
    numbers = read_covariates(what, values.to_frame("value"), subjects)["value"].to_numpy()
    if not (numbers > 0).all():
        raise DataError(
            what,
            got=f"{int((numbers <= 0).sum())} values that are 0 or less",
            expected="numbers above 0",
            do="Correct them, or leave these subjects out.",
        )
    return numbers


def _read_groups(groups: pd.Series, subjects: list[str]) -> np.ndarray:
    if not isinstance(groups, pd.Series):
        raise DataError(
            "groups", got=type(groups).__name__, expected="a Series indexed by subject", do="Wrap it: pd.Series(...)."
        )
    labels = align_rows("groups", require_frame("groups", groups.to_frame("group")), subjects)["group"]
    if labels.isna().any():
        raise DataError(
            "groups",
            got=f"{int(labels.isna().sum())} subjects without a label ({name_some(labels.index[labels.isna()])})",
            expected="a label for every subject",
            do="Label them, or select the others first.",
        )
    return labels.astype(str).to_numpy(dtype=np.str_)
