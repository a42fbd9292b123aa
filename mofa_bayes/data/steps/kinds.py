"""One step of preparation each: what it learns from a cohort, what it does to values, and how that is undone.

Values are (subject, feature), NaN where missing; what is learned is a mapping of arrays (feature, ...), with nothing of
a single patient in it. Steps act on real-valued columns; flags, counts and categories pass.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.errors import DataError, SpecError

Array = NDArray[np.float64]
Learned = Mapping[str, Array]
_PER_KNOT = 5
"""Order statistics that a knot of the quantile map is the mean of: none is a patient's own value."""
_MOST_KNOTS = 101
_MAD = 1.4826


@dataclass(frozen=True, slots=True)
class Step(ABC):
    """What all steps offer. Those that are a fixed function learn nothing."""

    kind: ClassVar[str]

    def learn(self, values: Array) -> Learned:  # noqa: ARG002
        """Learn from the values of a cohort; raise DataError where the step does not suit them."""
        return {}

    def keep(self, learned: Learned) -> NDArray[np.bool_] | None:  # noqa: ARG002
        """Say which features are kept, or None for all."""
        return None

    @abstractmethod
    def apply(self, values: Array, learned: Learned, totals: Array) -> Array:
        """Prepare values; `totals` (subject, 1) are the sums of each subject's values before the first step."""

    @abstractmethod
    def invert(self, values: Array, learned: Learned, totals: Array) -> Array:
        """Bring prepared values back."""


