"""MultiView: the same subjects seen through several views, immutable and labelled."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.card import render_card
from mofa_bayes.data.collect import Declared, Known, Levels, Likelihoods, collect
from mofa_bayes.data.tables import find_uninformative
from mofa_bayes.errors import DataError, name_some

if TYPE_CHECKING:
    from mofa_bayes.data.steps.preparation import Preparation


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MultiView:
    """Views of one cohort. Build it with `from_frames` or `read_views`.

    Attributes
    ----------
    dataset
        `values_<view>` (subject, feature_<view>), NaN where missing, a subject without a view being a row of NaN;
        `likelihood_<view>` (feature_<view>); `variable_<view>` (feature_<view>), the variable that each column codes,
        where a view has categorical ones; and, where given, `group` (subject), `covariates` (subject, covariate),
        `weight` (subject) and `exposure_<view>` (subject). Views that `mb.prepare` made have `total_<view>` (subject),
        sums before the first step, and the preparation among the dataset's attributes.
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
        levels: Levels | None = None,
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
            only 0 and 1 are `bernoulli`, others `gaussian`. A `categorical` column, of text or numbers, becomes one 0/1
            column per level, named `<column>=<level>`.
        levels
            View -> {categorical column: its levels}, where they are known beforehand; those that occur where left out.
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
        known = Known(groups=groups, covariates=covariates, weights=weights, exposures=exposures)
        declared = Declared(likelihoods=likelihoods, levels=levels)
        return cls(collect(frames, declared, known, subjects=subjects, uninformative=uninformative))

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

    def variables(self, view: str) -> np.ndarray:
        """Variable that each column of a view codes: its own name, unless it indicates a level of a categorical one."""
        own = self.dataset.get(f"variable_{self._require(view)}")
        return np.asarray(self.features(view)) if own is None else own.values

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

    @property
    def preparation(self) -> "Preparation | None":
        """What was done to the values, where `mb.prepare` made these views."""
        return self.dataset.attrs.get("preparation")

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
        kinds = ("values", "likelihood", "variable", "feature", "exposure", "total")
        names_gone = [f"{kind}_{view}" for view in gone for kind in kinds]
        return MultiView(self.dataset.drop_vars(names_gone, errors="ignore"))

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
        return render_card(repr(self), self.summary(), percent={"fraction_missing_within"})

    def _require(self, view: str) -> str:
        if f"values_{view}" not in self.dataset:
            raise DataError(
                "view", got=repr(view), expected=f"one of {', '.join(self.names)}", do="Use a name of views.names."
            )
        return view


def _canonical(values: np.ndarray) -> np.ndarray:
    """One pattern of bits for each number: NaN and zero each have several (R's NA is a NaN of its own)."""
    return np.where(np.isnan(values), np.nan, values.astype("<f8") + 0.0)
