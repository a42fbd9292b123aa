"""How fast chains move: effective draws of the worst entry of W W' per CPU second.

    python tests/benchmarks/nuts_speed.py [--gibbs] [--n-draws 500] [--n-tune 500]

Two forms of NUTS on the same simulated cohort and the same model (dense loadings with ARD): what a user of PyMC would
write, explicit factors and centred loadings, and this package's, factors integrated out and loadings non-centred. With
`--gibbs` this package's Gibbs sampler too. W W' is touched by no rotation, and is that of the model: factors have unit
prior variance. Beside it W V W', V being the covariance of a draw's factors over subjects: the part of the data's
covariance that factors explain, which does not know how scale is split and mixes faster. CPU seconds hold the
compilation, some 5 to 20 of them.
"""

import argparse
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.data.simulate import Design

_BLOCK = 2000


@dataclass(frozen=True)
class Drawn:
    """Draws of factors (chain, draw, N, K) and loadings of all views (chain, draw, D, K), and what they cost."""

    factors: np.ndarray
    loadings: np.ndarray
    seconds: float
    remarks: str = ""


def cpu_seconds() -> float:
    """CPU time of this process and of those it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def sample_centred(views: mb.MultiView, spec: mb.FactorModel, settings: mb.Sampling, seed: int) -> Drawn:
    """PyMC's default NUTS on the model as a user writes it."""
    import pymc as pm

    preprocessing = fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})
    gamma = spec.noise
    with pm.Model():
        z = pm.Normal("z", shape=(views.n_subjects, spec.n_factors))
        for view in views.names:
            y = preprocessing.apply(view, views[view].values)
            alpha = pm.Gamma(f"alpha_{view}", gamma.shape, gamma.rate, shape=spec.n_factors)
            w = pm.Normal(f"w_{view}", 0.0, tau=alpha, shape=(y.shape[1], spec.n_factors))
            mu = pm.Normal(f"mu_{view}", 0.0, spec.intercept_scale, shape=y.shape[1])
            tau = pm.Gamma(f"tau_{view}", gamma.shape, gamma.rate, shape=y.shape[1])
            pm.Normal(f"y_{view}", mu + z @ w.T, tau=tau, observed=y)
        start = cpu_seconds()
        tree = pm.sample(
            draws=settings.n_draws,
            tune=settings.n_tune,
            chains=settings.n_chains,
            cores=1,
            nuts_sampler="pymc",
            random_seed=seed,
            progressbar=False,
            compute_convergence_checks=False,
        )
    seconds = cpu_seconds() - start
    loadings = np.concatenate([tree["posterior"][f"w_{view}"].values for view in views.names], axis=2)
    diverging = int(tree["sample_stats"]["diverging"].sum())
    return Drawn(tree["posterior"]["z"].values, loadings, seconds, f"{diverging} diverging")


def sample_ours(views: mb.MultiView, spec: mb.FactorModel, settings: mb.Sampling, seed: int) -> Drawn:
    """Engine nuts; alignment and the tree are not counted."""
    from mofa_bayes.engines.nuts import sample_nuts

    start = cpu_seconds()
    found = sample_nuts(views, spec, settings, np.random.default_rng(seed))
    seconds = cpu_seconds() - start
    loadings = np.concatenate([found.draws[f"loadings_{view}"].values for view in views.names], axis=2)
    return Drawn(
        found.draws["factors"].values, loadings, seconds, f"{int(found.report['n_diverging'].sum())} diverging"
    )


def sample_gibbs(views: mb.MultiView, spec: mb.FactorModel, settings: mb.Sampling, seed: int) -> Drawn:
    """Engine gibbs through `fit`, everything counted; draws are taken before alignment gives factors unit variance."""
    from mofa_bayes.posterior import align

    raw: list[xr.Dataset] = []
    aligner = align.align

    def record(draws: xr.Dataset, *, sparse: bool) -> object:
        raw.append(draws[["factors", *(f"loadings_{view}" for view in views.names)]])
        return aligner(draws, sparse=sparse)

    start = cpu_seconds()
    with patch.object(align, "align", record):
        mb.fit(views, spec, engine="gibbs", settings=settings, seed=seed, progress=False)
    seconds = cpu_seconds() - start
    loadings = np.concatenate([raw[0][f"loadings_{view}"].values for view in views.names], axis=2)
    return Drawn(raw[0]["factors"].values, loadings, seconds)