@dataclass(frozen=True, slots=True)
class CPM(Step):
    """Divide each subject's counts by their sum over the view, times a target: counts per million.

    Parameters
    ----------
    target
        What the sum becomes.
    """

    kind: ClassVar[str] = "cpm"
    target: float = 1e6

    def __post_init__(self) -> None:
        _require_positive("target of CPM", self.target)

    def learn(self, values: Array) -> Learned:
        """Refuse values that are no counts."""
        _require_range("CPM", values, 0.0, np.inf)
        return {}

    def apply(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Divide by the sum."""
        return values / totals * self.target

    def invert(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Multiply by the sum."""
        return values * totals / self.target


@dataclass(frozen=True, slots=True)
class Log1p(Step):
    """log(1 + x), for counts and concentrations."""

    kind: ClassVar[str] = "log1p"

    def learn(self, values: Array) -> Learned:
        """Refuse values below 0."""
        _require_range("Log1p", values, 0.0, np.inf)
        return {}

    def apply(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Take the logarithm; new values below 0 count as 0."""
        return np.log1p(np.maximum(values, 0.0))

    def invert(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Exponentiate."""
        return np.expm1(values)


@dataclass(frozen=True, slots=True)
class Arcsinh(Step):
    """arsinh(x / cofactor), for intensities of either sign (cytometry: cofactor 5).

    Parameters
    ----------
    cofactor
        Below it the scale is linear, above it logarithmic.
    """

    kind: ClassVar[str] = "arcsinh"
    cofactor: float = 5.0

    def __post_init__(self) -> None:
        _require_positive("cofactor of Arcsinh", self.cofactor)

    def apply(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Bend."""
        return np.arcsinh(values / self.cofactor)

    def invert(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Unbend."""
        return np.sinh(values) * self.cofactor


@dataclass(frozen=True, slots=True)
class Logit(Step):
    """log2(x / (1 - x)) of shares: M-values of methylation's beta values (Du et al. 2010, BMC Bioinformatics 11:587).

    Parameters
    ----------
    margin
        Shares are kept this far from 0 and 1, whose logits are infinite.
    """

    kind: ClassVar[str] = "logit"
    margin: float = 0.001

    def __post_init__(self) -> None:
        if not isinstance(self.margin, int | float) or not 0 < self.margin < 0.5:
            raise SpecError("margin of Logit", got=repr(self.margin)[:80], expected="a share in (0, 0.5)", do="0.001.")

    def learn(self, values: Array) -> Learned:
        """Refuse values that are no shares."""
        _require_range("Logit", values, 0.0, 1.0)
        return {}

    def apply(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Take the logit; new values outside 0 to 1 count as the nearer of these."""
        share = np.clip(values, self.margin, 1 - self.margin)
        return np.log2(share / (1 - share))

    def invert(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Bring back to shares."""
        return 1 / (1 + np.exp2(-values))


@dataclass(frozen=True, slots=True)
class QuantileNormal(Step):
    """Bring each feature to a normal distribution by its ranks (van der Waerden scores), for heavy tails.

    The map is piecewise linear between at most 101 knots, each the mean of five or more neighbouring values at the
    normal quantile of their middle rank, and goes on with the slope of its ends: new patients beyond them are further
    out, and no knot is a patient's value.
    """

    kind: ClassVar[str] = "quantile_normal"

    def learn(self, values: Array) -> Learned:
        """Learn the knots of each feature."""
        from scipy.special import ndtri

        n_knots = int(min(_MOST_KNOTS, max(len(values) // _PER_KNOT, 2)))
        at, scores = np.full((values.shape[1], n_knots), np.nan), np.full((values.shape[1], n_knots), np.nan)
        for d, column in enumerate(values.T):
            seen = np.sort(column[~np.isnan(column)])
            parts = [part for part in np.array_split(seen, min(n_knots, max(len(seen) // _PER_KNOT, 1))) if len(part)]
            means = np.array([part.mean() for part in parts])
            ends = np.cumsum([len(part) for part in parts])
            middle = (ends - np.array([len(part) for part in parts]) / 2) / max(len(seen), 1)
            own, where = np.unique(means, return_inverse=True)  # ties share a knot, at the mean of their ranks
            at[d, : len(own)] = own
            scores[d, : len(own)] = ndtri(np.bincount(where, middle) / np.bincount(where))
        return {"at": at, "scores": scores}

    def apply(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Interpolate from values to scores."""
        return _interpolate(values, learned["at"], learned["scores"])

    def invert(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Interpolate from scores to values."""
        return _interpolate(values, learned["scores"], learned["at"])


@dataclass(frozen=True, slots=True)
class Winsorise(Step):
    """Pull values beyond a number of robust standard deviations from the median back to that border.

    What was pulled back cannot be undone: results lie within the borders.

    Parameters
    ----------
    n_sd
        Borders, in standard deviations estimated by the median absolute deviation.
    """

    kind: ClassVar[str] = "winsorise"
    n_sd: float = 4.0

    def __post_init__(self) -> None:
        _require_positive("n_sd of Winsorise", self.n_sd)

    def learn(self, values: Array) -> Learned:
        """Learn both borders; a feature of which most values are the same is left alone."""
        middle = _of_columns(np.nanmedian, values)
        spread = _MAD * _of_columns(np.nanmedian, np.abs(values - middle))
        reach = np.where(spread > 0, self.n_sd * spread, np.inf)
        return {"lower": middle - reach, "upper": middle + reach}

    def apply(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Clip."""
        return np.clip(values, learned["lower"], learned["upper"])

    def invert(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Leave as they are."""
        return values


@dataclass(frozen=True, slots=True)
class Standardise(Step):
    """Subtract each feature's mean and divide by its standard deviation.

    The model centres and scales by itself (`FactorModel(scale=)`); this is for steps that come after.

    Parameters
    ----------
    robust
        Median and median absolute deviation instead.
    """

    kind: ClassVar[str] = "standardise"
    robust: bool = field(default=False, kw_only=True)

    def learn(self, values: Array) -> Learned:
        """Learn centre and scale; a feature that does not vary has scale 1."""
        centre = _of_columns(np.nanmedian if self.robust else np.nanmean, values)
        away = values - centre
        scale = (
            _MAD * _of_columns(np.nanmedian, np.abs(away)) if self.robust else np.sqrt(_of_columns(np.nanmean, away**2))
        )
        return {"centre": centre, "scale": np.where(scale > 0, scale, 1.0)}

    def apply(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Standardise."""
        return (values - learned["centre"]) / learned["scale"]

    def invert(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Bring back to units."""
        return values * learned["scale"] + learned["centre"]


@dataclass(frozen=True, slots=True)
class _Selection(Step):
    """Leave features out; values stay as they are."""

    def keep(self, learned: Learned) -> NDArray[np.bool_] | None:
        """Those that were chosen."""
        return learned["kept"] > 0

    def apply(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Leave values as they are."""
        return values

    def invert(self, values: Array, learned: Learned, totals: Array) -> Array:  # noqa: ARG002
        """Leave values as they are."""
        return values


@dataclass(frozen=True, slots=True)
class TopVariance(_Selection):
    """Keep the features that vary most: put it after what stabilises variances.

    Parameters
    ----------
    n_features
        How many to keep.
    """

    kind: ClassVar[str] = "top_variance"
    n_features: int = 5000

    def __post_init__(self) -> None:
        if isinstance(self.n_features, bool) or not isinstance(self.n_features, int) or self.n_features < 1:
            raise SpecError("n_features", got=repr(self.n_features)[:80], expected="a whole number from 1", do="5000.")

    def learn(self, values: Array) -> Learned:
        """Rank variances; of equal ones those first in the table are kept."""
        variance = _of_columns(np.nanvar, values)
        kept = np.zeros(len(variance))
        kept[np.argsort(-np.nan_to_num(variance), kind="stable")[: self.n_features]] = 1.0
        return {"kept": kept}


@dataclass(frozen=True, slots=True)
class DropConstant(_Selection):
    """Leave out features that hardly vary or are hardly there.

    Parameters
    ----------
    most_common
        Largest share of subjects who may have the same value.
    missing
        Largest share of missing values, among subjects who have the view.
    """

    kind: ClassVar[str] = "drop_constant"
    most_common: float = 0.99
    missing: float = field(default=0.9, kw_only=True)

    def __post_init__(self) -> None:
        for name, share in (("most_common", self.most_common), ("missing", self.missing)):
            if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
                raise SpecError(f"{name} of DropConstant", got=repr(share)[:80], expected="a share up to 1", do="0.99.")

    def learn(self, values: Array) -> Learned:
        """Count."""
        present = ~np.isnan(values).all(axis=1)
        kept = np.zeros(values.shape[1])
        for d, column in enumerate(values[present].T):
            seen = column[~np.isnan(column)]
            if len(seen) and 1 - len(seen) / len(column) <= self.missing:
                kept[d] = float(np.unique(seen, return_counts=True)[1].max() < len(seen) * self.most_common + 1e-9)
        return {"kept": kept}


KINDS: Mapping[str, type[Step]] = {
    own.kind: own
    for own in (CPM, Log1p, Arcsinh, Logit, QuantileNormal, Winsorise, Standardise, TopVariance, DropConstant)
}


def _of_columns(function: object, values: Array) -> Array:
    """Apply a NaN-aware summary to columns; 0 where a column is missing wholly, without a warning."""
    empty = np.isnan(values).all(axis=0)
    filled = np.where(empty, 0.0, values)
    result: Array = np.asarray(function(filled, axis=0))  # type: ignore[operator]
    return result


def _interpolate(values: Array, at: Array, to: Array) -> Array:
    """Piecewise linear maps, one for each column, that go on with the slope of their end pieces."""
    result = np.full(values.shape, np.nan)
    for d in range(values.shape[1]):
        known = ~np.isnan(at[d])
        x, y = at[d][known], to[d][known]
        if len(x) < 2:
            result[:, d] = np.where(np.isnan(values[:, d]), np.nan, y[0] if len(y) else np.nan)
            continue
        piece = np.clip(np.searchsorted(x, values[:, d]) - 1, 0, len(x) - 2)
        slope = (y[piece + 1] - y[piece]) / (x[piece + 1] - x[piece])
        result[:, d] = y[piece] + slope * (values[:, d] - x[piece])
    return result


def _require_positive(what: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < np.inf:
        raise SpecError(what, got=repr(value)[:80], expected="a number above 0", do="Correct it or leave it out.")


def _require_range(what: str, values: Array, lowest: float, highest: float) -> None:
    outside = int((values < lowest).sum() + (values > highest).sum())
    if outside:
        expected = f"numbers from {lowest:g} up" if highest == np.inf else f"numbers from {lowest:g} to {highest:g}"
        raise DataError(
            f"values for {what}",
            got=f"{outside} outside its range",
            expected=expected,
            do="Choose another step for this view, or correct the values.",
        )
