"""q of everything that is not a row: loadings, coefficients of known terms, noise, what stands above; and the bound."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import digamma

from mofa_bayes.engines.vi.factor_priors import FactorState, first_factor_state
from mofa_bayes.engines.vi.layout import Layout, Part
from mofa_bayes.engines.vi.loadings import Above, Mapper, is_together, quadratic_forms, update_loadings
from mofa_bayes.engines.vi.packed import Array, Index, diagonal_of, n_packed
from mofa_bayes.engines.vi.part_state import PartState
from mofa_bayes.engines.vi.priors import ViewState, first_state, follow_dense, gamma_kl
from mofa_bayes.engines.vi.rows import PartGlobals, PartSums, Sums
from mofa_bayes.spec import ARD, FactorModel, FactorPrior, Gamma, Prior, SpikeSlabFactors, StandardFactors

_LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, slots=True)
class Globals:
    """q of all globals: one state per part, one per view, and what stands above the factors."""

    parts: tuple[PartState, ...]
    views: Mapping[str, ViewState]
    factors: FactorState

    @property
    def n_factors(self) -> int:
        """Number of factors."""
        return self.parts[0].n_factors

    def summarise(self, layout: Layout) -> dict[int, PartGlobals]:
        """Reduce to what rows need to know."""
        return {number: state.summarise(layout.parts[number]) for number, state in enumerate(self.parts)}

    def keep(self, factors: Index) -> "Globals":
        """Keep some factors, in the order given."""
        views = {view: state.keep(factors) for view, state in self.views.items()}
        return Globals(tuple(state.keep(factors) for state in self.parts), views, self.factors.keep(factors))

    def rescale(self, scale: Array) -> "Globals":
        """Apply w_k -> w_k / scale_k, with what stands above following where its form allows."""
        views = {view: state.rescale(scale) for view, state in self.views.items()}
        return replace(self, parts=tuple(state.rescale(scale) for state in self.parts), views=views)


def priors_of(spec: FactorModel, layout: Layout) -> dict[str, Prior]:
    """Prior of each view."""
    return {view: spec.loadings_of(view) for view in layout.views}


def dense_priors(priors: Mapping[str, Prior]) -> dict[str, Prior]:
    """Name the dense model from which every other starts: ARD, with a prior's own precision prior where it has one."""
    return {view: ARD(precision=getattr(prior, "precision", Gamma())) for view, prior in priors.items()}


def dense_factors(prior: FactorPrior) -> FactorPrior:
    """Name the prior on factors of the model from which every other starts."""
    return StandardFactors() if isinstance(prior, SpikeSlabFactors) else prior


def first_globals(layout: Layout, spec: FactorModel, priors: Mapping[str, Prior]) -> Globals:
    """Globals before anything is known: loadings 0, unit precisions, noise as large as each feature's own variance."""
    parts = tuple(_first_part(layout, part, spec.n_factors, priors[part.view]) for part in layout.parts)
    views = {view: first_state(prior, _n_features(layout, view), spec.n_factors) for view, prior in priors.items()}
    return Globals(parts, views, first_factor_state(dense_factors(spec.factors), len(layout.groups), spec.n_factors))


def _first_part(layout: Layout, part: Part, n_factors: int, prior: Prior) -> PartState:
    n_terms, n_features = n_factors + layout.n_known, part.n_features
    width = n_terms * (n_terms + 1) // 2 if is_together(prior) else n_terms
    mean, spread = np.zeros((n_features, n_terms)), np.zeros((n_features, width))
    mean[:, n_factors : n_factors + len(layout.groups)] = part.family.start_intercept(part.mean / part.exposure)[
        :, None
    ]
    nothing, everything = np.zeros((n_features, n_factors)), np.ones((n_features, n_factors))
    shape = rate = np.empty((0, n_features))
    if part.family.has_noise:
        shape = np.maximum(part.n_observed, 1.0)
        rate = np.maximum(part.sum_squares, 1e-12 * shape)
    nuisance = part.family.start_nuisance(part.mean, part.variance)
    no_basis = np.empty((0, 0))
    return PartState(mean, spread, no_basis, nothing, nothing, everything, shape, rate, nuisance)


def follow(globals_: Globals, layout: Layout, priors: Mapping[str, Prior], own_factors: FactorPrior) -> Globals:
    """Start a model from its dense fit: the same means and variances under its own priors."""
    parts: list[PartState] = []
    squares: dict[str, list[Array]] = {view: [] for view in layout.views}
    n_factors = globals_.n_factors
    for part, state in zip(layout.parts, globals_.parts, strict=True):
        prior = priors[part.view]
        variances = state.variances()
        mean = state.mean
        if prior.positive:
            mean = mean.copy()
            mean[:, :n_factors] = np.maximum(mean[:, :n_factors], 0.0)
        same = is_together(prior)
        spread = state.spread if same else np.ascontiguousarray(variances)
        basis = state.basis if same else np.empty((0, 0))
        squares[part.view].append(mean[:, :n_factors] ** 2 + variances[:, :n_factors])
        parts.append(replace(state, mean=mean, spread=spread, basis=basis))
    views = {
        view: follow_dense(priors[view], own, np.concatenate(squares[view])) for view, own in globals_.views.items()
    }
    factors = globals_.factors
    if isinstance(own_factors, SpikeSlabFactors):
        factors = first_factor_state(own_factors, len(layout.groups), n_factors)
    return Globals(tuple(parts), views, factors)


