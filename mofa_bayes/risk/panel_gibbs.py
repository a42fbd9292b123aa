"""Gibbs sampling of a panel of responses: with the factors drawn along, every step but a scale's is a normal's.

NUTS on the same graph, whose data are read here, is the oracle (`tests/oracle/test_panel_gibbs.py`). Panels are where
it is slow: thirty factors and ten responses make 300 effects that share 60 means and sds.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.risk.interactions import Interactions
from mofa_bayes.risk.panel_graph import COVARIATES, FACTORS, INTERACTIONS, NOISE, NOISE_SPREAD
from mofa_bayes.risk.panel_kernels import draw_effects, draw_factors, draw_log_scale, draw_noise, share
from mofa_bayes.risk.response import Array
from mofa_bayes.risk.sampling import Sampling
from mofa_bayes.watch import counting

if TYPE_CHECKING:
    import pymc as pm

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """What the graph of a panel knows, in sds of each response.

    Attributes
    ----------
    outcome, is_known
        Standardised values, 0 where missing, and 1 where they are not: (N, R) each.
    mean, covariates, moderators
        m (N, K), values of covariates (N, C) and those of each pair's (N, P).
    factor
        Of each pair.
    group, group_moderators, kinds, roots
        Of each subject its group; of each group what `draw_factors` needs.
    counted, kind
        The M different columns of `is_known`, (M, N), and which of them each response has.
    """

    outcome: Array
    is_known: Array
    mean: Array
    covariates: Array
    moderators: Array
    factor: Index
    group: Index
    group_moderators: Array
    kinds: Array
    roots: Array
    counted: Array
    kind: Index

    @classmethod
    def of(cls, model: "pm.Model", interactions: Interactions) -> "Panel":
        """Read the data of a graph that `build_panel_graph` made."""
        data = {own.name: np.asarray(own.get_value()) for own in model.data_vars}
        is_known, group = data["outcome_is_known"], data["pattern"].astype(np.intp)
        n_subjects = len(is_known)
        of_group = data.get("group_moderators", np.empty((len(data["kinds"]), 0)))
        counted, kind = np.unique(is_known.T, axis=0, return_inverse=True)
        return cls(
            outcome=is_known * (data["outcome_value"] - data["centre"]) / data["unit"],
            is_known=is_known,
            mean=data["factors_mean"],
            covariates=data.get("covariates", np.empty((n_subjects, 0))),
            moderators=of_group[group],
            factor=np.array(interactions.factor, dtype=np.intp),
            group=group,
            group_moderators=of_group,
            kinds=data["kinds"],
            roots=data["factors_root"],
            counted=counted,
            kind=kind.ravel().astype(np.intp),
        )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of factors, covariates and pairs."""
        return self.mean.shape[1], self.covariates.shape[1], len(self.factor)

    def terms(self, factors: Array) -> Array:
        """1, factors, covariates, and each pair's factor times its covariate: (N, Q)."""
        moved = self.moderators * factors[:, self.factor]
        return np.concatenate([np.ones((len(factors), 1)), factors, self.covariates, moved], axis=1)

    def split(self, effects: Array) -> tuple[Array, Array, Array, Array]:
        """Take effects (..., Q) apart: level, and effects of factors, covariates and pairs."""
        ends = np.cumsum([1, *self.sizes[:2]])
        level, factors, covariates, pairs = np.split(effects, ends, axis=-1)
        return level[..., 0], factors, covariates, pairs


@dataclass(slots=True, eq=False)
class State:
    """Where a chain is: effects (R, Q), what they share, noise, and the noise's own location and spread.

    `prior` (Q,) is the prior scale of location and scale of each term: 0 for the level, which responses do not share.
    """

    effects: Array
    location: Array
    scale: Array
    prior: Array
    noise: Array
    typical: float
    spread: float

    @classmethod
    def start(cls, panel: Panel, rng: np.random.Generator) -> "State":
        """Start somewhere in the middle of the prior."""
        prior = np.append(0.0, np.repeat([0.3 * FACTORS, COVARIATES, 0.3 * INTERACTIONS], panel.sizes))
        n_responses = panel.outcome.shape[1]
        return cls(
            effects=np.zeros((n_responses, len(prior))),
            location=np.zeros(len(prior)),
            scale=np.where(prior > 0, prior * rng.uniform(0.1, 1.0, size=len(prior)), 1.0),
            prior=prior,
            noise=np.exp(rng.normal(NOISE[0], NOISE[1], size=n_responses)),
            typical=NOISE[0],
            spread=float(np.exp(NOISE_SPREAD[0])),
        )


