"""How fast chains move: effective draws of the worst entry of W V W' per CPU second.

    python tests/benchmarks/nuts_speed.py [--gibbs] [--n-draws 500] [--n-tune 500]

V is the covariance of a draw's factors over subjects, so that W V W' is touched neither by rotation nor by scale. Two
forms of NUTS on the same simulated cohort and the same model (dense loadings with ARD): what a user of PyMC would
write, explicit factors and centred loadings, and this package's, factors integrated out and loadings non-centred. With
`--gibbs` this package's Gibbs sampler too. CPU seconds hold the compilation, some 5 to 20 of them.
"""

import argparse
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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


def gather(post: mb.Posterior) -> tuple[np.ndarray, np.ndarray]:
    loadings = np.concatenate([post.loadings(view).values for view in post.views], axis=2)
    return post.factors().values, loadings


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
    """Engine gibbs, everything counted."""
    start = cpu_seconds()
    post = mb.fit(views, spec, engine="gibbs", settings=settings, seed=seed, progress=False)
    seconds = cpu_seconds() - start
    return Drawn(*gather(post), seconds)


def worst_ess(drawn: Drawn, n_entries: int, rng: np.random.Generator) -> tuple[float, float]:
    """Effective draws of the worst and of the median entry of W V W', of some entries or of all."""
    import arviz as az

    z, w = drawn.factors.astype(np.float64), drawn.loadings.astype(np.float64)
    centred = z - z.mean(axis=2, keepdims=True)
    turned = w @ (np.swapaxes(centred, 2, 3) @ centred / z.shape[2])
    rows, columns = np.tril_indices(w.shape[2])
    if n_entries < len(rows):
        some = rng.choice(len(rows), n_entries, replace=False)
        rows, columns = rows[some], columns[some]
    ess = []
    for start in range(0, len(rows), _BLOCK):
        d, e = rows[start : start + _BLOCK], columns[start : start + _BLOCK]
        ess.append(az.ess(np.einsum("csik,csik->csi", turned[:, :, d], w[:, :, e]), chain_axis=0, draw_axis=1))
    whole = np.concatenate(ess)
    return float(whole.min()), float(np.median(whole))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, says in (
        ("n-subjects", 200, "subjects"),
        ("n-features", 100, "features of each of three views"),
        ("n-factors", 5, "factors"),
        ("n-draws", 500, "kept draws of each chain"),
        ("n-tune", 500, "discarded draws of each chain"),
        ("n-chains", 2, "chains"),
        ("n-entries", 10_000, "entries of W V W' to look at, at random"),
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
    print(f"{'form':<55} {'draws':>6} {'CPU s':>8} {'worst ESS':>10} {'median':>8} {'worst ESS per CPU s':>20}")
    for form, (sample, how) in forms.items():
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            drawn = sample(views, spec, how, args.seed)
            worst, median = worst_ess(drawn, args.n_entries, np.random.default_rng(args.seed))
        print(
            f"{form:<55} {how.n_draws:>6} {drawn.seconds:>8.1f} {worst:>10.1f} {median:>8.0f} "
            f"{worst / drawn.seconds:>20.2f}  {drawn.remarks}",
            flush=True,
        )


if __name__ == "__main__":
    main()