def worst_ess(left: np.ndarray, right: np.ndarray, n_entries: int, rng: np.random.Generator) -> tuple[float, float]:
    """Effective draws of the worst and of the median entry of L R', each (chain, draw, D, K); of some entries."""
    import arviz as az

    rows, columns = np.tril_indices(left.shape[2])
    if n_entries < len(rows):
        some = rng.choice(len(rows), n_entries, replace=False)
        rows, columns = rows[some], columns[some]
    ess = []
    for start in range(0, len(rows), _BLOCK):
        d, e = rows[start : start + _BLOCK], columns[start : start + _BLOCK]
        ess.append(az.ess(np.einsum("csik,csik->csi", left[:, :, d], right[:, :, e]), chain_axis=0, draw_axis=1))
    whole = np.concatenate(ess)
    return float(whole.min()), float(np.median(whole))


def describe(form: str, drawn: Drawn, n_draws: int, n_entries: int, seed: int) -> str:
    """Write a line of the table."""
    z, w = drawn.factors.astype(np.float64), drawn.loadings.astype(np.float64)
    centred = z - z.mean(axis=2, keepdims=True)
    spread = np.swapaxes(centred, 2, 3) @ centred / z.shape[2]
    line = f"{form:<52} {n_draws:>6} {drawn.seconds:>7.1f}"
    for left in (w, w @ spread):
        worst, median = worst_ess(left, w, n_entries, np.random.default_rng(seed))
        line += f" | {worst:>7.1f} {median:>7.0f} {worst / drawn.seconds:>10.2f}"
    return f"{line} | {drawn.remarks}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, says in (
        ("n-subjects", 200, "subjects"),
        ("n-features", 100, "features of each of three views"),
        ("n-factors", 5, "factors"),
        ("n-draws", 500, "kept draws of each chain"),
        ("n-tune", 500, "discarded draws of each chain"),
        ("n-chains", 2, "chains"),
        ("n-entries", 10_000, "entries to look at, at random"),
        ("gibbs-draws", 1000, "kept and discarded draws of each chain of the Gibbs sampler"),
        ("seed", 0, "seed of everything"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=says)
    parser.add_argument("--sampler", default="pymc", help="whose NUTS samples our form: pymc, nutpie or numpyro")
    parser.add_argument("--gibbs", action="store_true", help="print the Gibbs sampler's figure too")
    args = parser.parse_args()
    names = ["a", "b", "c"]
    design = Design(
        n_subjects=args.n_subjects, n_features=dict.fromkeys(names, args.n_features), sharing=[names] * args.n_factors
    )
    views = mb.simulate_cohort(design, seed=args.seed).views
    spec = mb.FactorModel(n_factors=args.n_factors, loadings=mb.ARD(), min_variance=0.0)
    settings = mb.Sampling(
        n_draws=args.n_draws, n_tune=args.n_tune, n_chains=args.n_chains, n_jobs=1, target_accept=0.8
    )
    ours = mb.Sampling(
        n_draws=args.n_draws,
        n_tune=args.n_tune,
        n_chains=args.n_chains,
        n_jobs=1,
        target_accept=0.8,
        sampler=args.sampler,
    )
    long = mb.Sampling(n_draws=args.gibbs_draws, n_tune=args.gibbs_draws, n_chains=args.n_chains, n_jobs=1)
    forms: dict[str, tuple[Callable[..., Drawn], mb.Sampling]] = {
        "PyMC's default, explicit and centred": (sample_centred, settings),
        f"engine nuts ({args.sampler}), integrated and non-centred": (sample_ours, ours),
    }
    if args.gibbs:
        forms["engine gibbs"] = (sample_gibbs, long)
    print(f"N = {args.n_subjects}, 3 x {args.n_features} features, K = {args.n_factors}; {args.n_chains} chains")
    print(f"{'':<67} | {'worst ESS, median and worst per CPU second of':^53}")
    print(f"{'form':<52} {'draws':>6} {'CPU s':>7} | {"W W'":^26} | {"W V W'":^26} |")
    for form, (sample, how) in forms.items():
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            drawn = sample(views, spec, how, args.seed)
            print(describe(form, drawn, how.n_draws, args.n_entries, args.seed), flush=True)


if __name__ == "__main__":
    main()