def sample_panel(
    model: "pm.Model", interactions: Interactions, sampling: Sampling, rng: np.random.Generator
) -> xr.DataTree:
    """Draw from the posterior of a panel.

    Returns
    -------
    A tree with `posterior`: the variables that NUTS would keep, as effects of standardised terms in sds of a response.
    """
    panel = Panel.of(model, interactions)
    n_sweeps = sampling.n_tune + sampling.n_draws
    with counting(sampling.progress, "sampling responses", sampling.n_chains * n_sweeps) as advance:
        chains = []
        for own in rng.spawn(sampling.n_chains):
            chain = Chain(panel, State.start(panel, own), own)
            kept = []
            for sweep in range(n_sweeps):
                chain.sweep()
                if sweep >= sampling.n_tune:
                    kept.append((chain.state.effects.copy(), chain.state.noise.copy()))
                advance()
            chains.append([np.stack(parts) for parts in zip(*kept, strict=True)])
    effects, noise = (np.stack(parts) for parts in zip(*chains, strict=True))
    return xr.DataTree.from_dict({"posterior": _label(panel, model, effects, noise)})


class Chain:
    """A chain: its state, its generator, and the arrays its steps write to."""

    def __init__(self, panel: Panel, state: State, rng: np.random.Generator) -> None:
        self.panel, self.state, self.rng = panel, state, rng
        self.factors = panel.mean.copy()
        self.order = np.argsort(panel.group, kind="stable")
        self.starts = np.searchsorted(panel.group[self.order], np.arange(len(panel.kinds) + 1))
        self.square = np.square(panel.outcome).sum(axis=0)
        self.count = panel.is_known.sum(axis=0)

    def sweep(self) -> None:
        """Draw factors given effects, effects given factors, what effects share, and the noise."""
        panel, state, rng = self.panel, self.state, self.rng
        level, effects, slopes, changes = (np.ascontiguousarray(own) for own in panel.split(state.effects))
        error = panel.outcome - level - panel.covariates @ slopes.T
        draw_factors(
            effects,
            changes,
            panel.factor,
            panel.group_moderators,
            panel.kinds,
            panel.roots,
            self.order,
            self.starts,
            panel.mean,
            error,
            state.noise,
            rng,
            self.factors,
        )
        terms = panel.terms(self.factors)
        gram = np.stack([(terms * own[:, None]).T @ terms for own in panel.counted])
        linear = panel.outcome.T @ terms
        regression = (gram, panel.kind, linear)
        draw_effects(*regression, state.location, state.scale, state.noise, rng, state.effects)
        share(*regression, state.noise, state.prior, rng, state.effects, state.location, state.scale)
        draw_noise(*regression, self.square, self.count, state.effects, state.typical, state.spread, rng, state.noise)
        self._share_terms()
        self._share_noise()

    def _share_terms(self) -> None:
        """Draw how large effects of factors, and of pairs, are together, given location and scale of each."""
        state, (n_factors, n_covariates, n_pairs) = self.state, self.panel.sizes
        for first, n_terms, most in ((1, n_factors, FACTORS), (1 + n_factors + n_covariates, n_pairs, INTERACTIONS)):
            own = slice(first, first + n_terms)
            if n_terms:
                square = np.square(state.location[own]).sum() + np.square(state.scale[own]).sum()
                start = float(np.log(state.prior[first]))
                log_overall = draw_log_scale(start, 2 * n_terms - 1.0, 0.5 * square, 0.5 / most**2, 0.0, 0.0, self.rng)
                state.prior[own] = np.exp(log_overall)

    def _share_noise(self) -> None:
        """Draw location and spread of the log noise over responses."""
        state, rng = self.state, self.rng
        log_noise = np.log(state.noise)
        precision = len(log_noise) / state.spread**2 + 1 / NOISE[1] ** 2
        mean = (log_noise.sum() / state.spread**2 + NOISE[0] / NOISE[1] ** 2) / precision
        state.typical = float(mean + rng.normal() / np.sqrt(precision))
        square, (centre, sd) = np.square(log_noise - state.typical).sum(), NOISE_SPREAD
        log_spread = draw_log_scale(
            float(np.log(state.spread)), float(len(log_noise)), 0.5 * square, 0.0, centre, 0.5 / sd**2, rng
        )
        state.spread = float(np.exp(log_spread))


def _label(panel: Panel, model: "pm.Model", effects: Array, noise: Array) -> xr.Dataset:
    """Name draws (chain, draw, ...) as the graph does."""
    unit, centre = (np.asarray(model[name].get_value()) for name in ("unit", "centre"))
    level, factors, covariates, pairs = panel.split(effects)
    values = {
        "effect_factors": factors,
        "standardised_effects": covariates,
        "standardised_interactions": pairs,
        "intercept": centre + unit * level,
        "noise_sd": unit * noise,
    }
    variables, coords = {}, {"chain": np.arange(effects.shape[0]), "draw": np.arange(effects.shape[1])}
    for name, own in values.items():
        if name in model.named_vars:
            dims = tuple(str(dim) for dim in model.named_vars_to_dims[name])
            variables[name] = (("chain", "draw", *dims), own)
            coords |= {dim: np.asarray(model.coords[dim]) for dim in dims}
    return xr.Dataset(variables, coords=coords)
