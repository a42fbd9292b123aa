"""align: bring the draws of a factor model to one rotation, sign, order and scale, before anything is averaged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.errors import ConvergenceWarning, DataError, FitError, warn
from mofa_bayes.posterior.alignment_report import AlignmentReport
from mofa_bayes.posterior.convergence import N_CHECKED, tabulate_convergence
from mofa_bayes.posterior.matching import (
    SAME,
    Array,
    Freedom,
    Match,
    congruence,
    covariance_of,
    in_chunks,
    match_chains,
    scale_to_unit,
)
from mofa_bayes.posterior.trace import Trace, carry_others, read_trace


def align(
    posterior: xr.Dataset | xr.DataTree,
    *,
    sparse: bool | None = None,
    factors: str | None = "factors",
    loadings: Sequence[str] | None = None,
    max_iterations: int = 30,
    n_checked: int = N_CHECKED,
) -> tuple[xr.Dataset, AlignmentReport]:
    """Align draws of factors and loadings, and say how far chains agree before and after.

    Draws of (Z, W) with the same Z W' differ by an invertible map. Its scale is taken away first: each draw's factors
    get unit variance over subjects, and no correlation where a rotation is free; **the output keeps that scale**.
    What is left is

    - under a dense prior a rotation: iterated orthogonal Procrustes to a reference, and one varimax of the final
      reference in which every view counts the same (Aßmann, Boysen-Hogrefe and Pape 2016, J Econometrics 192:190);
    - under a sparse prior a sign and an order: one assignment per draw, with an iterated reference;
    - an order alone where the loadings of some view are never negative.

    Factors come out by the variance that they explain, and the largest mean loading of each is positive.

    Parameters
    ----------
    posterior
        Draws, as the dataset or as a tree with the group `posterior`; from our engines or from elsewhere.
    sparse
        Whether the prior is sparse, so that a rotation would change its density. None looks for `active_`, `local_` or
        `factors_active` variables, and for the model in the tree's attributes.
    factors
        Name of the factors, dims (chain, draw, subject, factor) in any order; None when they were integrated out, and
        loadings then keep their scale.
    loadings
        Names of the loadings, one per view, dims (chain, draw, feature, factor); all named `loadings_...` when left
        out.
    max_iterations
        Limit to the passes over the draws, within chains and over all.
    n_checked
        How many loadings R-hat and effective sample sizes are computed for, spread over the views; 0 leaves the table
        empty, and saves its time.

    Returns
    -------
    Dataset
        The posterior with everything mapped: factors, loadings; per factor `active_`, `inclusion_`, `local_`,
        `factors_active`, `factor_inclusion` follow order, `slab_` and `factors_slab` sign too, and `ard_`, `rate_`,
        `factor_precision` scale. After a rotation such quantities mean nothing: `ard_<view>` is recomputed as what
        loadings imply, D / sum_d w_dk^2, `factor_precision` as that along the new axes, and the others are left out.
        Other variables with the dim of factors are left out; the report names them.
    AlignmentReport
        With `table`, `chains`, and which chains sit in another mode.

    Raises
    ------
    DataError
        Names or dims are not those of a factor model, or draws are not finite.

    Warns
    -----
    ConvergenceWarning
        Chains found different factors; their draws are mapped, and must not be averaged.
    """
    dataset = _posterior_of(posterior)
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
        raise FitError("max_iterations", got=repr(max_iterations), expected="a whole number from 1 up", do="Try 30.")
    trace = read_trace(dataset, factors, loadings)
    freedom = _freedom_of(trace, _is_sparse(posterior, dataset) if sparse is None else sparse)
    n_chains, n_draws, _, n_factors = trace.loadings[0].shape
    covariance = np.broadcast_to(np.eye(n_factors), (n_chains, n_draws, n_factors, n_factors))
    if trace.factors is not None:
        covariance = np.stack([covariance_of(own) for own in trace.factors])
    scale = np.stack([scale_to_unit(own, freedom) for own in covariance])
    match = match_chains(trace.loadings, scale, freedom, max_iterations)
    aligned = _apply(trace, match)
    out, notes = carry_others(dataset, trace, aligned.loadings, match.maps, freedom)
    out = out.assign(trace.label(aligned.loadings, aligned.factors)).assign_attrs(aligned=1, alignment=freedom)
    if trace.factors is None:
        notes = (*notes, "there are no factors: loadings keep the scale that each draw had")
    chains = _judge(aligned, match, trace)
    report = AlignmentReport(
        freedom=freedom,
        table=tabulate_convergence(
            dataset, trace, covariance, {"before": trace.loadings, "after": aligned.loadings}, n_checked
        ),
        chains=chains,
        other_mode=tuple(int(c) for c in trace.chain_names[~match.is_main]),
        wandering=_find_wandering(chains, aligned, trace),
        congruence=trace.label_by_factor(aligned.congruence),
        maps=trace.label_by_factor(match.maps),
        n_iterations=match.n_iterations,
        notes=notes,
    )
    if not report.is_one_mode:
        warn(
            f"chains found different factors ({repr(report).split('; ')[1][:-1]}): look at report.chains, and do not "
            "average over them",
            ConvergenceWarning,
        )
    return out, report


@dataclass(frozen=True, slots=True, eq=False)
class _Aligned:
    """Aligned draws, and what was summed while they were made; means by half of a chain, (C, 2, D_m, K) per view."""

    factors: NDArray[np.floating] | None
    loadings: list[NDArray[np.floating]]
    gram: list[Array]
    halves: list[Array]
    congruence: Array


def _posterior_of(posterior: object) -> xr.Dataset:
    if isinstance(posterior, xr.DataTree) and "posterior" in posterior.children:
        return posterior.children["posterior"].to_dataset()
    if isinstance(posterior, xr.Dataset):
        return posterior
    raise DataError(
        "posterior to align",
        got=type(posterior).__name__,
        expected="a Dataset of draws, or a DataTree with the group `posterior`",
        do="Pass post.tree, or idata.posterior of a PyMC trace.",
    )


def _is_sparse(posterior: xr.Dataset | xr.DataTree, dataset: xr.Dataset) -> bool:
    if any(str(name).startswith(("active_", "local_", "factors_active")) for name in dataset.data_vars):
        return True
    spec = posterior.attrs.get("spec")
    if not isinstance(spec, str):
        return False
    from mofa_bayes.spec import ARD, FactorModel, Normal

    model, views = FactorModel.from_toml(spec), json.loads(posterior.attrs.get("views", "[]"))
    priors = [model.loadings_of(view) for view in views] or [model.loadings]
    return not all(isinstance(prior, ARD | Normal) for prior in priors)


def _freedom_of(trace: Trace, sparse: bool) -> Freedom:
    if any(all((own[chunk] >= 0).all() for own in view for chunk in in_chunks(own)) for view in trace.loadings):
        return "order"
    return "sign and order" if sparse else "rotation"


def _apply(trace: Trace, match: Match) -> _Aligned:
    """Map all draws, and sum up what the report needs on the way."""
    n_chains, n_draws, n_factors = match.maps.shape[:3]
    middle = n_draws // 2
    square, product = np.zeros((2, n_chains, n_draws, n_factors))
    loadings, gram, halves = [], [], []
    for view, reference in zip(trace.loadings, match.reference, strict=True):
        mapped = np.empty(view.shape, dtype=view.dtype)
        own_gram = np.empty((n_chains, n_draws, n_factors, n_factors))
        own_halves = np.zeros((n_chains, 2, *view.shape[2:]))
        for c in range(n_chains):
            for chunk in in_chunks(view[c]):
                w = view[c, chunk].astype(np.float64) @ match.maps[c, chunk]
                mapped[c, chunk] = w
                own_gram[c, chunk] = np.swapaxes(w, 1, 2) @ w
                product[c, chunk] += np.einsum("sdk,dk->sk", w, reference)
                first = max(0, min(middle - chunk.start, len(w)))
                own_halves[c, 0] += w[:first].sum(axis=0)
                own_halves[c, 1] += w[first:].sum(axis=0)
        own_halves /= np.array([middle, n_draws - middle])[:, None, None]
        square += np.diagonal(own_gram, axis1=2, axis2=3)
        loadings.append(mapped)
        gram.append(own_gram)
        halves.append(own_halves)
    factors = None
    if trace.factors is not None:
        factors = np.empty(trace.factors.shape, dtype=trace.factors.dtype)
        inverse = np.swapaxes(np.linalg.inv(match.maps), 2, 3)
        for c in range(n_chains):
            for chunk in in_chunks(trace.factors[c]):
                factors[c, chunk] = trace.factors[c, chunk].astype(np.float64) @ inverse[c, chunk]
    norm = np.sqrt(square * np.sum([np.square(view).sum(axis=0) for view in match.reference], axis=0))
    return _Aligned(factors, loadings, gram, halves, product / np.where(norm > 0, norm, 1.0))


def _judge(aligned: _Aligned, match: Match, trace: Trace) -> pd.DataFrame:
    """Congruence of each chain and factor: see `AlignmentReport.chains`."""
    whole = [own.mean(axis=1) for own in aligned.halves]
    columns = {
        "halves": congruence([own[:, 0] for own in aligned.halves], [own[:, 1] for own in aligned.halves]),
        "within": _within(whole, aligned.gram),
        "reference": congruence(whole, match.reference),
        "draws_mean": aligned.congruence.mean(axis=1),
        "draws_5": np.quantile(aligned.congruence, 0.05, axis=1),
    }
    index = pd.MultiIndex.from_product([trace.chain_names, trace.factor_names], names=["chain", "factor"])
    return pd.DataFrame({name: own.ravel() for name, own in columns.items()}, index=index).reset_index()


def _within(means: Sequence[Array], gram: Sequence[Array]) -> Array:
    """Congruence of draws with their own mean m, as |m| over the root mean square of |w|, (C, K)."""
    norm = np.sum([np.square(own).sum(axis=-2) for own in means], axis=0)
    square = np.sum([np.diagonal(own, axis1=2, axis2=3).mean(axis=1) for own in gram], axis=0)
    return np.sqrt(norm / np.where(square > 0, square, 1.0))


def _find_wandering(chains: pd.DataFrame, aligned: _Aligned, trace: Trace) -> tuple[int, ...]:
    """Find chains whose halves are each sure of a factor, and differ."""
    middle = aligned.congruence.shape[1] // 2
    sure = np.ones((len(trace.chain_names), len(trace.factor_names)), dtype=np.bool_)
    for half, part in enumerate((slice(None, middle), slice(middle, None))):
        sure &= _within([own[:, half] for own in aligned.halves], [own[:, part] for own in aligned.gram]) >= SAME
    differ = chains["halves"].to_numpy().reshape(sure.shape) < SAME
    return tuple(int(c) for c in trace.chain_names[(sure & differ).any(axis=1)])
