"""What a checked cohort looks like, and which model can be drawn from: sizes, templates, proper priors."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import SpecError, name_some
from mofa_bayes.spec import FactorModel, Gamma, ViewModel

LIKELIHOODS = ("gaussian", "student_t", "bernoulli", "poisson", "negative_binomial")
_PROPER = Gamma(shape=3.0, rate=3.0)
_LEAST_SHAPE = 0.5
_WIDEST_INTERCEPT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Dimensions of a simulated cohort.

    Parameters
    ----------
    n_subjects
        Number of subjects.
    n_features
        View name -> number of features.
    likelihoods
        View name -> likelihood of its features; gaussian where left out.
    absent_view
        Share of subjects who lack a view, drawn for each view, never all of them.
    missing
        Share of the remaining entries that are missing.

    Raises
    ------
    SpecError
        A number or a name is not acceptable.
    """

    n_subjects: int
    n_features: Mapping[str, int]
    likelihoods: Mapping[str, str] = field(default_factory=dict)
    absent_view: float = 0.0
    missing: float = 0.0

    def __post_init__(self) -> None:
        counts = {"n_subjects": self.n_subjects} | {f"features of {v}": n for v, n in self.n_features.items()}
        for name, count in counts.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 2:
                raise SpecError(name, got=repr(count)[:80], expected="a whole number from 2 up", do="Correct it.")
        for name, share in (("absent_view", self.absent_view), ("missing", self.missing)):
            if not isinstance(share, int | float) or not 0 <= share < 1:
                raise SpecError(name, got=repr(share)[:80], expected="a share from 0 up to below 1", do="Correct it.")
        unknown = [view for view in self.likelihoods if view not in self.n_features]
        foreign = [kind for kind in self.likelihoods.values() if kind not in LIKELIHOODS]
        if unknown or foreign or not self.n_features:
            raise SpecError(
                "views of a simulated cohort",
                got=f"unknown {name_some(unknown or foreign)}" if unknown or foreign else "none",
                expected=f"views with one of {', '.join(LIKELIHOODS)}",
                do='Write Sizes(n_subjects=100, n_features={"rna": 90}, likelihoods={"rna": "gaussian"}).',
            )

    def template(self, rng: np.random.Generator) -> MultiView:
        """Lay out a cohort of these sizes, with placeholder values where something is observed."""
        subjects = [f"p{n:04d}" for n in range(self.n_subjects)]
        absent = rng.random((self.n_subjects, len(self.n_features))) < self.absent_view
        absent[absent.all(axis=1), 0] = False
        frames, kinds = {}, {}
        for number, (view, width) in enumerate(self.n_features.items()):
            kind = self.likelihoods.get(view, "gaussian")
            shape = (self.n_subjects, width)
            real = kind in REAL
            values = rng.standard_normal(shape) if real else (rng.random(shape) < 0.5).astype(np.float64)
            values[rng.random(shape) < self.missing] = np.nan
            values[absent[:, number]] = np.nan
            frames[view] = pd.DataFrame(values, index=subjects, columns=[f"{view}_{d}" for d in range(width)])
            kinds[view] = kind
        return MultiView.from_frames(frames, likelihoods=kinds, uninformative="keep")


def make_proper(spec: FactorModel) -> tuple[FactorModel, tuple[str, ...]]:
    """Return a model that data can be drawn from, and say what was changed.

    Vague Gamma priors become Gamma(3, 3), of mean 1 and standard deviation .58, intercepts get a standard deviation of
    at most 1, data keep their scale (else it would be learned from the draws), and no factor is dropped.
    """
    views = {
        name: ViewModel(loadings=None if view.loadings is None else _sharpen(view.loadings), scale=None)
        for name, view in spec.views.items()
    }
    proper = replace(
        spec,
        loadings=_sharpen(spec.loadings),
        factors=_sharpen(spec.factors),
        noise=_sharpen_gamma(spec.noise),
        scale="none",
        scale_groups=False,
        intercept_scale=min(spec.intercept_scale, _WIDEST_INTERCEPT),
        min_variance=0.0,
        views=views,
    )
    changed = [
        f"{f.name}: {getattr(spec, f.name)!r} -> {getattr(proper, f.name)!r}"
        for f in fields(FactorModel)
        if f.name != "views" and getattr(spec, f.name) != getattr(proper, f.name)
    ]
    own = [
        f"{f.name} of view {name!r}: {getattr(view, f.name)!r} -> {getattr(views[name], f.name)!r}"
        for name, view in spec.views.items()
        for f in fields(ViewModel)
        if getattr(view, f.name) != getattr(views[name], f.name)
    ]
    return proper, (*changed, *own)


def _sharpen(prior: Any) -> Any:  # noqa: ANN401
    own = {f.name: getattr(prior, f.name) for f in fields(prior)}
    return replace(prior, **{name: _sharpen_gamma(value) for name, value in own.items() if isinstance(value, Gamma)})


def _sharpen_gamma(gamma: Gamma) -> Gamma:
    return gamma if gamma.shape >= _LEAST_SHAPE else _PROPER
