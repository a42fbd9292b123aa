"""FactorModel: the whole belief about how views arise, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from mofa_bayes.errors import SpecError
from mofa_bayes.spec.priors import (
    PRIORS,
    FactorPrior,
    Gamma,
    Prior,
    SpikeSlab,
    StandardFactors,
    require_gamma,
    require_positive,
)

if TYPE_CHECKING:
    import pandas as pd

Scale = Literal["feature", "view", "none"]
_SCALES = ("feature", "view", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewModel:
    """What is believed of one view where it differs from the rest: None means as the model says."""

    loadings: Prior | None = None
    scale: Scale | None = None

    def __post_init__(self) -> None:
        if self.loadings is not None:
            _require_prior(self.loadings)
        if self.scale is not None:
            _require_scale(self.scale)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FactorModel:
    """A multi-view factor model: y = mu + z w' + noise, z ~ N(0, I), by view and feature.

    Parameters
    ----------
    n_factors
        Upper limit on the number of factors; those that explain nothing are dropped by the fit.
    loadings
        Prior on the loadings of every view that `views` does not name.
    scale
        Scaling of real-valued features before the fit: `feature` (unit standard deviation each), `view` (unit mean
        square over the view, keeping relative variances) or `none`. All are centred; the posterior reports on the
        original scale where it says so.
    scale_groups
        Besides, divide each view's real-valued values in each group by their standard deviation around the group's own
        means: for groups measured on different scales.
    factors
        Prior on factors: `StandardFactors()`; `ARDFactors()` for factors that some groups may lack; or
        `SpikeSlabFactors()` for factors that are zero in most subjects.
    noise
        Prior on the noise precision of each gaussian or student_t feature.
    intercept_scale
        Prior standard deviation of intercepts and of covariates' effects, on the scale of eta: standard deviations of a
        scaled gaussian or student_t feature, for which 5 is vague once it is centred; log-odds (bernoulli), where 5
        admits prevalences below 1 in 10,000; log rates (negative_binomial); rates themselves past 1 (poisson, by its
        softplus link); probits (ordinal).
    min_variance
        A factor that explains less than this share of the variance of every view is dropped after the fit. vi then
        climbs on without it; draws of gibbs and nuts are not drawn anew, but lose it. This makes a model easier to
        read; many weak factors together predict, and for imputation 0 is better.
    views
        View name -> `ViewModel`, for views that differ.

    Raises
    ------
    SpecError
        A value is not acceptable.
    """

    n_factors: int = 10
    loadings: Prior = field(default_factory=SpikeSlab)
    scale: Scale = "feature"
    scale_groups: bool = False
    factors: FactorPrior = field(default_factory=StandardFactors)
    noise: Gamma = field(default_factory=Gamma)
    intercept_scale: float = 5.0
    min_variance: float = 0.01
    views: Mapping[str, ViewModel] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not is_whole(self.n_factors) or self.n_factors < 1:
            raise SpecError(
                "n_factors",
                got=repr(self.n_factors)[:80],
                expected="a whole number from 1 up",
                do="10 is a usual start.",
            )
        object.__setattr__(self, "n_factors", int(self.n_factors))
        _require_prior(self.loadings)
        _require_scale(self.scale)
        if not isinstance(self.scale_groups, bool):
            raise SpecError(
                "scale_groups", got=repr(self.scale_groups)[:80], expected="True or False", do="Correct it."
            )
        require_positive("intercept_scale", self.intercept_scale)
        require_gamma("noise", self.noise)
        if not isinstance(self.factors, FactorPrior):
            raise SpecError(
                "factors",
                got=repr(self.factors)[:80],
                expected="StandardFactors(), ARDFactors() or SpikeSlabFactors()",
                do="Pass one of these values.",
            )
        if not isinstance(self.min_variance, int | float) or not 0 <= self.min_variance < 1:
            raise SpecError(
                "min_variance",
                got=repr(self.min_variance)[:80],
                expected="a share from 0 up to below 1",
                do="0 keeps every factor; 0.01 keeps those that explain 1 % of some view.",
            )
        if not isinstance(self.views, Mapping) or not all(
            isinstance(name, str) and isinstance(view, ViewModel) for name, view in self.views.items()
        ):
            raise SpecError(
                "views",
                got=repr(self.views)[:80],
                expected="a mapping from view name to ViewModel",
                do='Write views={"ehr": ViewModel(loadings=ARD())}.',
            )
        object.__setattr__(self, "views", MappingProxyType(dict(self.views)))

    def __reduce__(self) -> tuple[object, ...]:
        # A mapping proxy cannot be copied or sent to another process; the model's text can.
        return FactorModel.from_toml, (self.to_toml(),)

    def summary(self) -> "pd.DataFrame":
        """Say what is believed, indexed by the part of the model it is about, and whether that is the default."""
        import pandas as pd

        own = {name: value for name, value in self._values().items() if name != "views"}
        rows = [(name, str(value), "" if name in self._chosen() else "default") for name, value in own.items()]
        for view, model in self.views.items():
            values = {"loadings": model.loadings, "scale": model.scale}
            rows += [(f"{name} of {view}", str(value), "") for name, value in values.items() if value is not None]
        return pd.DataFrame(rows, columns=["part", "value", "default"]).set_index("part")

    def __repr__(self) -> str:
        return f"FactorModel({', '.join(f'{name}={value!r}' for name, value in self._chosen().items())})"

    def _repr_html_(self) -> str:
        from mofa_bayes.card import render_card

        return render_card("FactorModel", self.summary())

    def _values(self) -> dict[str, object]:
        return {own.name: getattr(self, own.name) for own in fields(self)} | {"views": dict(self.views)}

    def _chosen(self) -> dict[str, object]:
        """Values that are not the default; the number of factors always."""
        usual = FactorModel()._values()
        return {name: own for name, own in self._values().items() if name == "n_factors" or own != usual[name]}

    def loadings_of(self, view: str) -> Prior:
        """Prior on the loadings of a view."""
        own = self.views.get(view)
        return self.loadings if own is None or own.loadings is None else own.loadings

    def scale_of(self, view: str) -> Scale:
        """Scaling of a view."""
        own = self.views.get(view)
        return self.scale if own is None or own.scale is None else own.scale

    def to_toml(self) -> str:
        """Write the model as TOML text that `from_toml` reads back to an equal value."""
        from mofa_bayes.spec.toml import write_model

        return write_model(self)

    @classmethod
    def from_toml(cls, source: str | Path) -> "FactorModel":
        """Read a model from TOML text, or from a file when `source` is a Path.

        Raises
        ------
        SpecError
            The text is not TOML, or a name or value in it is unknown.
        FileError
            The file cannot be read.
        """
        from mofa_bayes.spec.toml import read_model

        return read_model(source)


def is_whole(value: object) -> bool:
    """Say whether a value is a whole number of any kind, numpy's included."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _require_prior(value: object) -> None:
    if not isinstance(value, Prior):
        names = ", ".join(prior.__name__ for prior in PRIORS.values())
        raise SpecError(
            "prior on loadings", got=repr(value)[:80], expected=f"one of {names}", do="Write loadings=SpikeSlab()."
        )


def _require_scale(value: object) -> None:
    if value not in _SCALES:
        raise SpecError("scale", got=repr(value)[:80], expected=f"one of {', '.join(_SCALES)}", do="Choose one.")
