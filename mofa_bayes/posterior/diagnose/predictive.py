"""Posterior predictive checks: would the model make data like these? Per view and feature, on the data's own scale."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.posterior.diagnose.draws import Array, ModelDraws, ViewDraws
from mofa_bayes.posterior.likelihoods import SUPPORTED, Own, draw_values

_COUNTS = ("poisson", "negative_binomial")
_CHUNK = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Predictive:
    """Observed and replicated summaries of one view.

    Attributes
    ----------
    table
        One row per feature and statistic: `view`, `feature`, `statistic` (`mean`, `sd`, `extreme`, the largest distance
        from the mean in standard deviations, of real values; `zeros`, the share of zeros, of counts), `observed`, the
        mean and 95 % interval of replications (`replicated`, `lower`, `upper`), and `p`, the probability that a
        replication is at least as large, half of ties counted.
    """

    table: pd.DataFrame

    def by_statistic(self) -> Iterator[tuple[tuple[str, str], Array]]:
        """Walk over views and statistics with the p of their features."""
        for (view, statistic), own in self.table.groupby(["view", "statistic"], sort=False):
            yield (str(view), str(statistic)), own["p"].to_numpy()


def check_predictive(model: ModelDraws, features: dict[str, tuple[str, ...]], rng: np.random.Generator) -> Predictive:
    """Replicate every observed entry, once per draw of factors and globals, and compare what features look like.

    The subjects are those of the fit with their own factors, so this asks whether the likelihood and the linear form
    fit, and not how new subjects are predicted.
    """
    rows = []
    for view, own_rng in zip(model.views, rng.spawn(len(model.views)), strict=True):
        for likelihood in (kind for kind in dict.fromkeys(str(k) for k in view.likelihoods) if kind in SUPPORTED):
            columns = np.flatnonzero(view.likelihoods == likelihood)
            n_chunks = 1 if likelihood == "categorical" else -(-len(columns) // _CHUNK)
            chunks = np.array_split(columns, n_chunks)
            rows += [_compare(model, view, likelihood, chunk, features, own_rng) for chunk in chunks]
    return Predictive(pd.concat(rows, ignore_index=True))


def _compare(
    model: ModelDraws,
    view: ViewDraws,
    likelihood: str,
    columns: np.ndarray,
    features: dict[str, tuple[str, ...]],
    rng: np.random.Generator,
) -> pd.DataFrame:
    observed = ~np.isnan(view.values[:, columns])
    scale, center = view.scale[:, columns][model.group_of], view.center[columns]
    seen = _describe(view.values[:, columns] * scale + center, observed, likelihood)
    drawn: dict[str, list[Array]] = {name: [] for name in seen}
    for s in range(model.n_draws):
        loadings = view.loadings[s][columns].astype(np.float64)
        eta = (
            view.known(s, columns, model.group_of, model.covariates) + model.factors[s].astype(np.float64) @ loadings.T
        )
        own = Own(
            view.precision[s][:, columns].astype(np.float64)[model.group_of],
            view.own(s, columns),
            view.log_exposure[:, None],
            view.limits(s, columns),
            view.code[columns],
        )
        values = draw_values(likelihood, eta, own, rng) * scale + center
        for name, own_values in _describe(values, observed, likelihood).items():
            drawn[name].append(own_values)
    names = np.asarray(features[view.view])[columns]
    tables = []
    for name, values_seen in seen.items():
        replicated = np.stack(drawn[name])
        above = (replicated > values_seen).mean(axis=0) + (replicated == values_seen).mean(axis=0) / 2
        lower, upper = np.quantile(replicated, [0.025, 0.975], axis=0)
        own_table = {"view": view.view, "feature": names, "statistic": name, "observed": values_seen}
        own_table |= {"replicated": replicated.mean(axis=0), "lower": lower, "upper": upper, "p": above}
        tables.append(pd.DataFrame(own_table))
    return pd.concat(tables, ignore_index=True)


def _describe(values: Array, observed: np.ndarray, likelihood: str) -> dict[str, Array]:
    """Statistics of each column over its observed entries."""
    count = np.maximum(observed.sum(axis=0), 1)
    mean = np.where(observed, values, 0.0).sum(axis=0) / count
    deviation = np.where(observed, values - mean, 0.0)
    sd = np.sqrt(np.square(deviation).sum(axis=0) / count)
    found = {"mean": mean}
    if likelihood not in ("bernoulli", "categorical"):
        found["sd"] = sd
    if likelihood in REAL:
        found["extreme"] = np.abs(deviation).max(axis=0) / np.where(sd > 0, sd, 1.0)
    if likelihood in _COUNTS:
        found["zeros"] = (observed & (values == 0)).sum(axis=0) / count
    return found
