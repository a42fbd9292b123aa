"""MultiView: the same subjects seen through several views, immutable and labelled."""

import hashlib
import html
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

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


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MultiView:
    """Views of one cohort. Build it with `from_frames` or `read_views`.

    Attributes
    ----------
    dataset
        `values_<view>` (subject, feature_<view>), NaN where missing, a subject without a view being a row of NaN;
        `likelihood_<view>` (feature_<view>); and, where given, `group` (subject) and `covariates` (subject, covariate).
    """

    dataset: xr.Dataset

    def __post_init__(self) -> None:
        for variable in self.dataset.data_vars.values():
            variable.values.flags.writeable = False

    @classmethod
    def from_frames(
        cls,
        frames: Mapping[str, pd.DataFrame],
        *,
        likelihoods: Likelihoods | None = None,
        groups: pd.Series | None = None,
        covariates: pd.DataFrame | None = None,
        weights: pd.Series | None = None,
        exposures: Mapping[str, pd.Series] | None = None,
        subjects: Literal["union", "common"] = "union",
        uninformative: Literal["raise", "drop", "keep"] = "raise",
    ) -> "MultiView":
        """Collect one table per view.

        Parameters
        ----------
        frames
            View name -> table with subjects as index and features as columns, in any order; NaN where missing.
        likelihoods
            View name -> likelihood, or view name -> {column: likelihood}. What is not declared is guessed: columns of
            only 0 and 1 are `bernoulli`, others `gaussian`.
        groups
            One label per subject (cohort, site, arm).
        covariates
            Numbers known for every subject (age, sex, batch), indexed by subject.
        weights
            How much each subject counts in the fit, above 0 (sampling weights); 1 where left out.
        exposures
            View -> what its counts are proportional to by subject (library size, time at risk), above 0.
        subjects
            `union` keeps every subject that some view has; `common` keeps those that all views have.
        uninformative
            What to do with columns that are constant or wholly missing: `raise`, `drop` them and log how many, or
            `keep` them, which is right for new patients, whose views need not overlap either, and never for a fit.

        Raises
        ------
        DataError
            For any table that cannot be used; see the message's last sentence for what to do.
        """
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
        declared = require_mapping("likelihoods", {} if likelihoods is None else likelihoods, list(tables))
        own = {view: list(table.index) for view, table in tables.items()}
        if uninformative != "keep":
            _require_overlap(own)
        kept = _choose_subjects(own, subjects)
        variables: dict[str, tuple[tuple[str, ...], object]] = {}
        coords: dict[str, tuple[str, object]] = {"subject": ("subject", np.asarray(kept, dtype=np.str_))}
        for view, table in tables.items():
            frame = _keep_informative(view, table.loc[table.index.isin(kept)], uninformative)
            values = read_numbers(f"view {view!r}", frame)
            names = choose_likelihoods(view, frame, values, declared.get(view))  # type: ignore[arg-type]
            dim = f"feature_{view}"
            coords[dim] = (dim, np.asarray(frame.columns, dtype=np.str_))
            variables[f"values_{view}"] = (("subject", dim), _place_rows(values, list(frame.index), kept))
            variables[f"likelihood_{view}"] = ((dim,), names)
        if groups is not None:
            variables["group"] = (("subject",), _read_groups(groups, kept))
        if covariates is not None:
            table = read_covariates("covariates", covariates, kept)
            coords["covariate"] = ("covariate", np.asarray(table.columns, dtype=np.str_))
            variables["covariates"] = (("subject", "covariate"), table.to_numpy())
        if weights is not None:
            variables["weight"] = (("subject",), _read_positive("weights", weights, kept))
        for view, exposure in require_mapping("exposures", exposures or {}, list(tables)).items():
            variables[f"exposure_{view}"] = (("subject",), _read_positive(f"exposures of {view!r}", exposure, kept))
        return cls(xr.Dataset(variables, coords=coords))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the views, in the order they were given."""
        return tuple(str(name)[7:] for name in self.dataset.data_vars if str(name).startswith("values_"))

    @property
    def subjects(self) -> tuple[str, ...]:
        """Identifiers of the subjects."""
        return tuple(str(subject) for subject in self.dataset["subject"].values)

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return int(self.dataset.sizes["subject"])

    def __getitem__(self, view: str) -> xr.DataArray:
        """Values of one view, dims (subject, feature_<view>)."""
        return self.dataset[f"values_{self._require(view)}"].rename(view)

    def features(self, view: str) -> tuple[str, ...]:
        """Names of the features of one view."""
        return tuple(str(name) for name in self.dataset[f"feature_{self._require(view)}"].values)

    def likelihoods(self, view: str) -> xr.DataArray:
        """Likelihood of each feature of one view, dims (feature_<view>)."""
        return self.dataset[f"likelihood_{self._require(view)}"]

    @property
    def groups(self) -> xr.DataArray | None:
        """Group of each subject, or None."""
        return self.dataset.get("group")

    @property
    def covariates(self) -> xr.DataArray | None:
        """Covariates, dims (subject, covariate), or None."""
        return self.dataset.get("covariates")

    @property
    def weights(self) -> xr.DataArray | None:
        """How much each subject counts, dims (subject,), or None."""
        return self.dataset.get("weight")

    def exposure(self, view: str) -> xr.DataArray | None:
        """Return what a view's counts are proportional to, dims (subject,), or None."""
        return self.dataset.get(f"exposure_{self._require(view)}")

    def has_view(self, view: str) -> xr.DataArray:
        """Say which subjects have at least one observed feature of a view, dims (subject,)."""
        return self[view].notnull().any(f"feature_{view}")

    def sel(self, subjects: Sequence[str] | pd.Index) -> "MultiView":
        """Return the same views of some subjects, in the order asked for.

        Raises
        ------
        DataError
            A subject is unknown or named twice.
        """
        if isinstance(subjects, str) or not isinstance(subjects, Iterable):
            raise DataError(
                "selection of subjects",
                got=repr(subjects)[:80],
                expected="a list of identifiers",
                do="Write views.sel([...]).",
            )
        wanted = [str(subject) for subject in subjects]
        known = set(self.subjects)
        if not wanted or len(set(wanted)) < len(wanted) or not known.issuperset(wanted):
            unknown = [subject for subject in wanted if subject not in known]
            raise DataError(
                "selection of subjects",
                got=f"unknown subjects ({name_some(unknown)})" if unknown else "none, or the same one twice",
                expected="each subject at most once, from views.subjects",
                do="Correct the identifiers.",
            )
        return MultiView(self.dataset.sel(subject=wanted))

    def keep_views(self, names: Sequence[str]) -> "MultiView":
        """Return the cohort as seen through some of its views; subjects who have none of them stay, unobserved."""
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise DataError(
                "views to keep", got=repr(names)[:80], expected="a list of names", do='Write views.keep_views(["rna"]).'
            )
        for view in names:
            self._require(view)
        if not names:
            raise DataError("views to keep", got="none", expected="at least one", do="Name a view of views.names.")
        gone = [view for view in self.names if view not in names]
        return MultiView(
            self.dataset.drop_vars(
                [f"{kind}_{view}" for view in gone for kind in ("values", "likelihood", "feature", "exposure")],
                errors="ignore",
            )
        )

    def forget_known(self) -> "MultiView":
        """Return the views alone: without groups, covariates, weights and exposures."""
        known = ["group", "covariates", "covariate", "weight", *(f"exposure_{view}" for view in self.names)]
        return MultiView(self.dataset.drop_vars(known, errors="ignore"))

    def drop_uninformative(self) -> "MultiView":
        """Leave out features that are constant or wholly missing, and views that have none left: for parts of a cohort.

        Raises
        ------
        DataError
            Nothing would be left.
        """
        kept = {view: ~find_uninformative(self[view].values) for view in self.names}
        views = [view for view in self.names if kept[view].any()]
        if not views:
            raise DataError("views", got="no feature that varies", expected="at least one", do="Take more subjects.")
        return MultiView(
            self.keep_views(views).dataset.isel({f"feature_{view}": np.flatnonzero(kept[view]) for view in views})
        )

    def missing(self) -> pd.DataFrame:
        """Count what is missing: one row per view, with whole rows and scattered entries told apart."""
        rows = []
        for view in self.names:
            seen = ~np.isnan(self[view].values)
            present = seen.any(axis=1)
            scattered = 1 - seen[present].mean() if present.any() else 0.0
            rows.append((view, int(present.sum()), int((~present).sum()), float(scattered)))
        columns = ["view", "n_subjects", "n_subjects_absent", "fraction_missing_within"]
        return pd.DataFrame(rows, columns=columns).set_index("view")

    def summary(self) -> pd.DataFrame:
        """Describe each view: subjects, features, likelihoods, missingness. Holds no patient's data."""
        table = self.missing()
        kinds = [pd.Series(self.likelihoods(view).values).value_counts() for view in self.names]
        table.insert(0, "n_features", [len(self.features(view)) for view in self.names])
        table.insert(1, "likelihoods", [", ".join(f"{kind} {count}" for kind, count in k.items()) for k in kinds])
        return table

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names, identifiers and values: the same for the same data in any order of rows and views."""
        order = np.argsort(np.asarray(self.subjects))
        digest = hashlib.sha256("\n".join(np.asarray(self.subjects)[order]).encode())
        for view in sorted(self.names):
            names, kinds = np.asarray(self.features(view)), self.likelihoods(view).values
            columns = np.argsort(names)
            labels = [f"{name}\t{kind}" for name, kind in zip(names[columns], kinds[columns], strict=True)]
            digest.update("\n".join([view, *labels]).encode())
            for rows in np.array_split(order, max(1, len(order) // 256)):
                digest.update(_canonical(self[view].values[rows][:, columns]).tobytes())
        for name in (
            "group",
            "covariate",
            "covariates",
            "weight",
            *(f"exposure_{view}" for view in sorted(self.names)),
        ):
            if name in self.dataset:
                known = self.dataset[name]
                values = known.values if name == "covariate" else known.values[order]
                digest.update(name.encode() + (values.astype("<f8").tobytes() if values.dtype.kind == "f" else b""))
                digest.update(b"" if values.dtype.kind == "f" else "\n".join(values.astype(str)).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        views = ", ".join(f"{view} {len(self.features(view))}" for view in self.names)
        return f"<MultiView: {self.n_subjects} subjects; features: {views}>"

    def _repr_html_(self) -> str:
        table = self.summary().to_html(border=0, float_format=lambda x: f"{x:.1%}")
        return f"<div><strong>{html.escape(repr(self)[1:-1])}</strong>{table}</div>"

    def _require(self, view: str) -> str:
        if f"values_{view}" not in self.dataset:
            raise DataError(
                "view", got=repr(view), expected=f"one of {', '.join(self.names)}", do="Use a name of views.names."
            )
        return view


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


def _canonical(values: np.ndarray) -> np.ndarray:
    """One pattern of bits for each number: NaN and zero each have several (R's NA is a NaN of its own)."""
    return np.where(np.isnan(values), np.nan, values.astype("<f8") + 0.0)


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