@dataclass(frozen=True, slots=True)
class Bound:
    """The evidence lower bound by where it comes from: each view, and the rows with what stands above them."""

    by_view: Mapping[str, float]
    rows: float

    @property
    def total(self) -> float:
        """The bound."""
        return self.rows + sum(self.by_view.values())


def update_globals(
    layout: Layout,
    spec: FactorModel,
    priors: Mapping[str, Prior],
    globals_: Globals,
    sums: Sums,
    mapper: Mapper = map,
) -> tuple[Globals, Bound]:
    """One coordinate-ascent pass over the globals given the rows' sums; returns them with the bound they reach."""
    by_view: dict[str, float] = {}
    updated = globals_
    for view in globals_.views:
        updated, by_view[view] = update_view(layout, spec, priors[view], updated, view, sums, mapper)
    factors, gained = _update_factors(globals_.factors, layout, sums)
    return replace(updated, factors=factors), Bound(by_view, sums.entropy + gained)


def update_view(
    layout: Layout,
    spec: FactorModel,
    prior: Prior,
    globals_: Globals,
    view: str,
    sums: Sums,
    mapper: Mapper = map,
) -> tuple[Globals, float]:
    """Update loadings, noise and what stands above them of a view; returns globals and its share of the bound."""
    own = globals_.views[view]
    parts = list(globals_.parts)
    squares, active, start, bound = [], [], 0, 0.0
    for number, part in enumerate(layout.parts):
        if part.view != view:
            continue
        stop = start + part.n_features
        rows = slice(start, stop) if len(own.precision) > 1 else slice(0, 1)
        above = Above(own.precision[rows], own.log_precision[rows], own.log_odds, spec.intercept_scale**-2)
        by_group = sums_by_group(layout, number, sums)
        state, square, gained = update_loadings(part, parts[number], prior, above, by_group, mapper)
        parts[number], likelihood = _update_noise(part, state, by_group, spec.noise)
        squares.append(square)
        active.append(state.inclusion)
        bound += gained + likelihood
        start = stop
    updated, gained = own.update(np.concatenate(squares), np.concatenate(active))
    changed = replace(globals_, parts=tuple(parts), views={**globals_.views, view: updated})
    return changed, float(bound + gained)


def _n_features(layout: Layout, view: str) -> int:
    return sum(part.n_features for part in layout.parts if part.view == view)


def sums_by_group(layout: Layout, number: int, sums: Sums) -> PartSums:
    """Stack a part's sums over groups: cross (G, D, J), grams (G, n_gram, P), squares (G, D) or (G, 0)."""
    own = [sums.parts.get((number, group)) for group in range(len(layout.groups))]
    if len(own) == 1 and own[0] is not None:
        only = own[0]  # as it is: stacking would copy the largest table of all
        return PartSums(only.cross[None], only.grams[None], only.squares[None], only.constant)
    some = next(one for one in own if one is not None)
    nothing = PartSums(np.zeros_like(some.cross), np.zeros_like(some.grams), np.zeros_like(some.squares), 0.0)
    filled = [one or nothing for one in own]
    return PartSums(
        np.stack([one.cross for one in filled]),
        np.stack([one.grams for one in filled]),
        np.stack([one.squares for one in filled]),
        sum(one.constant for one in filled),
    )


def _update_noise(part: Part, state: PartState, sums: PartSums, noise: Gamma) -> tuple[PartState, float]:
    """Update the noise; return the part with its share of the expected log likelihood, less the KL of the noise."""
    has_noise = part.family.has_noise
    # Without noise h carries no weight and G does: dividing h by the weight of G lets one kernel serve both.
    cross = sums.cross if has_noise else sums.cross / part.curvature[:, None]
    quadratic = quadratic_forms(part, state, cross, sums.grams)
    if not has_noise:
        return state, float(sums.constant - (part.curvature * quadratic).sum() / 2)
    squares = sums.squares if part.family.is_entrywise else part.sum_squares
    residual = np.maximum(squares + quadratic, 0.0)
    shape, rate = noise.shape + part.n_observed / 2, noise.rate + residual / 2
    log_tau = digamma(shape) - np.log(rate)
    likelihood = part.n_observed * (log_tau - _LOG_2PI) - shape / rate * residual
    bound = sums.constant + likelihood.sum() / 2 - gamma_kl(shape, rate, noise).sum()
    return replace(state, noise_shape=shape, noise_rate=rate), float(bound)


def _update_factors(state: FactorState, layout: Layout, sums: Sums) -> tuple[FactorState, float]:
    groups = range(len(layout.groups))
    some = next(iter(sums.active.values()))
    diagonal, nothing = diagonal_of(len(some)), np.zeros(n_packed(len(some)))
    square = np.stack([sums.factors.get(group, nothing)[diagonal] for group in groups])
    active = np.stack([sums.active.get(group, np.zeros_like(some)) for group in groups])
    count = np.zeros(len(layout.groups))
    for block in layout.blocks:
        count[block.group] += block.n_rows
    return state.update(square, active, count)
