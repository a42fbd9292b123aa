"""Preparation: the steps of each view with what they learned; carried by the views, and stored with the posterior."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.steps.kinds import KINDS, Array, Learned, Step
from mofa_bayes.errors import DataError, SpecError, name_some

Declared = Mapping[str, Sequence[Step]]


@dataclass(frozen=True, slots=True, eq=False)
class LearnedStep:
    """A step, the features it was learned on, and what it learned of each."""

    step: Step
    features: tuple[str, ...]
    learned: Learned

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which features are left after it."""
        chosen = self.step.keep(self.learned)
        return np.ones(len(self.features), dtype=np.bool_) if chosen is None else chosen

    def of(self, features: Sequence[str]) -> Learned:
        """Return what was learned of some features."""
        place = {name: d for d, name in enumerate(self.features)}
        rows = [place[name] for name in features]
        return {name: values[rows] for name, values in self.learned.items()}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Preparation:
    """What was done to the real-valued columns of views, in order. Holds no patient's row.

    Attributes
    ----------
    steps
        View -> its steps as they were learned.
    """

    steps: Mapping[str, tuple[LearnedStep, ...]]

    def apply(self, views: MultiView) -> MultiView:
        """Prepare other views, new patients' for instance, with what was learned from the first.

        Features that no step has seen are left out; those that are absent stay so.

        Raises
        ------
        DataError
            The views are prepared already.
        """
        _require_measured(views)
        dataset = views.dataset
        for view in (name for name in views.names if name in self.steps):
            dataset = _apply(dataset, view, self.steps[view])
        return MultiView(dataset.assign_attrs(preparation=self))

    def invert(self, view: str, values: Array, features: Sequence[str], totals: Array | None) -> Array:
        """Bring values (subject, feature) of some features of a view back to the scale they were measured on.

        Parameters
        ----------
        totals
            Sums of each subject's values (subject,), as `prepare` left them in the views as `total_<view>`.
        """
        own = self.steps.get(view, ())
        seen = set(own[0].features) if own else set()
        columns = np.array([d for d, name in enumerate(features) if name in seen], dtype=np.intp)
        names = [features[d] for d in columns]
        found = np.array(values, dtype=np.float64)
        part, sums = found[:, columns], np.ones((len(found), 1)) if totals is None else totals[:, None]
        for learned in reversed(own):
            part = learned.step.invert(part, learned.of(names), sums)
        found[:, columns] = part
        return found

    def describe(self) -> str:
        """Say in TOML's terms what was done: JSON of view -> steps with their options."""
        return json.dumps(
            {view: [{"kind": own.step.kind, **asdict(own.step)} for own in steps] for view, steps in self.steps.items()}
        )

    def to_dataset(self) -> xr.Dataset:
        """Store: `step<i>_<view>_<name>` by feature, and the steps as JSON in the attribute `steps`."""
        variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        coords: dict[str, np.ndarray] = {}
        for view, steps in self.steps.items():
            for number, own in enumerate(steps):
                dim = f"step{number}_{view}"
                coords[dim] = np.asarray(own.features)
                for name, values in own.learned.items():
                    dims = (dim, *(f"{dim}_{name}_{axis}" for axis in range(values.ndim - 1)))
                    variables[f"{dim}_{name}"] = (dims, values)
        return xr.Dataset(variables, coords=coords, attrs={"steps": self.describe()})

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> "Preparation":
        """Read what `to_dataset` wrote."""
        steps: dict[str, tuple[LearnedStep, ...]] = {}
        for view, listed in json.loads(dataset.attrs["steps"]).items():
            own = []
            for number, options in enumerate(listed):
                dim = f"step{number}_{view}"
                learned = {
                    str(name)[len(dim) + 1 :]: values.values.astype(np.float64)
                    for name, values in dataset.data_vars.items()
                    if str(name).startswith(f"{dim}_")
                }
                features = tuple(str(name) for name in dataset[dim].values)
                own.append(LearnedStep(read_step(options), features, learned))
            steps[view] = tuple(own)
        return cls(steps)

    def equals(self, other: "Preparation") -> bool:
        """Whether both do the same to the same features."""
        ours, theirs = self.to_dataset(), other.to_dataset()
        return ours.attrs == theirs.attrs and ours.equals(theirs)

    def __repr__(self) -> str:
        each = (f"{view}: {' > '.join(own.step.kind for own in steps)}" for view, steps in self.steps.items())
        return f"<Preparation: {'; '.join(each)}>"


