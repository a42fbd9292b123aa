"""One point of a chain: everything the next sweep depends on, and what a posterior keeps of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mofa_bayes.engines.gibbs.above import Above, first_above
from mofa_bayes.engines.vi.layout import Layout, Part
from mofa_bayes.engines.vi.packed import Array, Index
from mofa_bayes.spec import ARDFactors, FactorModel, Gamma


@dataclass(frozen=True, slots=True)
class PartPoint:
    """One point of a part.

    Attributes
    ----------
    terms
        w~: loadings and (last) coefficients of the known terms (D, J).
    tau
        Noise precision per group and column (G, D); ones for likelihoods without noise.
    nuisance
        The columns' own parameters (D,): r of a negative binomial.
    """

    terms: Array
    tau: Array
    nuisance: Array


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a chain.

    Attributes
    ----------
    factors
        (N, K), rows in canonical order.
    parts, above
        One per part, and what stands above the loadings of each view.
    factor_precision
        beta per group and factor (G, K); ones under `StandardFactors`.
    """

    factors: Array
    parts: tuple[PartPoint, ...]
    above: Mapping[str, Above]
    factor_precision: Array

    @property
    def n_factors(self) -> int:
        """Number of factors."""
        return int(self.factors.shape[1])

    def loadings(self, layout: Layout, view: str) -> Array:
        """Join the loadings of all parts of a view, one after the other (D, K)."""
        own = [point.terms for part, point in zip(layout.parts, self.parts, strict=True) if part.view == view]
        return np.concatenate(own)[:, : self.n_factors]

    def record(self, layout: Layout, spec: FactorModel) -> dict[str, Array]:
        """Name what a posterior keeps: numbered by part or view, so that names are safe as names of files."""
        found = {"factors": self.factors}
        for number, (part, own) in enumerate(zip(layout.parts, self.parts, strict=True)):
            found[f"terms_{number}"] = own.terms
            if part.family.has_noise:
                found[f"tau_{number}"] = own.tau
            if part.likelihood == "negative_binomial":
                found[f"dispersion_{number}"] = own.nuisance
        for number, view in enumerate(layout.views):
            found |= {f"{name}_{number}": values for name, values in self.above[view].record().items()}
        if spec.factors.is_learned:
            found["factor_precision"] = self.factor_precision
        return found


@dataclass(frozen=True, slots=True)
class Problem:
    """What stays the same along a chain: data and model, with what is derived from them once.

    Attributes
    ----------
    layout, spec
        Data and model.
    rows_of
        Number of rows per group (G,).
    view_of
        View -> numbers of its parts.
    """

    layout: Layout
    spec: FactorModel
    rows_of: Index
    view_of: Mapping[str, tuple[int, ...]]

    @property
    def n_known(self) -> int:
        """Number of known terms."""
        return self.layout.n_known

    @property
    def known_precision(self) -> float:
        """Prior precision of intercepts and effects."""
        return float(self.spec.intercept_scale**-2)

    @property
    def factor_hyperprior(self) -> Gamma | None:
        """Prior of beta, None where factors are standard normal."""
        return self.spec.factors.precision if isinstance(self.spec.factors, ARDFactors) else None


def pose(layout: Layout, spec: FactorModel) -> Problem:
    """Derive what stays the same along a chain."""
    rows_of = np.zeros(len(layout.groups), dtype=np.intp)
    for block in layout.blocks:
        rows_of[block.group] += block.n_rows
    view_of = {view: tuple(i for i, part in enumerate(layout.parts) if part.view == view) for view in layout.views}
    return Problem(layout, spec, rows_of, view_of)


def first_point(layout: Layout, spec: FactorModel) -> Point:
    """Give a point of the right shapes: factors and loadings 0, scales 1, intercepts at the columns' means."""
    n_factors = spec.n_factors
    parts = tuple(_first_part(layout, part, n_factors) for part in layout.parts)
    widths = {view: sum(part.n_features for part in layout.parts if part.view == view) for view in layout.views}
    above = {view: first_above(spec.loadings_of(view), width, n_factors) for view, width in widths.items()}
    ones = np.ones((len(layout.groups), n_factors))
    return Point(np.zeros((len(layout.subjects), n_factors)), parts, above, ones)


def _first_part(layout: Layout, part: Part, n_factors: int) -> PartPoint:
    n_groups = len(layout.groups)
    terms = np.zeros((part.n_features, n_factors + layout.n_known))
    start = part.family.start_intercept(part.mean / part.exposure)
    terms[:, n_factors : n_factors + n_groups] = start[:, None]
    nuisance = part.family.start_nuisance(part.mean, part.variance)
    return PartPoint(terms, np.ones((n_groups, part.n_features)), nuisance)