def prepare(views: MultiView, steps: Declared) -> MultiView:
    """Prepare real-valued columns of views, and let the views remember how.

    A model that is fitted to them stores the preparation with its posterior: `post.project` prepares new patients the
    same way, and `post.impute` returns values on the scale they were measured on.

    Parameters
    ----------
    views
        The cohort, as it was measured.
    steps
        View -> its steps, in order: `{"rna": [mb.steps.CPM(), mb.steps.Log1p(), mb.steps.TopVariance(2000)]}`.

    Raises
    ------
    SpecError
        A view is unknown, or something is no step.
    DataError
        The views are prepared already, or a step does not suit their values.
    """
    _require_measured(views)
    unknown = [view for view in steps if view not in views.names] if isinstance(steps, Mapping) else ["?"]
    if unknown:
        raise SpecError(
            "steps",
            got=f"unknown views ({name_some(unknown)})",
            expected=f"a mapping from {', '.join(views.names)}",
            do="Correct the names.",
        )
    wrong = [step for own in steps.values() for step in own if not isinstance(step, Step)]
    if wrong:
        raise SpecError(
            "steps", got=repr(wrong[0])[:80], expected=f"some of {', '.join(KINDS)}", do="Write steps.Log1p()."
        )
    return Preparation({view: _learn(views, view, own) for view, own in steps.items()}).apply(views)


def read_steps(table: object) -> dict[str, list[Step]]:
    """Read the table `steps` of a TOML file: view -> list of steps.

    Raises
    ------
    SpecError
        It is not that.
    """
    if not isinstance(table, Mapping) or not all(isinstance(own, list) for own in table.values()):
        raise SpecError(
            "steps",
            got=repr(table)[:80],
            expected="a table of lists, one for each view",
            do='Write rna = ["cpm", "log1p"] below [steps].',
        )
    return {str(view): [read_step(own) for own in listed] for view, listed in table.items()}


def read_step(options: object) -> Step:
    """Read a step from its name, or from a table with `kind` and its options.

    Raises
    ------
    SpecError
        Kind or options are unknown.
    """
    table = {"kind": options} if isinstance(options, str) else options
    if not isinstance(table, Mapping) or str(table.get("kind")) not in KINDS:
        raise SpecError(
            "step",
            got=repr(options)[:80],
            expected=f"one of {', '.join(KINDS)}, or a table with kind and options",
            do='Write "log1p" or {kind = "top_variance", n_features = 2000}.',
        )
    try:
        return KINDS[table["kind"]](**{name: value for name, value in table.items() if name != "kind"})
    except TypeError as error:
        raise SpecError(
            f"step {table['kind']!r}",
            got=f"options {name_some(set(table) - {'kind'})}",
            expected="options that it has",
            do="Correct their names.",
        ) from error


def _require_measured(views: MultiView) -> None:
    if views.preparation is not None:
        raise DataError(
            "views to prepare",
            got="views that are prepared already",
            expected="views as they were measured",
            do="Pass those that were read.",
        )


def _learn(views: MultiView, view: str, steps: Sequence[Step]) -> tuple[LearnedStep, ...]:
    """Learn each step from what the one before it leaves; subjects in the order of their names."""
    order = np.argsort(np.asarray(views.subjects), kind="stable")
    is_real = np.isin(views.likelihoods(view).values, REAL)
    features = tuple(name for name, own in zip(views.features(view), is_real, strict=True) if own)
    values = views[view].values[order][:, is_real].astype(np.float64)
    totals = _sum(values)
    found = []
    for step in steps:
        own = LearnedStep(step, features, step.learn(values))
        kept = own.kept
        if not kept.any():
            raise DataError(
                f"view {view!r}",
                got=f"no feature left after {step.kind}",
                expected="one at least",
                do="Loosen the step, or leave the view out.",
            )
        values = step.apply(values, own.learned, totals)[:, kept]
        features = tuple(name for name, is_kept in zip(features, kept, strict=True) if is_kept)
        found.append(own)
    return tuple(found)


def _apply(dataset: xr.Dataset, view: str, steps: tuple[LearnedStep, ...]) -> xr.Dataset:
    dim = f"feature_{view}"
    if not steps:
        return dataset
    names = [str(name) for name in dataset[dim].values]
    is_real = np.isin(dataset[f"likelihood_{view}"].values, REAL)
    final = {name for name, kept in zip(steps[-1].features, steps[-1].kept, strict=True) if kept}
    first = set(steps[0].features)
    real = [name for name, own in zip(names, is_real, strict=True) if own and name in first]
    values = dataset[f"values_{view}"].transpose("subject", dim)
    part = values.sel({dim: real}).values.astype(np.float64)
    totals = _sum(part)
    for own in steps:
        here = [name for name in real if name in set(own.features)]
        part = own.step.apply(
            part[:, [real.index(name) for name in here]] if here != real else part, own.of(here), totals
        )
        real = here
    chosen = [name for name, own in zip(names, is_real, strict=True) if not own or name in final]
    prepared = dataset.sel({dim: chosen})
    table = prepared[f"values_{view}"].transpose("subject", dim).values.astype(np.float64)
    column = {name: d for d, name in enumerate(real)}
    for d, name in enumerate(chosen):
        if name in column:
            table[:, d] = part[:, column[name]]
    narrow = table.astype(values.dtype) if values.dtype == np.float32 else table
    return prepared.assign({f"values_{view}": (("subject", dim), narrow), f"total_{view}": ("subject", totals[:, 0])})


def _sum(values: Array) -> Array:
    """Sum of each subject's observed values (subject, 1), 1 where there is none."""
    totals = np.nansum(values, axis=1, keepdims=True)
    result: Array = np.where(totals > 0, totals, 1.0)
    return result
